/*
 * /proc/cpuinfo, from CPUID: the processor that applications run on.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include <cpuid.h>
#include <string.h>

enum { EAX, EBX, ECX, EDX };

/* The names of the bits of one CPUID register, in order; "" where Linux shows none. */
struct flag_word {
    unsigned leaf, subleaf, reg;
    const char *names[32];
};

static const struct flag_word words[] = {
    {1, 0, EDX, {"fpu",  "vme",   "de",   "pse",     "tsc",  "msr", "pae",  "mce",
                 "cx8",  "apic",  "",     "sep",     "mtrr", "pge", "mca",  "cmov",
                 "pat",  "pse36", "pn",   "clflush", "",     "dts", "acpi", "mmx",
                 "fxsr", "sse",   "sse2", "ss",      "ht",   "tm",  "ia64", "pbe"}},
    {0x80000001,
     0,
     EDX,
     {[11] = "syscall",
      [19] = "mp",
      [20] = "nx",
      [22] = "mmxext",
      [25] = "fxsr_opt",
      [26] = "pdpe1gb",
      [27] = "rdtscp",
      [29] = "lm",
      [30] = "3dnowext",
      [31] = "3dnow"}},
    {1, 0, ECX, {"pni",    "pclmulqdq", "dtes64", "monitor", "ds_cpl",
                 "",       "smx",       "est",    "tm2",     "ssse3",
                 "cid",    "sdbg",      "fma",    "cx16",    "xtpr",
                 "pdcm",   "",          "pcid",   "dca",     "sse4_1",
                 "sse4_2", "x2apic",    "movbe",  "popcnt",  "tsc_deadline_timer",
                 "aes",    "xsave",     "",       "avx",     "f16c",
                 "rdrand", "hypervisor"}},
    {0x80000001,
     0,
     ECX,
     {"lahf_lm",
      "cmp_legacy",
      "",
      "extapic",
      "cr8_legacy",
      "abm",
      "sse4a",
      "misalignsse",
      "3dnowprefetch",
      "osvw",
      "ibs",
      "xop",
      "skinit",
      "wdt",
      "",
      "lwp",
      "fma4",
      "tce",
      "",
      "nodeid_msr",
      "",
      "tbm",
      "topoext",
      "perfctr_core",
      "perfctr_nb",
      "",
      "bpext",
      "ptsc",
      "perfctr_llc",
      "mwaitx"}},
    {7, 0, EBX, {"fsgsbase", "tsc_adjust", "",         "bmi1",       "hle",      "avx2",
                 "",         "smep",       "bmi2",     "erms",       "invpcid",  "rtm",
                 "cqm",      "",           "mpx",      "rdt_a",      "avx512f",  "avx512dq",
                 "rdseed",   "adx",        "smap",     "avx512ifma", "",         "clflushopt",
                 "clwb",     "intel_pt",   "avx512pf", "avx512er",   "avx512cd", "sha_ni",
                 "avx512bw", "avx512vl"}},
    {0xd, 1, EAX, {"xsaveopt", "xsavec", "xgetbv1", "xsaves"}},
    {7,
     1,
     EAX,
     {[4] = "avx_vnni",
      [5] = "avx512_bf16",
      [10] = "fzrm",
      [11] = "fsrs",
      [12] = "fsrc",
      [23] = "avx_ifma"}},
    {0x80000008,
     0,
     EBX,
     {[0] = "clzero", [1] = "irperf", [2] = "xsaveerptr", [4] = "rdpru", [9] = "wbnoinvd"}},
    {6, 0, EAX, {[2] = "arat"}},
    {7,
     0,
     ECX,
     {[1] = "avx512vbmi",
      [2] = "umip",
      [3] = "pku",
      [4] = "ospke",
      [5] = "waitpkg",
      [6] = "avx512_vbmi2",
      [8] = "gfni",
      [9] = "vaes",
      [10] = "vpclmulqdq",
      [11] = "avx512_vnni",
      [12] = "avx512_bitalg",
      [13] = "tme",
      [14] = "avx512_vpopcntdq",
      [16] = "la57",
      [22] = "rdpid",
      [25] = "cldemote",
      [27] = "movdiri",
      [28] = "movdir64b",
      [29] = "enqcmd"}},
    {7,
     0,
     EDX,
     {[2] = "avx512_4vnniw",
      [3] = "avx512_4fmaps",
      [4] = "fsrm",
      [8] = "avx512_vp2intersect",
      [10] = "md_clear",
      [14] = "serialize",
      [16] = "tsxldtrk",
      [18] = "pconfig",
      [19] = "arch_lbr",
      [22] = "amx_bf16",
      [23] = "avx512_fp16",
      [24] = "amx_tile",
      [25] = "amx_int8",
      [28] = "flush_l1d",
      [29] = "arch_capabilities"}},
};

static bool cpuid(unsigned leaf, unsigned subleaf, unsigned r[4])
{
    memset(r, 0, 4 * sizeof(*r));
    return __get_cpuid_count(leaf, subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]);
}

static void put_flags(struct text *out)
{
    text_add(out, "flags\t\t:");
    for (size_t k = 0; k < ARRAY_SIZE(words); k++) {
        unsigned r[4];
        if (!cpuid(words[k].leaf, words[k].subleaf, r))
            continue;
        for (int bit = 0; bit < 32; bit++) {
            const char *name = words[k].names[bit];
            if (name && *name && r[words[k].reg] >> bit & 1)
                text_add(out, " %s", name);
        }
    }
    text_add(out, "\n");
}

struct cpu_id {
    char vendor[13], model_name[49];
    unsigned family, model, stepping, level, clflush, phys_bits, virt_bits;
};

static void identify(struct cpu_id *id)
{
    unsigned r[4];
    memset(id, 0, sizeof(*id));
    cpuid(0, 0, r);
    id->level = r[EAX];
    memcpy(id->vendor, &r[EBX], 4);
    memcpy(id->vendor + 4, &r[EDX], 4);
    memcpy(id->vendor + 8, &r[ECX], 4);
    cpuid(1, 0, r);
    id->stepping = r[EAX] & 0xf;
    id->model = r[EAX] >> 4 & 0xf;
    id->family = r[EAX] >> 8 & 0xf;
    if (id->family == 0xf || id->family == 6)
        id->model |= r[EAX] >> 12 & 0xf0;
    if (id->family == 0xf)
        id->family += r[EAX] >> 20 & 0xff;
    id->clflush = (r[EBX] >> 8 & 0xff) * 8;
    for (unsigned k = 0; k < 3; k++) {
        if (cpuid(0x80000002 + k, 0, r))
            memcpy(id->model_name + k * 16, r, 16);
    }
    cpuid(0x80000008, 0, r);
    id->phys_bits = r[EAX] & 0xff;
    id->virt_bits = r[EAX] >> 8 & 0xff;
}

static unsigned mhz(void)
{
    unsigned r[4];
    if (cpuid(0x15, 0, r) && r[EAX] && r[ECX])
        return (unsigned)((uint64_t)r[ECX] * r[EBX] / r[EAX] / 1000000);
    return cpuid(0x16, 0, r) && r[EAX] ? r[EAX] & 0xffff : 2000;
}

static unsigned cache_kb(void)
{
    unsigned r[4], best = 0;
    for (unsigned k = 0; k < 8 && cpuid(4, k, r) && (r[EAX] & 0x1f); k++) {
        uint64_t bytes = (uint64_t)((r[EBX] >> 22) + 1) * ((r[EBX] >> 12 & 0x3ff) + 1) *
                         ((r[EBX] & 0xfff) + 1) * ((uint64_t)r[ECX] + 1);
        best = (unsigned)(bytes / 1024);
    }
    if (!best && cpuid(0x80000006, 0, r))
        best = r[ECX] >> 16;
    return best;
}

int proc_show_cpuinfo(struct pseudo_ctx *c, struct text *out)
{
    struct cpu_id id;
    unsigned f = mhz(), cache = cache_kb();
    int n = MAX(c->k->ncpus, 1);
    identify(&id);
    for (int k = 0; k < n; k++) {
        text_add(out, "processor\t: %d\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\n", k,
                 id.vendor, id.family, id.model);
        text_add(out, "model name\t: %s\nstepping\t: %u\nmicrocode\t: 0xffffffff\n", id.model_name,
                 id.stepping);
        text_add(out, "cpu MHz\t\t: %u.000\ncache size\t: %u KB\n", f, cache);
        text_add(out, "physical id\t: 0\nsiblings\t: %d\ncore id\t\t: %d\ncpu cores\t: %d\n", n, k,
                 n);
        text_add(out, "apicid\t\t: %d\ninitial apicid\t: %d\nfpu\t\t: yes\nfpu_exception\t: yes\n",
                 k, k);
        text_add(out, "cpuid level\t: %u\nwp\t\t: yes\n", id.level);
        put_flags(out);
        text_add(out, "bugs\t\t:\nbogomips\t: %u.00\nclflush size\t: %u\ncache_alignment\t: %u\n",
                 f * 2, id.clflush, id.clflush);
        text_add(out, "address sizes\t: %u bits physical, %u bits virtual\npower management:\n\n",
                 id.phys_bits, id.virt_bits);
    }
    return 0;
}

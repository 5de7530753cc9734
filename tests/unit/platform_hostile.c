/*
 * Code that nobody meant to write: every instruction that touches memory, against the hardware as
 * the judge of what it does, and random bytes.
 */
#include "tests/unit/platform_world.h"
#include "tests/unit/random.h"

#define TARGET 0x40000000ul
#define OTHER 0x50000000ul

/* --- does an instruction write? --- */

struct verdict {
    struct context *c;
    unsigned long asked, writes, missed;
};

/* The registers of every trial: what an instruction may point with. */
static void aim(struct arch_context *ac)
{
    start(ac, CODE);
    struct user_regs_struct *r = &ac->regs;
    r->rax = r->rbx = r->rdx = r->rdi = r->rbp = TARGET + 0x800;
    r->r8 = r->r9 = r->r10 = r->r11 = r->r12 = r->r13 = r->r14 = r->r15 = TARGET + 0x800;
    r->rsi = OTHER + 0x800;
    r->rcx = 1;
}

/*
 * Runs the instruction with nothing where it points to, and once more with a read-only page there:
 * if that faults, too, it writes. The platform may take a write for a read, never the reverse.
 */
static void judge(struct verdict *v, const uint8_t *code, size_t n)
{
    struct arch_context ac = {0};
    struct switch_event ev;
    memset(w.file.window, 0xf4, PAGE_SIZE); /* hlt */
    memcpy(w.file.window, code, n);
    aim(&ac);
    if (run(v->c, &ac, &ev) != SWITCH_FAULT || !ev.not_present || (ev.access & ACCESS_EXEC) ||
        ac.regs.rip != CODE)
        return;
    gva_t page = page_down(ev.addr);
    if (page < TARGET - PAGE_SIZE || page > OTHER + PAGE_SIZE)
        return;
    access_t said = ev.access;
    struct as_op op = map_op(page, 1, 5, ACCESS_READ);
    HOLDS(w.as->ops->apply(w.as, &op, 1) == 0);
    aim(&ac);
    enum switch_reason r = run(v->c, &ac, &ev);
    bool writes = r == SWITCH_FAULT && !ev.not_present && page_down(ev.addr) == page &&
                  ev.access == ACCESS_WRITE && ac.regs.rip == CODE;
    op.kind = AS_UNMAP;
    HOLDS(w.as->ops->apply(w.as, &op, 1) == 0);

    v->asked++;
    v->writes += writes;
    v->missed += writes && said == ACCESS_READ;
    if (!writes && said != ACCESS_READ)
        ck_abort_msg("%02x %02x %02x %02x %02x %02x reads", code[0], code[1], code[2], code[3],
                     code[4], code[5]);
}

static const uint8_t prefixes[] = {0, 0x66, 0xf3, 0xf2};

static void judge_legacy(struct verdict *v, unsigned prefix, bool rex, int map, unsigned opcode,
                         unsigned reg)
{
    uint8_t code[16] = {0};
    size_t n = 0;
    if (prefixes[prefix])
        code[n++] = prefixes[prefix];
    if (rex)
        code[n++] = 0x48;
    if (map > 0)
        code[n++] = 0x0f;
    if (map > 1)
        code[n++] = map == 2 ? 0x38 : 0x3a;
    code[n++] = (uint8_t)opcode;
    code[n++] = (uint8_t)(reg << 3 | 7); /* (%rdi) */
    judge(v, code, n + 4);               /* room for an immediate */
}

static bool is_prefix_or_escape(unsigned b)
{
    return b == 0x0f || (b & 0xf0) == 0x40 || b == 0x66 || b == 0x67 || b == 0x62 || b == 0xc4 ||
           b == 0xc5 || b == 0x2e || b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 ||
           b == 0x65 || b == 0xf0 || b == 0xf2 || b == 0xf3;
}

START_TEST(legacy_instructions)
{
    struct verdict v = {.c = new_context_in(w.as)};
    for (unsigned op = 0; op < 256; op++)
        for (unsigned reg = 0; reg < 8 && !is_prefix_or_escape(op); reg++) {
            judge_legacy(&v, 0, false, 0, op, reg);
            judge_legacy(&v, 0, true, 0, op, reg);
        }
    /* All that compilers use every day must be told right. */
    ck_assert_uint_gt(v.writes, 500);
    ck_assert_msg(v.missed * 50 < v.writes, "missed %lu of %lu", v.missed, v.writes);
    for (unsigned p = 0; p < 4; p++)
        for (unsigned op = 0; op < 256; op++) {
            for (unsigned reg = 0; reg < 8 && op != 0x38 && op != 0x3a; reg += p ? 3 : 1)
                judge_legacy(&v, p, false, 1, op, reg);
            judge_legacy(&v, p, true, 2, op, 1);
            judge_legacy(&v, p, true, 3, op, 1);
        }
    ck_assert_msg(v.missed * 20 < v.writes, "missed %lu of %lu", v.missed, v.writes);
    v.c->ops->release(v.c);
}
END_TEST

START_TEST(vector_instructions)
{
    struct verdict v = {.c = new_context_in(w.as)};
    for (unsigned map = 1; map <= 3; map++)
        for (unsigned pp = 0; pp < 4; pp++)
            for (unsigned op = 0; op < 256; op++) {
                const uint8_t vex[] = {
                    0xc4, (uint8_t)(0xe0 | map), (uint8_t)(0x78 | pp), (uint8_t)op, 0x0f, 0, 0};
                judge(&v, vex, sizeof(vex));
                const uint8_t evex[] = {
                    0x62, (uint8_t)(0xf0 | map), (uint8_t)(0x7c | pp), 0x48, (uint8_t)op, 0x0f, 0,
                    0};
                judge(&v, evex, sizeof(evex));
            }
    ck_assert_uint_gt(v.writes, 20);
    ck_assert_msg(v.missed * 20 < v.writes, "missed %lu of %lu", v.missed, v.writes);
    v.c->ops->release(v.c);
}
END_TEST

/* --- random bytes --- */

static int episodes = 15000;

static _Atomic bool stop_ticking;

static void *tick(void *context)
{
    struct context *c = context;
    while (!atomic_load(&stop_ticking)) {
        usleep(1000);
        c->ops->interrupt(c);
    }
    return NULL;
}

static void random_state(struct arch_context *ac, struct rng *rng)
{
    static const uint64_t pointers[] = {CODE, DATA, STACK, TARGET, 0, 1ul << 62, ~0ul};
    uint64_t *words = (uint64_t *)w.file.window;
    for (size_t i = 0; i < 64; i++)
        words[i] = rng_next(rng);
    start(ac, CODE);
    uint64_t *regs = (uint64_t *)&ac->regs;
    for (size_t i = 0; i < 15; i++)
        regs[i] =
            rng_next(rng) % 4 ? pointers[rng_next(rng) % ARRAY_SIZE(pointers)] + 64 : rng_next(rng);
    if (rng_next(rng) % 8 == 0)
        ac->regs.eflags |= rng_next(rng) & 0x44fff; /* AC, TF, DF, ... */
    if (rng_next(rng) % 8 == 0)                     /* the stub's own code, and its letter box */
        ac->regs.rip = w.p->max_addr + rng_next(rng) % 0x5000;
}

/* Runs until something ends the episode. */
static void live(struct context *c, struct arch_context *ac, struct rng *rng)
{
    for (int events = 0; events < 50; events++) {
        struct switch_event ev;
        switch (run(c, ac, &ev)) {
        case SWITCH_SYSCALL:
            arch_set_return(ac, (long)rng_next(rng) % 1000);
            break;
        case SWITCH_FAULT:
            if (ev.addr < PAGE_SIZE * 16 || ev.addr >= w.p->max_addr)
                return;
            if (map_in(w.as, page_down(ev.addr), 1, 1 + rng_next(rng) % 8, ACCESS_ANY) != 0)
                ck_abort_msg("map at %lx", (unsigned long)ev.addr);
            break;
        case SWITCH_SIGNAL:
            HOLDS(ev.info.si_signo > 0);
            return;
        case SWITCH_INTERRUPTED:
            return;
        default:
            ck_abort_msg("the platform gave up at %llx", ac->regs.rip);
        }
    }
}

START_TEST(random_code)
{
    struct rng rng = rng_seed("random_code");
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    pthread_t ticker;
    atomic_store(&stop_ticking, false);
    pthread_create(&ticker, NULL, tick, c);
    for (int i = 0; i < episodes; i++) {
        if (i % 100 == 0) {
            w.as->ops->clear(w.as);
            map_code_and_data(w.as);
        }
        ck_assert_int_eq(map_in(w.as, CODE, 1, 0, ACCESS_ANY), 0);
        random_state(&ac, &rng);
        live(c, &ac, &rng);
    }
    atomic_store(&stop_ticking, true);
    pthread_join(ticker, NULL);
    c->ops->release(c);

    /* The keeper still does as it is told, and nothing else was mapped meanwhile. */
    w.as->ops->clear(w.as);
    map_code_and_data(w.as);
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    count_with_syscalls(NULL);
}
END_TEST

int main(void)
{
    const struct test_case cases[] = {
        {"random", {random_code, random_code}},
        /* The guess that ptrace makes from the instruction; a page fault in a vCPU just says it. */
        {"instructions", {legacy_instructions, vector_instructions}},
    };
    int failed = run_suite("hostile code, ptrace", cases, ARRAY_SIZE(cases));
    if (use_platform(&kvm_platform_type)) {
        episodes = 3000; /* an exit costs ten times as much where KVM is software */
        failed += run_suite("hostile code, kvm", cases, 1);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

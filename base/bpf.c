#include "base/bpf.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A load of the accumulator from the structure, once it is known to be aligned and inside. */
#define LOAD_DATA (BPF_LD | BPF_W | BPF_ABS)

/* ---- which instructions there are ---- */

enum bpf_rule {
    RULE_NONE,
    RULE_PLAIN,
    RULE_PACKET,  /* reads a packet: not for structures */
    RULE_DATA,    /* reads the packet or the structure: k is checked */
    RULE_MEMORY,  /* k names a word of the scratch memory */
    RULE_DIVIDE,  /* k may not be zero */
    RULE_SHIFT,   /* k may not be 32 or more */
    RULE_MODULO,  /* as RULE_DIVIDE; not for structures */
    RULE_MODULOX, /* likewise by the index register */
    RULE_JUMP,    /* by k */
    RULE_BRANCH,  /* by jt or jf */
};

/* All codes are below 256. */
static const uint8_t rules[256] = {
    [BPF_LD | BPF_W | BPF_ABS] = RULE_DATA,
    [BPF_LD | BPF_H | BPF_ABS] = RULE_PACKET,
    [BPF_LD | BPF_B | BPF_ABS] = RULE_PACKET,
    [BPF_LD | BPF_W | BPF_IND] = RULE_PACKET,
    [BPF_LD | BPF_H | BPF_IND] = RULE_PACKET,
    [BPF_LD | BPF_B | BPF_IND] = RULE_PACKET,
    [BPF_LD | BPF_W | BPF_LEN] = RULE_PLAIN,
    [BPF_LDX | BPF_W | BPF_LEN] = RULE_PLAIN,
    [BPF_LDX | BPF_B | BPF_MSH] = RULE_PACKET,
    [BPF_LD | BPF_IMM] = RULE_PLAIN,
    [BPF_LDX | BPF_IMM] = RULE_PLAIN,
    [BPF_LD | BPF_MEM] = RULE_MEMORY,
    [BPF_LDX | BPF_MEM] = RULE_MEMORY,
    [BPF_ST] = RULE_MEMORY,
    [BPF_STX] = RULE_MEMORY,
    [BPF_MISC | BPF_TAX] = RULE_PLAIN,
    [BPF_MISC | BPF_TXA] = RULE_PLAIN,
    [BPF_RET | BPF_K] = RULE_PLAIN,
    [BPF_RET | BPF_A] = RULE_PLAIN,
    [BPF_ALU | BPF_ADD | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_ADD | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_SUB | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_SUB | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_MUL | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_MUL | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_DIV | BPF_K] = RULE_DIVIDE,
    [BPF_ALU | BPF_DIV | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_MOD | BPF_K] = RULE_MODULO,
    [BPF_ALU | BPF_MOD | BPF_X] = RULE_MODULOX,
    [BPF_ALU | BPF_AND | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_AND | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_OR | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_OR | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_XOR | BPF_K] = RULE_PLAIN,
    [BPF_ALU | BPF_XOR | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_LSH | BPF_K] = RULE_SHIFT,
    [BPF_ALU | BPF_LSH | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_RSH | BPF_K] = RULE_SHIFT,
    [BPF_ALU | BPF_RSH | BPF_X] = RULE_PLAIN,
    [BPF_ALU | BPF_NEG] = RULE_PLAIN,
    [BPF_JMP | BPF_JA] = RULE_JUMP,
    [BPF_JMP | BPF_JEQ | BPF_K] = RULE_BRANCH,
    [BPF_JMP | BPF_JEQ | BPF_X] = RULE_BRANCH,
    [BPF_JMP | BPF_JGT | BPF_K] = RULE_BRANCH,
    [BPF_JMP | BPF_JGT | BPF_X] = RULE_BRANCH,
    [BPF_JMP | BPF_JGE | BPF_K] = RULE_BRANCH,
    [BPF_JMP | BPF_JGE | BPF_X] = RULE_BRANCH,
    [BPF_JMP | BPF_JSET | BPF_K] = RULE_BRANCH,
    [BPF_JMP | BPF_JSET | BPF_X] = RULE_BRANCH,
};

static bool insn_ok(const struct sock_filter *in, size_t left, uint32_t data_size)
{
    if (in->code >= ARRAY_SIZE(rules))
        return false;
    switch ((enum bpf_rule)rules[in->code]) {
    case RULE_NONE:
        return false;
    case RULE_PLAIN:
        return true;
    case RULE_PACKET:
    case RULE_MODULOX:
        return data_size == 0;
    case RULE_DATA:
        return data_size == 0 || (in->k % 4 == 0 && in->k < data_size);
    case RULE_MEMORY:
        return in->k < BPF_MEMWORDS;
    case RULE_DIVIDE:
        return in->k != 0;
    case RULE_SHIFT:
        return in->k < 32;
    case RULE_MODULO:
        return in->k != 0 && data_size == 0;
    case RULE_JUMP:
        return in->k < left;
    case RULE_BRANCH:
        return in->jt < left && in->jf < left;
    }
    return false;
}

/* ---- nothing is read from scratch memory before it was written, on any path ---- */

static bool memory_step(const struct sock_filter *in, uint16_t *written, uint16_t *at_target)
{
    switch (in->code) {
    case BPF_ST:
    case BPF_STX:
        *written |= (uint16_t)(1u << in->k);
        break;
    case BPF_LD | BPF_MEM:
    case BPF_LDX | BPF_MEM:
        return *written >> in->k & 1;
    case BPF_JMP | BPF_JA:
        at_target[1 + in->k] &= *written;
        *written = UINT16_MAX; /* the next one is reached by jumps only */
        break;
    default:
        if (rules[in->code] == RULE_BRANCH) {
            at_target[1 + in->jt] &= *written;
            at_target[1 + in->jf] &= *written;
            *written = UINT16_MAX;
        }
    }
    return true;
}

static int memory_ok(const struct sock_filter *insns, size_t n)
{
    uint16_t *masks = malloc(n * sizeof(*masks));
    if (!masks)
        return -ENOMEM;
    memset(masks, 0xff, n * sizeof(*masks));
    uint16_t written = 0;
    bool ok = true;
    for (size_t pc = 0; pc < n && ok; pc++) {
        written &= masks[pc];
        ok = memory_step(&insns[pc], &written, &masks[pc]);
    }
    free(masks);
    return ok ? 0 : -EINVAL;
}

int bpf_program_create(const struct sock_filter *insns, size_t n, uint32_t data_size,
                       struct bpf_program **out)
{
    if (n == 0 || n > BPF_MAXINSNS)
        return -EINVAL;
    for (size_t pc = 0; pc < n; pc++) {
        if (!insn_ok(&insns[pc], n - pc - 1, data_size))
            return -EINVAL;
    }
    if (BPF_CLASS(insns[n - 1].code) != BPF_RET)
        return -EINVAL;
    int err = memory_ok(insns, n);
    if (err)
        return err;
    struct bpf_program *p = malloc(sizeof(*p) + n * sizeof(*insns));
    if (!p)
        return -ENOMEM;
    p->length = (uint32_t)n;
    p->data_size = data_size;
    memcpy(p->insns, insns, n * sizeof(*insns));
    *out = p;
    return 0;
}

void bpf_program_free(struct bpf_program *p)
{
    free(p);
}

/* ---- running ---- */

struct packet {
    const uint8_t *data;
    uint32_t size;
};

/* n (1, 2 or 4) bytes at offset, most significant first. */
static bool packet_load(const struct packet *p, uint64_t offset, unsigned n, uint32_t *out)
{
    if (offset + n > p->size)
        return false;
    uint32_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | p->data[offset + i];
    *out = v;
    return true;
}

static unsigned load_width(uint16_t code)
{
    return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static bool load_data(const struct bpf_program *prog, const struct packet *p, uint32_t k,
                      uint32_t *out)
{
    if (prog->data_size == 0)
        return packet_load(p, k, 4, out);
    memcpy(out, p->data + k, sizeof(*out));
    return true;
}

uint32_t bpf_run(const struct bpf_program *prog, const void *data, uint32_t size)
{
    const struct packet packet = {data, size};
    uint32_t a = 0, x = 0, mem[BPF_MEMWORDS];
    for (const struct sock_filter *in = prog->insns;; in++) {
        const uint32_t k = in->k;
        switch (in->code) {
        case LOAD_DATA:
            if (!load_data(prog, &packet, k, &a))
                return 0;
            break;
        case BPF_LD | BPF_H | BPF_ABS:
        case BPF_LD | BPF_B | BPF_ABS:
            if (!packet_load(&packet, k, load_width(in->code), &a))
                return 0;
            break;
        case BPF_LD | BPF_W | BPF_IND:
        case BPF_LD | BPF_H | BPF_IND:
        case BPF_LD | BPF_B | BPF_IND:
            if (!packet_load(&packet, (uint32_t)(x + k), load_width(in->code), &a))
                return 0;
            break;
        case BPF_LDX | BPF_B | BPF_MSH:
            if (!packet_load(&packet, k, 1, &x))
                return 0;
            x = (x & 0xf) << 2;
            break;
        case BPF_LD | BPF_W | BPF_LEN:
            a = size;
            break;
        case BPF_LDX | BPF_W | BPF_LEN:
            x = size;
            break;
        case BPF_LD | BPF_IMM:
            a = k;
            break;
        case BPF_LDX | BPF_IMM:
            x = k;
            break;
        case BPF_LD | BPF_MEM:
            a = mem[k];
            break;
        case BPF_LDX | BPF_MEM:
            x = mem[k];
            break;
        case BPF_ST:
            mem[k] = a;
            break;
        case BPF_STX:
            mem[k] = x;
            break;
        case BPF_MISC | BPF_TAX:
            x = a;
            break;
        case BPF_MISC | BPF_TXA:
            a = x;
            break;
        case BPF_ALU | BPF_ADD | BPF_K:
            a += k;
            break;
        case BPF_ALU | BPF_ADD | BPF_X:
            a += x;
            break;
        case BPF_ALU | BPF_SUB | BPF_K:
            a -= k;
            break;
        case BPF_ALU | BPF_SUB | BPF_X:
            a -= x;
            break;
        case BPF_ALU | BPF_MUL | BPF_K:
            a *= k;
            break;
        case BPF_ALU | BPF_MUL | BPF_X:
            a *= x;
            break;
        case BPF_ALU | BPF_DIV | BPF_K:
            a /= k;
            break;
        case BPF_ALU | BPF_DIV | BPF_X:
            if (!x)
                return 0;
            a /= x;
            break;
        case BPF_ALU | BPF_MOD | BPF_K:
            a %= k;
            break;
        case BPF_ALU | BPF_MOD | BPF_X:
            if (!x)
                return 0;
            a %= x;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= k;
            break;
        case BPF_ALU | BPF_AND | BPF_X:
            a &= x;
            break;
        case BPF_ALU | BPF_OR | BPF_K:
            a |= k;
            break;
        case BPF_ALU | BPF_OR | BPF_X:
            a |= x;
            break;
        case BPF_ALU | BPF_XOR | BPF_K:
            a ^= k;
            break;
        case BPF_ALU | BPF_XOR | BPF_X:
            a ^= x;
            break;
        case BPF_ALU | BPF_LSH | BPF_K:
            a <<= k;
            break;
        case BPF_ALU | BPF_LSH | BPF_X:
            a <<= x & 31;
            break;
        case BPF_ALU | BPF_RSH | BPF_K:
            a >>= k;
            break;
        case BPF_ALU | BPF_RSH | BPF_X:
            a >>= x & 31;
            break;
        case BPF_ALU | BPF_NEG:
            a = -a;
            break;
        case BPF_JMP | BPF_JA:
            in += k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            in += a == k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JEQ | BPF_X:
            in += a == x ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            in += a > k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_X:
            in += a > x ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            in += a >= k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_X:
            in += a >= x ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            in += a & k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_X:
            in += a & x ? in->jt : in->jf;
            break;
        case BPF_RET | BPF_A:
            return a;
        default: /* BPF_RET | BPF_K: nothing else passes the check */
            return k;
        }
    }
}

/* ---- constants ---- */

/* Only what filters begin with is understood: loads of the known words, masks and comparisons. */
bool bpf_is_constant(const struct bpf_program *p, const uint32_t *known, size_t nknown,
                     uint32_t *result)
{
    uint32_t a = 0;
    for (const struct sock_filter *in = p->insns;; in++) {
        switch (in->code) {
        case LOAD_DATA:
            if (in->k / 4 >= nknown)
                return false;
            a = known[in->k / 4];
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            a &= in->k;
            break;
        case BPF_JMP | BPF_JA:
            in += in->k;
            break;
        case BPF_JMP | BPF_JEQ | BPF_K:
            in += a == in->k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGT | BPF_K:
            in += a > in->k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JGE | BPF_K:
            in += a >= in->k ? in->jt : in->jf;
            break;
        case BPF_JMP | BPF_JSET | BPF_K:
            in += a & in->k ? in->jt : in->jf;
            break;
        case BPF_RET | BPF_K:
            *result = in->k;
            return true;
        default:
            return false;
        }
    }
}

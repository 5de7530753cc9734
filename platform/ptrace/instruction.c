/*
 * Whether an instruction writes to memory, from its first bytes: prefixes, opcode, ModRM.
 * "No" covers everything that is not certainly a write at the address in question.
 */
#include "platform/ptrace/ptrace.h"

enum opcode_map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A };
enum mandatory { PREFIX_NONE, PREFIX_66, PREFIX_F3, PREFIX_F2 };

struct decoded {
    enum opcode_map map;
    enum mandatory prefix;
    bool vex, evex;
    uint8_t opcode;
    uint8_t modrm;
};

struct reader {
    const uint8_t *at, *end;
    bool ran_out;
};

static uint8_t next(struct reader *r)
{
    if (r->at < r->end)
        return *r->at++;
    r->ran_out = true;
    return 0;
}

static bool within(uint64_t addr, uint64_t start, uint64_t length)
{
    return addr - start < length;
}

static uint8_t legacy_prefixes(struct reader *r, struct decoded *d)
{
    for (;;) {
        uint8_t b = next(r);
        switch (b) {
        case 0x66:
            if (d->prefix == PREFIX_NONE)
                d->prefix = PREFIX_66;
            continue;
        case 0xf3:
            d->prefix = PREFIX_F3;
            continue;
        case 0xf2:
            d->prefix = PREFIX_F2;
            continue;
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x26:
        case 0x64:
        case 0x65:
        case 0x67:
        case 0xf0:
            continue;
        }
        if ((b & 0xf0) == 0x40 && !r->ran_out)
            continue; /* REX */
        return b;
    }
}

static void read_vex(struct reader *r, struct decoded *d, uint8_t b)
{
    uint8_t map = 1, last = next(r);
    d->vex = true;
    if (b != 0xc5) {
        map = last & (b == 0x62 ? 7 : 0x1f);
        last = next(r);
    }
    if (b == 0x62) {
        d->evex = true;
        next(r);
    }
    d->map = map <= 3 ? (enum opcode_map)map : MAP_ONE;
    d->prefix = (enum mandatory)(last & 3);
    d->opcode = next(r);
}

static bool decode(const uint8_t *code, size_t n, struct decoded *d)
{
    struct reader r = {code, code + n, false};
    uint8_t b = legacy_prefixes(&r, d);
    if (b == 0xc5 || b == 0xc4 || b == 0x62) {
        read_vex(&r, d, b);
    } else if (b == 0x0f) {
        b = next(&r);
        d->map = b == 0x38 ? MAP_0F38 : b == 0x3a ? MAP_0F3A : MAP_0F;
        d->opcode = d->map == MAP_0F ? b : next(&r);
    } else {
        d->opcode = b;
    }
    bool complete = !r.ran_out;
    d->modrm = next(&r); /* not every opcode has one */
    return complete;
}

/* x87: which of the eight operations of an escape opcode store. */
static bool x87_stores(uint8_t opcode, unsigned reg)
{
    static const uint8_t stores[8] = {
        [1] = 0xcc, /* d9: fst fstp fnstenv fnstcw */
        [3] = 0x8e, /* db: fisttp fist fistp fstp80 */
        [5] = 0xce, /* dd: fisttp fst fstp fnsave fnstsw */
        [7] = 0xce, /* df: fisttp fist fistp fbstp fistp64 */
    };
    return stores[opcode & 7] >> reg & 1;
}

/* Instructions that touch two places: is it the one that they write? */
static bool string_move(const struct user_regs_struct *regs, gva_t addr)
{
    return within(addr, regs->rdi, 64) && !within(addr, regs->rsi, 64);
}
static bool pushed(const struct user_regs_struct *regs, gva_t addr)
{
    return within(addr, regs->rsp - 8, 8);
}

static bool one_byte_writes(const struct decoded *d, const struct user_regs_struct *regs,
                            gva_t addr)
{
    unsigned reg = d->modrm >> 3 & 7;
    uint8_t op = d->opcode;
    if (op < 0x38)
        return (op & 7) <= 1; /* add or adc sbb and sub xor, to memory */
    if (op >= 0xd8 && op <= 0xdf)
        return x87_stores(op, reg);
    switch (op) {
    case 0x50 ... 0x57: /* push */
    case 0x68:
    case 0x6a:
    case 0x9c:
    case 0xe8: /* call */
        return pushed(regs, addr);
    case 0x80: /* add ... xor, cmp */
    case 0x81:
    case 0x83:
        return reg != 7;
    case 0x86: /* xchg */
    case 0x87:
    case 0x88: /* mov */
    case 0x89:
    case 0x8c:
    case 0xa2:
    case 0xa3:
    case 0xaa: /* stos */
    case 0xab:
    case 0xc0: /* shifts */
    case 0xc1:
    case 0xd0 ... 0xd3:
        return true;
    case 0xc6: /* mov */
    case 0xc7:
        return reg == 0;
    case 0xa4: /* movs */
    case 0xa5:
        return string_move(regs, addr);
    case 0x8f: /* pop */
        return reg == 0 && !within(addr, regs->rsp, 8);
    case 0xf6: /* not, neg */
    case 0xf7:
        return reg == 2 || reg == 3;
    case 0xfe: /* inc, dec */
        return reg <= 1;
    case 0xff: /* inc, dec; call, push */
        return reg <= 1 || ((reg == 2 || reg == 6) && pushed(regs, addr));
    }
    return false;
}

static bool two_byte_writes(const struct decoded *d)
{
    unsigned reg = d->modrm >> 3 & 7;
    switch (d->opcode) {
    case 0x11: /* movups and family */
    case 0x13:
    case 0x17:
    case 0x29:
    case 0x2b:
    case 0x7f:
    case 0xd6:
    case 0xe7:
        return true;
    case 0x7e: /* movd, movq */
        return d->prefix != PREFIX_F3;
    case 0xae: /* fxsave, stmxcsr, xsave, xsaveopt */
        return d->prefix == PREFIX_NONE &&
               (reg == 3 || (!d->vex && (reg == 0 || reg == 4 || reg == 6)));
    }
    if (d->vex)
        return !d->evex && d->opcode == 0x91; /* kmov */
    switch (d->opcode) {
    case 0x90 ... 0x9f: /* setcc */
    case 0xa4:          /* shld, shrd */
    case 0xa5:
    case 0xac:
    case 0xad:
    case 0xab: /* bts, btr, btc */
    case 0xb3:
    case 0xbb:
    case 0xb0: /* cmpxchg */
    case 0xb1:
    case 0xc0: /* xadd */
    case 0xc1:
    case 0xc3: /* movnti */
        return true;
    case 0xba:
        return reg >= 5;
    case 0xc7: /* cmpxchg8b, cmpxchg16b, xsavec */
        return reg == 1 || reg == 4;
    }
    return false;
}

/* AVX-512: compressing, scattering and narrowing stores. */
static bool evex_0f38_writes(const struct decoded *d)
{
    uint8_t op = d->opcode;
    if (d->prefix == PREFIX_66)
        return op == 0x63 || op == 0x8a || op == 0x8b || (op >= 0xa0 && op <= 0xa3);
    return d->prefix == PREFIX_F3 && op >= 0x10 && op <= 0x35 && (op & 0xf) <= 5;
}

static bool three_byte_writes(const struct decoded *d)
{
    if (d->map == MAP_0F38) {
        if (d->evex)
            return evex_0f38_writes(d);
        if (d->vex)
            return d->opcode == 0x2e || d->opcode == 0x2f || d->opcode == 0x8e;
        return d->opcode == 0xf1 && d->prefix != PREFIX_F2; /* movbe */
    }
    switch (d->opcode) {
    case 0x14 ... 0x17: /* pextr */
        return true;
    case 0x19: /* vextract */
    case 0x39:
    case 0x1d: /* vcvtps2ph */
        return d->vex;
    case 0x1b:
    case 0x3b:
        return d->evex;
    }
    return false;
}

bool instruction_writes(const uint8_t *code, size_t n, const struct user_regs_struct *regs,
                        gva_t addr)
{
    struct decoded d = {0};
    if (!decode(code, n, &d))
        return false;
    switch (d.map) {
    case MAP_ONE:
        return !d.vex && one_byte_writes(&d, regs, addr);
    case MAP_0F:
        return two_byte_writes(&d);
    case MAP_0F38:
    case MAP_0F3A:
        return three_byte_writes(&d);
    }
    return false;
}

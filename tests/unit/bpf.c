/*
 * Classic BPF over packets, and constants. What seccomp allows is in tests/syscalls/seccomp.c.
 */
#include "base/bpf.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>

static const uint8_t packet[] = {0x45, 0x00, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef, 0x80};

static uint32_t run(const struct sock_filter *insns, size_t n)
{
    struct bpf_program *p;
    ck_assert_int_eq(bpf_program_create(insns, n, 0, &p), 0);
    uint32_t result = bpf_run(p, packet, sizeof(packet));
    bpf_program_free(p);
    return result;
}
#define RUN(...)                                                                                   \
    run((struct sock_filter[]){__VA_ARGS__},                                                       \
        sizeof((struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter))
#define RETURN_A BPF_STMT(BPF_RET | BPF_A, 0)
#define LOAD(size, mode, k) BPF_STMT(BPF_LD | size | mode, k)
#define INDEX(k) BPF_STMT(BPF_LDX | BPF_IMM, k)

START_TEST(loads)
{
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_ABS, 4), RETURN_A), 0xdeadbeef);
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_ABS, 3), RETURN_A), 0x34deadbe);
    ck_assert_uint_eq(RUN(LOAD(BPF_H, BPF_ABS, 2), RETURN_A), 0x1234);
    ck_assert_uint_eq(RUN(LOAD(BPF_B, BPF_ABS, 8), RETURN_A), 0x80);
    ck_assert_uint_eq(RUN(INDEX(2), LOAD(BPF_H, BPF_IND, 2), RETURN_A), 0xdead);
    ck_assert_uint_eq(RUN(INDEX(-2u), LOAD(BPF_B, BPF_IND, 3), RETURN_A), 0);
    ck_assert_uint_eq(
        RUN(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0), RETURN_A), 20);
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_LEN, 0), RETURN_A), sizeof(packet));
}
END_TEST

/* A load that is not wholly inside ends the program with 0. */
START_TEST(loads_outside)
{
    const struct sock_filter one = BPF_STMT(BPF_RET | BPF_K, 1);
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_ABS, 5), one), 1);
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_ABS, 6), one), 0);
    ck_assert_uint_eq(RUN(LOAD(BPF_H, BPF_ABS, 8), one), 0);
    ck_assert_uint_eq(RUN(LOAD(BPF_B, BPF_ABS, 9), one), 0);
    ck_assert_uint_eq(RUN(LOAD(BPF_W, BPF_ABS, 0xffffffff), one), 0);
    ck_assert_uint_eq(RUN(INDEX(0x7fffffff), LOAD(BPF_W, BPF_IND, 0x7fffffff), one), 0);
    ck_assert_uint_eq(RUN(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 9), one), 0);
}
END_TEST

START_TEST(modulo)
{
    ck_assert_uint_eq(
        RUN(LOAD(BPF_B, BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 10), RETURN_A), 9);
    ck_assert_uint_eq(RUN(INDEX(0), LOAD(BPF_B, BPF_ABS, 0), BPF_STMT(BPF_ALU | BPF_MOD | BPF_X, 0),
                          BPF_STMT(BPF_RET | BPF_K, 1)),
                      0);
    struct bpf_program *p;
    const struct sock_filter zero[] = {BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 0), RETURN_A};
    ck_assert_int_eq(bpf_program_create(zero, 2, 0, &p), -EINVAL);
}
END_TEST

/* ---- constants: word 0 and 1 are known ---- */

static bool constant(const struct sock_filter *insns, size_t n, uint32_t *result)
{
    const uint32_t known[] = {7, 8};
    struct bpf_program *p;
    ck_assert_int_eq(bpf_program_create(insns, n, 16, &p), 0);
    bool is = bpf_is_constant(p, known, 2, result);
    bpf_program_free(p);
    return is;
}

START_TEST(constants)
{
    uint32_t result = 0;
    const struct sock_filter known[] = {
        LOAD(BPF_W, BPF_ABS, 4),      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 8, 0, 2),
        LOAD(BPF_W, BPF_ABS, 0),      BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 7, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, 2)};
    ck_assert(constant(known, 6, &result));
    ck_assert_uint_eq(result, 2);
    const struct sock_filter unknown[] = {LOAD(BPF_W, BPF_ABS, 8),
                                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 0),
                                          BPF_STMT(BPF_RET | BPF_K, 1)};
    ck_assert(!constant(unknown, 3, &result));
    const struct sock_filter computed[] = {LOAD(BPF_W, BPF_ABS, 0), RETURN_A};
    ck_assert(!constant(computed, 2, &result));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("bpf");
    TCase *tc = tcase_create("bpf");
    tcase_add_test(tc, loads);
    tcase_add_test(tc, loads_outside);
    tcase_add_test(tc, modulo);
    tcase_add_test(tc, constants);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

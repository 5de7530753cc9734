/*
 * A filter that an application installs: what passes the check ends, stays within its data, and
 * gives what the constant evaluation promised. The first byte chooses packets or a structure.
 */
#include "base/bpf.h"
#include <stdlib.h>
#include <string.h>

#define DATA_SIZE 64

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void try_program(const struct bpf_program *p, const uint8_t *bytes, size_t size)
{
    /* An allocation of its own, so that the sanitizer sees a byte too far. */
    uint8_t *data = malloc(size ? size : 1);
    memcpy(data, bytes, size);
    uint32_t result = bpf_run(p, data, (uint32_t)size), constant, known[2];
    require(bpf_run(p, data, (uint32_t)size) == result);
    if (p->data_size) {
        memcpy(known, data, sizeof(known));
        if (bpf_is_constant(p, known, ARRAY_SIZE(known), &constant))
            require(constant == result);
    }
    free(data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 + DATA_SIZE)
        return 0;
    uint32_t data_size = data[0] & 1 ? DATA_SIZE : 0;
    size_t packet_size = data_size ? DATA_SIZE : data[0] >> 1 & (DATA_SIZE - 1);
    const uint8_t *packet = data + 1;
    size_t n = (size - 1 - DATA_SIZE) / sizeof(struct sock_filter);
    struct sock_filter *insns = malloc((n ? n : 1) * sizeof(*insns));
    memcpy(insns, data + 1 + DATA_SIZE, n * sizeof(*insns));
    /* Most random codes are none: leave the fuzzer those that may be. */
    for (size_t i = 0; i < n; i++)
        insns[i].code &= 0xff;
    struct bpf_program *p;
    if (bpf_program_create(insns, n, data_size, &p) == 0) {
        try_program(p, packet, packet_size);
        bpf_program_free(p);
    }
    free(insns);
    return 0;
}

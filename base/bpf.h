/*
 * Classic BPF: checking programs that somebody else wrote, and running them.
 *
 * A program is at most 4096 instructions over an accumulator, an index register and 16 words of
 * scratch memory. Jumps go forward and the last instruction returns, so every checked program ends.
 * It reads either the bytes of a packet (big-endian, any offset: socket filters) or the 32-bit
 * words of a small structure (host order, aligned, known size: seccomp).
 */
#ifndef PICKET_BASE_BPF_H
#define PICKET_BASE_BPF_H

#include "base/compiler.h"
#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_program {
    uint32_t length;
    uint32_t data_size; /* bytes of the structure; 0: it reads packets */
    struct sock_filter insns[];
};

/*
 * Checks n instructions and makes a program of them. data_size: as above, a multiple of 4; such a
 * program may use only what seccomp allows. Returns 0, -EINVAL (malformed) or -ENOMEM.
 */
MUST_CHECK int bpf_program_create(const struct sock_filter *insns, size_t n, uint32_t data_size,
                                  struct bpf_program **out);
void bpf_program_free(struct bpf_program *p);

/*
 * What the program returns. size: the packet's length (p->data_size for structures). A load outside
 * of a packet and a division by zero return 0.
 */
uint32_t bpf_run(const struct bpf_program *p, const void *data, uint32_t size);

/*
 * Whether the program returns a constant whatever the structure holds beyond its first nknown
 * words, and which. It may say no where a closer look would find one.
 */
MUST_CHECK bool bpf_is_constant(const struct bpf_program *p, const uint32_t *known, size_t nknown,
                                uint32_t *result);

#endif

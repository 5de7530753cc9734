/*
 * Where things are in a stub process: the only facts that C and the stub's assembly share.
 *
 *   0                                   STUB_CODE        STUB_PAGE             top of user space
 *   |  the application, [min, max_addr) | stub.S (r-x)   | command page (r--)  |
 *
 * The command page is the sentry's letter box to one stub process. The sentry has it read-write,
 * the stub read-only, so an application may read but never change what its keeper will do.
 */
#ifndef PICKET_PLATFORM_PTRACE_STUB_LAYOUT_H
#define PICKET_PLATFORM_PTRACE_STUB_LAYOUT_H

#define STUB_CODE 0x7fffffffa000
#define STUB_CODE_SIZE 0x1000
#define STUB_PAGE 0x7fffffffb000
#define STUB_PAGE_SIZE 0x4000
#define STUB_TOP 0x7ffffffff000

/* struct stub_page */
#define STUB_GENERATION 0 /* u32, a futex: changes when there is work */
#define STUB_COUNT 4      /* u32: number of ops */
#define STUB_EVENT_FD 8   /* i32: where the keeper says how it went */
#define STUB_REPORT_FD 12 /* i32: its file position carries the result of a reporting op */
#define STUB_OPS 64

/* struct stub_op */
#define STUB_OP_NR 0
#define STUB_OP_ARGS 8
#define STUB_OP_FLAGS 56
#define STUB_OP_SIZE 64

#define STUB_OP_REPORT 1 /* store the result as the position of the report file */
#define STUB_OP_FORK 2   /* clone(): the child becomes the keeper of a process of its own */
#define STUB_OP_THREAD 4 /* clone(): the child parks until a tracer seizes it */
#define STUB_OP_ADVICE 8 /* whether it succeeds does not matter */

#endif

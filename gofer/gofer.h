/*
 * The gofer: the process that holds the host's directories. It opens files for the sentry, which
 * has none of those directories itself, and believes nothing that the sentry says.
 *
 *   sentry                                          gofer
 *   task's thread --- channel of its CPU ---------> worker pinned to that CPU
 *   task's thread --- another, if that is busy ---> worker
 *
 * A worker starts with the first message on its channel. When the sentry is gone, so are the
 * channels, and the gofer ends.
 */
#ifndef PICKET_GOFER_GOFER_H
#define PICKET_GOFER_GOFER_H

#include "base/compiler.h"
#include <sched.h>
#include <sys/types.h>

#define GOFER_CHANNELS_MAX 16

/* A directory of the host, and whether it may be changed. */
struct gofer_export {
    int fd; /* O_PATH */
    bool read_only;
    const char *only; /* not NULL: nothing but this file in it */
};

/* The sentry's end. */
struct gofer_link {
    pid_t pid;
    unsigned nchannels, nprimary; /* the first nprimary have a CPU each, or several */
    int channels[GOFER_CHANNELS_MAX];
    cpu_set_t cpus; /* that the workers share out */
};

/*
 * Forks the gofer, which keeps copies of the exports' descriptors. Before this process has a second
 * thread. 0 or -errno.
 */
MUST_CHECK int gofer_start(const struct gofer_export *exports, size_t n, struct gofer_link *out);

/* Which channel a thread takes first, by the CPU that it is on. */
void gofer_channels(const struct gofer_link *link, uint8_t channel_of[CPU_SETSIZE]);

/*
 * Gives up all rights but those that serving files needs: capabilities, system calls. For the
 * gofer's process; nothing undoes it. 0 or -errno.
 */
MUST_CHECK int gofer_confine(void);

#endif

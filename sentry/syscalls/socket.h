/*
 * What the two files of socket calls share.
 */
#ifndef PICKET_SENTRY_SYSCALLS_SOCKET_H
#define PICKET_SENTRY_SYSCALLS_SOCKET_H

#include "sentry/kernel/task.h"
#include "sentry/socket/socket.h"

/* The socket of a descriptor, and its file with a reference. NULL with *err -EBADF or -ENOTSOCK,
 * and *f NULL. */
struct socket *socket_of_fd(struct task *t, int fd, struct file **f, int *err);
/* An address from the application. 0, -EFAULT or -EINVAL. */
int socket_addr_in(struct task *t, gva_t addr, int len, struct sockaddr_storage *out);
/* An address to the application: cut to the length found at len_addr, where its full length goes.
 */
int socket_addr_out(struct task *t, gva_t addr, gva_t len_addr, const struct sockaddr_storage *a,
                    socklen_t len);

#endif

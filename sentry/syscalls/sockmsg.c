/*
 * Messages: sendto, recvfrom, sendmsg, recvmsg and their plurals; control messages. See cmsg(3).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/poll.h"
#include "sentry/syscalls/socket.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <stdlib.h>
#include <string.h>

#define CONTROL_MAX (128u * 1024) /* net.core.optmem_max */
#define MMSG_MAX 1024u

/* struct msghdr, struct mmsghdr as the application has them. */
struct user_msghdr {
    gva_t name;
    int name_len;
    gva_t iov;
    uint64_t iov_len;
    gva_t control;
    uint64_t control_len;
    unsigned flags;
};
struct user_mmsghdr {
    struct user_msghdr hdr;
    unsigned len;
};
_Static_assert(sizeof(struct user_msghdr) == sizeof(struct msghdr), "as the kernel has it");
_Static_assert(sizeof(struct user_mmsghdr) == sizeof(struct mmsghdr), "as the kernel has it");

/* ---- control messages on their way in ---- */

static int control_rights(struct task *t, const char *data, size_t n, struct sock_msg *m)
{
    size_t count = n / sizeof(int);
    unsigned have = m->files ? m->files->n : 0;
    if (count == 0)
        return 0;
    if (unix_too_many_in_flight(t))
        return -ETOOMANYREFS;
    if (have + count > SCM_MAX_FILES)
        return -EINVAL;
    struct scm_files *files = scm_files_create(have + (unsigned)count);
    if (!files)
        return -ENOMEM;
    for (; files->n < have; files->n++)
        files->files[files->n] = file_get(m->files->files[files->n]);
    scm_files_free(m->files);
    m->files = files;
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, data + i * sizeof fd, sizeof fd);
        struct file *f = fd_get_path(t, fd);
        if (!f)
            return -EBADF;
        files->files[files->n++] = f;
    }
    return 0;
}

static int control_credentials(struct task *t, const char *data, size_t n, struct sock_msg *m)
{
    const struct cred *c = t->cred;
    struct ucred u;
    if (n != sizeof u)
        return -EINVAL;
    memcpy(&u, data, sizeof u);
    u.uid = id_in(c->user_ns, ID_UID, u.uid);
    u.gid = id_in(c->user_ns, ID_GID, u.gid);
    if (u.uid == ID_INVALID || u.gid == ID_INVALID)
        return -EINVAL;
    bool self = u.pid == t->tg->own_tgid;
    bool uid_ok = u.uid == c->uid || u.uid == c->euid || u.uid == c->suid;
    bool gid_ok = u.gid == c->gid || u.gid == c->egid || u.gid == c->sgid;
    if ((!self && !task_capable_in(t, task_pid_ns(t)->common.owner, CAP_SYS_ADMIN)) ||
        (!uid_ok && !task_capable_here(t, CAP_SETUID)) ||
        (!gid_ok && !task_capable_here(t, CAP_SETGID)))
        return -EPERM;
    struct thread_group *tg = self ? thread_group_get(t->tg) : thread_group_find_for(t, u.pid);
    if (!tg)
        return -ESRCH;
    u.pid = tg->tgid;
    thread_group_put(tg);
    m->creds = u;
    m->has_creds = true;
    return 0;
}

static int control_parse(struct task *t, const char *buf, size_t len, struct sock_msg *m)
{
    struct cmsghdr h;
    size_t at = 0;
    while (len - at >= sizeof h) {
        memcpy(&h, buf + at, sizeof h);
        if (h.cmsg_len < sizeof h || h.cmsg_len > len - at)
            return -EINVAL;
        const char *data = buf + at + sizeof h;
        size_t n = h.cmsg_len - sizeof h;
        int err = 0;
        if (h.cmsg_level == SOL_SOCKET) {
            if (h.cmsg_type == SCM_RIGHTS)
                err = control_rights(t, data, n, m);
            else if (h.cmsg_type == SCM_CREDENTIALS)
                err = control_credentials(t, data, n, m);
            else
                err = -EINVAL;
        }
        if (err)
            return err;
        size_t step = CMSG_ALIGN(h.cmsg_len);
        if (step > len - at)
            break;
        at += step;
    }
    return 0;
}

static int control_in(struct task *t, const struct user_msghdr *h, struct sock_msg *m)
{
    if (h->control_len == 0)
        return 0;
    if (h->control_len > CONTROL_MAX)
        return -ENOBUFS;
    char *buf = malloc(h->control_len);
    if (!buf)
        return -ENOMEM;
    int err = mm_copy_in(t->mm, buf, h->control, h->control_len);
    if (!err)
        err = control_parse(t, buf, h->control_len, m);
    free(buf);
    return err;
}

/* ---- and out ---- */

/* Where control messages go, and what is left of it. */
struct control_out {
    struct task *t;
    gva_t at;
    uint64_t room, used;
    bool truncated;
};

/* Returns whether it could be written. If not, the others are tried all the same. */
static bool control_put(struct control_out *c, int type, const void *data, size_t n)
{
    char buf[CMSG_SPACE(SCM_MAX_FILES * sizeof(int))];
    struct cmsghdr h = {.cmsg_len = CMSG_LEN(n), .cmsg_level = SOL_SOCKET, .cmsg_type = type};
    if (c->room < sizeof h) {
        c->truncated = true;
        return true;
    }
    if (h.cmsg_len > c->room) {
        c->truncated = true;
        h.cmsg_len = c->room;
    }
    memset(buf, 0, sizeof buf);
    memcpy(buf, &h, sizeof h);
    memcpy(buf + sizeof h, data, h.cmsg_len - sizeof h);
    if (mm_copy_out(c->t->mm, c->at, buf, h.cmsg_len))
        return false;
    uint64_t step = MIN((uint64_t)CMSG_ALIGN(h.cmsg_len), c->room);
    c->at += step;
    c->room -= step;
    c->used += step;
    return true;
}

/* Descriptors for as many of the files as there is room for. */
static void control_put_files(struct control_out *c, const struct scm_files *files, bool cloexec)
{
    int fds[SCM_MAX_FILES];
    unsigned n = 0, max = 0;
    if (c->room > sizeof(struct cmsghdr))
        max = (unsigned)MIN((c->room - sizeof(struct cmsghdr)) / sizeof(int), (uint64_t)files->n);
    while (n < max) {
        fds[n] = fd_install(c->t, files->files[n], 0, cloexec);
        if (fds[n] < 0)
            break;
        n++;
    }
    if (n < files->n)
        c->truncated = true;
    if (!n || control_put(c, SCM_RIGHTS, fds, n * sizeof fds[0]))
        return;
    c->truncated = true;
    while (n--)
        fd_close(c->t, fds[n]);
}

static void control_put_stamp(struct control_out *c, const struct sock_msg *m)
{
    /* struct timeval, or struct timespec */
    bool micro = m->stamp_as == SO_TIMESTAMP_OLD || m->stamp_as == SO_TIMESTAMP_NEW;
    int64_t v[2] = {m->stamp / 1000000000, m->stamp % 1000000000 / (micro ? 1000 : 1)};
    control_put(c, m->stamp_as, v, sizeof v);
}

/* Writes what m brought; *used: bytes, *flags: MSG_CTRUNC. */
static void control_out(struct task *t, const struct user_msghdr *h, const struct sock_msg *m,
                        uint64_t *used, int *flags)
{
    struct control_out c = {.t = t, .at = h->control, .room = h->control_len};
    if (!h->control)
        c.room = 0;
    if (m->stamp_as)
        control_put_stamp(&c, m);
    if (m->has_creds) {
        struct ucred u = socket_cred_out(t, &m->creds);
        control_put(&c, SCM_CREDENTIALS, &u, sizeof u);
    }
    if (m->files)
        control_put_files(&c, m->files, m->flags & MSG_CMSG_CLOEXEC);
    *used = c.used;
    if (c.truncated)
        *flags |= MSG_CTRUNC;
}

/* What only 32-bit programs' calls have. */
#define MSG_CMSG_COMPAT 0x80000000u

/* ---- sending ---- */

static int message_flags(const struct file *f, unsigned flags)
{
    return (int)(flags | (f->flags & O_NONBLOCK ? MSG_DONTWAIT : 0));
}

static long send_header(struct task *t, struct file *f, const struct user_msghdr *h, unsigned flags)
{
    struct socket *s = file_socket(f);
    struct sock_msg m = {.flags = message_flags(f, flags)};
    struct uio u;
    long r = 0;
    if (h->name) {
        r = socket_addr_in(t, h->name, MIN(h->name_len, (int)sizeof m.name), &m.name);
        m.name_len = (socklen_t)h->name_len;
    }
    if (r)
        return r;
    if (h->iov_len > UIO_MAX_SEGS)
        return -EMSGSIZE;
    r = uio_init_iovec(&u, t->mm, h->iov, h->iov_len);
    if (r)
        return r;
    r = control_in(t, h, &m);
    if (!r)
        r = s->ops->sendmsg(s, t, &u, &m);
    uio_release(&u);
    scm_files_free(m.files);
    return r;
}

SYSCALL(sendmsg)
{
    struct user_msghdr h;
    struct file *f;
    int err;
    if (ARG_UINT(a, 2) & MSG_CMSG_COMPAT)
        return -EINVAL;
    socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = MM_COPY_IN(t->mm, &h, ARG_GVA(a, 1));
    long r = err ? err : send_header(t, f, &h, ARG_UINT(a, 2) & ~MSG_CMSG_CLOEXEC);
    file_put(f);
    return r;
}

SYSCALL(sendmmsg)
{
    struct file *f;
    int err;
    unsigned n = MIN(ARG_UINT(a, 2), MMSG_MAX), done = 0;
    gva_t at = ARG_GVA(a, 1);
    if (ARG_UINT(a, 3) & MSG_CMSG_COMPAT)
        return -EINVAL;
    socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    long r = err;
    for (; !err && done < n; done++, at += sizeof(struct user_mmsghdr)) {
        struct user_mmsghdr h;
        r = MM_COPY_IN(t->mm, &h, at);
        if (r)
            break;
        r = send_header(t, f, &h.hdr, ARG_UINT(a, 3));
        if (r < 0)
            break;
        unsigned len = (unsigned)r;
        r = MM_COPY_OUT(t->mm, at + offsetof(struct user_mmsghdr, len), &len);
        if (r)
            break;
    }
    file_put(f);
    return done ? (long)done : r;
}

SYSCALL(sendto)
{
    struct sock_msg m = {0};
    struct uio u;
    struct file *f;
    int err, len = ARG_INT(a, 5);
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = uio_init_user(&u, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (!err && a->a[4]) {
        err = socket_addr_in(t, ARG_GVA(a, 4), len, &m.name);
        m.name_len = (socklen_t)len;
    }
    long r = err;
    if (!err) {
        m.flags = message_flags(f, ARG_UINT(a, 3));
        r = s->ops->sendmsg(s, t, &u, &m);
    }
    file_put(f);
    return r;
}

/* ---- receiving ---- */

static long receive_into(struct task *t, struct file *f, const struct user_msghdr *h, gva_t at,
                         unsigned flags)
{
    struct socket *s = file_socket(f);
    struct sock_msg m = {.flags = message_flags(f, flags)};
    struct uio u;
    if (h->iov_len > UIO_MAX_SEGS)
        return -EMSGSIZE;
    long r = uio_init_iovec(&u, t->mm, h->iov, h->iov_len);
    if (r)
        return r;
    r = s->ops->recvmsg(s, t, &u, &m);
    uio_release(&u);
    int err = 0, out_flags = m.out_flags | (int)(flags & MSG_CMSG_CLOEXEC);
    uint64_t used = 0;
    if (r >= 0 && h->name)
        err = socket_addr_out(t, h->name, at + offsetof(struct user_msghdr, name_len), &m.name,
                              m.name_len);
    if (r >= 0 && !err)
        control_out(t, h, &m, &used, &out_flags);
    if (r >= 0 && !err)
        err = MM_COPY_OUT(t->mm, at + offsetof(struct user_msghdr, flags), &out_flags);
    if (r >= 0 && !err)
        err = MM_COPY_OUT(t->mm, at + offsetof(struct user_msghdr, control_len), &used);
    scm_files_free(m.files);
    return err ? err : r;
}

SYSCALL(recvmsg)
{
    struct user_msghdr h;
    struct file *f;
    int err;
    if (ARG_UINT(a, 2) & MSG_CMSG_COMPAT)
        return -EINVAL;
    socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = MM_COPY_IN(t->mm, &h, ARG_GVA(a, 1));
    long r = err ? err : receive_into(t, f, &h, ARG_GVA(a, 1), ARG_UINT(a, 2));
    file_put(f);
    return r;
}

/* One after the other until n are there, the time is over, or there is an error. */
static long receive_many(struct task *t, struct file *f, gva_t at, unsigned n, unsigned flags,
                         const ktime_t *deadline)
{
    unsigned done = 0;
    long r = 0;
    for (; done < n; done++, at += sizeof(struct user_mmsghdr)) {
        struct user_mmsghdr h;
        unsigned now = flags & ~(unsigned)MSG_WAITFORONE;
        if (done && flags & MSG_WAITFORONE)
            now |= MSG_DONTWAIT;
        r = MM_COPY_IN(t->mm, &h, at);
        if (r)
            break;
        r = receive_into(t, f, &h.hdr, at, now);
        if (r < 0)
            break;
        unsigned len = (unsigned)r;
        r = MM_COPY_OUT(t->mm, at + offsetof(struct user_mmsghdr, len), &len);
        if (r)
            break;
        if (deadline && ktime_now() >= *deadline) {
            done++;
            break;
        }
    }
    return done ? (long)done : r;
}

static int time_left_out(struct task *t, gva_t addr, ktime_t deadline)
{
    int64_t left = MAX((int64_t)deadline - (int64_t)ktime_now(), (int64_t)0);
    struct timespec ts = {left / 1000000000, left % 1000000000};
    return MM_COPY_OUT(t->mm, addr, &ts);
}

SYSCALL(recvmmsg)
{
    struct file *f;
    ktime_t room;
    const ktime_t *deadline = &room;
    if (ARG_UINT(a, 3) & MSG_CMSG_COMPAT)
        return -EINVAL;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 4), &deadline);
    if (err)
        return err;
    socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    long r = err ? err
                 : receive_many(t, f, ARG_GVA(a, 1), MIN(ARG_UINT(a, 2), MMSG_MAX), ARG_UINT(a, 3),
                                deadline);
    if (deadline && r > 0 && time_left_out(t, ARG_GVA(a, 4), *deadline))
        r = -EFAULT;
    file_put(f);
    return r;
}

SYSCALL(recvfrom)
{
    struct sock_msg m = {0};
    struct uio u;
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = uio_init_user(&u, t->mm, ARG_GVA(a, 1), a->a[2]);
    long r = err;
    if (!err) {
        m.flags = message_flags(f, ARG_UINT(a, 3));
        r = s->ops->recvmsg(s, t, &u, &m);
    }
    if (r >= 0 && a->a[4]) {
        err = socket_addr_out(t, ARG_GVA(a, 4), ARG_GVA(a, 5), &m.name, m.name_len);
        r = err ? err : r;
    }
    scm_files_free(m.files);
    file_put(f);
    return r;
}

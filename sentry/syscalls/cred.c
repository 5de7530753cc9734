/*
 * Credentials: user and group ids, supplementary groups, capabilities. See credentials(7) and
 * capabilities(7).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdlib.h>

#define UNCHANGED ((uint32_t)-1)
#define GROUPS_LIMIT 65536

/* Ids are the caller's on the outside, and the first user namespace's in here. */
static uid_t uid_in(const struct task *t, uid_t uid)
{
    return id_in(t->cred->user_ns, ID_UID, uid);
}
static gid_t gid_in(const struct task *t, gid_t gid)
{
    return id_in(t->cred->user_ns, ID_GID, gid);
}
static uid_t uid_out(const struct task *t, uid_t uid)
{
    return id_shown(t->cred->user_ns, ID_UID, uid);
}
static gid_t gid_out(const struct task *t, gid_t gid)
{
    return id_shown(t->cred->user_ns, ID_GID, gid);
}

SYSCALL(getuid)
{
    return uid_out(t, t->cred->uid);
}
SYSCALL(geteuid)
{
    return uid_out(t, t->cred->euid);
}
SYSCALL(getgid)
{
    return gid_out(t, t->cred->gid);
}
SYSCALL(getegid)
{
    return gid_out(t, t->cred->egid);
}

static struct cred *begin_change(struct task *t)
{
    return cred_copy(t->cred, t->cred->ngroups);
}

/* What follows from a change of user ids ("Effect of user ID changes on capabilities"). */
static void fix_capabilities(const struct cred *old, struct cred *c)
{
    if (!(c->securebits & SECBIT_NO_SETUID_FIXUP)) {
        uid_t root = id_in(c->user_ns, ID_UID, 0);
        bool was_root = old->uid == root || old->euid == root || old->suid == root;
        bool is_root = c->uid == root || c->euid == root || c->suid == root;
        if (was_root && !is_root) {
            if (!(c->securebits & SECBIT_KEEP_CAPS))
                c->cap_permitted = c->cap_effective = 0;
            c->cap_ambient = 0;
        }
        if (old->euid == root && c->euid != root)
            c->cap_effective = 0;
        if (old->euid != root && c->euid == root)
            c->cap_effective = c->cap_permitted;
    }
}

static long finish_change(struct task *t, struct cred *c)
{
    const struct cred *old = t->cred;
    fix_capabilities(old, c);
    if (c->euid != old->euid || c->egid != old->egid || c->fsuid != old->fsuid ||
        c->fsgid != old->fsgid) {
        atomic_store(&t->tg->dumpable, false);
        MUTEX_GUARD(&t->kernel->tree_lock);
        t->pdeath_signal = 0;
    }
    task_set_cred(t, c);
    return 0;
}

static long refuse(struct cred *c, long err)
{
    cred_put(c);
    return err;
}

SYSCALL(setuid)
{
    uid_t uid = uid_in(t, ARG_UINT(a, 0));
    if (uid == UNCHANGED)
        return -EINVAL;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    if (task_capable_here(t, CAP_SETUID))
        c->uid = c->suid = uid;
    else if (uid != c->uid && uid != c->suid)
        return refuse(c, -EPERM);
    c->euid = c->fsuid = uid;
    return finish_change(t, c);
}

SYSCALL(setgid)
{
    gid_t gid = gid_in(t, ARG_UINT(a, 0));
    if (gid == UNCHANGED)
        return -EINVAL;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    if (task_capable_here(t, CAP_SETGID))
        c->gid = c->sgid = gid;
    else if (gid != c->gid && gid != c->sgid)
        return refuse(c, -EPERM);
    c->egid = c->fsgid = gid;
    return finish_change(t, c);
}

/* An id was given, and nobody has it. */
static bool is_unmapped(uint32_t id, uint64_t given)
{
    return id == UNCHANGED && (uint32_t)given != UNCHANGED;
}

SYSCALL(setreuid)
{
    uid_t ruid = uid_in(t, ARG_UINT(a, 0)), euid = uid_in(t, ARG_UINT(a, 1));
    if (is_unmapped(ruid, a->a[0]) || is_unmapped(euid, a->a[1]))
        return -EINVAL;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    const struct cred *old = t->cred;
    bool any = task_capable_here(t, CAP_SETUID);
    if (ruid != UNCHANGED) {
        if (!any && ruid != old->uid && ruid != old->euid)
            return refuse(c, -EPERM);
        c->uid = ruid;
    }
    if (euid != UNCHANGED) {
        if (!any && euid != old->uid && euid != old->euid && euid != old->suid)
            return refuse(c, -EPERM);
        c->euid = euid;
    }
    if (ruid != UNCHANGED || (euid != UNCHANGED && euid != old->uid))
        c->suid = c->euid;
    c->fsuid = c->euid;
    return finish_change(t, c);
}

SYSCALL(setregid)
{
    gid_t rgid = gid_in(t, ARG_UINT(a, 0)), egid = gid_in(t, ARG_UINT(a, 1));
    if (is_unmapped(rgid, a->a[0]) || is_unmapped(egid, a->a[1]))
        return -EINVAL;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    const struct cred *old = t->cred;
    bool any = task_capable_here(t, CAP_SETGID);
    if (rgid != UNCHANGED) {
        if (!any && rgid != old->gid && rgid != old->egid)
            return refuse(c, -EPERM);
        c->gid = rgid;
    }
    if (egid != UNCHANGED) {
        if (!any && egid != old->gid && egid != old->egid && egid != old->sgid)
            return refuse(c, -EPERM);
        c->egid = egid;
    }
    if (rgid != UNCHANGED || (egid != UNCHANGED && egid != old->gid))
        c->sgid = c->egid;
    c->fsgid = c->egid;
    return finish_change(t, c);
}

static bool is_one_of(uint32_t id, uint32_t x, uint32_t y, uint32_t z)
{
    return id == UNCHANGED || id == x || id == y || id == z;
}

SYSCALL(setresuid)
{
    uid_t r = uid_in(t, ARG_UINT(a, 0)), e = uid_in(t, ARG_UINT(a, 1)),
          s = uid_in(t, ARG_UINT(a, 2));
    if (is_unmapped(r, a->a[0]) || is_unmapped(e, a->a[1]) || is_unmapped(s, a->a[2]))
        return -EINVAL;
    const struct cred *old = t->cred;
    if (!task_capable_here(t, CAP_SETUID) && !(is_one_of(r, old->uid, old->euid, old->suid) &&
                                               is_one_of(e, old->uid, old->euid, old->suid) &&
                                               is_one_of(s, old->uid, old->euid, old->suid)))
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    if (r != UNCHANGED)
        c->uid = r;
    if (e != UNCHANGED)
        c->euid = e;
    if (s != UNCHANGED)
        c->suid = s;
    c->fsuid = c->euid;
    return finish_change(t, c);
}

SYSCALL(setresgid)
{
    gid_t r = gid_in(t, ARG_UINT(a, 0)), e = gid_in(t, ARG_UINT(a, 1)),
          s = gid_in(t, ARG_UINT(a, 2));
    if (is_unmapped(r, a->a[0]) || is_unmapped(e, a->a[1]) || is_unmapped(s, a->a[2]))
        return -EINVAL;
    const struct cred *old = t->cred;
    if (!task_capable_here(t, CAP_SETGID) && !(is_one_of(r, old->gid, old->egid, old->sgid) &&
                                               is_one_of(e, old->gid, old->egid, old->sgid) &&
                                               is_one_of(s, old->gid, old->egid, old->sgid)))
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    if (r != UNCHANGED)
        c->gid = r;
    if (e != UNCHANGED)
        c->egid = e;
    if (s != UNCHANGED)
        c->sgid = s;
    c->fsgid = c->egid;
    return finish_change(t, c);
}

static long copy_out_three(struct task *t, const struct sysargs *a, uint32_t x, uint32_t y,
                           uint32_t z)
{
    int err = MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &x);
    if (!err)
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &y);
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &z);
}

SYSCALL(getresuid)
{
    return copy_out_three(t, a, uid_out(t, t->cred->uid), uid_out(t, t->cred->euid),
                          uid_out(t, t->cred->suid));
}

SYSCALL(getresgid)
{
    return copy_out_three(t, a, gid_out(t, t->cred->gid), gid_out(t, t->cred->egid),
                          gid_out(t, t->cred->sgid));
}

/* These two return the old value, whether or not they changed anything. */
SYSCALL(setfsuid)
{
    uid_t uid = uid_in(t, ARG_UINT(a, 0)), old = t->cred->fsuid, shown = uid_out(t, old);
    const struct cred *was = t->cred;
    if (uid == UNCHANGED || !(is_one_of(uid, was->uid, was->euid, was->suid) || uid == old ||
                              task_capable_here(t, CAP_SETUID)))
        return shown;
    struct cred *c = begin_change(t);
    if (!c)
        return shown;
    const uint64_t fs_caps = 1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE |
                             1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER | 1ull << CAP_FSETID |
                             1ull << CAP_LINUX_IMMUTABLE | 1ull << CAP_MKNOD |
                             1ull << CAP_MAC_OVERRIDE;
    c->fsuid = uid;
    uid_t root = uid_in(t, 0);
    if (!(c->securebits & SECBIT_NO_SETUID_FIXUP)) {
        if (old == root && uid != root)
            c->cap_effective &= ~fs_caps;
        if (old != root && uid == root)
            c->cap_effective |= c->cap_permitted & fs_caps;
    }
    (void)finish_change(t, c);
    return shown;
}

SYSCALL(setfsgid)
{
    gid_t gid = gid_in(t, ARG_UINT(a, 0)), old = t->cred->fsgid, shown = gid_out(t, old);
    const struct cred *was = t->cred;
    if (gid == UNCHANGED || !(is_one_of(gid, was->gid, was->egid, was->sgid) || gid == old ||
                              task_capable_here(t, CAP_SETGID)))
        return shown;
    struct cred *c = begin_change(t);
    if (!c)
        return shown;
    c->fsgid = gid;
    (void)finish_change(t, c);
    return shown;
}

SYSCALL(getgroups)
{
    int size = ARG_INT(a, 0);
    uint32_t n = t->cred->ngroups;
    if (size < 0)
        return -EINVAL;
    if (size == 0)
        return n;
    if ((uint32_t)size < n)
        return -EINVAL;
    for (uint32_t i = 0; i < n; i++) {
        gid_t gid = gid_out(t, t->cred->groups[i]);
        int err = MM_COPY_OUT(t->mm, ARG_GVA(a, 1) + i * sizeof(gid), &gid);
        if (err)
            return err;
    }
    return n;
}

SYSCALL(setgroups)
{
    unsigned n = ARG_UINT(a, 0);
    if (!task_capable_here(t, CAP_SETGID) || !user_ns_may_setgroups(t->cred->user_ns))
        return -EPERM;
    if (n > GROUPS_LIMIT)
        return -EINVAL;
    struct cred *c = cred_copy(t->cred, n);
    if (!c)
        return -ENOMEM;
    int err = mm_copy_in(t->mm, c->groups, ARG_GVA(a, 1), n * sizeof(gid_t));
    for (unsigned i = 0; i < n && !err; i++) {
        c->groups[i] = gid_in(t, c->groups[i]);
        if (c->groups[i] == UNCHANGED)
            err = -EINVAL;
    }
    if (err)
        return refuse(c, err);
    cred_sort_groups(c);
    task_set_cred(t, c);
    return 0;
}

/* ---- capabilities ---- */

struct cap_header {
    uint32_t version;
    int32_t pid;
};
struct cap_data {
    uint32_t effective, permitted, inheritable;
};

/* Reads the header; *words: 1 or 2. An unknown version is answered with ours. */
static int copy_in_cap_header(struct task *t, gva_t addr, struct cap_header *h, unsigned *words)
{
    int err = MM_COPY_IN(t->mm, h, addr);
    if (err)
        return err;
    switch (h->version) {
    case _LINUX_CAPABILITY_VERSION_1:
        *words = 1;
        return 0;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        *words = 2;
        return 0;
    }
    h->version = _LINUX_CAPABILITY_VERSION_3;
    err = MM_COPY_OUT(t->mm, addr, h);
    return err ? err : -EINVAL;
}

SYSCALL(capget)
{
    struct cap_header h;
    unsigned words;
    int err = copy_in_cap_header(t, ARG_GVA(a, 0), &h, &words);
    if (err)
        return err == -EINVAL && !a->a[1] ? 0 : err;
    if (h.pid < 0)
        return -EINVAL;
    struct task *other = h.pid == 0 ? task_get(t) : task_find_for(t, h.pid);
    if (!other)
        return -ESRCH;
    const struct cred *c = task_get_cred(other);
    task_put(other);
    struct cap_data data[2];
    for (unsigned i = 0; i < 2; i++) {
        data[i].effective = (uint32_t)(c->cap_effective >> (32 * i));
        data[i].permitted = (uint32_t)(c->cap_permitted >> (32 * i));
        data[i].inheritable = (uint32_t)(c->cap_inheritable >> (32 * i));
    }
    cred_put(c);
    return a->a[1] ? mm_copy_out(t->mm, ARG_GVA(a, 1), data, words * sizeof(data[0])) : 0;
}

SYSCALL(capset)
{
    struct cap_header h;
    struct cap_data data[2] = {0};
    unsigned words;
    int err = copy_in_cap_header(t, ARG_GVA(a, 0), &h, &words);
    if (err)
        return err;
    if (h.pid != 0 && h.pid != t->own_tid)
        return -EPERM;
    err = mm_copy_in(t->mm, data, ARG_GVA(a, 1), words * sizeof(data[0]));
    if (err)
        return err;
#define CAP_SET(field) (((uint64_t)data[1].field << 32 | data[0].field) & CAP_ALL)
    uint64_t effective = CAP_SET(effective), permitted = CAP_SET(permitted);
    uint64_t inheritable = CAP_SET(inheritable);
#undef CAP_SET
    const struct cred *old = t->cred;
    uint64_t may_inherit =
        old->cap_inheritable | (task_capable_here(t, CAP_SETPCAP) ? CAP_ALL : old->cap_permitted);
    if ((inheritable & ~may_inherit) ||
        (inheritable & ~(old->cap_inheritable | old->cap_bounding)) ||
        (permitted & ~old->cap_permitted) || (effective & ~permitted))
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    c->cap_effective = effective;
    c->cap_permitted = permitted;
    c->cap_inheritable = inheritable;
    c->cap_ambient &= permitted & inheritable;
    task_set_cred(t, c);
    return 0;
}

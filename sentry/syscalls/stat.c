/*
 * Asking about files.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <string.h>

#ifndef AT_STATX_SYNC_TYPE
#define AT_STATX_SYNC_TYPE 0x6000
#endif

static int stat_at(struct task *t, int dfd, gva_t path, int flags, struct kstat *out)
{
    struct path_ref p;
    int err = user_path_at(t, dfd, path, flags, &p);
    if (err)
        return err;
    err = vfs_getattr(&p, out);
    path_put(&p);
    return err;
}

static int stat_fd(struct task *t, int fd, struct kstat *out)
{
    struct file *f = fd_get_path(t, fd);
    if (!f)
        return -EBADF;
    int err = vfs_getattr(&f->path, out);
    file_put(f);
    return err;
}

static long copy_out_stat(struct task *t, gva_t addr, const struct kstat *k)
{
    struct stat st = {
        .st_dev = k->dev,
        .st_ino = k->ino,
        .st_nlink = k->nlink,
        .st_mode = k->mode,
        .st_uid = id_shown(t->cred->user_ns, ID_UID, k->uid),
        .st_gid = id_shown(t->cred->user_ns, ID_GID, k->gid),
        .st_rdev = k->rdev,
        .st_size = (off_t)k->size,
        .st_blksize = k->blksize,
        .st_blocks = (blkcnt_t)k->blocks,
        .st_atim = {.tv_sec = k->atime.sec, .tv_nsec = k->atime.nsec},
        .st_mtim = {.tv_sec = k->mtime.sec, .tv_nsec = k->mtime.nsec},
        .st_ctim = {.tv_sec = k->ctime.sec, .tv_nsec = k->ctime.nsec},
    };
    return MM_COPY_OUT(t->mm, addr, &st);
}

SYSCALL(stat)
{
    struct kstat k;
    int err = stat_at(t, AT_FDCWD, ARG_GVA(a, 0), 0, &k);
    return err ? err : copy_out_stat(t, ARG_GVA(a, 1), &k);
}

SYSCALL(lstat)
{
    struct kstat k;
    int err = stat_at(t, AT_FDCWD, ARG_GVA(a, 0), AT_SYMLINK_NOFOLLOW, &k);
    return err ? err : copy_out_stat(t, ARG_GVA(a, 1), &k);
}

SYSCALL(fstat)
{
    struct kstat k;
    int err = stat_fd(t, ARG_INT(a, 0), &k);
    return err ? err : copy_out_stat(t, ARG_GVA(a, 1), &k);
}

SYSCALL(newfstatat)
{
    struct kstat k;
    int flags = ARG_INT(a, 3);
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
        return -EINVAL;
    int err = stat_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), flags, &k);
    return err ? err : copy_out_stat(t, ARG_GVA(a, 2), &k);
}

static struct statx_timestamp to_statx_time(struct timestamp ts)
{
    return (struct statx_timestamp){.tv_sec = ts.sec, .tv_nsec = ts.nsec};
}

SYSCALL(statx)
{
    struct kstat k;
    int flags = ARG_INT(a, 2);
    unsigned mask = ARG_UINT(a, 3);
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
        return -EINVAL;
    if (mask & STATX__RESERVED || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE)
        return -EINVAL;
    struct path_ref p;
    int err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), flags, &p);
    if (err)
        return err;
    err = vfs_getattr(&p, &k);
    uint64_t mnt_id = p.mnt ? (uint64_t)p.mnt->id : 0;
    path_put(&p);
    if (err)
        return err;
    struct statx sx = {
        .stx_mask = STATX_BASIC_STATS | STATX_MNT_ID | (k.has_btime ? STATX_BTIME : 0),
        .stx_blksize = k.blksize,
        .stx_attributes = k.attributes,
        .stx_attributes_mask = k.attributes_mask,
        .stx_nlink = k.nlink,
        .stx_uid = id_shown(t->cred->user_ns, ID_UID, k.uid),
        .stx_gid = id_shown(t->cred->user_ns, ID_GID, k.gid),
        .stx_mode = (uint16_t)k.mode,
        .stx_ino = k.ino,
        .stx_size = k.size,
        .stx_blocks = k.blocks,
        .stx_atime = to_statx_time(k.atime),
        .stx_btime = to_statx_time(k.btime),
        .stx_ctime = to_statx_time(k.ctime),
        .stx_mtime = to_statx_time(k.mtime),
        .stx_rdev_major = major(k.rdev),
        .stx_rdev_minor = minor(k.rdev),
        .stx_dev_major = major(k.dev),
        .stx_dev_minor = minor(k.dev),
        .stx_mnt_id = mnt_id,
    };
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 4), &sx);
}

/* ---- access ---- */

/* The credentials of t with its real ids, as access(2) asks; reference given, NULL: no memory. */
static const struct cred *real_cred(struct task *t)
{
    struct cred *c = cred_copy(t->cred, t->cred->ngroups);
    if (!c)
        return NULL;
    c->fsuid = c->uid;
    c->fsgid = c->gid;
    if (!(c->securebits & 4)) /* SECBIT_NO_SETUID_FIXUP */
        c->cap_effective = c->uid == id_in(c->user_ns, ID_UID, 0) ? c->cap_permitted : 0;
    return c;
}

static bool real_is_effective(const struct cred *c)
{
    return c->uid == c->fsuid && c->gid == c->fsgid &&
           (c->uid == id_in(c->user_ns, ID_UID, 0) ? c->cap_effective == c->cap_permitted
                                                   : c->cap_effective == 0);
}

static long do_access(struct task *t, int dfd, gva_t path, int mode, int flags)
{
    struct path_ref p;
    if (mode & ~(R_OK | W_OK | X_OK) || flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    const struct cred *cred =
        flags & AT_EACCESS || real_is_effective(t->cred) ? cred_get(t->cred) : real_cred(t);
    if (!cred)
        return -ENOMEM;
    /* The walk, too, is made with the real ids. */
    const struct cred *saved = t->cred;
    t->cred = cred;
    int err = user_path_at(t, dfd, path, flags, &p);
    t->cred = saved;
    if (!err) {
        if (mode)
            err = vfs_permission(&p, cred, mode);
        path_put(&p);
    }
    cred_put(cred);
    return err;
}

SYSCALL(access)
{
    return do_access(t, AT_FDCWD, ARG_GVA(a, 0), ARG_INT(a, 1), 0);
}
SYSCALL(faccessat)
{
    return do_access(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2), 0);
}
SYSCALL(faccessat2)
{
    return do_access(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2), ARG_INT(a, 3));
}

/* ---- symbolic links ---- */

static long do_readlink(struct task *t, int dfd, gva_t path, gva_t buf, int size)
{
    struct path_ref p;
    if (size <= 0)
        return -EINVAL;
    struct pathbuf name;
    int err = getname(t, path, LOOKUP_EMPTY_PATH, &name);
    if (!err)
        err = vfs_lookup(t, dfd, name.s, LOOKUP_EMPTY_PATH, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    char target[PATH_MAX];
    ssize_t n;
    if (!name.s[0] && !S_ISLNK(i->mode))
        n = -ENOENT;
    else if (!S_ISLNK(i->mode) || !i->ops->readlink)
        n = -EINVAL;
    else
        n = i->ops->readlink(i, t, target, sizeof target);
    path_put(&p);
    if (n < 0)
        return n;
    n = MIN(n, size);
    err = mm_copy_out(t->mm, buf, target, (size_t)n);
    return err ? err : n;
}

SYSCALL(readlink)
{
    return do_readlink(t, AT_FDCWD, ARG_GVA(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2));
}
SYSCALL(readlinkat)
{
    return do_readlink(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_GVA(a, 2), ARG_INT(a, 3));
}

/* ---- file systems ---- */

static int statfs_of(const struct path_ref *p, struct statfs *out)
{
    struct super_block *sb = p->dentry->sb;
    memset(out, 0, sizeof *out);
    if (!sb->ops->statfs)
        return -ENOSYS;
    int err = sb->ops->statfs(sb, out);
    if (err)
        return err;
    if (!out->f_type)
        out->f_type = (long)sb->magic;
    if (!out->f_frsize)
        out->f_frsize = out->f_bsize;
    unsigned flags = p->mnt ? p->mnt->flags : 0;
    /* ST_* of statvfs(3); ST_VALID says that they are given. */
    out->f_flags = 0x20;
    static const unsigned map[][2] = {{MS_RDONLY, 1},     {MS_NOSUID, 2},     {MS_NODEV, 4},
                                      {MS_NOEXEC, 8},     {MS_NOATIME, 1024}, {MS_NODIRATIME, 2048},
                                      {MS_RELATIME, 4096}};
    for (size_t i = 0; i < ARRAY_SIZE(map); i++)
        if (flags & map[i][0])
            out->f_flags |= map[i][1];
    return 0;
}

SYSCALL(statfs)
{
    struct path_ref p;
    struct statfs st;
    int err = user_path_at(t, AT_FDCWD, ARG_GVA(a, 0), 0, &p);
    if (err)
        return err;
    err = statfs_of(&p, &st);
    path_put(&p);
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &st);
}

SYSCALL(fstatfs)
{
    struct statfs st;
    struct file *f = fd_get_path(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = statfs_of(&f->path, &st);
    file_put(f);
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &st);
}

/* struct ustat, which no header has any more. */
struct old_ustat {
    int32_t free_blocks;
    uint64_t free_inodes;
    char name[6], pack[6];
};

SYSCALL(ustat)
{
    struct path_ref p;
    struct statfs st;
    uint32_t dev = ARG_UINT(a, 0);
    int err = vfs_find_dev(t->kernel->vfs,
                           makedev((dev & 0xfff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xfff00)), &p);
    if (err)
        return err;
    err = statfs_of(&p, &st);
    path_put(&p);
    if (err)
        return err;
    struct old_ustat out = {.free_blocks = (int32_t)st.f_bfree, .free_inodes = st.f_ffree};
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &out);
}

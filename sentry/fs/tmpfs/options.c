/*
 * Mount options of tmpfs: size=, nr_blocks=, nr_inodes=, mode=, uid=, gid=. See tmpfs(5).
 */
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct options {
    const struct kernel *kernel;
    uint64_t pages, inodes; /* 0: no limit */
    uint32_t mode;
    uid_t uid;
    gid_t gid;
    unsigned given; /* 1 << row */
};

/* A number with k, m, g, t behind it, all of the string. */
static int parse_number(const char *s, uint64_t *out)
{
    char *end;
    unsigned shift = 0;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    errno = 0;
    uint64_t n = strtoull(s, &end, 0);
    if (*end && *end != '%') {
        const char *units = "kmgt", *u = strchr(units, *end | 0x20);
        if (!u || end[1])
            return -EINVAL;
        shift = 10 * (unsigned)(u - units + 1);
    }
    if (errno || n > UINT64_MAX >> shift)
        return -EINVAL;
    *out = n << shift;
    return 0;
}

static int parse_size(struct options *o, const char *s)
{
    uint64_t n;
    size_t len = strlen(s);
    int err = parse_number(s, &n);
    if (err)
        return err;
    if (len && s[len - 1] == '%') {
        if (n > 1000)
            return -EINVAL;
        n = o->kernel->mm_config.total_memory / 100 * n;
    }
    o->pages = n / PAGE_SIZE + (n % PAGE_SIZE != 0);
    return 0;
}

static int parse_blocks(struct options *o, const char *s)
{
    uint64_t n;
    int err = strchr(s, '%') ? -EINVAL : parse_number(s, &n);
    if (!err)
        o->pages = MIN(n, UINT64_MAX >> (PAGE_SHIFT + 1));
    return err;
}

static int parse_inodes(struct options *o, const char *s)
{
    return strchr(s, '%') ? -EINVAL : parse_number(s, &o->inodes);
}

static int parse_plain(const char *s, int base, uint32_t max, uint32_t *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    errno = 0;
    unsigned long n = strtoul(s, &end, base);
    if (*end || errno || n > max)
        return -EINVAL;
    *out = (uint32_t)n;
    return 0;
}

static int parse_mode(struct options *o, const char *s)
{
    int err = parse_plain(s, 8, UINT32_MAX, &o->mode);
    o->mode &= 07777;
    return err;
}
static int parse_uid(struct options *o, const char *s)
{
    return parse_plain(s, 10, UINT32_MAX - 1, &o->uid);
}
static int parse_gid(struct options *o, const char *s)
{
    return parse_plain(s, 10, UINT32_MAX - 1, &o->gid);
}

/* Where pages of 2 MiB come from is the memory file's own business: only what says so is taken. */
static int parse_huge(UNUSED struct options *o, const char *s)
{
    return strcmp(s, "never") == 0 ? 0 : -EINVAL;
}

enum { OPT_SIZE, OPT_BLOCKS, OPT_INODES, OPT_MODE, OPT_UID, OPT_GID, OPT_HUGE };
static const struct {
    const char *name;
    int (*parse)(struct options *o, const char *value);
} rows[] = {
    [OPT_SIZE] = {"size", parse_size},
    [OPT_BLOCKS] = {"nr_blocks", parse_blocks},
    [OPT_INODES] = {"nr_inodes", parse_inodes},
    [OPT_MODE] = {"mode", parse_mode},
    [OPT_UID] = {"uid", parse_uid},
    [OPT_GID] = {"gid", parse_gid},
    [OPT_HUGE] = {"huge", parse_huge},
};

static int parse_option(struct options *o, const char *s)
{
    size_t n = strcspn(s, "=");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (strncmp(s, rows[i].name, n) != 0 || rows[i].name[n])
            continue;
        o->given |= 1u << i;
        return s[n] ? rows[i].parse(o, s + n + 1) : -EINVAL;
    }
    return -EINVAL;
}

static int parse_options(struct options *o, const char *data)
{
    char *copy = strdup(data ? data : ""), *save = NULL;
    if (!copy)
        return -ENOMEM;
    int err = 0;
    for (char *s = strtok_r(copy, ",", &save); s && !err; s = strtok_r(NULL, ",", &save))
        err = parse_option(o, s);
    free(copy);
    return err;
}

int tmpfs_check_option(const struct kernel *k, const char *option)
{
    struct options o = {.kernel = k};
    return parse_option(&o, option);
}

int tmpfs_mount(struct kernel *k, UNUSED const char *source, const char *data,
                struct super_block **out)
{
    uint64_t half = k->mm_config.total_memory / 2 >> PAGE_SHIFT;
    struct options o = {.kernel = k, .pages = half, .inodes = half, .mode = 01777};
    struct super_block *sb;
    int err = parse_options(&o, data);
    if (!err)
        err = tmpfs_create(k, o.mode, 0, &sb);
    if (err)
        return err;
    struct tmpfs_super *ts = tmpfs_super(sb);
    ts->max_pages = o.pages;
    ts->max_inodes = o.inodes ? o.inodes : UINT64_MAX;
    ts->given = o.given;
    sb->root->inode->uid = o.uid;
    sb->root->inode->gid = o.gid;
    *out = sb;
    return 0;
}

/* Limits may change, but not below what is used, nor come to be where there were none. */
int tmpfs_reconfigure(struct super_block *sb, const char *data)
{
    struct tmpfs_super *ts = tmpfs_super(sb);
    struct options o = {.kernel = sb->kernel};
    int err = parse_options(&o, data);
    if (err)
        return err;
    bool pages = o.given & (1u << OPT_SIZE | 1u << OPT_BLOCKS);
    bool inodes = o.given & 1u << OPT_INODES;
    if (pages && (!ts->max_pages != !o.pages || o.pages < ts->used_pages))
        return -EINVAL;
    if (inodes &&
        ((ts->max_inodes == UINT64_MAX) != !o.inodes || (o.inodes && o.inodes < ts->used_inodes)))
        return -EINVAL;
    if (pages)
        ts->max_pages = o.pages;
    if (inodes && o.inodes)
        ts->max_inodes = o.inodes;
    ts->given |= o.given & (1u << OPT_SIZE | 1u << OPT_BLOCKS | 1u << OPT_INODES);
    return 0;
}

void tmpfs_show_options(struct super_block *sb, FILE *f)
{
    struct tmpfs_super *ts = tmpfs_super(sb);
    const struct inode *root = sb->root->inode;
    if (ts->given & (1u << OPT_SIZE | 1u << OPT_BLOCKS))
        fprintf(f, ",size=%luk", ts->max_pages << (PAGE_SHIFT - 10));
    if (ts->given & 1u << OPT_INODES)
        fprintf(f, ",nr_inodes=%lu", ts->max_inodes == UINT64_MAX ? 0 : ts->max_inodes);
    if ((root->mode & 07777) != 01777)
        fprintf(f, ",mode=%03o", root->mode & 07777);
    if (root->uid)
        fprintf(f, ",uid=%u", root->uid);
    if (root->gid)
        fprintf(f, ",gid=%u", root->gid);
}

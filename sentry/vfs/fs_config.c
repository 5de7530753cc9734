/*
 * What fsopen(2) and fspick(2) give: a file system whose parameters are collected, one fsconfig(2)
 * at a time, until a command uses them.
 *
 *      fsopen -> NEW --CMD_CREATE--> MADE --fsmount--> RECONFIGURE
 *                  `-- failed --> FAILED                    ^
 *      fspick ------------------------------------------ --'
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/mount_fd.h"
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 4096

enum phase { NEW, MADE, RECONFIGURE, FAILED };

struct fs_config {
    struct mutex lock; /* INODE_DIR: held while the file system is made */
    enum phase phase;
    const struct file_system_type *type;
    struct super_block *sb;
    char *source;
    char options[OPTIONS_MAX]; /* "size=1m,mode=700" */
    bool read_only;
};

static ssize_t config_read(UNUSED struct file *f, UNUSED struct uio *u, UNUSED int64_t *pos,
                           UNUSED int rwf)
{
    return -ENODATA; /* no message: errors say all there is */
}

static void config_release(struct file *f)
{
    struct fs_config *c = f->priv;
    if (c->sb)
        super_put(c->sb);
    mutex_destroy(&c->lock);
    free(c->source);
    free(c);
}

static const struct file_ops config_ops = {.read = config_read, .release = config_release};

/* Takes over the reference on sb. */
static int config_create(struct task *t, enum phase phase, const struct file_system_type *type,
                         struct super_block *sb, struct file **out)
{
    struct fs_config *c = calloc(1, sizeof *c);
    int err = c ? 0 : -ENOMEM;
    if (!err) {
        mutex_init(&c->lock, LOCK_INODE_DIR);
        c->phase = phase;
        c->type = type;
        c->sb = sb;
        c->read_only = sb && sb->read_only;
        err = file_create_anon(t->kernel, "anon_inode:[fscontext]", O_RDWR, &config_ops, c, t->cred,
                               out);
        if (err) {
            mutex_destroy(&c->lock);
            free(c);
        }
    }
    if (err && sb)
        super_put(sb);
    return err;
}

int fs_config_open(struct task *t, const char *type, struct file **out)
{
    const struct file_system_type *fs = file_system_find(type);
    return fs ? config_create(t, NEW, fs, NULL, out) : -ENODEV;
}

int fs_config_pick(struct task *t, const struct path_ref *p, struct file **out)
{
    if (p->dentry != p->mnt->root)
        return -EINVAL;
    return config_create(t, RECONFIGURE, NULL, super_get(p->mnt->sb), out);
}

/* ---- parameters ---- */

static int set_source(struct fs_config *c, const char *value)
{
    if (!value || c->source)
        return -EINVAL;
    c->source = strdup(value);
    return c->source ? 0 : -ENOMEM;
}

static int add_option(struct fs_config *c, const char *key, const char *value)
{
    size_t n = strlen(c->options);
    if (strpbrk(key, ",=") || (value && strchr(value, ',')))
        return -EINVAL;
    int r = snprintf(c->options + n, sizeof c->options - n, "%s%s%s%s", n ? "," : "", key,
                     value ? "=" : "", value ? value : "");
    if (r < (int)(sizeof c->options - n))
        return 0;
    c->options[n] = 0;
    return -E2BIG;
}

/* Says at once what the file system would say of the option. */
static int check_option(struct fs_config *c, struct kernel *k, const char *key, const char *value)
{
    char one[2 * 256 + 2];
    if (!c->type || !c->type->check)
        return 0;
    snprintf(one, sizeof one, "%s%s%s", key, value ? "=" : "", value ? value : "");
    return c->type->check(k, one);
}

static int set_parameter(struct fs_config *c, struct kernel *k, const char *key, const char *value)
{
    if (c->phase != NEW && c->phase != RECONFIGURE)
        return -EBUSY;
    if (!value && (strcmp(key, "ro") == 0 || strcmp(key, "rw") == 0)) {
        c->read_only = key[1] == 'o';
        return 0;
    }
    if (strcmp(key, "source") == 0)
        return set_source(c, value);
    int err = check_option(c, k, key, value);
    return err ? err : add_option(c, key, value);
}

/* ---- commands ---- */

static int command_create(struct fs_config *c, struct kernel *k)
{
    if (c->phase != NEW)
        return -EBUSY;
    int err = c->type->mount(k, c->source, c->options, &c->sb);
    c->phase = err ? FAILED : MADE;
    if (!err)
        c->sb->read_only |= c->read_only;
    return err;
}

static int command_reconfigure(struct fs_config *c, struct kernel *k)
{
    if (c->phase != RECONFIGURE)
        return -EBUSY;
    MUTEX_GUARD(&k->vfs->mount_lock);
    int err = super_change(k->vfs, c->sb, c->read_only, c->options);
    if (!err)
        c->options[0] = 0;
    return err;
}

int fs_config_set(struct task *t, struct file *f, unsigned cmd, const char *key, const char *value)
{
    struct fs_config *c = f->priv;
    if (f->ops != &config_ops)
        return -EINVAL;
    MUTEX_GUARD(&c->lock);
    if (cmd == FSCONFIG_CMD_CREATE)
        return command_create(c, t->kernel);
    if (cmd == FSCONFIG_CMD_RECONFIGURE)
        return command_reconfigure(c, t->kernel);
    return set_parameter(c, t->kernel, key, value);
}

int fs_config_take(struct file *f, struct super_block **sb, char **source)
{
    struct fs_config *c = f->priv;
    if (f->ops != &config_ops)
        return -EINVAL;
    MUTEX_GUARD(&c->lock);
    if (!c->sb)
        return -EINVAL;
    if (c->phase != MADE)
        return -EBUSY;
    *sb = super_get(c->sb);
    *source = c->source;
    c->source = NULL;
    c->options[0] = 0;
    c->phase = RECONFIGURE;
    return 0;
}

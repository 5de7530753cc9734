/*
 * Who the program runs as: --user, looked up in the sandbox's own /etc/passwd and /etc/group.
 */
#include "cmd/picket/command.h"
#include "cmd/picket/do.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void free_string(char **s)
{
    free(*s);
}

/* A file of the sandbox's root, or NULL. A symbolic link would lead out of that root. */
static FILE *open_below(int root_fd, const char *path)
{
    int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
    if (!f && fd >= 0)
        close(fd);
    return f;
}

static bool parse_id(const char *s, uint32_t *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return false;
    unsigned long n = strtoul(s, &end, 10);
    *out = (uint32_t)n;
    return *end == '\0' && n < UINT32_MAX;
}

/* The entry of a user, by name or, if name is NULL, by uid. Its name must be freed. */
static bool find_user(int root_fd, const char *name, uid_t *uid, gid_t *gid, char **found)
{
    FILE *f = open_below(root_fd, "etc/passwd");
    struct passwd *pw;
    bool ok = false;
    while (f && !ok && (pw = fgetpwent(f))) {
        if (name ? strcmp(pw->pw_name, name) != 0 : pw->pw_uid != *uid)
            continue;
        *uid = pw->pw_uid;
        *gid = pw->pw_gid;
        *found = strdup(pw->pw_name);
        ok = true;
    }
    if (f)
        fclose(f);
    return ok;
}

static bool find_group(int root_fd, const char *name, gid_t *gid)
{
    FILE *f = open_below(root_fd, "etc/group");
    struct group *gr;
    bool ok = false;
    while (f && !ok && (gr = fgetgrent(f))) {
        ok = strcmp(gr->gr_name, name) == 0;
        if (ok)
            *gid = gr->gr_gid;
    }
    if (f)
        fclose(f);
    return ok;
}

static bool add_group(struct do_user *u, gid_t gid)
{
    gid_t *more = reallocarray(u->groups, u->ngroups + 1, sizeof(*more));
    if (!more)
        return false;
    u->groups = more;
    u->groups[u->ngroups++] = gid;
    return true;
}

/* The groups of /etc/group that name the user as a member. */
static bool add_groups_of(struct do_user *u, int root_fd, const char *name)
{
    FILE *f = open_below(root_fd, "etc/group");
    struct group *gr;
    bool ok = true;
    while (f && ok && (gr = fgetgrent(f)))
        for (char **member = gr->gr_mem; ok && *member; member++)
            if (strcmp(*member, name) == 0 && gr->gr_gid != u->gid)
                ok = add_group(u, gr->gr_gid);
    if (f)
        fclose(f);
    return ok;
}

static int caller(struct do_user *u)
{
    int n = getgroups(0, NULL);
    u->uid = geteuid();
    u->gid = getegid();
    u->groups = n > 0 ? calloc((size_t)n, sizeof(*u->groups)) : NULL;
    if (n > 0 && !u->groups)
        return fail("out of memory");
    if (n > 0 && (n = getgroups(n, u->groups)) > 0)
        u->ngroups = (size_t)n;
    return 0;
}

int do_user_resolve(struct do_user *u, const char *spec, int root_fd)
{
    *u = (struct do_user){0};
    if (!spec)
        return caller(u);
    char *user CLEANUP(free_string) = strdup(spec), *name CLEANUP(free_string) = NULL;
    if (!user)
        return fail("out of memory");
    char *group = strchr(user, ':');
    if (group)
        *group++ = '\0';
    bool numeric = parse_id(user, &u->uid);
    u->gid = u->uid;
    if (!find_user(root_fd, numeric ? NULL : user, &u->uid, &u->gid, &name) && !numeric)
        return fail("--user %s: the sandbox's /etc/passwd has no user \"%s\"", spec, user);
    if (group && !parse_id(group, &u->gid) && !find_group(root_fd, group, &u->gid))
        return fail("--user %s: the sandbox's /etc/group has no group \"%s\"", spec, group);
    if (name && !group && !add_groups_of(u, root_fd, name))
        return fail("out of memory");
    return 0;
}

void do_user_release(struct do_user *u)
{
    free(u->groups);
}

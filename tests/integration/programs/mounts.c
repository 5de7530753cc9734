/*
 * usage: mounts SEED STEPS
 * Mounts, moves, binds and unmounts at random in a mount namespace of its own, and says after each
 * step what came of it: the result and all mounts below its directory, in a form that does not
 * depend on how the kernel numbers them.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define BASE "/srv"
enum { MAX = 4096, PLACES = 7 };
static const char *const places[PLACES] = {"a", "b", "c", "a/x", "b/x", "a/x/y", "c/x"};

struct entry {
    int id, parent, depth, above; /* above: the place of the parent in the order */
    char root[256], point[256], fields[256];
};
static struct entry entries[MAX];
static int count;

static unsigned random_state;
static unsigned pick(unsigned n)
{
    random_state = random_state * 1103515245u + 12345u;
    return (random_state >> 16) % n;
}

static void read_mounts(void)
{
    char line[2048], rest[1024];
    FILE *f = fopen("/proc/self/mountinfo", "r");
    count = 0;
    while (f && fgets(line, sizeof line, f) && count < MAX) {
        struct entry *e = &entries[count];
        if (sscanf(line, "%d %d %*s %255s %255s %*s %1023[^\n]", &e->id, &e->parent, e->root,
                   e->point, rest) != 5 ||
            strncmp(e->point, BASE, strlen(BASE)) != 0)
            continue;
        char *end = strncmp(rest, "- ", 2) == 0 ? rest : strstr(rest, " - ");
        snprintf(e->fields, sizeof e->fields, "%.*s", end ? (int)(end - rest) : 0, rest);
        count++;
    }
    if (f)
        fclose(f);
}

static const struct entry *by_id(int id)
{
    for (int i = 0; i < count; i++)
        if (entries[i].id == id)
            return &entries[i];
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->depth != y->depth)
        return x->depth - y->depth;
    return x->above != y->above ? x->above - y->above : strcmp(x->point, y->point);
}

/* Group numbers in the order in which they appear. */
static void print_fields(const char *s, int *known, int *n)
{
    while (*s) {
        int len = 0, id, i;
        char name[64];
        if (sscanf(s, "%63[a-z_]:%d%n", name, &id, &len) == 2 && len) {
            for (i = 0; i < *n && known[i] != id; i++)
                ;
            if (i == *n)
                known[(*n)++] = id;
            printf(" %s:%d", name, i);
        } else if (sscanf(s, "%63s%n", name, &len) == 1) {
            printf(" %s", name);
        }
        s += len;
        s += strspn(s, " ");
        if (!len)
            break;
    }
}

static void show(void)
{
    int known[MAX], n = 0;
    read_mounts();
    for (int i = 0; i < count; i++) {
        const struct entry *p = by_id(entries[i].parent);
        for (entries[i].depth = 0; p; p = by_id(p->parent))
            entries[i].depth++;
    }
    /* No two mounts have the same parent and mount point: level by level the order is certain. */
    for (int depth = 0; depth < count; depth++) {
        qsort(entries, (size_t)count, sizeof *entries, compare);
        for (int i = 0; i < count; i++) {
            const struct entry *p = by_id(entries[i].parent);
            entries[i].above = p ? (int)(p - entries) : 0;
        }
    }
    for (int i = 0; i < count; i++) {
        printf("   %s on %d %s", entries[i].point, entries[i].above, entries[i].root);
        print_fields(entries[i].fields, known, &n);
        printf("\n");
    }
}

static const char *place(char *buf)
{
    sprintf(buf, BASE "/%s", places[pick(PLACES)]);
    return buf;
}

static void make_tree(const char *top)
{
    static const char *const dirs[] = {"x", "x/y"};
    char path[600];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", top, dirs[i]);
        mkdir(path, 0755);
    }
}

static int step(char *what)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } kinds[] = {{"shared", MS_SHARED},           {"slave", MS_SLAVE},
                 {"private", MS_PRIVATE},         {"unbindable", MS_UNBINDABLE},
                 {"rshared", MS_SHARED | MS_REC}, {"rslave", MS_SLAVE | MS_REC}};
    char from[64], to[64];
    unsigned k;
    switch (pick(9)) {
    case 0:
        sprintf(what, "tmpfs %s", place(to));
        k = (unsigned)mount("t", to, "tmpfs", 0, NULL);
        if (!k)
            make_tree(to);
        return (int)k;
    case 1:
    case 2:
        sprintf(what, "bind %s %s", place(from), place(to));
        return mount(from, to, NULL, MS_BIND, NULL);
    case 3:
        sprintf(what, "rbind %s %s", place(from), place(to));
        return mount(from, to, NULL, MS_BIND | MS_REC, NULL);
    case 4:
        sprintf(what, "move %s %s", place(from), place(to));
        return mount(from, to, NULL, MS_MOVE, NULL);
    case 5:
        sprintf(what, "umount %s", place(to));
        return umount2(to, 0);
    case 6:
        sprintf(what, "detach %s", place(to));
        return umount2(to, MNT_DETACH);
    default:
        k = pick(sizeof kinds / sizeof *kinds);
        sprintf(what, "%s %s", kinds[k].name, place(to));
        return mount(NULL, to, NULL, kinds[k].flag, NULL);
    }
}

int main(int argc, char **argv)
{
    char what[256];
    int steps = argc > 2 ? atoi(argv[2]) : 50;
    random_state = argc > 1 ? (unsigned)atoi(argv[1]) : 1;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
        mount("base", BASE, "tmpfs", 0, NULL) < 0) {
        perror("mounts");
        return 77;
    }
    for (int i = 0; i < 3; i++) {
        char path[64];
        sprintf(path, BASE "/%s", places[i]);
        mkdir(path, 0755);
        make_tree(path);
    }
    for (int i = 0; i < steps; i++) {
        errno = 0;
        int r = step(what);
        printf("%d %s: %s\n", i, what, r ? strerror(errno) : "done");
        read_mounts();
        if (count > 200) {
            puts("enough");
            break;
        }
        show();
    }
    return 0;
}

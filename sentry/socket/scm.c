/*
 * Files on their way between processes.
 */
#include "sentry/socket/socket.h"
#include <stdlib.h>

struct scm_files *scm_files_create(unsigned n)
{
    struct scm_files *s;
    return calloc(1, sizeof *s + n * sizeof s->files[0]);
}

struct scm_files *scm_files_copy(const struct scm_files *s)
{
    struct scm_files *copy = scm_files_create(s->n);
    if (!copy)
        return NULL;
    for (copy->n = 0; copy->n < s->n; copy->n++)
        copy->files[copy->n] = file_get(s->files[copy->n]);
    return copy;
}

/*
 * The sets that this thread has still to free, while it frees one. A socket may be in the queue of
 * a socket in the queue of a socket..., and the application decides how deep: so no recursion.
 */
static _Thread_local struct {
    bool active;
    struct scm_files *todo;
} freeing;

static void free_one(struct scm_files *s)
{
    if (s->flying)
        unix_files_land(&s, &s);
    for (unsigned i = 0; i < s->n; i++)
        file_put(s->files[i]);
    free(s);
}

bool scm_files_freeing(void)
{
    return freeing.active;
}

void scm_files_free(struct scm_files *s)
{
    if (!s)
        return;
    s->next = freeing.todo;
    freeing.todo = s;
    if (freeing.active)
        return;
    freeing.active = true;
    while ((s = freeing.todo)) {
        freeing.todo = s->next;
        free_one(s);
    }
    freeing.active = false;
}

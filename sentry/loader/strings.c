/*
 * Argument and environment strings: copied from the application one page of pointers and one string
 * at a time, into one growing buffer.
 */
#include "sentry/loader/strings.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STRINGS_MIN_LIMIT (128ull << 10)
#define STRINGS_MAX_LIMIT (6ull << 20)

uint64_t exec_strings_limit(uint64_t stack_limit)
{
    return MAX(MIN(stack_limit / 4, STRINGS_MAX_LIMIT), STRINGS_MIN_LIMIT);
}

void exec_strings_release(struct exec_strings *s)
{
    free(s->data);
    *s = (struct exec_strings){0};
}

/* A buffer that grows; its contents become an exec_strings. */
struct builder {
    struct exec_strings s;
    size_t capacity;
    uint64_t limit; /* bytes, the pointers to the strings included */
};

static int reserve(struct builder *b, size_t room)
{
    size_t need = b->s.length + room;
    if (need <= b->capacity)
        return 0;
    size_t capacity = MAX(need, 2 * b->capacity);
    char *data = realloc(b->s.data, capacity);
    if (!data)
        return -ENOMEM;
    b->s.data = data;
    b->capacity = capacity;
    return 0;
}

static int append_from(struct builder *b, struct mm *mm, gva_t string)
{
    for (size_t room = PAGE_SIZE;; room = EXEC_STRING_MAX) {
        int err = reserve(b, room);
        if (err)
            return err;
        size_t size = MIN(b->capacity - b->s.length, EXEC_STRING_MAX);
        ssize_t n = mm_copy_in_string(mm, b->s.data + b->s.length, string, size);
        if (n >= 0) {
            b->s.length += (size_t)n + 1;
            b->s.count++;
            break;
        }
        if (n != -ENAMETOOLONG)
            return (int)n;
        if (size == EXEC_STRING_MAX)
            return -E2BIG;
    }
    return b->s.length + b->s.count * sizeof(gva_t) <= b->limit ? 0 : -E2BIG;
}

/* As many pointers as lie before the next page boundary: the array may end where its page does. */
static int copy_in_pointers(struct mm *mm, gva_t array, gva_t *batch, size_t max, size_t *n)
{
    size_t bytes = MIN(max * sizeof(gva_t), PAGE_SIZE - array % PAGE_SIZE);
    bytes = MAX(bytes & ~(sizeof(gva_t) - 1), sizeof(gva_t));
    *n = bytes / sizeof(gva_t);
    return mm_copy_in(mm, batch, array, bytes);
}

static int copy_in_all(struct builder *b, struct mm *mm, gva_t array)
{
    gva_t batch[64];
    size_t n;

    for (;;) {
        int err = copy_in_pointers(mm, array, batch, ARRAY_SIZE(batch), &n);
        if (err)
            return err;
        for (size_t i = 0; i < n; i++) {
            if (batch[i] == 0)
                return 0;
            err = append_from(b, mm, batch[i]);
            if (err)
                return err;
        }
        if (__builtin_add_overflow(array, n * sizeof(gva_t), &array))
            return -EFAULT;
    }
}

int exec_strings_copy_in(struct exec_strings *s, struct mm *mm, gva_t array, uint64_t stack_limit)
{
    struct builder b = {.limit = exec_strings_limit(stack_limit)};
    int err = array ? copy_in_all(&b, mm, array) : 0;
    if (err) {
        exec_strings_release(&b.s);
        return err;
    }
    *s = b.s;
    return 0;
}

int exec_strings_from(struct exec_strings *s, char *const *strings)
{
    struct exec_strings out = {0};
    for (size_t i = 0; strings[i]; i++)
        out.length += strlen(strings[i]) + 1;
    out.data = malloc(MAX(out.length, 1ul));
    if (!out.data)
        return -ENOMEM;
    char *p = out.data;
    for (; strings[out.count]; out.count++)
        p = stpcpy(p, strings[out.count]) + 1;
    *s = out;
    return 0;
}

void exec_strings_drop_first(struct exec_strings *s)
{
    if (s->count == 0)
        return;
    size_t n = strlen(s->data) + 1;
    memmove(s->data, s->data + n, s->length - n);
    s->length -= n;
    s->count--;
}

int exec_strings_prepend(struct exec_strings *s, const char *string)
{
    size_t n = strlen(string) + 1;
    char *data = realloc(s->data, s->length + n);
    if (!data)
        return -ENOMEM;
    memmove(data + n, data, s->length);
    memcpy(data, string, n);
    s->data = data;
    s->length += n;
    s->count++;
    return 0;
}

#include "sentry/fs/pseudo/pseudo.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct text *x, size_t n)
{
    size_t need = x->length + n + 1;
    if (x->failed)
        return false;
    if (need <= x->room)
        return true;
    size_t room = MAX(x->room * 2, (size_t)512);
    room = MAX(room, need);
    char *data = realloc(x->data, room);
    if (!data) {
        x->failed = true;
        return false;
    }
    x->data = data;
    x->room = room;
    return true;
}

void text_bytes(struct text *x, const void *data, size_t n)
{
    if (!reserve(x, n))
        return;
    memcpy(x->data + x->length, data, n);
    x->length += n;
    x->data[x->length] = 0;
}

void text_add(struct text *x, const char *fmt, ...)
{
    char buf[512];
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < sizeof(buf)) {
        text_bytes(x, buf, (size_t)n);
    } else if (n > 0 && reserve(x, (size_t)n)) {
        vsnprintf(x->data + x->length, (size_t)n + 1, fmt, again);
        x->length += (size_t)n;
    }
    va_end(again);
}

/*
 * Argument and environment strings on their way from one program to the next.
 */
#ifndef PICKET_SENTRY_LOADER_STRINGS_H
#define PICKET_SENTRY_LOADER_STRINGS_H

#include "sentry/loader/loader.h"

/* The longest single string, with its NUL. */
#define EXEC_STRING_MAX (32 * PAGE_SIZE)

/* Bytes that strings and the pointers to them may take, for a stack limit. */
uint64_t exec_strings_limit(uint64_t stack_limit);

void exec_strings_drop_first(struct exec_strings *s); /* nothing if there is none */
MUST_CHECK int exec_strings_prepend(struct exec_strings *s, const char *string);

#endif

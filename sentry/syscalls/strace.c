/*
 * The strace printer: which calls are wanted, and how their lines come together.
 *
 * A task collects a line in its own buffer and prints it whole, so lines of several tasks never
 * mix. If it has to sleep in the middle, strace_block prints what is there:
 *
 *      [pid 7] read(0,  <unfinished ...>
 *      [pid 7] <... read resumed>"hello\n", 4096) = 6
 */
#include "sentry/syscalls/strace_format.h"

#include "base/log.h"
#include "sentry/kernel/kernel.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STRACE_LINE 3500
#define STRACE_RESULT_COLUMN 39

struct strace_config {
    uint64_t wanted[(SYSCALL_COUNT + 63) / 64];
    bool unknown; /* numbers that have no row */
    bool time;
};

struct strace_task {
    char text[STRACE_LINE];
    struct strace_out line;
    unsigned next_arg;
    bool comma;   /* it follows a comma that is there already */
    bool active;  /* a call is being printed */
    bool resumed; /* its first half is out */
    struct timespec start;
};

/* ---- which calls ---- */

static const struct {
    const char *name;
    unsigned classes;
} strace_classes[] = {
    {"%file", C_FILE},   {"%desc", C_DESC},       {"%process", C_PROCESS}, {"%memory", C_MEMORY},
    {"%net", C_NETWORK}, {"%network", C_NETWORK}, {"%signal", C_SIGNAL},   {"%ipc", C_IPC},
    {"%creds", C_CREDS}, {"%clock", C_CLOCK},
};

static void strace_want(struct strace_config *c, unsigned nr, bool on)
{
    uint64_t bit = 1ull << (nr % 64);
    if (on)
        c->wanted[nr / 64] |= bit;
    else
        c->wanted[nr / 64] &= ~bit;
}

static void strace_want_all(struct strace_config *c, bool on)
{
    memset(c->wanted, on ? 0xff : 0, sizeof(c->wanted));
    c->unknown = on;
}

/* Adds or takes away one item. False if there is nothing of that name. */
static bool strace_want_item(struct strace_config *c, const char *item, bool on)
{
    if (strcmp(item, "all") == 0 || strcmp(item, "none") == 0) {
        strace_want_all(c, (item[0] == 'a') == on);
        return true;
    }
    unsigned classes = 0;
    for (size_t i = 0; i < ARRAY_SIZE(strace_classes); i++)
        if (strcmp(item, strace_classes[i].name) == 0)
            classes = strace_classes[i].classes;
    bool found = classes != 0;
    for (unsigned nr = 0; nr < SYSCALL_COUNT; nr++) {
        const struct syscall_row *row = syscall_row(nr);
        if (!row || !((row->classes & classes) || strcmp(row->name, item) == 0))
            continue;
        strace_want(c, nr, on);
        found = true;
    }
    return found;
}

static int strace_parse(struct strace_config *c, char *list, char *why, size_t why_size)
{
    bool negative = list[0] == '!', any = false;
    strace_want_all(c, negative);
    for (char *save, *item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
        if (strcmp(item, "+time") == 0) {
            c->time = true;
            continue;
        }
        bool on = !negative;
        if (item[0] == '!') {
            item++;
            on = false;
        }
        any = true;
        if (!strace_want_item(c, item, on)) {
            snprintf(why, why_size,
                     "--strace: \"%s\" is no system call and no class (%%file, %%process, "
                     "%%memory, %%network, %%signal, %%desc, %%ipc, %%creds, %%clock, all, none)",
                     item);
            return -EINVAL;
        }
    }
    if (!any)
        strace_want_all(c, true);
    return 0;
}

int strace_config_create(const char *list, struct strace_config **out, char *why, size_t why_size)
{
    struct strace_config *c = calloc(1, sizeof(*c));
    char *copy = strdup(list ? list : "all");
    int err = -ENOMEM;
    if (c && copy)
        err = strace_parse(c, copy, why, why_size);
    else
        snprintf(why, why_size, "--strace: out of memory");
    free(copy);
    if (err) {
        free(c);
        return err;
    }
    *out = c;
    return 0;
}

void strace_config_destroy(struct strace_config *c)
{
    free(c);
}

bool strace_wants(const struct strace_config *c, uint64_t nr)
{
    uint32_t n = (uint32_t)nr;
    if (!syscall_row(n))
        return c->unknown;
    return (c->wanted[n / 64] >> (n % 64)) & 1;
}

/* ---- putting text together ---- */

void strace_printf(struct strace_out *o, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(o->buf + o->len, o->size - o->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        o->len = MIN(o->len + (size_t)n, o->size - 1);
}

/* An octal escape takes three digits where a digit follows. */
static void strace_escape(struct strace_out *o, unsigned char c, bool digit_follows)
{
    static const char named[] = "\"\"\\\\\nn\tt\rr\vv\ff";
    for (const char *p = named; *p; p += 2)
        if ((unsigned char)p[0] == c) {
            strace_printf(o, "\\%c", p[1]);
            return;
        }
    if (c >= 0x20 && c < 0x7f)
        strace_printf(o, "%c", c);
    else
        strace_printf(o, digit_follows ? "\\%03o" : "\\%o", c);
}

void strace_quote(struct strace_out *o, const char *s, size_t n, bool cut)
{
    strace_printf(o, "\"");
    for (size_t i = 0; i < n; i++)
        strace_escape(o, (unsigned char)s[i], i + 1 < n && s[i + 1] >= '0' && s[i + 1] <= '7');
    strace_printf(o, cut ? "\"..." : "\"");
}

static void strace_emit(const struct task *t, const char *text)
{
    if (log_enabled(LOG_INFO)) {
        log_line(LOG_INFO, "[pid %d] %s", t->tid, text);
        return;
    }
    char line[STRACE_LINE + 64];
    int n = snprintf(line, sizeof(line), "[pid %d] %s\n", t->tid, text);
    /* Nobody to tell if stderr is gone. */
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        return;
}

static struct strace_task *strace_task(struct task *t)
{
    if (!t->strace)
        t->strace = calloc(1, sizeof(struct strace_task));
    return t->strace;
}

static void strace_begin_line(struct strace_task *st)
{
    st->line = (struct strace_out){.buf = st->text, .size = sizeof(st->text)};
    st->text[0] = '\0';
}

/* ---- calls ---- */

/* Prints the arguments from st->next_arg on; before the call, up to the first that it fills. */
static void strace_args(struct strace_task *st, const struct strace_call *c, bool returned)
{
    struct strace_out *o = &st->line;
    for (; st->next_arg < c->row->nargs; st->next_arg++) {
        unsigned i = st->next_arg;
        const struct strace_format *f = &strace_formats[c->row->args[i]];
        if (f->omit && f->omit(c)) {
            st->next_arg = c->row->nargs;
            return;
        }
        if (i > 0 && !st->comma)
            strace_printf(o, ", ");
        st->comma = f->after && !returned;
        if (st->comma)
            return;
        if (f->after && c->result < 0 && !f->on_error)
            strace_pointer(o, c->args->a[i]);
        else
            f->fn(o, c, i, f->data);
    }
}

static struct strace_call strace_make_call(struct task *t, uint64_t nr, const struct sysargs *a,
                                           long result)
{
    return (struct strace_call){
        .task = t, .mm = t->mm, .row = syscall_row(nr), .args = a, .result = result};
}

void strace_enter(struct task *t, uint64_t nr, const struct sysargs *a)
{
    struct strace_task *st = strace_task(t);
    if (!st)
        return;
    struct strace_call c = strace_make_call(t, nr, a, 0);
    strace_begin_line(st);
    st->active = true;
    st->resumed = false;
    st->next_arg = 0;
    st->comma = false;
    clock_gettime(CLOCK_MONOTONIC, &st->start);
    if (!c.row) {
        strace_printf(&st->line, "syscall_0x%x(0x%lx, 0x%lx, 0x%lx, 0x%lx, 0x%lx, 0x%lx",
                      (uint32_t)nr, a->a[0], a->a[1], a->a[2], a->a[3], a->a[4], a->a[5]);
        return;
    }
    strace_printf(&st->line, "%s(", c.row->name);
    strace_args(st, &c, false);
    if (c.row->result == R_NONE) {
        strace_exit(t, nr, a, 0);
        st->active = false;
    }
}

void strace_block(struct task *t)
{
    struct strace_task *st = t->strace;
    if (!st || !st->active || st->resumed)
        return;
    strace_printf(&st->line, " <unfinished ...>");
    strace_emit(t, st->text);
    strace_begin_line(st);
    st->resumed = true;
}

static const char *strace_restart_text(long err)
{
    switch (err) {
    case ERESTARTSYS:
        return "ERESTARTSYS (To be restarted if SA_RESTART is set)";
    case ERESTARTNOINTR:
        return "ERESTARTNOINTR (To be restarted)";
    case ERESTARTNOHAND:
        return "ERESTARTNOHAND (To be restarted if no handler)";
    case ERESTART_RESTARTBLOCK:
        return "ERESTART_RESTARTBLOCK (Interrupted by signal)";
    }
    return NULL;
}

static void strace_error(struct strace_out *o, long err)
{
    const char *restart = strace_restart_text(err);
    const char *name = strerrorname_np((int)err), *text = strerrordesc_np((int)err);
    if (restart)
        strace_printf(o, "? %s", restart);
    else
        strace_printf(o, "-1 %s (%s)", name ? name : "ERRNO", text ? text : "Unknown error");
}

static void strace_fcntl_result(struct strace_out *o, const struct strace_call *c)
{
    bool descriptor = c->args->a[1] == F_GETFD;
    if (!descriptor && c->args->a[1] != F_GETFL) {
        strace_printf(o, "%ld", c->result);
        return;
    }
    strace_printf(o, "0x%lx", c->result);
    if (descriptor && c->result == 0)
        return;
    strace_printf(o, " (flags ");
    if (descriptor)
        strace_printf(o, "FD_CLOEXEC");
    else
        strace_kind(o, T_OPEN_FLAGS, (uint64_t)c->result);
    strace_printf(o, ")");
}

static void strace_result(struct strace_out *o, const struct strace_call *c)
{
    if (c->result < 0 && c->result >= -4095) {
        strace_error(o, -c->result);
        return;
    }
    switch ((enum strace_result)(c->row ? c->row->result : R_DEC)) {
    case R_NONE:
        strace_printf(o, "?");
        return;
    case R_HEX:
        strace_printf(o, c->result ? "0x%lx" : "0", c->result);
        return;
    case R_OCT:
        strace_printf(o, c->result ? "0%lo" : "0", c->result);
        return;
    case R_POLL:
        strace_printf(o, "%ld", c->result);
        strace_poll_result(o, c);
        return;
    case R_SELECT:
        strace_printf(o, "%ld", c->result);
        strace_select_result(o, c);
        return;
    case R_FCNTL:
        strace_fcntl_result(o, c);
        return;
    case R_SIGNAL:
        strace_printf(o, "%ld (", c->result);
        strace_signal_name(o, (int)c->result);
        strace_printf(o, ")");
        return;
    case R_SCHED:
        strace_printf(o, "%ld (", c->result);
        strace_kind(o, T_SCHED_POLICY, (uint64_t)c->result);
        strace_printf(o, ")");
        return;
    case R_DEC:
        strace_printf(o, "%ld", c->result);
        return;
    }
}

static void strace_elapsed(struct strace_out *o, const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long us = (now.tv_sec - start->tv_sec) * 1000000 + (now.tv_nsec - start->tv_nsec) / 1000;
    strace_printf(o, " <%ld.%06ld>", us / 1000000, us % 1000000);
}

void strace_exit(struct task *t, uint64_t nr, const struct sysargs *a, long result)
{
    struct strace_task *st = t->strace;
    if (!st || !st->active)
        return;
    struct strace_call c = strace_make_call(t, nr, a, result);
    struct strace_out *o = &st->line;
    if (st->resumed)
        strace_printf(o, "<... %s resumed>", c.row ? c.row->name : "call");
    if (c.row)
        strace_args(st, &c, true);
    strace_printf(o, ")");
    int pad = o->len < STRACE_RESULT_COLUMN ? (int)(STRACE_RESULT_COLUMN - o->len) : 0;
    strace_printf(o, "%*s = ", pad, "");
    strace_result(o, &c);
    if (t->kernel->strace && t->kernel->strace->time)
        strace_elapsed(o, &st->start);
    strace_emit(t, st->text);
    st->active = false;
}

/* ---- events ---- */

void strace_signal(struct task *t, const siginfo_t *info)
{
    char text[512];
    struct strace_out o = {.buf = text, .size = sizeof(text)};
    if (!t->kernel->strace)
        return;
    strace_printf(&o, "--- ");
    strace_signal_name(&o, info->si_signo);
    strace_printf(&o, " ");
    strace_siginfo(&o, info);
    strace_printf(&o, " ---");
    strace_emit(t, text);
}

void strace_task_exit(struct task *t, int wait_status)
{
    char text[64];
    struct strace_out o = {.buf = text, .size = sizeof(text)};
    if (!t->kernel->strace)
        return;
    strace_block(t);
    if (WIFSIGNALED(wait_status)) {
        strace_printf(&o, "+++ killed by ");
        strace_signal_name(&o, WTERMSIG(wait_status));
        strace_printf(&o, WCOREDUMP(wait_status) ? " (core dumped) +++" : " +++");
    } else {
        strace_printf(&o, "+++ exited with %d +++", WEXITSTATUS(wait_status));
    }
    strace_emit(t, text);
    free(t->strace);
    t->strace = NULL;
}

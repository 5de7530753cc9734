/*
 * The strace printer: what socket calls take.
 */
#include "sentry/syscalls/strace_format.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#define VALUE (c->args->a[i])

static void print_unix(struct strace_out *o, const struct sockaddr_un *sun, size_t length)
{
    size_t n = length - MIN(length, offsetof(struct sockaddr_un, sun_path));
    strace_printf(o, ", sun_path=");
    if (n > 0 && sun->sun_path[0] == '\0') { /* abstract: all of it counts */
        strace_printf(o, "@");
        strace_quote(o, sun->sun_path + 1, n - 1, false);
    } else {
        strace_quote(o, sun->sun_path, strnlen(sun->sun_path, n), false);
    }
}

static void print_inet(struct strace_out *o, const struct sockaddr_in *sin)
{
    char text[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &sin->sin_addr, text, sizeof(text));
    strace_printf(o, ", sin_port=htons(%u), sin_addr=inet_addr(\"%s\")", ntohs(sin->sin_port),
                  text);
}

static void print_inet6(struct strace_out *o, const struct sockaddr_in6 *sin6)
{
    char text[INET6_ADDRSTRLEN];
    inet_ntop(AF_INET6, &sin6->sin6_addr, text, sizeof(text));
    strace_printf(o, ", sin6_port=htons(%u), sin6_flowinfo=htonl(%u), ", ntohs(sin6->sin6_port),
                  ntohl(sin6->sin6_flowinfo));
    strace_printf(o, "inet_pton(AF_INET6, \"%s\", &sin6_addr), sin6_scope_id=%u", text,
                  sin6->sin6_scope_id);
}

static void print_sockaddr(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t length)
{
    union {
        struct sockaddr any;
        struct sockaddr_un sun;
        struct sockaddr_in sin;
        struct sockaddr_in6 sin6;
    } sa = {0};
    length = MIN(length, sizeof(sa));
    if (!addr || !mm || length < sizeof(sa.any.sa_family) || mm_copy_in(mm, &sa, addr, length)) {
        strace_pointer(o, addr);
        return;
    }
    strace_printf(o, "{sa_family=");
    strace_kind(o, T_SOCK_DOMAIN, sa.any.sa_family);
    if (sa.any.sa_family == AF_UNIX)
        print_unix(o, &sa.sun, length);
    else if (sa.any.sa_family == AF_INET && length >= sizeof(sa.sin))
        print_inet(o, &sa.sin);
    else if (sa.any.sa_family == AF_INET6 && length >= sizeof(sa.sin6))
        print_inet6(o, &sa.sin6);
    strace_printf(o, "}");
}

/* The next argument is the length, or points to it. */
STRACE_FORMATTER(strace_sockaddr)
{
    uint64_t length = c->args->a[i + 1];
    uint32_t stored;
    if (c->row->args[i] == T_OUT_SOCKADDR)
        length = c->mm && MM_COPY_IN(c->mm, &stored, length) == 0 ? stored : 0;
    print_sockaddr(o, c->mm, VALUE, length);
}

STRACE_FORMATTER(strace_sockopt)
{
    if ((int)c->args->a[4] == sizeof(int))
        strace_int_at(o, c, i, data);
    else
        strace_data(o, c->mm, VALUE, c->args->a[4]);
}

STRACE_FORMATTER(strace_msghdr)
{
    struct msghdr m;
    if (!c->mm || MM_COPY_IN(c->mm, &m, VALUE) != 0) {
        strace_pointer(o, VALUE);
        return;
    }
    bool out = c->row->args[i] == T_OUT_MSGHDR;
    strace_printf(o, "{msg_name=");
    print_sockaddr(o, c->mm, (gva_t)(uintptr_t)m.msg_name, m.msg_namelen);
    strace_printf(o, ", msg_namelen=%u, msg_iov=", m.msg_namelen);
    strace_iovec(o, c->mm, (gva_t)(uintptr_t)m.msg_iov, m.msg_iovlen,
                 out ? (uint64_t)MAX(c->result, 0L) : UINT64_MAX);
    strace_printf(o, ", msg_iovlen=%zu, msg_controllen=%zu, msg_flags=", m.msg_iovlen,
                  m.msg_controllen);
    strace_kind(o, T_MSG_FLAGS, (unsigned)m.msg_flags);
    strace_printf(o, "}");
}

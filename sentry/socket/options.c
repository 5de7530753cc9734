/*
 * SOL_SOCKET: the options that mean the same for every family. See socket(7).
 */
#include "sentry/kernel/task.h"
#include "sentry/socket/socket.h"
#include <string.h>

#define BUF_MAX 212992u /* net.core.wmem_max, rmem_max */
#define SNDBUF_MIN 4608u
#define RCVBUF_MIN 2304u

/* Switches that are remembered, and have no effect on a local socket. */
static const int remembered[] = {SO_DEBUG,     SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST,
                                 SO_KEEPALIVE, SO_OOBINLINE, SO_REUSEPORT, SO_TIMESTAMP};

static int switch_bit(int name)
{
    for (size_t i = 0; i < ARRAY_SIZE(remembered); i++)
        if (remembered[i] == name)
            return (int)i;
    return -1;
}

static int give(void *val, socklen_t *len, const void *from, size_t n)
{
    *len = MIN(*len, (socklen_t)n);
    memcpy(val, from, *len);
    return 0;
}

static int give_int(void *val, socklen_t *len, int value)
{
    return give(val, len, &value, sizeof value);
}

int socket_getsockopt(struct socket *s, int name, void *val, socklen_t *len)
{
    int bit = switch_bit(name);
    MUTEX_GUARD(&s->lock);
    if (bit >= 0)
        return give_int(val, len, s->option_bits >> bit & 1);
    switch (name) {
    case SO_TYPE:
        return give_int(val, len, s->type);
    case SO_DOMAIN:
        return give_int(val, len, s->family);
    case SO_PROTOCOL:
        return give_int(val, len, s->protocol);
    case SO_SNDBUF:
        return give_int(val, len, (int)s->sndbuf);
    case SO_RCVBUF:
        return give_int(val, len, (int)s->rcvbuf);
    case SO_LINGER:
        return give(val, len, &s->linger, sizeof s->linger);
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
        return give(val, len, &s->rcv_timeout, sizeof s->rcv_timeout);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        return give(val, len, &s->snd_timeout, sizeof s->snd_timeout);
    case SO_RCVLOWAT:
    case SO_SNDLOWAT:
        return give_int(val, len, 1);
    case SO_PRIORITY:
    case SO_MARK:
        return give_int(val, len, 0);
    default:
        return -ENOPROTOOPT;
    }
}

static int set_timeout(struct timeval *to, const void *val, socklen_t len)
{
    struct timeval tv;
    if (len < sizeof tv)
        return -EINVAL;
    memcpy(&tv, val, sizeof tv);
    if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
        return -EDOM;
    if (tv.tv_sec < 0) /* has passed before it began: the shortest there is */
        tv = (struct timeval){0, 1};
    *to = tv;
    return 0;
}

/* The kernel doubles what is asked for, to account for its own overhead. */
static unsigned buffer_size(int value, unsigned min, bool force)
{
    unsigned n = (unsigned)MAX(value, 0);
    if (!force)
        n = MIN(n, BUF_MAX);
    n = MIN(n, (unsigned)INT32_MAX / 2);
    return MAX(n * 2, min);
}

int socket_setsockopt(struct socket *s, struct task *t, int name, const void *val, socklen_t len)
{
    int value = 0, bit = switch_bit(name);
    if (len < sizeof value)
        return -EINVAL;
    memcpy(&value, val, sizeof value);
    bool force = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
    if (force && !task_capable(t, CAP_NET_ADMIN))
        return -EPERM;
    MUTEX_GUARD(&s->lock);
    if (bit >= 0) {
        s->option_bits = (s->option_bits & ~(1ull << bit)) | (uint64_t)(value != 0) << bit;
        return 0;
    }
    switch (name) {
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
        s->sndbuf = buffer_size(value, SNDBUF_MIN, force);
        return 0;
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
        s->rcvbuf = buffer_size(value, RCVBUF_MIN, force);
        return 0;
    case SO_LINGER:
        if (len < sizeof s->linger)
            return -EINVAL;
        memcpy(&s->linger, val, sizeof s->linger);
        return 0;
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
        return set_timeout(&s->rcv_timeout, val, len);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        return set_timeout(&s->snd_timeout, val, len);
    case SO_PRIORITY:
        return value == 0 ? 0 : -EPERM;
    default:
        return -ENOPROTOOPT;
    }
}

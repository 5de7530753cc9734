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
static const int remembered[] = {SO_DEBUG,     SO_REUSEADDR,  SO_DONTROUTE, SO_BROADCAST,
                                 SO_KEEPALIVE, SO_NO_CHECK,   SO_PASSSEC,   SO_RXQ_OVFL,
                                 SO_NOFCS,     SO_WIFI_STATUS};

static int switch_bit(int name)
{
    for (size_t i = 0; i < ARRAY_SIZE(remembered); i++)
        if (remembered[i] == name)
            return (int)i;
    return -1;
}

static bool is_stamp(int name)
{
    return name == SO_TIMESTAMP_OLD || name == SO_TIMESTAMP_NEW || name == SO_TIMESTAMPNS_OLD ||
           name == SO_TIMESTAMPNS_NEW;
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

static int give_timeout(void *val, socklen_t *len, const struct timeval *tv)
{
    struct timeval none = {0};
    return give(val, len, tv->tv_sec < 0 ? &none : tv, sizeof *tv);
}

int socket_getsockopt(struct socket *s, int name, void *val, socklen_t *len)
{
    int bit = switch_bit(name);
    MUTEX_GUARD(&s->lock);
    if (bit >= 0)
        return give_int(val, len, s->option_bits >> bit & 1);
    if (is_stamp(name))
        return give_int(val, len, s->stamp_as == name);
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
        return give_timeout(val, len, &s->rcv_timeout);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        return give_timeout(val, len, &s->snd_timeout);
    case SO_RCVLOWAT:
        return give_int(val, len, s->rcvlowat);
    case SO_SNDLOWAT:
        return give_int(val, len, 1);
    case SO_PRIORITY:
        return give_int(val, len, s->priority);
    case SO_MARK:
        return give_int(val, len, s->mark);
    case SO_PEEK_OFF:
        return give_int(val, len, s->peek_off);
    case SO_OOBINLINE:
        return give_int(val, len, s->oob_inline);
    case SO_BSDCOMPAT:
    case SO_REUSEPORT:
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
    if (tv.tv_sec < 0)
        tv = (struct timeval){-1, 0};
    *to = tv;
    return 0;
}

/* Switching it off does not change the time. */
static void set_linger(struct linger *linger, const void *val)
{
    struct linger new;
    memcpy(&new, val, sizeof new);
    linger->l_onoff = new.l_onoff != 0;
    if (new.l_onoff)
        linger->l_linger = new.l_linger;
}

/* The kernel doubles what is asked for, to account for its own overhead. */
static unsigned buffer_size(int value, unsigned min, bool force)
{
    unsigned n = force ? (unsigned)MAX(value, 0) : MIN((unsigned)value, BUF_MAX);
    n = MIN(n, (unsigned)INT32_MAX / 2);
    return MAX(n * 2, min);
}

/* What asks for a capability. */
static int may_set(struct task *t, int name, int value)
{
    bool net_admin = task_capable(t, CAP_NET_ADMIN);
    switch (name) {
    case SO_DEBUG:
        return value && !net_admin ? -EACCES : 0;
    case SO_SNDBUFFORCE:
    case SO_RCVBUFFORCE:
        return net_admin ? 0 : -EPERM;
    case SO_PRIORITY:
        return (value < 0 || value > 6) && !net_admin && !task_capable(t, CAP_NET_RAW) ? -EPERM : 0;
    case SO_MARK:
        return net_admin || task_capable(t, CAP_NET_RAW) ? 0 : -EPERM;
    default:
        return 0;
    }
}

int socket_setsockopt(struct socket *s, struct task *t, int name, const void *val, socklen_t len)
{
    int value = 0, bit = switch_bit(name);
    if (len < sizeof value)
        return -EINVAL;
    memcpy(&value, val, sizeof value);
    bool force = name == SO_SNDBUFFORCE || name == SO_RCVBUFFORCE;
    int err = may_set(t, name, value);
    if (err)
        return err;
    MUTEX_GUARD(&s->lock);
    if (bit >= 0) {
        s->option_bits = (s->option_bits & ~(1ull << bit)) | (uint64_t)(value != 0) << bit;
        return 0;
    }
    if (is_stamp(name)) {
        s->stamp_as = value ? name : 0;
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
        set_linger(&s->linger, val);
        return 0;
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
        return set_timeout(&s->rcv_timeout, val, len);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
        return set_timeout(&s->snd_timeout, val, len);
    case SO_RCVLOWAT:
        s->rcvlowat = value < 0 ? INT32_MAX : MAX(value, 1);
        return 0;
    case SO_PRIORITY:
        s->priority = value;
        return 0;
    case SO_MARK:
        s->mark = value;
        return 0;
    case SO_PEEK_OFF:
        s->peek_off = value;
        return 0;
    case SO_OOBINLINE:
        s->oob_inline = value;
        return 0;
    case SO_REUSEPORT: /* there are no ports to share */
        return value ? -EOPNOTSUPP : 0;
    case SO_BSDCOMPAT:
        return 0;
    default:
        return -ENOPROTOOPT;
    }
}

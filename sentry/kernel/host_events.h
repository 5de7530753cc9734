/*
 * The host-event thread behind host_watch_add (wait.h).
 */
#ifndef PICKET_SENTRY_KERNEL_HOST_EVENTS_H
#define PICKET_SENTRY_KERNEL_HOST_EVENTS_H

struct host_events;

/* Makes no thread and no descriptor until the first watch. */
int host_events_create(struct host_events **out);
/* Pre: nothing is watched. */
void host_events_destroy(struct host_events *he);

#endif

/*
 * Intrusive circular doubly linked lists.
 *
 *      head <-> entry <-> entry <-> (head)
 *
 * A list_head is both the anchor and the link. An entry that is on no list
 * points at itself (list_init), so list_del_init and list_empty work on entries too.
 */
#ifndef PICKET_BASE_LIST_H
#define PICKET_BASE_LIST_H

#include "base/compiler.h"

struct list_head {
    struct list_head *next, *prev;
};

static inline void list_init(struct list_head *h)
{
    h->next = h->prev = h;
}
static inline bool list_empty(const struct list_head *h)
{
    return h->next == h;
}
static inline void list_insert_between(struct list_head *e, struct list_head *prev,
                                       struct list_head *next)
{
    e->prev = prev;
    e->next = next;
    prev->next = e;
    next->prev = e;
}
/* Adds e at the front. */
static inline void list_add(struct list_head *h, struct list_head *e)
{
    list_insert_between(e, h, h->next);
}
/* Adds e at the back. */
static inline void list_add_tail(struct list_head *h, struct list_head *e)
{
    list_insert_between(e, h->prev, h);
}
/* Takes e off its list; e is then on no list. */
static inline void list_del(struct list_head *e)
{
    e->prev->next = e->next;
    e->next->prev = e->prev;
    list_init(e);
}

#define list_entry(ptr, type, member) container_of(ptr, type, member)
#define list_first(h, type, member)                                                                \
    (list_empty(h) ? (type *)NULL : list_entry((h)->next, type, member))
#define list_for_each(pos, h, member)                                                              \
    for (pos = list_entry((h)->next, __typeof__(*pos), member); &pos->member != (h);               \
         pos = list_entry(pos->member.next, __typeof__(*pos), member))
/* As list_for_each; pos may be taken off the list in the body. */
#define list_for_each_safe(pos, tmp, h, member)                                                    \
    for (pos = list_entry((h)->next, __typeof__(*pos), member),                                    \
        tmp = list_entry(pos->member.next, __typeof__(*pos), member);                              \
         &pos->member != (h);                                                                      \
         pos = tmp, tmp = list_entry(tmp->member.next, __typeof__(*tmp), member))

#endif

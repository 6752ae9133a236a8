/* timers.h - deadlines, many and cheap.
 *
 * Every connection has a deadline that moves several times a query, so setting one must cost
 * nanoseconds: a wheel of TIMER_TICK slots, one libevent timer for the next slot that is not empty.
 * A deadline fires up to one tick late, never early.  One wheel belongs to one thread. */
#ifndef QG_TIMERS_H
#define QG_TIMERS_H

#include <event2/event.h>

#include "base/bytes.h"
#include "base/list.h"

enum { TIMER_SLOTS = 1024, TIMER_TICK_US = 10000 };

struct timer {
    struct list link;
    uint64_t at; /* tick */
    void (*run)(struct timer *);
};

struct timers {
    struct list slots[TIMER_SLOTS];
    uint64_t full[TIMER_SLOTS / 64]; /* bit set: the slot may hold timers */
    uint64_t now;                    /* the last tick that was run */
    uint64_t armed;                  /* tick the event waits for; UINT64_MAX: none */
    struct event *event;
};

MUST bool timers_open(struct timers *w, struct event_base *base);
void timers_close(struct timers *w); /* no timer may be set any more */

void timer_init(struct timer *t, void (*run)(struct timer *));

/* (Re)sets t to fire `after` microseconds from now_us.  run may set it again or free it. */
void timer_set(struct timers *w, struct timer *t, uint64_t now_us, uint64_t after_us);
void timer_stop(struct timer *t); /* also when it is not set */
static inline bool timer_is_set(const struct timer *t) {
    return !list_empty(&t->link);
}

#endif

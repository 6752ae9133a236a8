/* worker.h - one thread: its event loop, mailbox, timers, read buffer, counters, and the lists of
 * what it owns.  The main thread is a worker too, one without upstreams: it serves the admin pages.
 * Nothing here is touched by another thread except the mailbox and, for reading, the counters. */
#ifndef QG_WORKER_H
#define QG_WORKER_H

#include <event2/event.h>
#include <pthread.h>
#include <stdatomic.h>

#include "access_log.h"
#include "base/clock.h"
#include "mailbox.h"
#include "policy.h"
#include "randomness.h"
#include "stats.h"
#include "timers.h"

struct gate;
struct listener;

struct worker {
    unsigned index;
    struct gate *gate;
    pthread_t thread;
    struct event_base *base;
    struct mailbox mail;
    struct timers timers;
    char *scratch; /* READ_BYTES_MAX + BODY_PADDING: where sockets are read into first */
    struct config *config;
    struct list listeners;
    struct list conns; /* client connections */
    unsigned conn_count;
    struct list upstreams; /* struct upstream of upstream.h */
    struct list parked;    /* dead objects that a callback may still be in: struct parked */
    struct event *reaper;
    struct arena *arenas[64]; /* spare ones */
    unsigned spare;
    struct stats *stats;
    struct store *store;        /* of stores.h; the main thread has none */
    struct random_place random; /* of noise */
    struct hash_key marks;      /* for what is recognised within a connection */
    struct access_log log;
    bool draining;
    uint64_t turn;             /* of the event loop */
    uint64_t now_us, now_turn; /* for worker_now */
    struct timer patience;     /* while draining: when the last connections are closed */
};

/* First member of what can be parked. */
struct parked {
    struct list link;
    void (*free)(struct parked *);
};

MUST bool worker_open(struct worker *w, struct gate *gate, unsigned index, struct config *config);
void worker_close(struct worker *w);

/* Frees p after the callbacks of this turn of the loop. */
void worker_park(struct worker *w, struct parked *p);

/* The time when this turn first asked: for deadlines, which need not know more.  (The main thread
 * counts no turns and gets the time itself.) */
static inline uint64_t worker_now(struct worker *w) {
    if (w->now_turn != w->turn || w->turn == 0) {
        w->now_us = clock_us();
        w->now_turn = w->turn;
    }
    return w->now_us;
}

/* An arena for one request, and back. */
MUST struct arena *worker_arena(struct worker *w);
void worker_arena_done(struct worker *w, struct arena *a);

#endif

#include "worker.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"

static void reap(evutil_socket_t fd, short what, void *cookie) {
    struct worker *w = cookie;
    (void)fd, (void)what;
    while (!list_empty(&w->parked)) {
        struct parked *p = list_object(w->parked.next, struct parked, link);
        list_remove(&p->link);
        p->free(p);
    }
}

void worker_park(struct worker *w, struct parked *p) {
    if (list_empty(&w->parked))
        event_active(w->reaper, 0, 0);
    list_push(&w->parked, &p->link);
}

struct arena *worker_arena(struct worker *w) {
    return w->spare > 0 ? w->arenas[--w->spare] : arena_new(ARENA_BYTES_MAX);
}

void worker_arena_done(struct worker *w, struct arena *a) {
    if (w->spare == sizeof(w->arenas) / sizeof(w->arenas[0])) {
        arena_free(a);
        return;
    }
    arena_reset(a);
    w->arenas[w->spare++] = a;
}

/* No locks: a base is touched by its own thread only (the mailbox is the way in). */
static struct event_base *base_new(void) {
    struct event_config *c = event_config_new();
    struct event_base *base = NULL;
    if (c == NULL)
        return NULL;
    event_config_set_flag(c, EVENT_BASE_FLAG_NOLOCK);
    base = event_base_new_with_config(c);
    event_config_free(c);
    return base;
}

bool worker_open(struct worker *w, struct gate *gate, unsigned index, struct config *config) {
    *w = (struct worker){.index = index, .gate = gate};
    list_init(&w->listeners);
    list_init(&w->conns);
    list_init(&w->upstreams);
    list_init(&w->parked);
    if ((w->base = base_new()) == NULL)
        goto err0;
    if (!mailbox_open(&w->mail, w->base, w))
        goto err1;
    if (!timers_open(&w->timers, w->base))
        goto err2;
    if ((w->reaper = event_new(w->base, -1, 0, reap, w)) == NULL)
        goto err3;
    if ((w->scratch = malloc(READ_BYTES_MAX + BODY_PADDING)) == NULL)
        goto err4;
    if ((w->stats = stats_new()) == NULL)
        goto err5;
    if (!random_open(&w->random))
        goto err6;
    w->marks = crypto_hash_key();
    w->config = config_ref(config);
    access_log_init(&w->log, w);
    return true;
err6:
    stats_free(w->stats);
err5:
    free(w->scratch);
err4:
    event_free(w->reaper);
err3:
    timers_close(&w->timers);
err2:
    mailbox_close(&w->mail);
err1:
    event_base_free(w->base);
err0:
    return false;
}

void worker_close(struct worker *w) {
    require(list_empty(&w->conns) && list_empty(&w->upstreams) && list_empty(&w->listeners));
    mailbox_close(&w->mail); /* Runs what is left in it, while everything is still there. */
    reap(-1, 0, w);
    access_log_close(&w->log);
    while (w->spare > 0)
        arena_free(w->arenas[--w->spare]);
    config_unref(w->config);
    random_close(&w->random);
    stats_free(w->stats);
    free(w->scratch);
    event_free(w->reaper);
    timers_close(&w->timers);
    event_base_free(w->base);
}

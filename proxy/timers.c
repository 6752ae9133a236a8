#include "timers.h"

#include "base/clock.h"
#include "base/require.h"

static unsigned slot_of(uint64_t tick) {
    return (unsigned)(tick % TIMER_SLOTS);
}

/* The first tick after w->now whose slot may hold timers; UINT64_MAX: there is none. */
static uint64_t next_tick(const struct timers *w) {
    for (uint64_t tick = w->now + 1, end = w->now + TIMER_SLOTS; tick <= end;) {
        uint64_t word = w->full[slot_of(tick) / 64] >> (tick % 64);
        if (word != 0)
            return tick + (unsigned)__builtin_ctzll(word);
        tick += 64 - tick % 64;
    }
    return UINT64_MAX;
}

static void arm(struct timers *w, uint64_t tick) {
    uint64_t now = clock_us(), at = tick * TIMER_TICK_US;
    uint64_t wait = at > now ? at - now : 0;
    struct timeval tv = {.tv_sec = (time_t)(wait / 1000000),
                         .tv_usec = (suseconds_t)(wait % 1000000)};
    w->armed = tick;
    event_add(w->event, &tv);
}

/* Runs the timers of one slot that are due; those a wheel turn or more away stay. */
static void run_slot(struct timers *w, uint64_t tick) {
    struct list *slot = &w->slots[slot_of(tick)], due;
    list_init(&due);
    for (struct list *n = slot->next, *next; n != slot; n = next) {
        next = n->next;
        if (list_object(n, struct timer, link)->at <= tick) {
            list_remove(n);
            list_push(&due, n);
        }
    }
    if (list_empty(slot))
        w->full[slot_of(tick) / 64] &= ~(1ull << (tick % 64));
    while (!list_empty(&due)) {
        struct timer *t = list_object(due.next, struct timer, link);
        list_remove(&t->link);
        t->run(t);
    }
}

static void on_time(evutil_socket_t fd, short what, void *cookie) {
    struct timers *w = cookie;
    uint64_t end = clock_us() / TIMER_TICK_US, tick;
    (void)fd, (void)what;
    w->armed = UINT64_MAX;
    while ((tick = next_tick(w)) <= end) {
        w->now = tick;
        run_slot(w, tick);
    }
    w->now = end;
    if ((tick = next_tick(w)) != UINT64_MAX && tick < w->armed)
        arm(w, tick);
}

bool timers_open(struct timers *w, struct event_base *base) {
    for (unsigned i = 0; i < TIMER_SLOTS; i++)
        list_init(&w->slots[i]);
    memset(w->full, 0, sizeof(w->full));
    w->now = clock_us() / TIMER_TICK_US;
    w->armed = UINT64_MAX;
    w->event = event_new(base, -1, 0, on_time, w);
    return w->event != NULL;
}

void timers_close(struct timers *w) {
    for (unsigned i = 0; i < TIMER_SLOTS; i++)
        require(list_empty(&w->slots[i]));
    event_free(w->event);
}

void timer_init(struct timer *t, void (*run)(struct timer *)) {
    list_init(&t->link);
    t->at = 0;
    t->run = run;
}

void timer_set(struct timers *w, struct timer *t, uint64_t now_us, uint64_t after_us) {
    uint64_t at = (now_us + after_us) / TIMER_TICK_US + 1;
    if (at <= w->now)
        at = w->now + 1;
    if (at == t->at && timer_is_set(t))
        return;
    list_remove(&t->link);
    t->at = at;
    list_push(&w->slots[slot_of(at)], &t->link);
    w->full[slot_of(at) / 64] |= 1ull << (at % 64);
    if (at < w->armed)
        arm(w, at);
}

void timer_stop(struct timer *t) {
    list_remove(&t->link);
}

/* upstream_health.c - which endpoints may be asked: active checks, passive outcomes, a breaker. */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/require.h"
#include "upstream_private.h"

enum { CHECKS_TO_FLIP = 2, NO_CONNECTION_TO_OPEN = 3 };

bool endpoint_usable(struct endpoint *e, uint64_t now_us) {
    const struct breaker *b = &e->breaker;
    if (e->down)
        return false;
    return b->open_until == 0 || (now_us >= b->open_until && !b->trying);
}

bool endpoint_taken(struct endpoint *e, uint64_t now_us) {
    struct breaker *b = &e->breaker;
    bool trial = b->open_until != 0 && now_us >= b->open_until;
    b->trying = b->trying || trial;
    return trial;
}

void health_publish(struct upstream *u) {
    uint64_t up = 0, now = clock_us();
    for (uint32_t i = 0; i < u->conf->endpoint_count; i++)
        up += endpoint_usable(&u->endpoints[i], now);
    atomic_store_explicit(&u->worker->stats->endpoints_up[u->series], up, memory_order_relaxed);
}

static void breaker_open(struct endpoint *e, uint64_t now_us) {
    struct bytes url = endpoint_conf(e)->url;
    if (e->breaker.open_until == 0)
        log_line(LOG_WARNING, "upstream %.*s: too many failures, not asked for %u s", (int)url.len,
                 url.at, (unsigned)(BREAKER_OPEN_TIME / 1000000));
    e->breaker = (struct breaker){.window_began = now_us, .open_until = now_us + BREAKER_OPEN_TIME};
    health_publish(e->upstream);
}

static void breaker_close(struct endpoint *e, uint64_t now_us) {
    struct bytes url = endpoint_conf(e)->url;
    log_line(LOG_NOTICE, "upstream %.*s: asked again", (int)url.len, url.at);
    e->breaker = (struct breaker){.window_began = now_us};
    health_publish(e->upstream);
}

static void trial_over(struct endpoint *e, enum endpoint_outcome outcome, uint64_t now_us) {
    e->breaker.trying = false;
    if (outcome == OUTCOME_GOOD)
        breaker_close(e, now_us);
    else if (outcome != OUTCOME_NONE)
        breaker_open(e, now_us);
}

void endpoint_outcome(struct endpoint *e, bool trial, enum endpoint_outcome outcome,
                      uint64_t now_us) {
    struct breaker *b = &e->breaker;
    if (trial)
        trial_over(e, outcome, now_us);
    /* An open breaker waits for its trial: calls of before it opened say nothing new. */
    if (trial || outcome == OUTCOME_NONE || b->open_until != 0)
        return;
    if (now_us - b->window_began > BREAKER_WINDOW) {
        b->window_began = now_us;
        b->calls = b->failures = 0;
    }
    b->calls++;
    b->failures += outcome != OUTCOME_GOOD;
    b->in_a_row = outcome == OUTCOME_NO_CONNECTION ? b->in_a_row + 1 : 0;
    if (b->in_a_row >= NO_CONNECTION_TO_OPEN ||
        (b->calls >= BREAKER_MIN_CALLS && b->failures * 100 >= b->calls * BREAKER_OPEN_PERCENT))
        breaker_open(e, now_us);
}

static void checked(struct endpoint *e, bool good) {
    struct bytes url = endpoint_conf(e)->url;
    if (good == !e->down) {
        e->streak = 0;
        return;
    }
    if (++e->streak < CHECKS_TO_FLIP)
        return;
    e->streak = 0;
    e->down = !good;
    log_line(good ? LOG_NOTICE : LOG_WARNING, "upstream %.*s: health check %s", (int)url.len,
             url.at, good ? "passes again" : "fails");
    health_publish(e->upstream);
}

static void probe_end(struct probe *p) {
    p->call = NULL;
    buf_free(&p->spill);
    worker_arena_done(p->endpoint->upstream->worker, p->arena);
    p->arena = NULL;
}

static void on_probe(void *cookie, enum upstream_counter result, const struct http1_head *head,
                     struct bytes body) {
    struct probe *p = cookie;
    (void)body;
    bool good = result == UPSTREAM_OK && head != NULL;
    probe_end(p);
    checked(p->endpoint, good);
}

static void probe_begin(struct endpoint *e) {
    struct probe *p = &e->probe;
    const struct upstream_conf *conf = e->upstream->conf;
    enum upstream_counter why;
    uint64_t patience = conf->health_interval < SECONDS(2) ? conf->health_interval : SECONDS(2);
    if (p->call != NULL || (p->arena = worker_arena(e->upstream->worker)) == NULL)
        return;
    p->endpoint = e;
    p->out = (struct outgoing){.path = conf->health_path};
    buf_init(&p->spill, HEALTH_BODY_MAX + BODY_PADDING);
    struct upstream_request r = {.method = "GET",
                                 .out = &p->out,
                                 .deadline_us = clock_us() + patience,
                                 .arena = p->arena,
                                 .spill = &p->spill,
                                 .max_answer = HEALTH_BODY_MAX};
    p->call = call_start(e->upstream, e, &r, on_probe, p, &why);
    if (p->call == NULL) {
        probe_end(p);
        if (why == UPSTREAM_CONNECT)
            checked(e, false);
    }
}

static void on_health_time(struct timer *t) {
    struct upstream *u = list_object(t, struct upstream, health);
    for (uint32_t i = 0; i < u->conf->endpoint_count; i++)
        probe_begin(&u->endpoints[i]);
    health_publish(u);
    timer_set(&u->worker->timers, &u->health, clock_us(), u->conf->health_interval);
}

void health_start(struct upstream *u) {
    timer_init(&u->health, on_health_time);
    health_publish(u);
    if (u->conf->health_path.len > 0)
        timer_set(&u->worker->timers, &u->health, clock_us(), 0);
}

void health_stop(struct upstream *u) {
    timer_stop(&u->health);
    for (uint32_t i = 0; i < u->conf->endpoint_count; i++) {
        struct probe *p = &u->endpoints[i].probe;
        if (p->call == NULL)
            continue;
        upstream_cancel(p->call);
        probe_end(p);
    }
}

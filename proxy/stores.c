#include "stores.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "redis.h"
#include "store_durable.h"
#include "store_guard.h"
#include "store_lease.h"
#include "store_redis.h"
#include "worker.h"

struct stores {
    const struct store_conf *conf;
    struct store *memory; /* shared by the workers' guards */
    struct durable *durable;
    struct leases *leases;
    struct guards *guards;
};

/* A worker's view of the shared memory store, which it does not own. */
struct view {
    struct store store;
    struct store *whole;
};

static enum store_status view_take(struct store *store, struct bytes key,
                                   const struct store_rate *rate, uint64_t n, store_done_fn *done,
                                   void *cookie, struct store_answer *out) {
    return store_take(((struct view *)store)->whole, key, rate, n, done, cookie, out);
}

static enum store_status view_spend(struct store *store, struct bytes key,
                                    const struct store_budget *budget,
                                    const struct store_spending *what, store_done_fn *done,
                                    void *cookie, struct store_answer *out) {
    return store_spend(((struct view *)store)->whole, key, budget, what, done, cookie, out);
}

static void view_cancel(struct store *store, void *cookie) {
    (void)store, (void)cookie; /* memory has nothing pending */
}

static void view_free(struct store *store) {
    free(store);
}

static const struct store_ops view_ops = {.name = "memory",
                                          .take = view_take,
                                          .spend = view_spend,
                                          .cancel = view_cancel,
                                          .free = view_free};

static struct store *view_new(struct store *whole) {
    struct view *v = malloc(sizeof(*v));
    if (v != NULL)
        *v = (struct view){{&view_ops}, whole};
    return v != NULL ? &v->store : NULL;
}

static bool is_shared(const struct store_conf *conf) {
    return conf->kind != STORE_MEMORY && conf->kind != STORE_DURABLE;
}

/* What counts while the store below does not: nothing, where that is memory itself. */
static bool make_guards(struct stores *s) {
    const struct store_conf *conf = s->conf;
    struct store *local = NULL;
    if (conf->kind != STORE_MEMORY && (local = store_memory_new(clock_ns)) == NULL)
        return false;
    s->guards = guards_new(is_shared(conf) ? conf->expected_gates : 1,
                           (enum store_on_failure)conf->on_failure, local);
    return s->guards != NULL;
}

static bool make_bottom(struct stores *s, char *error, size_t len) {
    static const struct durable_clocks clocks = {clock_ns, clock_wall_us};
    if (s->conf->kind == STORE_MEMORY)
        return (s->memory = store_memory_new(clock_ns)) != NULL;
    if (s->conf->kind == STORE_DURABLE)
        return (s->durable = durable_new(s->conf, &clocks, error, len)) != NULL;
    return (s->leases = leases_new()) != NULL;
}

struct stores *stores_new(const struct store_conf *conf, char *error, size_t len) {
    struct stores *s = calloc(1, sizeof(*s));
    snprintf(error, len, "out of memory");
    if (s == NULL)
        return NULL;
    s->conf = conf;
    if (make_guards(s) && make_bottom(s, error, len))
        return s;
    stores_free(s);
    return NULL;
}

void stores_free(struct stores *s) {
    if (s == NULL)
        return;
    guards_free(s->guards);
    leases_free(s->leases);
    if (s->durable != NULL)
        durable_free(s->durable);
    if (s->memory != NULL)
        s->memory->ops->free(s->memory);
    free(s);
}

/* Fills in what is below w's guard.  False: out of memory. */
static bool open_bottom(struct stores *s, struct worker *w, struct guard_conf *guard) {
    if (s->conf->kind == STORE_MEMORY)
        return (guard->lower = view_new(s->memory)) != NULL;
    if (s->conf->kind == STORE_DURABLE)
        return (guard->lower = durable_open(s->durable, w)) != NULL;
    struct redis *redis = redis_new(w, s->conf);
    if (redis == NULL ||
        (guard->source = store_redis_new(redis, clock_us, s->conf->timeout)) == NULL)
        return false;
    guard->lower = store_lease_new(s->leases, guard->source, clock_us);
    if (guard->lower == NULL)
        guard->source->ops->free(guard->source);
    return guard->lower != NULL;
}

struct store *stores_open(struct stores *s, struct worker *w) {
    struct guard_conf guard = {
        .all = s->guards, .now_us = clock_us, .timers = &w->timers, .stats = w->stats};
    return open_bottom(s, w, &guard) ? store_guard_new(&guard) : NULL;
}

bool stores_up(const struct stores *s) {
    return guards_up(s->guards);
}

bool stores_starting(const struct stores *s) {
    return guards_starting(s->guards);
}

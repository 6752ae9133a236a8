#include "store_guard.h"

#include <pthread.h>
#include <stdlib.h>

#include "alert.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/require.h"

/* What one bucket owes the shared count. */
struct debt {
    struct bucket bucket;
    struct store_rate rate;
    uint64_t tokens; /* 0: the place is free */
};

struct guards {
    uint64_t expected_gates;
    enum store_on_failure as_configured;
    struct store *local;
    _Atomic unsigned workers, confirmed, lost;
    pthread_mutex_t lock; /* of all below */
    struct debt *debts;   /* STORE_DEBTS_MAX places, made when first needed */
    _Atomic uint32_t debt_count;
    uint32_t next; /* place to look at for one to be charged */
};

enum state { STARTING, UP, LOST };

struct guard {
    struct store store;
    struct guards *all;
    struct store *lower;
    struct source *source;
    uint64_t (*now_us)(void);
    struct timers *timers;
    struct stats *stats;
    struct timer timer;
    struct list waiting; /* struct wait */
    struct wait *spare;
    enum state state;
    bool asking; /* a ping is out */
    bool names;  /* failed is set */
    struct bucket
        failed;        /* LOST: the one that was asked for last: of a Cluster, that node is gone */
    unsigned in_a_row; /* UP: failures, LOST: answers */
    uint64_t since_us; /* in this state */
    uint64_t heard_us; /* last answer or failure */
};

/* A query that the store is asked about. */
struct wait {
    struct list link;
    struct guard *owner;
    store_done_fn *done;
    void *cookie;
    struct store_rate rate;
    uint64_t n;
    bool spends; /* of rate, only on_failure is set */
    size_t key_len, room;
    char key[];
};

/* ---- What is owed ---- */

/* The bucket's place or the one it may have.  NULL: all within reach are taken. */
static struct debt *debt_place(struct guards *g, const struct bucket *b) {
    uint32_t hash;
    memcpy(&hash, b->name, sizeof(hash)); /* of a digest's letters: the low bits vary */
    hash *= 0x9e3779b1u;
    for (uint32_t i = 0; i < 16; i++) {
        struct debt *d = &g->debts[((hash >> 8) + i) % STORE_DEBTS_MAX];
        if (d->tokens == 0 || memcmp(&d->bucket, b, sizeof(*b)) == 0)
            return d;
    }
    return NULL;
}

static void owe(struct guards *g, struct bytes key, const struct store_rate *rate, uint64_t n) {
    struct bucket b = bucket_of(key);
    if (n == 0)
        return;
    pthread_mutex_lock(&g->lock);
    if (g->debts == NULL)
        g->debts = calloc(STORE_DEBTS_MAX, sizeof(*g->debts));
    struct debt *d = g->debts != NULL ? debt_place(g, &b) : NULL;
    if (d != NULL) {
        if (d->tokens == 0) {
            *d = (struct debt){.bucket = b, .rate = *rate};
            g->debt_count++;
        }
        d->tokens = d->tokens < rate->burst - n ? d->tokens + n : rate->burst;
    }
    pthread_mutex_unlock(&g->lock);
}

static bool next_debt(struct guards *g, struct debt *out) {
    bool found = false;
    pthread_mutex_lock(&g->lock);
    for (uint32_t i = 0; i < STORE_DEBTS_MAX && g->debt_count > 0 && !found; i++) {
        struct debt *d = &g->debts[g->next++ % STORE_DEBTS_MAX];
        if (d->tokens > 0) {
            *out = *d;
            d->tokens = 0;
            g->debt_count--;
            found = true;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return found;
}

/* What cannot be sent now is forgotten: the store is lost again, and it was best effort. */
static void pay(struct guard *g) {
    struct debt d;
    for (int i = 0; i < STORE_CHARGES_TICK && g->all->debt_count > 0; i++)
        if (!next_debt(g->all, &d) ||
            !g->source->ops->settle(g->source, &d.bucket, &d.rate, true, d.tokens))
            return;
}

/* ---- Lost and found ---- */

static void announce(bool lost) {
    const struct alert a = {
        .rule = lost ? "store.lost" : "store.found",
        .severity = lost ? ALERT_HIGH : ALERT_INFO,
        .text = lost ? "The shared store does not answer: each rule's on_failure decides."
                     : "The shared store answers again: counts are shared.",
    };
    log_line(lost ? LOG_ERROR : LOG_NOTICE, "store: %s", a.text);
    alert_raise(&a);
}

static void enter(struct guard *g, enum state state) {
    struct guards *all = g->all;
    if (g->state == STARTING && state == UP)
        all->confirmed++;
    if (state == LOST) {
        if (g->state == UP)
            all->confirmed--;
        stats_count(g->stats, COUNT_store_losses);
        if (all->lost++ == 0)
            announce(true);
    }
    if (g->state == LOST) {
        all->confirmed++;
        if (--all->lost == 0)
            announce(false);
    }
    g->state = state;
    g->in_a_row = 0;
    g->since_us = g->now_us();
}

static void on_success(struct guard *g) {
    if (g->source == NULL)
        return;
    g->heard_us = g->now_us();
    if (g->state == STARTING) {
        enter(g, UP);
    } else if (g->state == UP) {
        g->in_a_row = 0;
    }
}

/* key: what was asked for; none: nothing in particular. */
static void on_failure(struct guard *g, struct bytes key) {
    stats_count(g->stats, COUNT_store_failures);
    if (g->source == NULL)
        return;
    g->heard_us = g->now_us();
    if (g->state == LOST)
        g->in_a_row = 0;
    else if (g->state == STARTING && g->heard_us - g->since_us < STORE_PATIENCE)
        return;
    else if (++g->in_a_row >= STORE_FAILURES) {
        g->names = key.len > 0;
        if (g->names)
            g->failed = bucket_of(key);
        enter(g, LOST);
    }
}

/* ---- Deciding without the store ---- */

static enum store_status decide_local(struct guard *g, struct bytes key,
                                      const struct store_rate *rate, uint64_t n,
                                      struct store_answer *out) {
    uint64_t gates = g->all->expected_gates;
    struct store_rate share = *rate;
    share.burst = rate->burst / gates > 0 ? rate->burst / gates : 1;
    if (__builtin_mul_overflow(rate->period_us, gates, &share.period_us) ||
        share.period_us > UINT64_MAX / 1000)
        return out->status = STORE_FAILED;
    store_take(g->all->local, key, &share, n, NULL, NULL, out);
    /* More than the share's burst: when the store is back it may well pass. */
    if (!out->admitted && out->retry_after_us == UINT64_MAX && n <= rate->burst)
        out->retry_after_us = SECONDS(1);
    return out->status;
}

static enum store_status decide(struct guard *g, struct bytes key, const struct store_rate *rate,
                                uint64_t n, struct store_answer *out) {
    enum store_on_failure mode = rate->on_failure;
    *out = (struct store_answer){.status = STORE_DONE};
    if (mode == STORE_AS_CONFIGURED)
        mode = g->all->as_configured;
    if (mode == STORE_LOCAL &&
        (g->all->local == NULL || decide_local(g, key, rate, n, out) == STORE_FAILED))
        mode = STORE_CLOSED;
    if (mode == STORE_CLOSED)
        out->status = STORE_FAILED;
    else if (mode == STORE_OPEN)
        out->admitted = true;
    out->fallback = true;
    stats_count(g->stats, mode == STORE_LOCAL    ? COUNT_store_fallback_local
                          : mode == STORE_CLOSED ? COUNT_store_fallback_closed
                                                 : COUNT_store_fallback_open);
    if (out->admitted && g->source != NULL)
        owe(g->all, key, rate, n < rate->burst ? n : rate->burst);
    return out->status;
}

/* A budget is not counted here: neither `local`, nor owed. */
static enum store_status decide_spend(struct guard *g, enum store_on_failure mode,
                                      struct store_answer *out) {
    if (mode == STORE_AS_CONFIGURED)
        mode = g->all->as_configured;
    *out = (struct store_answer){.status = mode == STORE_OPEN ? STORE_DONE : STORE_FAILED,
                                 .admitted = mode == STORE_OPEN,
                                 .fallback = true};
    stats_count(g->stats,
                mode == STORE_OPEN ? COUNT_store_fallback_open : COUNT_store_fallback_closed);
    return out->status;
}

/* ---- Taking ---- */

/* The one used last, if it has the room.  NULL: out of memory. */
static struct wait *wait_new(struct guard *g, size_t room) {
    struct wait *w = g->spare;
    g->spare = NULL;
    if (w != NULL && w->room >= room)
        return w;
    free(w);
    w = malloc(sizeof(*w) + room);
    if (w != NULL)
        w->room = room;
    return w;
}

static void wait_free(struct guard *g, struct wait *w) {
    free(g->spare);
    g->spare = w;
}

static void keep_key(struct wait *w, struct bytes key) {
    w->key_len = key.len;
    if (key.len > 0)
        memcpy(w->key, key.at, key.len);
}

static void on_answer(void *cookie, const struct store_answer *answer) {
    struct wait *w = cookie;
    struct guard *g = w->owner;
    struct store_answer own = *answer;
    store_done_fn *done = w->done;
    void *whose = w->cookie;
    list_remove(&w->link);
    if (answer->status == STORE_FAILED) {
        struct bytes key = bytes_of(w->key, w->key_len);
        on_failure(g, key);
        if (w->spends)
            decide_spend(g, w->rate.on_failure, &own);
        else
            decide(g, key, &w->rate, w->n, &own);
    } else {
        on_success(g);
    }
    wait_free(g, w);
    done(whose, &own);
}

static enum store_status guard_take(struct store *store, struct bytes key,
                                    const struct store_rate *rate, uint64_t n, store_done_fn *done,
                                    void *cookie, struct store_answer *out) {
    struct guard *g = (struct guard *)store;
    struct wait *w = g->state != LOST ? wait_new(g, key.len) : NULL;
    if (w == NULL)
        return decide(g, key, rate, n, out);
    enum store_status status = store_take(g->lower, key, rate, n, on_answer, w, out);
    if (status == STORE_PENDING) {
        w->owner = g;
        w->done = done;
        w->cookie = cookie;
        w->rate = *rate;
        w->n = n;
        w->spends = false;
        keep_key(w, key);
        list_push(&g->waiting, &w->link);
        return status;
    }
    wait_free(g, w);
    if (status == STORE_DONE)
        return status;
    on_failure(g, key);
    return decide(g, key, rate, n, out);
}

static enum store_status guard_spend(struct store *store, struct bytes key,
                                     const struct store_budget *budget,
                                     const struct store_spending *what, store_done_fn *done,
                                     void *cookie, struct store_answer *out) {
    struct guard *g = (struct guard *)store;
    struct wait *w = g->state != LOST ? wait_new(g, key.len) : NULL;
    if (w == NULL)
        return decide_spend(g, budget->on_failure, out);
    enum store_status status = store_spend(g->lower, key, budget, what, on_answer, w, out);
    if (status == STORE_PENDING) {
        w->owner = g;
        w->done = done;
        w->cookie = cookie;
        w->rate = (struct store_rate){.on_failure = budget->on_failure};
        w->spends = true;
        keep_key(w, key);
        list_push(&g->waiting, &w->link);
        return status;
    }
    wait_free(g, w);
    if (status == STORE_DONE)
        return status;
    on_failure(g, key);
    return decide_spend(g, budget->on_failure, out);
}

static void guard_cancel(struct store *store, void *cookie) {
    struct guard *g = (struct guard *)store;
    for (struct list *n = g->waiting.next, *next; n != &g->waiting; n = next) {
        struct wait *w = list_object(n, struct wait, link);
        next = n->next;
        if (w->cookie != cookie)
            continue;
        g->lower->ops->cancel(g->lower, w);
        list_remove(&w->link);
        wait_free(g, w);
    }
}

/* ---- Asking unasked ---- */

static void on_ping(void *cookie, const struct store_answer *answer) {
    struct guard *g = cookie;
    g->asking = false;
    if (answer->status != STORE_DONE)
        on_failure(g, bytes_of(NULL, 0));
    else if (g->state != LOST)
        on_success(g);
    else if (++g->in_a_row >= STORE_RECOVERIES && g->now_us() - g->since_us >= STORE_LOST_MIN)
        enter(g, UP);
}

static void guard_tick(struct store *store) {
    struct guard *g = (struct guard *)store;
    if (g->lower->ops->tick != NULL)
        g->lower->ops->tick(g->lower);
    if (g->source == NULL)
        return;
    if (!g->asking && (g->state != UP || g->now_us() - g->heard_us >= STORE_TICK)) {
        const struct bucket *b = g->state == LOST && g->names ? &g->failed : NULL;
        g->asking = g->source->ops->ping(g->source, b, on_ping, g) == STORE_PENDING;
        if (!g->asking)
            on_failure(g, bytes_of(NULL, 0));
    }
    if (g->state == UP)
        pay(g);
}

static void on_timer(struct timer *t) {
    struct guard *g = list_object(t, struct guard, timer);
    timer_set(g->timers, t, g->now_us(), STORE_TICK);
    guard_tick(&g->store);
}

/* ---- Its life ---- */

static void guard_free(struct store *store) {
    struct guard *g = (struct guard *)store;
    timer_stop(&g->timer);
    g->lower->ops->free(g->lower);
    if (g->source != NULL)
        g->source->ops->free(g->source);
    while (!list_empty(&g->waiting)) {
        struct wait *w = list_object(g->waiting.next, struct wait, link);
        list_remove(&w->link);
        wait_free(g, w);
    }
    free(g->spare);
    g->all->workers--;
    g->all->confirmed -= g->state == UP;
    g->all->lost -= g->state == LOST;
    free(g);
}

static const struct store_ops guard_ops = {.name = "guard",
                                           .take = guard_take,
                                           .spend = guard_spend,
                                           .cancel = guard_cancel,
                                           .tick = guard_tick,
                                           .free = guard_free};

struct store *store_guard_new(const struct guard_conf *conf) {
    struct guard *g = malloc(sizeof(*g));
    if (g == NULL) {
        conf->lower->ops->free(conf->lower);
        if (conf->source != NULL)
            conf->source->ops->free(conf->source);
        return NULL;
    }
    *g = (struct guard){.store = {&guard_ops},
                        .all = conf->all,
                        .lower = conf->lower,
                        .source = conf->source,
                        .now_us = conf->now_us,
                        .timers = conf->timers,
                        .stats = conf->stats,
                        .state = STARTING,
                        .since_us = conf->now_us()};
    list_init(&g->waiting);
    timer_init(&g->timer, on_timer);
    g->all->workers++;
    if (g->source == NULL)
        enter(g, UP);
    if (g->timers != NULL)
        timer_set(g->timers, &g->timer, g->since_us, STORE_TICK);
    return &g->store;
}

struct guards *guards_new(uint64_t expected_gates, enum store_on_failure as_configured,
                          struct store *local) {
    struct guards *g = calloc(1, sizeof(*g));
    require(expected_gates > 0 && as_configured != STORE_AS_CONFIGURED);
    if (g == NULL) {
        if (local != NULL)
            local->ops->free(local);
        return NULL;
    }
    g->expected_gates = expected_gates;
    g->as_configured = as_configured;
    g->local = local;
    require(pthread_mutex_init(&g->lock, NULL) == 0);
    return g;
}

void guards_free(struct guards *g) {
    if (g == NULL)
        return;
    if (g->local != NULL)
        g->local->ops->free(g->local);
    pthread_mutex_destroy(&g->lock);
    free(g->debts);
    free(g);
}

bool guards_up(const struct guards *g) {
    return g->workers > 0 && g->confirmed == g->workers;
}

bool guards_starting(const struct guards *g) {
    return g->confirmed + g->lost < g->workers;
}

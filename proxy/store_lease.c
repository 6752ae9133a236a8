#include "store_lease.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/require.h"

#define SHARDS     64u
#define WAYS       8u /* places an entry may have */
#define SETS       (LEASES_MAX / SHARDS / WAYS)
#define CACHE_LINE 64
#define HORIZON    (LEASE_TIME / 4) /* a lease is for this long */
#define MEASURED   (HORIZON / 4)    /* demand of a shorter time is taken for this one's */
#define SWEEP_MAX  32u              /* leases given back at one go */
#define BURST_MIN  4u               /* a quarter of less is nothing */

/* What is known of one bucket. */
struct lease {
    struct hash128 key; /* both halves 0: free */
    struct bucket bucket;
    struct list link; /* shard.held, while tokens > 0 */
    struct store_rate rate;
    uint64_t tokens, expires_us;
    uint64_t asked;          /* extra tokens that are asked for: one question at a time */
    uint64_t used, since_us; /* demand since the last question for extra ones */
    uint64_t low;            /* at this many tokens it is time for more */
    uint64_t dry_us;         /* there were none to be had ahead of need: not before this */
    uint64_t refused, refused_until_us; /* so many tokens are not to be had before */
    uint64_t seen_us;
};

struct shard {
    _Alignas(CACHE_LINE) pthread_mutex_t lock;
    struct list held;      /* struct lease, by when they expire */
    struct lease *entries; /* SETS x WAYS */
};

struct leases {
    struct hash_key hash_key;
    struct lease *entries;
    _Atomic unsigned stores; /* that use them */
    struct shard shards[SHARDS];
};

struct lease_store {
    struct store store;
    struct leases *all;
    struct source *source;
    uint64_t (*now_us)(void);
    struct list waiting; /* struct wait */
};

/* What is asked of the source. */
struct question {
    struct hash128 key;
    struct bucket bucket;
    uint64_t n, extra;
    bool leased; /* an entry knows of it */
};

/* A question under way. */
struct wait {
    struct list link; /* lease_store.waiting */
    struct lease_store *owner;
    struct question q;
    store_done_fn *done; /* NULL: nobody waits */
    void *cookie;
};

/* ---- The table; every function below this line and above the next has the shard's lock ---- */

static struct shard *shard_of(struct leases *l, struct hash128 key) {
    return &l->shards[key.hi % SHARDS];
}

static struct lease *set_of(struct shard *s, struct hash128 key) {
    return s->entries + key.lo % SETS * WAYS;
}

static struct lease *find(struct shard *s, struct hash128 key) {
    struct lease *set = set_of(s, key);
    for (uint32_t i = 0; i < WAYS; i++)
        if (set[i].key.lo == key.lo && set[i].key.hi == key.hi)
            return &set[i];
    return NULL;
}

/* The entry that is missed least: a free one, or of those that hold and ask for nothing the one
 * not seen for longest.  NULL: all are in use. */
static struct lease *victim(struct shard *s, struct hash128 key) {
    struct lease *set = set_of(s, key), *best = NULL;
    for (uint32_t i = 0; i < WAYS; i++) {
        struct lease *e = &set[i];
        if ((e->key.lo | e->key.hi) == 0)
            return e;
        if (e->tokens == 0 && e->asked == 0 && (best == NULL || e->seen_us < best->seen_us))
            best = e;
    }
    return best;
}

static struct lease *insert(struct shard *s, struct hash128 key, struct bytes name,
                            const struct store_rate *rate, uint64_t now) {
    struct lease *e = victim(s, key);
    if (e == NULL)
        return NULL;
    *e = (struct lease){
        .key = key, .bucket = bucket_of(name), .rate = *rate, .since_us = now, .seen_us = now};
    list_init(&e->link);
    return e;
}

static void hold(struct shard *s, struct lease *e, uint64_t tokens, uint64_t now) {
    if (tokens == 0)
        return;
    list_remove(&e->link);
    list_push(&s->held, &e->link);
    e->tokens += tokens;
    e->expires_us = now + LEASE_TIME;
}

static void spend(struct lease *e, uint64_t n) {
    e->tokens -= n;
    if (e->tokens == 0)
        list_remove(&e->link);
}

/* How many tokens beyond its own the next question shall ask for. */
static uint64_t ahead(struct lease *e, uint64_t now) {
    uint64_t room = e->rate.burst / 4, elapsed = now - e->since_us, want = 0;
    if (e->asked > 0 || now < e->dry_us)
        return 0;
    if (elapsed <= LEASE_TIME) {
        unsigned __int128 wide = (unsigned __int128)e->used * HORIZON;
        wide /= elapsed > MEASURED ? elapsed : MEASURED;
        want = wide < room ? (uint64_t)wide : room;
    }
    /* A measure begins anew with each lease, and where a quiet time lies in between. */
    if (want > 0 || elapsed > LEASE_TIME) {
        e->used = 0;
        e->since_us = now;
    }
    e->low = want / 4;
    return want > e->tokens ? want - e->tokens : 0;
}

static bool refuse(const struct lease *e, uint64_t n, uint64_t now, struct store_answer *out) {
    if (now >= e->refused_until_us || n < e->refused)
        return false;
    out->retry_after_us = e->refused_until_us - now;
    return true;
}

static void remember(struct lease *e, uint64_t n, uint64_t wait_us, uint64_t now) {
    uint64_t until = now + (wait_us < LEASE_TIME ? wait_us : LEASE_TIME);
    if (now < e->refused_until_us && n > e->refused)
        return;
    e->refused = n;
    e->refused_until_us = until;
}

/* Admits or refuses out of what is known here (true), or says what to ask: in q for this query, or
 * in more for those to come. */
static bool decide(struct lease *e, struct question *q, struct question *more, uint64_t now,
                   struct store_answer *out) {
    e->seen_us = now;
    q->bucket = more->bucket = e->bucket;
    more->key = q->key;
    q->leased = more->leased = true;
    if (e->tokens >= q->n) {
        out->admitted = true;
        spend(e, q->n);
        if (e->tokens <= e->low)
            e->asked += more->extra = ahead(e, now);
    } else if (refuse(e, q->n, now, out)) {
        return true;
    } else {
        e->asked += q->extra = ahead(e, now);
    }
    e->used += q->n;
    return out->admitted;
}

/* ---- Asking ---- */

/* The answer to q: its extra tokens have come, or will not. */
static void learn(struct lease_store *s, const struct question *q,
                  const struct store_answer *answer) {
    struct shard *shard = shard_of(s->all, q->key);
    uint64_t now = s->now_us();
    if (!q->leased)
        return;
    pthread_mutex_lock(&shard->lock);
    struct lease *e = find(shard, q->key);
    if (q->extra > 0) {
        require(e != NULL && e->asked == q->extra); /* it was not to be evicted */
        e->asked = 0;
    }
    if (e != NULL && answer->status == STORE_DONE) {
        hold(shard, e, answer->granted, now);
        if (!answer->admitted)
            remember(e, q->n, answer->retry_after_us, now);
        else if (q->n == 0 && answer->granted == 0)
            e->dry_us = now + (answer->retry_after_us > MS(1) ? answer->retry_after_us : MS(1));
    }
    pthread_mutex_unlock(&shard->lock);
}

static void wait_free(struct wait *w) {
    list_remove(&w->link);
    free(w);
}

static void on_answer(void *cookie, const struct store_answer *answer) {
    struct wait *w = cookie;
    store_done_fn *done = w->done;
    void *whose = w->cookie;
    struct store_answer own = *answer;
    own.granted = 0;
    learn(w->owner, &w->q, answer);
    wait_free(w);
    if (done != NULL)
        done(whose, &own);
}

static enum store_status ask(struct lease_store *s, const struct question *q,
                             const struct store_rate *rate, store_done_fn *done, void *cookie,
                             struct store_answer *out) {
    struct wait *w = malloc(sizeof(*w));
    *out = (struct store_answer){.status = STORE_FAILED};
    if (w != NULL) {
        *w = (struct wait){.owner = s, .q = *q, .done = done, .cookie = cookie};
        list_push(&s->waiting, &w->link);
        if (s->source->ops->ask(s->source, &q->bucket, rate, q->n, q->extra, on_answer, w, out) ==
            STORE_PENDING)
            return out->status = STORE_PENDING;
        wait_free(w);
    }
    learn(s, q, out);
    out->granted = 0;
    return out->status;
}

static enum store_status lease_take(struct store *store, struct bytes key,
                                    const struct store_rate *rate, uint64_t n, store_done_fn *done,
                                    void *cookie, struct store_answer *out) {
    struct lease_store *s = (struct lease_store *)store;
    struct question q = {.n = n}, more = {.n = 0};
    *out = (struct store_answer){.status = STORE_DONE};
    if (n > rate->burst) {
        out->retry_after_us = UINT64_MAX;
        return STORE_DONE;
    }
    if (rate->exact || rate->burst < BURST_MIN) {
        q.bucket = bucket_of(key);
        return ask(s, &q, rate, done, cookie, out);
    }
    q.key = hash_bytes128(&s->all->hash_key, key);
    if ((q.key.lo | q.key.hi) == 0)
        q.key.lo = 1;

    struct shard *shard = shard_of(s->all, q.key);
    uint64_t now = s->now_us();
    pthread_mutex_lock(&shard->lock);
    struct lease *e = find(shard, q.key);
    if (e == NULL)
        e = insert(shard, q.key, key, rate, now);
    bool decided = e != NULL && decide(e, &q, &more, now, out);
    pthread_mutex_unlock(&shard->lock);

    if (more.extra > 0) {
        struct store_answer ignored;
        ask(s, &more, rate, NULL, NULL, &ignored);
    }
    if (decided)
        return STORE_DONE;
    if (e == NULL)
        q.bucket = bucket_of(key);
    return ask(s, &q, rate, done, cookie, out);
}

/* ---- Giving back ---- */

struct leftover {
    struct bucket bucket;
    struct store_rate rate;
    uint64_t tokens;
};

static uint32_t collect(struct shard *shard, uint64_t now, struct leftover *out) {
    uint32_t count = 0;
    pthread_mutex_lock(&shard->lock);
    while (count < SWEEP_MAX && !list_empty(&shard->held)) {
        struct lease *e = list_object(shard->held.next, struct lease, link);
        if (now < e->expires_us)
            break;
        out[count++] = (struct leftover){e->bucket, e->rate, e->tokens};
        spend(e, e->tokens);
    }
    pthread_mutex_unlock(&shard->lock);
    return count;
}

/* Some of what has expired by then.  False: that was all, or no more can be sent. */
static bool give_back(struct lease_store *s, struct shard *shard, uint64_t now) {
    struct leftover left[SWEEP_MAX];
    uint32_t count = collect(shard, now, left);
    bool sent = true;
    for (uint32_t i = 0; i < count; i++)
        sent = s->source->ops->settle(s->source, &left[i].bucket, &left[i].rate, false,
                                      left[i].tokens);
    return sent && count == SWEEP_MAX;
}

static void lease_tick(struct store *store) {
    struct lease_store *s = (struct lease_store *)store;
    uint64_t now = s->now_us();
    for (uint32_t i = 0; i < SHARDS; i++)
        give_back(s, &s->all->shards[i], now);
}

/* ---- The contract ---- */

/* Budgets are never leased: what a gate that dies had leased would be lost to the client, and what
 * it had not yet given back to the count. */
static enum store_status lease_spend(struct store *store, struct bytes key,
                                     const struct store_budget *budget,
                                     const struct store_spending *what, store_done_fn *done,
                                     void *cookie, struct store_answer *out) {
    struct lease_store *s = (struct lease_store *)store;
    struct bucket b = bucket_of(key);
    return s->source->ops->spend(s->source, &b, budget, what, done, cookie, out);
}

/* The tokens that come later go into the lease all the same. */
static void lease_cancel(struct store *store, void *cookie) {
    struct lease_store *s = (struct lease_store *)store;
    s->source->ops->cancel(s->source, cookie); /* a spending is its caller's, a take never */
    for (struct list *n = s->waiting.next; n != &s->waiting; n = n->next) {
        struct wait *w = list_object(n, struct wait, link);
        if (w->done != NULL && w->cookie == cookie)
            w->done = NULL;
    }
}

static void lease_free(struct store *store) {
    struct lease_store *s = (struct lease_store *)store;
    const struct store_answer failed = {.status = STORE_FAILED};
    while (!list_empty(&s->waiting)) {
        struct wait *w = list_object(s->waiting.next, struct wait, link);
        s->source->ops->cancel(s->source, w);
        learn(s, &w->q, &failed);
        wait_free(w);
    }
    if (--s->all->stores == 0)
        for (uint32_t i = 0; i < SHARDS; i++)
            while (give_back(s, &s->all->shards[i], UINT64_MAX))
                continue;
    free(s);
}

static const struct store_ops lease_ops = {.name = "lease",
                                           .take = lease_take,
                                           .spend = lease_spend,
                                           .cancel = lease_cancel,
                                           .tick = lease_tick,
                                           .free = lease_free};

struct store *store_lease_new(struct leases *l, struct source *source, uint64_t (*now_us)(void)) {
    struct lease_store *s = malloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    *s = (struct lease_store){.store = {&lease_ops}, .all = l, .source = source, .now_us = now_us};
    list_init(&s->waiting);
    l->stores++;
    return &s->store;
}

struct leases *leases_new(void) {
    struct leases *l = aligned_alloc(CACHE_LINE, sizeof(*l));
    if (l == NULL)
        return NULL;
    memset(l, 0, sizeof(*l));
    /* Zero pages, which cost memory as they are used. */
    if ((l->entries = calloc(LEASES_MAX, sizeof(*l->entries))) == NULL) {
        free(l);
        return NULL;
    }
    l->hash_key = crypto_hash_key();
    for (uint32_t i = 0; i < SHARDS; i++) {
        require(pthread_mutex_init(&l->shards[i].lock, NULL) == 0);
        list_init(&l->shards[i].held);
        l->shards[i].entries = l->entries + i * SETS * WAYS;
    }
    return l;
}

void leases_free(struct leases *l) {
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < SHARDS; i++)
        pthread_mutex_destroy(&l->shards[i].lock);
    free(l->entries);
    free(l);
}

/* store.h - counters that outlive a query: shared by the workers, and by gates where there is a
 * shared store.
 *
 * One contract for every store.  An operation either finishes at once (STORE_DONE: *out is the
 * answer, `done` is never called) or later (STORE_PENDING: done(cookie, answer) is called exactly
 * once from the worker's loop, never before the call returned, unless store_cancel came first).
 *
 * A worker has one store, made of layers (stores.h says which): what the URL names at the bottom,
 * leases above it, and on top the guard, which does what the rule's on_failure says while the
 * bottom does not answer. */
#ifndef QG_STORE_H
#define QG_STORE_H

#include "base/bytes.h"
#include "base/hash.h"

enum store_status {
    STORE_DONE,
    STORE_PENDING,
    STORE_FAILED, /* unreachable, full or out of memory, and on_failure is `closed` */
};

/* What happens while the shared store does not answer. */
enum store_on_failure {
    STORE_LOCAL,  /* count here: the rate and burst divided by the expected gates, at least 1 */
    STORE_CLOSED, /* STORE_FAILED */
    STORE_OPEN,   /* admitted uncounted */
    STORE_AS_CONFIGURED, /* whichever of these the policy's `store` names */
};

enum { STORE_AMOUNTS = 16 };

struct store_answer {
    enum store_status status;
    bool admitted;
    bool fallback;           /* on_failure decided, not the shared count */
    uint64_t retry_after_us; /* when not admitted: how long until the same question would be;
                                UINT64_MAX: never, it asks for more than the burst */
    uint64_t granted; /* between layers: tokens had beyond those asked for (store_source.h) */
    uint32_t charged; /* spend: items that were paid for now; the others had been before */
    uint64_t spent[STORE_AMOUNTS]; /* spend: of the window, with what was asked if admitted */
};

typedef void store_done_fn(void *cookie, const struct store_answer *answer);

/* Generic cell rate (GCRA): `count` tokens a period, of which `burst` may come at once.  For any
 * window w: admitted <= count / period * w + burst. */
struct store_rate {
    uint64_t count, period_us, burst;
    bool exact; /* ask the shared store every time: no leases */
    enum store_on_failure on_failure;
};

/* A budget: what may be spent in any window.  Amounts are whole numbers of a unit that the spender
 * knows; each is an account by itself, and all are added to, but it is enough that one of them
 * stays within its limit (a Renyi filter: any of its orders may bear the promise). */
struct store_budget {
    uint64_t limit[STORE_AMOUNTS];    /* 0: this one admits nothing */
    uint64_t window_us;               /* 0: nothing is ever given back */
    enum store_on_failure on_failure; /* never STORE_LOCAL: two halves of a gate would pay twice */
};

/* What a query would spend: the cost for each item that is not marked as paid, which then is.  A
 * mark is for good or until it is forgotten, when it is paid again. */
struct store_spending {
    uint64_t
        cost[STORE_AMOUNTS]; /* of an item; 0 to STORE_AMOUNT_MAX, which is more than any limit */
    uint32_t items;          /* 1 to STORE_ITEMS_MAX, or more without marks */
    const struct hash128 *marks; /* one an item; NULL: every item is paid for */
};

struct store;

struct store_ops {
    const char *name;
    /* Takes n tokens of key's bucket, or none.  key is copied. */
    enum store_status (*take)(struct store *, struct bytes key, const struct store_rate *,
                              uint64_t n, store_done_fn *done, void *cookie,
                              struct store_answer *out);
    /* Spends from key's account, or nothing.  All is copied.  Answered only when what was spent
     * would survive the gate's sudden end, as far as the store survives it. */
    enum store_status (*spend)(struct store *, struct bytes key, const struct store_budget *,
                               const struct store_spending *, store_done_fn *done, void *cookie,
                               struct store_answer *out);
    /* Forgets a pending operation: its done is not called.  What was taken or spent
     * stays so. */
    void (*cancel)(struct store *, void *cookie);
    /* Some times a second, from the owner's loop: what is due.  May be NULL. */
    void (*tick)(struct store *);
    void (*free)(struct store *);
};

/* The head of every store; implementations embed it first. */
struct store {
    const struct store_ops *ops;
};

static inline enum store_status store_take(struct store *s, struct bytes key,
                                           const struct store_rate *rate, uint64_t n,
                                           store_done_fn *done, void *cookie,
                                           struct store_answer *out) {
    return s->ops->take(s, key, rate, n, done, cookie, out);
}

static inline enum store_status store_spend(struct store *s, struct bytes key,
                                            const struct store_budget *budget,
                                            const struct store_spending *spending,
                                            store_done_fn *done, void *cookie,
                                            struct store_answer *out) {
    return s->ops->spend(s, key, budget, spending, done, cookie, out);
}

/* The in-memory store: sharded locks, bounded, safe to use from all workers at once.  `now_ns` is
 * the clock (clock_ns in the product, a fake one in tests).  NULL: out of memory. */
struct store *store_memory_new(uint64_t (*now_ns)(void));

#endif

#include "store_durable.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/require.h"
#include "store_durable_private.h"
#include "worker.h"

#define BRIEF_NS   UINT64_C(2000000000) /* bursts that refill sooner are not written */
#define CHUNK_PART 8                    /* of the burst is reserved ahead of need */

struct durable_store {
    struct store store;
    struct durable *d;
    struct worker *w;
    struct list pending; /* struct op */
};

/* ---- Deciding ---- */

/* What is owed, never before now.  k, key's entry, may be NULL. */
static struct span owed(const struct durable *d, struct kept *k, const struct demand *demand,
                        uint64_t now) {
    struct span tat = k != NULL ? k->debt.tat : (struct span){0, 0};
    uint64_t spent_ns = d->start_ns + demand->burst_ns;
    if (demand->brief && d->crashed && tat.ns < spent_ns)
        tat = (struct span){spent_ns, 0};
    /* More than the burst is owed only when the file's clock was put back.  What the file then
     * holds is too much as well, and replaced by the next reservation. */
    if (tat.ns > now + demand->burst_ns) {
        tat = (struct span){now + demand->burst_ns, 0};
        if (k != NULL) {
            k->debt.tat = tat;
            k->reserved_ns = 0;
        }
    }
    return gcra_tat(tat, now, demand->count);
}

enum claim durable_claim(struct durable *d, struct debt_shard *s, const struct demand *demand,
                         bool anyway, struct store_answer *out, uint64_t *want_ns) {
    uint64_t now = d->clocks.now_ns();
    struct debt *spare, *e = debts_find(&d->debts, s, demand->key, now, &spare);
    struct kept *k = (struct kept *)e;
    struct span tat = owed(d, k, demand, now);
    const struct span cost = demand->gcra.cost;
    *want_ns = 0;
    if (!gcra_fits(&demand->gcra, tat, now, &out->retry_after_us))
        return CLAIM_DECIDED;
    if (cost.ns > 0 || cost.part > 0) {
        tat = span_sum(tat, cost, demand->count);
        uint64_t end = tat.ns + (tat.part > 0), wanted = end + demand->chunk_ns;
        bool free_of_disk = demand->brief || anyway;
        if (!free_of_disk && (k == NULL || k->reserved_ns < end)) {
            *want_ns = wanted;
            return CLAIM_WANTS_DISK;
        }
        if (e == NULL && (e = debts_insert(&d->debts, s, demand->key, now, spare)) == NULL) {
            out->status = STORE_FAILED;
            return CLAIM_DECIDED;
        }
        e->tat = tat;
        k = (struct kept *)e;
        if (!free_of_disk && k->reserved_ns - end < demand->chunk_ns / 2 &&
            k->asked_ns < end + demand->chunk_ns / 2)
            *want_ns = k->asked_ns = wanted;
    }
    out->admitted = true;
    return CLAIM_DECIDED;
}

void durable_reserved(struct durable *d, struct debt_shard *s, struct hash128 key,
                      uint64_t until_ns) {
    uint64_t now = d->clocks.now_ns();
    struct debt *spare, *e = debts_find(&d->debts, s, key, now, &spare);
    /* A table full of debts has no room: the query will find that out itself. */
    if (e == NULL && (e = debts_insert(&d->debts, s, key, now, spare)) == NULL)
        return;
    struct kept *k = (struct kept *)e;
    if (k->reserved_ns < until_ns)
        k->reserved_ns = until_ns;
}

void durable_unasked(struct durable *d, struct debt_shard *s, struct hash128 key) {
    struct debt *spare, *e = debts_find(&d->debts, s, key, d->clocks.now_ns(), &spare);
    if (e != NULL)
        ((struct kept *)e)->asked_ns = 0;
}

/* ---- Queries that wait ---- */

/* The file cannot vouch for a query.  What `local` then admits is owed here as well, so that it
 * gives no second burst; the other words of on_failure are the guard's. */
static void fall_back(struct durable_store *s, const struct demand *demand,
                      struct store_answer *out) {
    struct debt_shard *shard = debts_shard(&s->d->debts, demand->key);
    uint64_t want_ns;
    if (demand->on_failure != STORE_LOCAL)
        return;
    *out = (struct store_answer){.status = STORE_DONE, .fallback = true};
    pthread_mutex_lock(&shard->lock);
    durable_claim(s->d, shard, demand, true, out, &want_ns);
    pthread_mutex_unlock(&shard->lock);
    stats_count(s->w->stats, COUNT_store_failures);
    stats_count(s->w->stats, COUNT_store_fallback_local);
}

/* The op is answered; its memory may still be with the storage thread. */
static void answer(struct op *op, struct store_answer *out) {
    struct durable_store *s = op->home;
    store_done_fn *done = op->done;
    timer_stop(&op->patience);
    if (done == NULL)
        return; /* cancelled */
    op->done = NULL;
    if (out->status == STORE_FAILED)
        fall_back(s, &op->demand, out);
    done(op->cookie, out);
}

static void on_mail(struct mail *m, void *owner) {
    struct op *op = list_object(m, struct op, mail);
    (void)owner;
    if (op->home != NULL) {
        list_remove(&op->link);
        answer(op, &op->answer);
    }
    free(op);
}

void durable_post(struct op *op) {
    mailbox_post(&op->home->w->mail, &op->mail);
}

static void on_impatience(struct timer *t) {
    struct op *op = list_object(t, struct op, patience);
    struct store_answer failed = {.status = STORE_FAILED};
    if (!atomic_exchange(&op->decided, true))
        answer(op, &failed);
    /* Else the answer is in the mailbox, or about to be. */
}

/* Asks for what `what` says, with an op that begins as `from` has it. */
static enum store_status wait_for_disk(struct durable_store *s, const struct op *from,
                                       struct request what) {
    struct op *op = malloc(sizeof(*op));
    if (op == NULL)
        return STORE_FAILED;
    *op = *from;
    op->mail.run = on_mail;
    op->home = s;
    what.op = op;
    timer_init(&op->patience, on_impatience);
    list_push(&s->pending, &op->link);
    if (!durable_ask(s->d, what)) {
        list_remove(&op->link);
        free(op);
        return STORE_FAILED;
    }
    timer_set(&s->w->timers, &op->patience, clock_us(), STORE_DISK_TIMEOUT);
    return STORE_PENDING;
}

/* ---- The store ---- */

/* False: the burst takes longer than anyone will wait. */
static bool make_demand(const struct durable *d, struct bytes key, const struct store_rate *rate,
                        uint64_t n, struct demand *out) {
    if (!gcra_of(rate, n, &out->gcra))
        return false;
    struct span burst = span_sum(out->gcra.cost, out->gcra.slack, rate->count);
    out->key = debts_key(&d->debts, key);
    out->on_failure = rate->on_failure == STORE_AS_CONFIGURED ? d->on_failure : rate->on_failure;
    out->count = rate->count;
    out->burst_ns = burst.ns + (burst.part > 0);
    out->chunk_ns = out->burst_ns / CHUNK_PART;
    if (rate->burst < CHUNK_PART && rate->burst > 0) /* at least one token */
        out->chunk_ns = out->burst_ns / rate->burst + 1;
    out->brief = out->burst_ns < BRIEF_NS;
    return true;
}

static enum store_status durable_take(struct store *store, struct bytes key,
                                      const struct store_rate *rate, uint64_t n,
                                      store_done_fn *done, void *cookie, struct store_answer *out) {
    struct durable_store *s = (struct durable_store *)store;
    struct demand demand;
    uint64_t want_ns;
    require(rate->count > 0 && rate->period_us > 0 && rate->period_us <= UINT64_MAX / 1000);

    *out = (struct store_answer){.status = STORE_DONE};
    if (n > rate->burst) {
        out->retry_after_us = UINT64_MAX;
        return STORE_DONE;
    }
    if (!make_demand(s->d, key, rate, n, &demand))
        return out->status = STORE_FAILED;

    struct debt_shard *shard = debts_shard(&s->d->debts, demand.key);
    pthread_mutex_lock(&shard->lock);
    enum claim claim = durable_claim(s->d, shard, &demand, false, out, &want_ns);
    pthread_mutex_unlock(&shard->lock);

    if (claim == CLAIM_WANTS_DISK)
        out->status =
            wait_for_disk(s, &(struct op){.demand = demand, .done = done, .cookie = cookie},
                          (struct request){.key = demand.key, .want_ns = want_ns});
    else if (want_ns > 0 &&
             !durable_ask(s->d, (struct request){.key = demand.key, .want_ns = want_ns})) {
        pthread_mutex_lock(&shard->lock);
        durable_unasked(s->d, shard, demand.key);
        pthread_mutex_unlock(&shard->lock);
    }
    if (out->status == STORE_FAILED)
        fall_back(s, &demand, out);
    return out->status;
}

/* What was spent here and could not be written stays spent.  Nothing is answered while the file is
 * behind, not even a repeat: what it repeats may be what the file lacks. */
static enum store_status durable_spend(struct store *store, struct bytes name,
                                       const struct store_budget *budget,
                                       const struct store_spending *what, store_done_fn *done,
                                       void *cookie, struct store_answer *out) {
    struct durable_store *s = (struct durable_store *)store;
    struct hash128 key = accounts_key(s->d->accounts, name);
    uint64_t turn;
    if (!accounts_spend(s->d->accounts, key, budget, what, s->d->clocks.wall_us(), out, &turn))
        return out->status = STORE_FAILED;
    if (!out->admitted || accounts_is_kept(s->d->accounts, key))
        return out->status;
    const struct op op = {
        .demand = {.key = key, .on_failure = STORE_CLOSED}, /* the guard decides */
        .planned = *out,
        .done = done,
        .cookie = cookie};
    return out->status = wait_for_disk(
               s, &op,
               (struct request){.key = key, .spends = true, .window_us = budget->window_us});
}

static void durable_cancel(struct store *store, void *cookie) {
    struct durable_store *s = (struct durable_store *)store;
    for (struct list *n = s->pending.next; n != &s->pending; n = n->next) {
        struct op *op = list_object(n, struct op, link);
        if (op->cookie != cookie || op->done == NULL)
            continue;
        op->done = NULL;
        timer_stop(&op->patience);
        atomic_store(&op->decided, true);
        return;
    }
}

static void durable_close(struct store *store) {
    struct durable_store *s = (struct durable_store *)store;
    pthread_mutex_lock(&s->d->lock);
    while (!list_empty(&s->pending)) {
        struct op *op = list_object(s->pending.next, struct op, link);
        list_remove(&op->link);
        timer_stop(&op->patience);
        atomic_store(&op->decided, true);
        op->home = NULL; /* whoever has it frees it */
    }
    pthread_mutex_unlock(&s->d->lock);
    free(s);
}

static const struct store_ops durable_ops = {
    .name = "durable",
    .take = durable_take,
    .spend = durable_spend,
    .cancel = durable_cancel,
    .free = durable_close,
};

struct store *durable_open(struct durable *d, struct worker *w) {
    struct durable_store *s = malloc(sizeof(*s));
    if (s == NULL)
        return NULL;
    *s = (struct durable_store){.store = {&durable_ops}, .d = d, .w = w};
    list_init(&s->pending);
    return &s->store;
}

/* ---- Opening ---- */

struct loading {
    struct durable *d;
    uint64_t wall_ns, now_ns;
};

static bool load_debt(void *cookie, const struct record *r) {
    struct loading *l = cookie;
    struct debt *spare;
    uint64_t debt = r->due_ns - l->wall_ns;
    if (r->kind != RECORD_DEBT)
        return true;
    struct debt_shard *s = debts_shard(&l->d->debts, r->key);
    struct debt *e = debts_find(&l->d->debts, s, r->key, l->now_ns, &spare);
    if (e == NULL)
        e = debts_insert(&l->d->debts, s, r->key, l->now_ns, spare);
    if (e == NULL)
        return false;
    e->tat = (struct span){l->now_ns + (debt < SPAN_NS_MAX ? debt : SPAN_NS_MAX), 0};
    ((struct kept *)e)->reserved_ns = e->tat.ns;
    return true;
}

static bool load_account(void *cookie, const struct record *r) {
    struct loading *l = cookie;
    return accounts_load(l->d->accounts, r->key, r->account);
}

struct durable *durable_new(const struct store_conf *conf, const struct durable_clocks *clocks,
                            char *error, size_t len) {
    struct durable *d = aligned_alloc(_Alignof(struct durable), sizeof(*d));
    if (d == NULL) {
        snprintf(error, len, "%s: out of memory", conf->path.at);
        return NULL;
    }
    memset(d, 0, sizeof(*d));
    d->clocks = *clocks;
    d->on_failure = (enum store_on_failure)conf->on_failure;
    d->path = conf->path.at;
    if ((d->file = state_file_open(d->path, error, len)) == NULL)
        goto err0;
    d->crashed = !state_file_was_clean(d->file);
    if (!debts_open(&d->debts, state_file_key(d->file), sizeof(struct kept))) {
        snprintf(error, len, "%s: out of memory", d->path);
        goto err1;
    }
    if ((d->accounts = accounts_new(state_file_key(d->file))) == NULL) {
        snprintf(error, len, "%s: out of memory", d->path);
        goto err1;
    }
    /* The wall clock first: what may pass between the two makes the debts longer, not shorter. */
    struct loading l = {.d = d, .wall_ns = clocks->wall_us() * 1000};
    l.now_ns = d->start_ns = clocks->now_ns();
    if (!state_file_load(d->file, l.wall_ns, load_debt, &l, error, len) ||
        !state_file_load_accounts(d->file, l.wall_ns, load_account, &l, error, len))
        goto err2;
    if (!durable_start(d)) {
        snprintf(error, len, "%s: cannot start a thread", d->path);
        goto err2;
    }
    return d;
err2:
    accounts_free(d->accounts);
err1:
    debts_close(&d->debts);
    state_file_close(d->file);
err0:
    free(d);
    return NULL;
}

void durable_free(struct durable *d) {
    durable_stop(d);
    state_file_close(d->file);
    debts_close(&d->debts);
    accounts_free(d->accounts);
    free(d);
}

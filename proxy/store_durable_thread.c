/* store_durable_thread.c - the thread that writes: everything that waits, in one commit. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "alert.h"
#include "base/log.h"
#include "store_durable_private.h"

#define WELL_AGAIN_NS UINT64_C(2000000000)
/* Without requests, due records are forgotten this often, while there are any, and a file that
 * could not be written is tried. */
#define IDLE_S        1

/* ---- The queue ---- */

bool durable_ask(struct durable *d, struct request r) {
    bool taken = false;
    pthread_mutex_lock(&d->lock);
    struct requests *q = &d->queue;
    if (q->count == q->room && q->room < STORE_WAITING_MAX) {
        size_t room = q->room > 0 ? 2 * q->room : 64;
        struct request *at = realloc(q->at, room * sizeof(*at));
        if (at != NULL)
            *q = (struct requests){at, q->count, room};
    }
    if (q->count < q->room) {
        q->at[q->count++] = r;
        taken = true;
        pthread_cond_signal(&d->wake);
    }
    pthread_mutex_unlock(&d->lock);
    return taken;
}

/* Puts what waits into d->batch, which is empty.  False: nothing comes any more. */
static bool next_batch(struct durable *d) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += IDLE_S;
    pthread_mutex_lock(&d->lock);
    while (d->queue.count == 0 && !d->stop)
        if (!d->rest && !d->broken)
            pthread_cond_wait(&d->wake, &d->lock);
        else if (pthread_cond_timedwait(&d->wake, &d->lock, &end) != 0)
            break;
    struct requests spare = d->batch;
    d->batch = d->queue;
    d->queue = spare;
    bool more = d->batch.count > 0 || !d->stop;
    pthread_mutex_unlock(&d->lock);
    return more;
}

/* ---- Answers ---- */

static void send_back(struct durable *d, struct op *op) {
    pthread_mutex_lock(&d->lock);
    bool gone = op->home == NULL;
    if (!gone)
        durable_post(op);
    pthread_mutex_unlock(&d->lock);
    if (gone)
        free(op);
}

static void decided(struct durable *d, struct op *op, const struct store_answer *answer) {
    if (!atomic_exchange(&op->decided, true))
        op->answer = *answer;
    send_back(d, op);
}

/* The file holds the account as it was when it was saved. */
static void spent(struct durable *d, const struct request *r, const struct saved *saved) {
    accounts_kept(d->accounts, r->key, saved->turn);
    decided(d, r->op, &r->op->planned);
}

/* The file holds what r wanted: the query that waited for it decides again. */
static void granted(struct durable *d, const struct request *r) {
    struct debt_shard *s = debts_shard(&d->debts, r->key);
    struct store_answer answer = {.status = STORE_DONE};
    enum claim claim = CLAIM_DECIDED;
    uint64_t want_ns = 0;
    pthread_mutex_lock(&s->lock);
    durable_reserved(d, s, r->key, r->want_ns);
    if (r->op != NULL && !atomic_load(&r->op->decided)) {
        claim = durable_claim(d, s, &r->op->demand, false, &answer, &want_ns);
        /* While its worker gives up this very moment, tokens are taken for nobody: fewer, not
         * more, are then admitted. */
    }
    pthread_mutex_unlock(&s->lock);
    if (r->op == NULL)
        return;
    /* Others took what was reserved: once more. */
    if (claim == CLAIM_WANTS_DISK &&
        durable_ask(d, (struct request){.key = r->key, .want_ns = want_ns, .op = r->op}))
        return;
    if (claim == CLAIM_WANTS_DISK)
        answer.status = STORE_FAILED;
    decided(d, r->op, &answer);
}

static void refused(struct durable *d, const struct request *r) {
    static const struct store_answer failed = {.status = STORE_FAILED};
    struct debt_shard *s = debts_shard(&d->debts, r->key);
    if (!r->spends) {
        pthread_mutex_lock(&s->lock);
        durable_unasked(d, s, r->key);
        pthread_mutex_unlock(&s->lock);
    }
    if (r->op != NULL)
        decided(d, r->op, &failed);
}

/* ---- Writing ---- */

/* Said once when it begins, and once when there have been writes and none failed for a while. */
static void note_state(struct durable *d, const char *why) {
    static const struct alert begins = {
        .rule = "store.disk",
        .severity = ALERT_HIGH,
        .text = "The store cannot write its file: each rule's on_failure decides."};
    static const struct alert ends = {
        .rule = "store.disk", .severity = ALERT_INFO, .text = "The store writes its file again."};
    uint64_t now = d->clocks.now_ns();
    bool over = why == NULL && now - d->failed_ns >= WELL_AGAIN_NS;
    if (why != NULL)
        d->failed_ns = now;
    if (d->broken ? !over : why == NULL)
        return;
    d->broken = !d->broken;
    if (d->broken)
        log_line(LOG_ERROR, "store %s: %s; each rule's on_failure decides", d->path, why);
    else
        log_line(LOG_NOTICE, "store %s: it can be written again", d->path);
    alert_raise(d->broken ? &begins : &ends);
}

/* A time of ours as one of the file's.  Ours is read first: what may pass between the two makes the
 * debt longer, not shorter. */
static uint64_t wall_at(struct durable *d, uint64_t our_ns) {
    uint64_t now = d->clocks.now_ns(), wall = (d->clocks.wall_us() + 1) * 1000;
    return our_ns > now ? wall + (our_ns - now) : wall;
}

/* False: out of memory. */
static bool make_record(struct durable *d, const struct request *r, struct saved *saved,
                        struct record *out) {
    uint64_t end_us;
    *out = (struct record){.key = r->key, .kind = RECORD_DEBT};
    if (!r->spends) {
        out->due_ns = wall_at(d, r->want_ns);
        return true;
    }
    buf_clear(&saved->bytes);
    accounts_save(d->accounts, r->key, &saved->bytes, &saved->turn, &end_us);
    out->kind = RECORD_ACCOUNT;
    out->account = buf_bytes(&saved->bytes);
    out->due_ns = r->window_us == 0 || end_us > (INT64_MAX / 1000 - r->window_us)
                      ? INT64_MAX
                      : (end_us + r->window_us) * 1000;
    return !saved->bytes.failed;
}

/* A part of the batch, in one commit; nothing, when it is time to look after the file. */
static void write_part(struct durable *d, const struct request *r, size_t count) {
    const char *why = NULL;
    for (size_t i = 0; i < count; i++)
        if (!make_record(d, &r[i], &d->saved[i], &d->records[i]))
            why = "out of memory";
    if (count == 0 && d->broken)
        why = state_file_try(d->file);
    else if (why == NULL)
        why = state_file_write(d->file, d->records, count, d->clocks.wall_us() * 1000, &d->rest);
    note_state(d, why);
    for (size_t i = 0; i < count; i++)
        if (why != NULL)
            refused(d, &r[i]);
        else if (r[i].spends)
            spent(d, &r[i], &d->saved[i]);
        else
            granted(d, &r[i]);
}

static void *storage(void *cookie) {
    struct durable *d = cookie;
    while (next_batch(d)) {
        size_t done = 0;
        do {
            size_t left = d->batch.count - done;
            size_t part = left < STORE_BATCH_MAX ? left : STORE_BATCH_MAX;
            write_part(d, d->batch.at + done, part);
            done += part;
        } while (done < d->batch.count);
        d->batch.count = 0;
    }
    return NULL;
}

bool durable_start(struct durable *d) {
    pthread_condattr_t attr;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &attr);
    pthread_condattr_destroy(&attr);
    d->rest = true;
    d->records = calloc(STORE_BATCH_MAX, sizeof(*d->records));
    d->saved = calloc(STORE_BATCH_MAX, sizeof(*d->saved));
    for (size_t i = 0; d->saved != NULL && i < STORE_BATCH_MAX; i++)
        buf_init(&d->saved[i].bytes, KIB(8));
    if (d->records != NULL && d->saved != NULL && pthread_create(&d->thread, NULL, storage, d) == 0)
        return true;
    free(d->saved);
    free(d->records);
    return false;
}

/* ---- The end ---- */

struct walk {
    struct durable *d;
    uint32_t shard, slot;
};

static bool next_debt(void *cookie, struct record *out) {
    struct walk *w = cookie;
    struct debts *debts = &w->d->debts;
    for (; w->shard < DEBT_SHARDS; w->shard++, w->slot = 0)
        while (w->slot <= debts->shards[w->shard].mask) {
            const struct debt *e = debts_slot(debts, &debts->shards[w->shard], w->slot++);
            if (debt_is_free(e) || debt_is_paid(e, w->d->clocks.now_ns()))
                continue;
            *out = (struct record){.key = e->key,
                                   .kind = RECORD_DEBT,
                                   .due_ns = wall_at(w->d, e->tat.ns + (e->tat.part > 0))};
            return true;
        }
    return false;
}

void durable_stop(struct durable *d) {
    struct walk walk = {.d = d};
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    const char *why = state_file_replace(d->file, next_debt, &walk);
    if (why != NULL)
        log_line(LOG_ERROR, "store %s: %s; the next start owes what was reserved", d->path, why);
    free(d->batch.at);
    free(d->queue.at);
    for (size_t i = 0; i < STORE_BATCH_MAX; i++)
        buf_free(&d->saved[i].bytes);
    free(d->saved);
    free(d->records);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
}

/* store_durable_private.h - shared by store_durable*.c: the file, and what the threads share. */
#ifndef QG_STORE_DURABLE_PRIVATE_H
#define QG_STORE_DURABLE_PRIVATE_H

#include <stdatomic.h>

#include "accounts.h"
#include "debts.h"
#include "mailbox.h"
#include "store_durable.h"
#include "timers.h"

/* ---- The file: store_durable_file.c ---- */

enum record_kind { RECORD_DEBT = 1, RECORD_ACCOUNT = 2 };

/* What the file keeps: until `due` (wall time, nanoseconds since 1970), then it means nothing. */
struct record {
    struct hash128 key;
    enum record_kind kind;
    uint64_t due_ns;
    uint64_t value;       /* what the kind makes of it; a debt is only its due */
    struct bytes account; /* RECORD_ACCOUNT: of accounts_save */
};

struct state_file;

/* Opens or makes it, for this process alone.  NULL: *error says what is wrong with which file. */
struct state_file *state_file_open(const char *path, char *error, size_t len);
void state_file_close(struct state_file *f);

struct hash_key state_file_key(const struct state_file *f); /* of the records' keys, made with it */

/* Did the life before end by state_file_replace, or is this the first?  Until the next
 * state_file_replace the answer is no. */
bool state_file_was_clean(const struct state_file *f);

/* Calls each with every record that is due after now; it says whether to go on.  False: *error. */
bool state_file_load(struct state_file *f, uint64_t now_ns,
                     bool (*each)(void *cookie, const struct record *), void *cookie, char *error,
                     size_t len);

/* Forgets accounts that were due before now, and calls each with the others.  False: *error. */
bool state_file_load_accounts(struct state_file *f, uint64_t now_ns,
                              bool (*each)(void *cookie, const struct record *), void *cookie,
                              char *error, size_t len);

/* One transaction: puts records, and forgets some of those that were due before now: at least
 * as many as are put.  *rest: are there any records left?  NULL: it is on the disk, else what went
 * wrong, and none of it may be relied on. */
const char *state_file_write(struct state_file *f, const struct record *records, size_t count,
                             uint64_t now_ns, bool *rest);

/* Writes something.  NULL or what went wrong. */
const char *state_file_try(struct state_file *f);

/* In one transaction forgets everything, puts what next returns (false: no more), and notes that
 * this was a clean end.  NULL or what went wrong. */
const char *state_file_replace(struct state_file *f, bool (*next)(void *cookie, struct record *),
                               void *cookie);

/* ---- A query's claim: store_durable.c ---- */

/* An entry of the table.  The debt is never beyond what is reserved, unless on_failure let it. */
struct kept {
    struct debt debt;
    uint64_t reserved_ns; /* the file holds a debt until then */
    uint64_t asked_ns;    /* and was asked to hold one until then */
    uint64_t unused[2];   /* entries are a power of two */
};

struct demand {
    struct hash128 key;
    uint64_t count; /* the rate's */
    struct gcra gcra;
    uint64_t burst_ns, chunk_ns; /* what the burst, and what is reserved ahead, is worth */
    bool brief;                  /* the burst refills so soon that the file need not know */
    enum store_on_failure on_failure;
};

enum claim { CLAIM_DECIDED, CLAIM_WANTS_DISK };

/* Decides by what is reserved (or, with `anyway`, by the debt alone), under the lock of s.
 * WANTS_DISK: *want_ns is what must be reserved first; decided: what should be next, or 0. */
enum claim durable_claim(struct durable *d, struct debt_shard *s, const struct demand *demand,
                         bool anyway, struct store_answer *out, uint64_t *want_ns);

/* The same lock held: key's debt is reserved until then; the file was not asked after all. */
void durable_reserved(struct durable *d, struct debt_shard *s, struct hash128 key,
                      uint64_t until_ns);
void durable_unasked(struct durable *d, struct debt_shard *s, struct hash128 key);

/* A query that waits for the disk.  The worker's but for what is marked; freed by it when the mail
 * has come back, or by the storage thread when the worker's store is gone. */
struct op {
    struct mail mail;
    struct list link; /* of the worker's pending */
    struct timer patience;
    struct durable_store *home;  /* NULL: gone; under the queue's lock */
    struct demand demand;        /* not changed once queued */
    struct store_answer planned; /* of a spending, once the disk has it; likewise */
    store_done_fn *done;
    void *cookie;
    atomic_bool decided; /* whoever sets it first decides: the disk, or the worker's patience */
    struct store_answer answer; /* the storage thread's until the mail */
};

/* Sends an op that is decided back to its worker, the queue's lock held. */
void durable_post(struct op *op);

/* ---- The storage thread: store_durable_thread.c ---- */

/* A wish that the file hold a debt of key until want_ns (our clock), and who waits for it. */
struct request {
    struct hash128 key;
    uint64_t want_ns;
    struct op *op; /* NULL: nobody, it is ahead of need */
    bool spends;   /* the wish is that the file hold the account of key as it is by then */
    uint64_t window_us;
};

/* An account on its way to the file. */
struct saved {
    struct buf bytes;
    uint64_t turn;
};

struct requests {
    struct request *at;
    size_t count, room;
};

struct durable {
    struct durable_clocks clocks;
    struct debts debts;
    struct accounts *accounts;        /* by wall time */
    enum store_on_failure on_failure; /* where the rule says nothing */
    uint64_t start_ns;
    bool crashed; /* the life before did: brief buckets begin spent */
    const char *path;

    pthread_mutex_t lock; /* of the following; taken inside a shard's, never around one */
    pthread_cond_t wake;
    struct requests queue;
    bool stop;

    /* The storage thread's own. */
    pthread_t thread;
    struct state_file *file;
    struct requests batch;
    struct record *records; /* STORE_BATCH_MAX */
    struct saved *saved;    /* as many; those of accounts */
    bool broken;            /* writes fail, or did a moment ago */
    uint64_t failed_ns;     /* when one did last */
    bool rest;              /* the file may hold records to forget */
};

MUST bool durable_start(struct durable *d);
void durable_stop(struct durable *d); /* after what is queued */

/* False: too much waits already, or out of memory. */
MUST bool durable_ask(struct durable *d, struct request r);

#endif

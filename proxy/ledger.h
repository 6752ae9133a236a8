/* ledger.h - what was spent of privacy budgets, one line a charge, each bound to the one before.
 *
 * A line is a JSON object whose last two keys are `prev`, the hash of the line before (64 zeros:
 * there is none), and `hash`: SHA-256, or with a key HMAC-SHA-256, of all that stands before
 * `,"hash"`.  So nobody can change, drop, add or reorder lines without the key and leave a chain
 * that holds; without a key, not without changing every line behind.  That the end was cut off
 * shows only to whoever knows the last hash or number.
 *
 * Lines are made in the order they are written, by whichever worker charges, and written by the
 * log's thread.  The store, not this file, is what budgets are counted in: a line may be lost with
 * the process, a charge cannot. */
#ifndef QG_LEDGER_H
#define QG_LEDGER_H

#include "crypto.h"
#include "filter.h"

struct ledger_conf {
    struct bytes path;               /* empty: there is none */
    struct bytes key_file;           /* empty: hashes have no key */
    unsigned char key[SHA256_BYTES]; /* a digest of the file's bytes */
    bool keyed;
};

struct ledger_entry {
    struct bytes client, model, policy;
    const char *policy_sha256;
    const struct charge *charge;
    uint64_t time_us;
};

struct ledger;
struct ledger *ledger_new(void); /* NULL: out of memory */
void ledger_free(struct ledger *);

/* Goes on with the file's last line, or begins; at the same path again: once it was renamed, a new
 * file goes on with the old one's chain.  False: it cannot be opened, or its end is no line of a
 * ledger; it was said why, and what was open stays so. */
MUST bool ledger_open(struct ledger *, const struct ledger_conf *);

/* From any thread.  False: lost, since the disk is too slow. */
MUST bool ledger_add(struct ledger *, const struct ledger_entry *);

/* Reads the secret of a key file's bytes. */
void ledger_key(struct bytes secret, unsigned char out[SHA256_BYTES]);

/* What a check of a file found. */
struct ledger_report {
    uint64_t lines, rows;
    double epsilon, rho;  /* sums of costs */
    uint64_t first, last; /* numbers */
    char from[SHA256_HEX], to[SHA256_HEX];
    uint64_t bad_line; /* the first that does not hold; 0: all hold */
    char why[128];
};

/* Reads the whole file.  False: it cannot be read, report->why says why. */
MUST bool ledger_verify(const char *path, const unsigned char *key, struct ledger_report *report);

/* What a budget stood at, by the last line of that client and model. */
struct ledger_state {
    bool found;
    double total, limit;
    bool is_rho;
    char time[32];
};

/* False: the file cannot be read.  The chain is not checked. */
MUST bool ledger_last(const char *path, struct bytes client, struct bytes model,
                      struct ledger_state *out);

#endif

/* filter.h - the contract of a filter.
 *
 * A filter is one file in filters/, one `const struct filter filter_NAME`, one row FILTER(NAME) in
 * filters/filters.def, and one YAML key.  It knows no sockets and no protocol: it reads a query,
 * changes an answer, or refuses.  The core allocates its memory, runs the chain, waits and resumes,
 * counts and times (proxy/chain.c). */
#ifndef QG_FILTER_H
#define QG_FILTER_H

#include "../proto/predictions.h"
#include "base/accountant.h"
#include "base/bits.h"
#include "base/buf.h"
#include "base/option.h"
#include "base/pools.h"
#include "store.h"
#include "verdict.h"

struct exchange;

/* Who asks, as far as filters may know. */
struct client {
    struct bytes pseudonym; /* k1:0123456789abcdef; the only name that leaves the process */
    struct bytes key;       /* a stable key for stores: the pseudonym */
    struct bytes address;   /* the pseudonym of the address the query came from */
    struct bytes tier;      /* empty: none */
};

/* Where noise comes from; this worker's, and under the key of the exchange's policy version. */
struct randomness {
    struct bits *fresh;        /* never the same twice */
    struct bit_source *sticky; /* the same for the same context */
    struct pools *pools;       /* samples drawn ahead */
};

/* What a query was charged, for counters and the ledger. */
struct charge {
    uint32_t rows, free_rows;  /* paid for, and paid for before */
    double cost, spent, limit; /* epsilon or rho, as `unit` says; spent with this one */
    double share;              /* of the budget that is spent, 0 to 1 */
    const char *unit;          /* NULL: nothing was charged, nor asked for */
    bool denied;
};

/* One filter's view of one query; valid until on_close returns. */
struct filter_call {
    struct exchange *exchange; /* opaque; for filter_resume */
    const struct client *client;
    const struct query *query; /* in relay mode: model, version and rows = 1 only */
    const struct model *model; /* what the policy says of the model; opaque here */
    struct bytes model_name;
    const void *conf;    /* read-only, the policy's */
    void *state;         /* state_size zeroed bytes, this filter's in this exchange */
    struct arena *arena; /* the exchange's */
    struct store *store;
    const struct randomness *random;
    uint64_t now_us;
    const uint32_t *outputs; /* how many of each enum output_kind the policy's model lets out */
    struct charge charge;    /* the filter's to fill in */
    struct hash128 draws;    /* the slot's, of struct filter_slot */
};

/* What a filter needs to be told of the query and answer. */
enum filter_needs {
    NEEDS_NOTHING = 0,
    NEEDS_QUERY = 1,  /* decoded inputs: cannot stand in a policy with `bodies: relay` */
    NEEDS_ANSWER = 2, /* decoded outputs: likewise */
};

/* Where a filter's check found its configuration wrong. */
struct conf_error {
    const char *option; /* the option's name: the message points at its value; NULL: the filter */
    char text[200];
};

/* The files that a filter's options name, for its load callback. */
#define LOADER_WHY_MAX 160
struct loader {
    struct arena *arena; /* the configuration's: for what the filter makes of them */
    /* Appends the whole file to *out.  Not NULL: why not, in words; it may stand in why[]. */
    const char *(*file)(struct loader *, struct bytes path, struct buf *out,
                        char why[LOADER_WHY_MAX]);
};

/* What a mechanism promises for one row of one output, and for which outputs. */
struct privacy {
    uint32_t covers;                /* 1 << enum output_kind for each kind it makes private */
    double epsilon, delta;          /* as configured; delta 0: pure */
    struct loss loss;               /* the same in the accountant's terms */
    bool sticky;                    /* an exact repeat draws nothing new */
    const char *sensitivity, *unit; /* in words */
    const char *why;                /* there is none: why, as a sentence that teaches */
};

/* A policy that a filter may switch to; its name from the file, the rest from the core. */
struct policy_ref {
    struct bytes name; /* empty: none */
    const char *option;
    const struct policy *policy;
};

/* A filter that stands behind another in a policy. */
struct filter_use {
    const struct filter *filter;
    const void *conf;
    struct hash128 draws;
};

/* Unset callbacks mean: not interested. */
struct filter {
    const char *name; /* the YAML key */
    const char *says; /* one sentence for the docs and `explain` */
    enum filter_needs needs;
    const struct option *options;
    size_t conf_size, state_size;

    /* After the options are read: relations between them.  False: *error says what is wrong. */
    bool (*check)(void *conf, struct conf_error *error);

    /* After check: reads the files that the options name.  False: *error says what is wrong. */
    bool (*load)(void *conf, struct loader *from, struct conf_error *error);

    /* A mechanism's guarantee.  False: there is none, out->why says why. */
    bool (*privacy)(const void *conf, struct privacy *out);

    /* The policies it may switch to: *refs, and how many. */
    uint32_t (*switches)(void *conf, struct policy_ref **refs);

    /* When all of the policy is read: what stands behind it.  False: *error says what does not go
     * together. */
    bool (*after)(void *conf, const struct filter_use *behind, uint32_t count,
                  struct conf_error *error);

    /* For each model that has the policy: how many outputs of each kind it lets out. */
    bool (*fits)(const void *conf, const uint32_t *outputs, struct conf_error *error);

    /* More words where the model is known: so many outputs of each kind.  As explain. */
    void (*explain_for)(const void *conf, const uint32_t *outputs, struct buf *out);

    bool only_judges; /* on_answer refuses answers, and changes none */

    /* Its counts must outlive the process, and clients their names: the file is refused else. */
    bool lasting;

    /* What this filter does with this configuration, in words, for `explain`; one or more lines,
     * each starting with "- ". */
    void (*explain)(const void *conf, struct buf *out);

    /* A query passes, is refused, or waits. */
    struct verdict (*on_query)(struct filter_call *);

    /* Changes the answer's outputs.  DENY or FAULT: nothing of the answer leaves. */
    struct verdict (*on_answer)(struct filter_call *, struct predictions *);

    /* The exchange ends: cancel what on_query started. */
    void (*on_close)(struct filter_call *);
};

/* Goes on with an exchange whose filter said VERDICT_WAIT. */
void filter_resume(struct exchange *, struct verdict);

extern const struct filter *const filters_all[]; /* NULL-terminated, order of filters.def */

/* NULL: no such filter. */
const struct filter *filter_named(struct bytes name);

#endif

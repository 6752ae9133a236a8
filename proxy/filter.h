/* filter.h - the contract of a filter.
 *
 * A filter is one file in filters/, one `const struct filter filter_NAME`, one row FILTER(NAME) in
 * filters/filters.def, and one YAML key.  It knows no sockets and no protocol: it reads a query,
 * changes an answer, or refuses.  The core allocates its memory, runs the chain, waits and resumes,
 * counts and times (proxy/chain.c). */
#ifndef QG_FILTER_H
#define QG_FILTER_H

#include "../proto/predictions.h"
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

/* sticky.h - noise that answers the same question the same way.
 *
 * A row's stream is the keyed stream of: the filter with its distribution and options and those of
 * all before it that change answers, the model, its version as the upstream says it, the output's
 * name, what the row was asked with, and which of the rows for that question it is.  What a row was
 * asked with is the same in every datatype, alone or in a batch, from whichever client; each number
 * is first divided by `bucket` and rounded.  What may have another answer is another question:
 * shapes that differ by more than leading ones, another content type.  Where the answer depends on
 * queries before it nothing is the same question, and sticky filters refuse.
 *
 * Options are part of it, so that what they make of one score has independent noise: were it the
 * same, or one a multiple of the other, two answers would give the score away. */
#ifndef QG_STICKY_H
#define QG_STICKY_H

#include "../proxy/filter.h"

struct sticky_conf {
    bool on;
    double bucket; /* 0: as exact as the numbers are */
};

/* The rows of `struct conf`'s member `field`, for a table of options. */
#define STICKY_OPTIONS(conf, field)                                                                \
    {.name = "sticky",                                                                             \
     .type = OPTION_BOOL,                                                                          \
     .offset = offsetof(conf, field.on),                                                           \
     .fallback = "true",                                                                           \
     .says =                                                                                       \
         "The same question gets the same noise, under `noise_key`, so that repeating it tells "   \
         "nothing. false: new noise each time, which repeats average away."},                      \
    {                                                                                              \
        .name = "bucket", .type = OPTION_REAL, .offset = offsetof(conf, field.bucket),             \
        .max = 1e300,                                                                              \
        .says = "With `sticky`: inputs are the same question when each number is the same after "  \
                "division by this and rounding. Absent: exact repeats only."                       \
    }

/* The noise of one filter in one answer. */
struct sticky {
    const struct filter_call *call;
    const struct sticky_conf *conf;
    struct bytes what; /* the filter and its distribution */
    struct bytes version;
    uint32_t items;               /* questions of the query */
    unsigned char (*digests)[32]; /* of each */
    struct buf context;           /* reused from row to row */
};

/* A batch of more rows than anyone's noise is worth, or a query of a sequence, is refused before
 * the upstream is asked. */
struct verdict sticky_query(const struct filter_call *, const struct sticky_conf *);

/* False: out of memory.  what: bytes that no other filter or distribution has. */
MUST bool sticky_begin(struct sticky *, const struct filter_call *, const struct sticky_conf *,
                       const struct predictions *, struct bytes what);

/* The bits of that row of o; good until the next call.  who: a client's own, or empty. */
struct bits *sticky_row(struct sticky *, const struct output *o, uint32_t row, struct bytes who);

void sticky_end(struct sticky *);

void sticky_explain(const struct sticky_conf *, struct buf *out);

#endif

/* stats.h - counters: each worker writes its own, the admin page reads and sums them.
 *
 * Labelled series (a policy's filter, an upstream) are registered by name once per process, so that
 * a reload neither resets nor duplicates them. */
#ifndef QG_STATS_H
#define QG_STATS_H

#include <stdatomic.h>

#include "base/buf.h"

enum counter {
#define COUNTER(name, help) COUNT_##name,
#include "counters.def"
#undef COUNTER
    COUNTERS
};

enum filter_counter {
    FILTER_PASS,
    FILTER_DENY,
    FILTER_FAULT,
    FILTER_WOULD_DENY,
    FILTER_SWITCH, /* to another policy */
    FILTER_COUNTERS
};
enum upstream_counter {
    UPSTREAM_OK,
    UPSTREAM_ERROR,   /* it said 5xx, or something that is not an answer */
    UPSTREAM_REFUSED, /* it said 4xx */
    UPSTREAM_TIMEOUT,
    UPSTREAM_CONNECT, /* no connection could be made */
    UPSTREAM_BUSY,    /* not asked: all endpoints down, or too many calls pending */
    UPSTREAM_RETRY,
    UPSTREAM_COUNTERS
};
enum { SERIES_MAX = 512, LATENCY_BUCKETS = 16, SHARE_BUCKETS = 11 };

struct stats {
    _Atomic uint64_t counters[COUNTERS];
    _Atomic uint64_t status[6]; /* by hundreds; [0]: no answer was sent */
    _Atomic uint64_t latency[LATENCY_BUCKETS + 1];
    _Atomic uint64_t latency_sum_us;
    _Atomic uint64_t filters[SERIES_MAX][FILTER_COUNTERS];
    _Atomic uint64_t spent[SERIES_MAX][SHARE_BUCKETS]; /* queries, by what was spent with them */
    _Atomic uint64_t spent_sum[SERIES_MAX];            /* of the shares, in millionths */
    _Atomic uint64_t upstreams[SERIES_MAX][UPSTREAM_COUNTERS];
    _Atomic uint64_t endpoints_up[SERIES_MAX]; /* gauge, as this worker sees it */
};

struct stats *stats_new(void);
void stats_free(struct stats *s);

/* Only the owning thread writes, so no locked instruction is needed. */
static inline void stats_add(_Atomic uint64_t *c, uint64_t n) {
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void stats_count(struct stats *s, enum counter c) {
    stats_add(&s->counters[c], 1);
}
/* A query after which this share of its budget is spent: tenths are counted, and last what was
 * denied. */
static inline void stats_share(struct stats *s, uint32_t series, double share, bool denied) {
    double tenth = share * (SHARE_BUCKETS - 1);
    unsigned i = tenth > 1 ? (unsigned)tenth - ((double)(unsigned)tenth == tenth) : 0;
    stats_add(&s->spent[series][denied ? SHARE_BUCKETS - 1 : i], 1);
    stats_add(&s->spent_sum[series], (uint64_t)(share * 1e6));
}
void stats_answer(struct stats *s, unsigned status, uint64_t latency_us);

/* The series of policy + filter, or of an upstream; the same number for the same names as long as
 * the process lives.  When SERIES_MAX are taken, all further ones share the last ("other"). */
uint32_t stats_filter_series(struct bytes policy, const char *filter);
uint32_t stats_upstream_series(struct bytes upstream);

/* The Prometheus text format (0.0.4) of the sum over all. */
struct stats_gauges {
    uint64_t connections, workers, alerts, alerts_dropped;
    bool reload_ok;
    uint64_t reloads, reload_failures;
    bool store_up;
    const char *config_sha256;
};
void stats_print(struct stats *const *all, unsigned count, const struct stats_gauges *g,
                 struct buf *out);

#endif

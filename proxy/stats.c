#include "stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/limits.h"

static const uint64_t latency_bounds_us[LATENCY_BUCKETS] = {
    100,   250,    500,    1000,   2500,    5000,    10000,   25000,
    50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

struct series {
    char policy[80], name[80];
};

/* Process-wide and append-only; the lock is taken at (re)load and by the admin page. */
static struct {
    pthread_mutex_t lock;
    struct series filters[SERIES_MAX], upstreams[SERIES_MAX];
    uint32_t filter_count, upstream_count;
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct stats *stats_new(void) {
    return calloc(1, sizeof(struct stats));
}

void stats_free(struct stats *s) {
    free(s);
}

void stats_answer(struct stats *s, unsigned status, uint64_t latency_us) {
    unsigned i = 0;
    while (i < LATENCY_BUCKETS && latency_us > latency_bounds_us[i])
        i++;
    stats_add(&s->latency[i], 1);
    stats_add(&s->latency_sum_us, latency_us);
    stats_add(&s->status[status / 100 < 6 ? status / 100 : 0], 1);
}

static uint32_t series_id(struct series *all, uint32_t *count, struct bytes policy,
                          const char *name) {
    struct series want = {{0}, {0}};
    snprintf(want.policy, sizeof(want.policy), "%.*s", (int)policy.len, policy.at);
    snprintf(want.name, sizeof(want.name), "%s", name);
    uint32_t i = 0;
    pthread_mutex_lock(&registry.lock);
    while (i < *count && memcmp(&all[i], &want, sizeof(want)) != 0)
        i++;
    if (i == *count) {
        if (i == SERIES_MAX - 1)
            want = (struct series){"other", "other"};
        if (i < SERIES_MAX) {
            all[i] = want;
            ++*count;
        } else {
            i = SERIES_MAX - 1;
        }
    }
    pthread_mutex_unlock(&registry.lock);
    return i;
}

uint32_t stats_filter_series(struct bytes policy, const char *filter) {
    return series_id(registry.filters, &registry.filter_count, policy, filter);
}

uint32_t stats_upstream_series(struct bytes upstream) {
    return series_id(registry.upstreams, &registry.upstream_count, upstream, "");
}

static uint64_t get(const _Atomic uint64_t *c) {
    return atomic_load_explicit(c, memory_order_relaxed);
}

/* The sum over all workers of the counter at this offset in struct stats. */
static uint64_t sum(struct stats *const *all, unsigned count, size_t offset) {
    uint64_t total = 0;
    for (unsigned w = 0; w < count; w++)
        total += get((const _Atomic uint64_t *)((const char *)all[w] + offset));
    return total;
}

static void describe(struct buf *out, const char *name, const char *help, const char *type) {
    buf_printf(out, "# HELP querygate_%s %s\n# TYPE querygate_%s %s\n", name, help, name, type);
}

static void gauge(struct buf *out, const char *name, const char *help, uint64_t v) {
    describe(out, name, help, "gauge");
    buf_printf(out, "querygate_%s %llu\n", name, (unsigned long long)v);
}

static void counter(struct buf *out, const char *name, const char *help, uint64_t v) {
    describe(out, name, help, "counter");
    buf_printf(out, "querygate_%s %llu\n", name, (unsigned long long)v);
}

/* A label's value: quotes, backslashes and newlines escaped as the text format wants. */
static void label(struct buf *out, const char *s) {
    for (; *s != '\0'; s++) {
        if (*s == '"' || *s == '\\')
            buf_add_char(out, '\\');
        if (*s == '\n')
            buf_add_str(out, "\\n");
        else
            buf_add_char(out, *s);
    }
}

static void print_counters(struct stats *const *all, unsigned count, struct buf *out) {
    static const struct {
        const char *name, *help;
    } rows[COUNTERS] = {
#define COUNTER(name, help) {#name, help},
#include "counters.def"
#undef COUNTER
    };
    for (unsigned i = 0; i < COUNTERS; i++) {
        char name[64];
        snprintf(name, sizeof(name), "%s_total", rows[i].name);
        describe(out, name, rows[i].help, "counter");
        buf_printf(out, "querygate_%s %llu\n", name,
                   (unsigned long long)sum(all, count, offsetof(struct stats, counters[i])));
    }
    describe(out, "requests_total", "Requests ended, by the hundreds of their status.", "counter");
    for (unsigned i = 0; i < 6; i++) {
        const char *code = (const char *[]){"none", "1xx", "2xx", "3xx", "4xx", "5xx"}[i];
        buf_printf(out, "querygate_requests_total{code=\"%s\"} %llu\n", code,
                   (unsigned long long)sum(all, count, offsetof(struct stats, status[i])));
    }
}

static void print_latency(struct stats *const *all, unsigned count, struct buf *out) {
    uint64_t below = 0;
    describe(out, "request_seconds", "From the first byte of a request to the last of its answer.",
             "histogram");
    for (unsigned i = 0; i <= LATENCY_BUCKETS; i++) {
        char bound[32] = "+Inf";
        below += sum(all, count, offsetof(struct stats, latency[i]));
        if (i < LATENCY_BUCKETS)
            snprintf(bound, sizeof(bound), "%g", (double)latency_bounds_us[i] / 1e6);
        buf_printf(out, "querygate_request_seconds_bucket{le=\"%s\"} %llu\n", bound,
                   (unsigned long long)below);
    }
    buf_printf(out, "querygate_request_seconds_sum %.6f\nquerygate_request_seconds_count %llu\n",
               (double)sum(all, count, offsetof(struct stats, latency_sum_us)) / 1e6,
               (unsigned long long)below);
}

static void print_filters(struct stats *const *all, unsigned count, struct buf *out) {
    static const char *const verdicts[FILTER_COUNTERS] = {"pass", "deny", "fault", "would_deny",
                                                          "switch"};
    describe(out, "filter_verdicts_total", "What each filter of each policy decided.", "counter");
    for (uint32_t i = 0; i < registry.filter_count; i++)
        for (unsigned v = 0; v < FILTER_COUNTERS; v++) {
            buf_add_str(out, "querygate_filter_verdicts_total{policy=\"");
            label(out, registry.filters[i].policy);
            buf_add_str(out, "\",filter=\"");
            label(out, registry.filters[i].name);
            buf_printf(out, "\",verdict=\"%s\"} %llu\n", verdicts[v],
                       (unsigned long long)sum(all, count, offsetof(struct stats, filters[i][v])));
        }
}

static void print_budgets(struct stats *const *all, unsigned count, struct buf *out) {
    describe(out, "budget_spent",
             "Queries by the share of their client's budget that was spent with them; +Inf: "
             "refused for want of it.",
             "histogram");
    for (uint32_t i = 0; i < registry.filter_count; i++) {
        uint64_t below = 0;
        if (strcmp(registry.filters[i].name, "budget") != 0)
            continue;
        for (unsigned b = 0; b < SHARE_BUCKETS; b++) {
            char bound[16] = "+Inf";
            below += sum(all, count, offsetof(struct stats, spent[i][b]));
            if (b < SHARE_BUCKETS - 1)
                snprintf(bound, sizeof(bound), "%.1f", (b + 1) / (double)(SHARE_BUCKETS - 1));
            buf_add_str(out, "querygate_budget_spent_bucket{policy=\"");
            label(out, registry.filters[i].policy);
            buf_printf(out, "\",le=\"%s\"} %llu\n", bound, (unsigned long long)below);
        }
        buf_add_str(out, "querygate_budget_spent_sum{policy=\"");
        label(out, registry.filters[i].policy);
        buf_printf(out, "\"} %.6f\nquerygate_budget_spent_count{policy=\"",
                   (double)sum(all, count, offsetof(struct stats, spent_sum[i])) / 1e6);
        label(out, registry.filters[i].policy);
        buf_printf(out, "\"} %llu\n", (unsigned long long)below);
    }
}

static void print_upstreams(struct stats *const *all, unsigned count, struct buf *out) {
    static const char *const results[UPSTREAM_COUNTERS] = {"ok",      "error", "refused", "timeout",
                                                           "connect", "busy",  "retry"};
    describe(out, "upstream_calls_total", "Calls to an upstream, by their result.", "counter");
    for (uint32_t i = 0; i < registry.upstream_count; i++)
        for (unsigned r = 0; r < UPSTREAM_COUNTERS; r++) {
            buf_add_str(out, "querygate_upstream_calls_total{upstream=\"");
            label(out, registry.upstreams[i].policy);
            buf_printf(
                out, "\",result=\"%s\"} %llu\n", results[r],
                (unsigned long long)sum(all, count, offsetof(struct stats, upstreams[i][r])));
        }
    describe(out, "upstream_endpoints_up",
             "Endpoints that are asked, as the worker that sees the fewest sees it.", "gauge");
    for (uint32_t i = 0; i < registry.upstream_count; i++) {
        uint64_t least = UINT64_MAX;
        for (unsigned w = 0; w < count; w++)
            if (get(&all[w]->endpoints_up[i]) < least)
                least = get(&all[w]->endpoints_up[i]);
        buf_add_str(out, "querygate_upstream_endpoints_up{upstream=\"");
        label(out, registry.upstreams[i].policy);
        buf_printf(out, "\"} %llu\n", (unsigned long long)(count > 0 ? least : 0));
    }
}

static void print_process(struct buf *out) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        fclose(f);
    gauge(out, "resident_memory_bytes", "Resident memory of the process.",
          (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE));
}

void stats_print(struct stats *const *all, unsigned count, const struct stats_gauges *g,
                 struct buf *out) {
    pthread_mutex_lock(&registry.lock);
    describe(out, "build_info", "Always 1; the version is a label.", "gauge");
    buf_printf(out, "querygate_build_info{version=\"%s\"} 1\n", QG_VERSION);
    describe(out, "config_info", "Always 1; the policy version in force is a label.", "gauge");
    buf_printf(out, "querygate_config_info{sha256=\"%s\"} 1\n", g->config_sha256);
    gauge(out, "config_last_reload_successful", "1 if the last (re)load was taken over.",
          g->reload_ok);
    describe(out, "config_reloads_total", "Reloads, by their result.", "counter");
    buf_printf(out, "querygate_config_reloads_total{result=\"ok\"} %llu\n",
               (unsigned long long)g->reloads);
    buf_printf(out, "querygate_config_reloads_total{result=\"failed\"} %llu\n",
               (unsigned long long)g->reload_failures);
    gauge(out, "store_up", "1 while every worker counts in the store; else on_failure decides.",
          g->store_up);
    gauge(out, "workers", "Event-loop threads.", g->workers);
    gauge(out, "connections", "Client connections open now.", g->connections);
    print_counters(all, count, out);
    counter(out, "alerts_total", "Alerts raised.", g->alerts);
    counter(out, "alerts_dropped_total", "Alerts lost because a sink was too slow or failed.",
            g->alerts_dropped);
    print_latency(all, count, out);
    print_filters(all, count, out);
    print_budgets(all, count, out);
    print_upstreams(all, count, out);
    print_process(out);
    pthread_mutex_unlock(&registry.lock);
}

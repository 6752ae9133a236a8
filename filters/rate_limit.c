/* rate_limit.c - how many queries, or requests, may come how fast (GCRA, in the store). */
#include <stdio.h>

#include "../proxy/base/require.h"
#include "../proxy/filter.h"

#define NAME_MAX_BYTES 64
#define PREFIX_MAX     192
#define BURST_US_MAX   3e15 /* what the store can hold in one debt: 95 years */

enum per { PER_CLIENT, PER_ADDRESS, PER_MODEL, PER_CLIENT_AND_MODEL, PER_EVERYONE };
static const char *const per_words[] = {"client",       "address",  "model",
                                        "client+model", "everyone", NULL};

static const char *const on_failure_words[] = {[STORE_LOCAL] = "local",
                                               [STORE_CLOSED] = "closed",
                                               [STORE_OPEN] = "open",
                                               [STORE_AS_CONFIGURED] = "store",
                                               NULL};

struct conf {
    struct bytes name;
    int per, on_failure; /* enum store_on_failure */
    bool exact;
    struct rate queries, requests;
    uint64_t burst;

    /* Made by check. */
    struct store_rate rate;
    char prefix[PREFIX_MAX]; /* of the bucket's key: what makes this rule itself */
    size_t prefix_len;
};

struct state {
    struct filter_call *call;
    bool pending;
};

static const struct option options[] = {
    {.name = "per",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, per),
     .fallback = "client",
     .words = per_words,
     .says = "Who shares a bucket: all queries of one client, from one address (IPv6: one /64), to "
             "one model, of one client to one model, or everyone's. An anonymous client is its "
             "address."},
    {.name = "queries",
     .type = OPTION_RATE,
     .offset = offsetof(struct conf, queries),
     .says = "The rate of queries; a batch costs its rows (one, where bodies pass unread). Give "
             "this or `requests`."},
    {.name = "requests",
     .type = OPTION_RATE,
     .offset = offsetof(struct conf, requests),
     .says = "The rate of requests, whatever their batch size. Give this or `queries`."},
    {.name = "burst",
     .type = OPTION_COUNT,
     .offset = offsetof(struct conf, burst),
     .min = 1,
     .max = 1e9,
     .says = "How many may come at once. Absent: a tenth of the rate's count, at least 1."},
    {.name = "on_failure",
     .type = OPTION_WORD,
     .offset = offsetof(struct conf, on_failure),
     .fallback = "store",
     .words = on_failure_words,
     .says = "While the store does not answer: count in this process, each gate its share (local), "
             "refuse with 503 (closed), pass uncounted (open), or what `store.on_failure` says "
             "(store)."},
    {.name = "exact",
     .type = OPTION_BOOL,
     .offset = offsetof(struct conf, exact),
     .fallback = "false",
     .says =
         "With a shared store: ask it for every query, instead of leasing tokens ahead of need, "
         "of which each gate may hold a quarter of the burst on top."},
    {.name = "name",
     .type = OPTION_STRING,
     .offset = offsetof(struct conf, name),
     .says = "Rules alike in all options, the name included, share their buckets, in whatever "
             "policies they stand; give each its own name to keep them apart. At most 64 bytes."},
    {.type = OPTION_END},
};

static bool by_rows(const struct conf *conf) {
    return conf->queries.count > 0;
}

static const struct rate *rate_of(const struct conf *conf) {
    return by_rows(conf) ? &conf->queries : &conf->requests;
}

/* The rule's identity is what it says, not where it stands, so that a reload keeps the counts. */
static void make_prefix(struct conf *conf) {
    const struct rate *r = rate_of(conf);
    int n = snprintf(conf->prefix, sizeof(conf->prefix), "rl|%zu:%.*s|%s|%s|%llu/%llu|%llu|%s",
                     conf->name.len, (int)conf->name.len, conf->name.len > 0 ? conf->name.at : "",
                     per_words[conf->per], by_rows(conf) ? "queries" : "requests",
                     (unsigned long long)r->count, (unsigned long long)r->period_us,
                     (unsigned long long)conf->burst, conf->exact ? "exact|" : "");
    require(n > 0 && (size_t)n < sizeof(conf->prefix));
    conf->prefix_len = (size_t)n;
}

static bool wrong(struct conf_error *error, const char *option, const char *text) {
    error->option = option;
    snprintf(error->text, sizeof(error->text), "%s", text);
    return false;
}

/* Count and period without their common divisor: smaller numbers for whoever counts. */
static struct store_rate reduced(const struct rate *r) {
    uint64_t a = r->count, b = r->period_us;
    while (b > 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return (struct store_rate){.count = r->count / a, .period_us = r->period_us / a};
}

/* Redis counts with doubles: parts of microseconds times tokens must be whole numbers there. */
static bool is_exact(const struct store_rate *r) {
    unsigned __int128 parts = (unsigned __int128)(r->period_us % r->count) * (r->burst + 1);
    return parts < UINT64_C(1) << 53;
}

static bool check(void *at, struct conf_error *error) {
    struct conf *conf = at;
    if ((conf->queries.count > 0) == (conf->requests.count > 0))
        return wrong(error, NULL, "give exactly one of 'queries' and 'requests'");
    if (conf->name.len > NAME_MAX_BYTES)
        return wrong(error, "name", "at most 64 bytes");
    const struct rate *r = rate_of(conf);
    if (conf->burst == 0)
        conf->burst = r->count >= 20 ? r->count / 10 : 1;
    if ((double)conf->burst * (double)r->period_us > BURST_US_MAX * (double)r->count)
        return wrong(error, "burst", "at this rate the burst takes more than 95 years to refill");
    conf->rate = reduced(r);
    conf->rate.burst = conf->burst;
    conf->rate.exact = conf->exact;
    conf->rate.on_failure = (enum store_on_failure)conf->on_failure;
    if (!is_exact(&conf->rate))
        return wrong(error, "burst",
                     "too large to be counted exactly at so odd a rate: take a "
                     "rounder rate or a smaller burst");
    make_prefix(conf);
    return true;
}

static const char *period_text(uint64_t us) {
    static const struct {
        uint64_t us;
        const char *text;
    } known[] = {{SECONDS(1), "second"},
                 {SECONDS(60), "minute"},
                 {SECONDS(3600), "hour"},
                 {SECONDS(86400), "day"}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (known[i].us == us)
            return known[i].text;
    return NULL;
}

static void explain_rate(const struct conf *conf, struct buf *out) {
    static const char *const whose[] = {"of each client", "from each address",
                                        "to each model, all clients together",
                                        "of each client to each model", "of everyone together"};
    const struct rate *r = rate_of(conf);
    const char *period = period_text(r->period_us);
    buf_printf(out, "- at most %llu %s per ", (unsigned long long)r->count,
               by_rows(conf) ? "queries" : "requests");
    if (period != NULL)
        buf_add_str(out, period);
    else
        buf_printf(out, "%llu us", (unsigned long long)r->period_us);
    buf_printf(out,
               " %s, and %llu at once on top: in any stretch of time no more than rate x time "
               "+ %llu\n",
               whose[conf->per], (unsigned long long)conf->burst, (unsigned long long)conf->burst);
}

/* What a shared store (Redis) changes. */
static void explain_shared(const struct conf *conf, struct buf *out) {
    static const char *const failing[] = {
        [STORE_LOCAL] = "each gate counts for itself, with the rate and the burst divided by "
                        "store.expected_gates (at least one token), on top of what was counted",
        [STORE_CLOSED] = "queries are refused with 503",
        [STORE_OPEN] = "queries pass uncounted",
        [STORE_AS_CONFIGURED] = "store.on_failure decides"};
    unsigned long long quarter = (unsigned long long)(conf->burst / 4);
    if (conf->exact || quarter == 0)
        buf_add_str(out, "- all gates that share a store share this bound\n");
    else
        buf_printf(out,
                   "- all gates that share a store share this bound, and each may lease %llu ahead "
                   "of need: with n gates rate x time + %llu + n x %llu (`exact: true`: without "
                   "the last)\n",
                   quarter, (unsigned long long)conf->burst, quarter);
    buf_printf(out, "- while the store does not answer, %s\n", failing[conf->on_failure]);
}

static void explain(const void *at, struct buf *out) {
    const struct conf *conf = at;
    explain_rate(conf, out);
    if (by_rows(conf))
        buf_add_str(out,
                    "- a batch costs its rows; one of more rows than the burst never passes\n");
    else
        buf_add_str(out, "- a request costs one whatever its batch size: limit that with "
                         "input_limits\n");
    if (conf->per == PER_CLIENT || conf->per == PER_CLIENT_AND_MODEL)
        buf_add_str(out, "- whoever has n credentials has n times the rate\n");
    explain_shared(conf, out);
    buf_add_str(out, "- this slows an attack and makes it visible; it does not make an answer tell "
                     "less, and five queries can be enough for a membership test\n");
}

static uint32_t milliseconds(uint64_t us) {
    uint64_t ms = us / 1000 + (us % 1000 > 0);
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static struct verdict judge(const struct store_answer *answer) {
    if (answer->status == STORE_FAILED)
        return verdict_fault("the rate limit could not be checked");
    if (answer->admitted)
        return verdict_pass();
    if (answer->retry_after_us == UINT64_MAX)
        return verdict_deny(429, "batch larger than the burst");
    struct verdict v = verdict_deny(429, "rate limit");
    v.retry_after_ms = milliseconds(answer->retry_after_us);
    return v;
}

static void append(char **to, const void *from, size_t len) {
    if (len > 0)
        memcpy(*to, from, len);
    *to += len;
}

/* prefix, the client's length and key, the model: no two (rule, client, model) share one.
 * at == NULL: out of memory. */
static struct bytes bucket_key(struct filter_call *call) {
    const struct conf *conf = call->conf;
    struct bytes client = call->client->key, model = call->model_name;
    if (conf->per == PER_ADDRESS)
        client = call->client->address;
    if (conf->per == PER_MODEL || conf->per == PER_EVERYONE)
        client = bytes_of(NULL, 0);
    if (conf->per != PER_MODEL && conf->per != PER_CLIENT_AND_MODEL)
        model = bytes_of(NULL, 0);
    uint32_t client_len = (uint32_t)client.len;
    size_t len = conf->prefix_len + sizeof(client_len) + client.len + model.len;
    char *key = arena_alloc(call->arena, len), *to = key;
    if (key == NULL)
        return bytes_of(NULL, 0);
    append(&to, conf->prefix, conf->prefix_len);
    append(&to, &client_len, sizeof(client_len));
    append(&to, client.at, client.len);
    append(&to, model.at, model.len);
    return bytes_of(key, len);
}

static void on_counted(void *cookie, const struct store_answer *answer) {
    struct state *state = cookie;
    state->pending = false; /* on_close must not cancel it any more */
    filter_resume(state->call->exchange, judge(answer));
}

static struct verdict on_query(struct filter_call *call) {
    const struct conf *conf = call->conf;
    struct state *state = call->state;
    struct bytes key = bucket_key(call);
    struct store_answer answer;
    if (key.at == NULL)
        return verdict_fault("out of memory");
    uint64_t cost = by_rows(conf) ? call->query->rows : 1;
    if (cost == 0)
        cost = 1;

    state->call = call;
    enum store_status status =
        store_take(call->store, key, &conf->rate, cost, on_counted, state, &answer);
    if (status == STORE_PENDING) {
        state->pending = true;
        return verdict_wait();
    }
    answer.status = status;
    return judge(&answer);
}

static void on_close(struct filter_call *call) {
    struct state *state = call->state;
    if (state->pending)
        call->store->ops->cancel(call->store, state);
    state->pending = false;
}

const struct filter filter_rate_limit = {
    .name = "rate_limit",
    .says = "Limits how many queries or requests come how fast; more is 429 with Retry-After.",
    .needs = NEEDS_NOTHING,
    .options = options,
    .conf_size = sizeof(struct conf),
    .state_size = sizeof(struct state),
    .check = check,
    .explain = explain,
    .on_query = on_query,
    .on_close = on_close,
};

/* exchange_gate.c - the query before the policy's filters, and what they charge for it. */
#include "base/clock.h"
#include "base/require.h"
#include "exchange.h"
#include "gate.h"
#include "ledger.h"

/* What the filters of this chain charged, counted and in the ledger: once for each. */
static void note_charges(struct exchange *ex) {
    struct stats *stats = ex->worker->stats;
    for (uint32_t i = 0; i < ex->chain.entered; i++) {
        struct charge *c = &ex->chain.calls[i].charge;
        if (c->unit == NULL)
            continue;
        stats_add(&stats->counters[COUNT_budget_rows_paid], c->rows);
        stats_add(&stats->counters[COUNT_budget_rows_free], c->free_rows);
        if (c->denied)
            stats_count(stats, COUNT_budget_denials);
        stats_share(stats, ex->policy->slots[i].series, c->share, c->denied);
        if (c->rows > 0 && ex->config->ledger.path.len > 0) {
            const struct ledger_entry entry = {.client = ex->client.pseudonym,
                                               .model = ex->call.model,
                                               .policy = ex->policy->name,
                                               .policy_sha256 = ex->config->sha256,
                                               .charge = c,
                                               .time_us = clock_wall_us()};
            if (!ledger_add(ex->worker->gate->ledger, &entry))
                stats_count(stats, COUNT_ledger_dropped);
        }
        ex->budget_share = c->share;
        ex->budgeted = true;
        c->unit = NULL;
    }
}

static bool begin_chain(struct exchange *ex) {
    const struct filter_call proto = {.exchange = ex,
                                      .client = &ex->client,
                                      .query = &ex->query,
                                      .model = ex->model,
                                      .model_name = ex->call.model,
                                      .arena = ex->arena,
                                      .store = ex->worker->store,
                                      .random = &ex->random.view,
                                      .now_us = clock_us(),
                                      .outputs = ex->model->outputs};
    return chain_begin(&ex->chain, ex->policy, &proto);
}

/* Under other policies, as long as filters switch; the configuration allows no cycle. */
static struct verdict follow(struct exchange *ex, struct verdict v) {
    for (uint32_t i = 0; v.kind == VERDICT_SWITCH; i++) {
        require(i < SWITCHES_MAX);
        note_charges(ex);
        chain_close(&ex->chain);
        if (ex->routed == NULL)
            ex->routed = ex->policy;
        ex->policy = v.policy;
        if (!begin_chain(ex))
            return verdict_fault("out of memory");
        v = chain_query(&ex->chain, ex->worker->stats);
    }
    return v;
}

static enum next after_verdict(struct exchange *ex, struct verdict v) {
    v = follow(ex, v);
    if (v.kind == VERDICT_WAIT) {
        ex->step--; /* chain_resume goes on with this step. */
        return NEXT_PARK;
    }
    note_charges(ex);
    if (v.kind == VERDICT_PASS)
        return NEXT_MORE;
    ex->filter = ex->chain.refused_by;
    ex->retry_after_ms = v.retry_after_ms;
    return exchange_refuse(ex, v.status, v.reason);
}

enum next step_gate(struct exchange *ex) {
    if (ex->call.kind != CALL_INFER)
        return NEXT_MORE;
    random_begin(&ex->random, &ex->worker->random, &ex->config->noise, clock_wall_us() / 1000000);
    if (!begin_chain(ex))
        return exchange_refuse(ex, 503, "out of memory");
    return after_verdict(ex, chain_query(&ex->chain, ex->worker->stats));
}

void filter_resume(struct exchange *ex, struct verdict v) {
    require(exchange_is_parked(ex));
    ex->running = true;
    v = chain_resume(&ex->chain, ex->worker->stats, v);
    ex->step++;
    enum next n = after_verdict(ex, v);
    ex->running = false;
    if (n == NEXT_MORE)
        exchange_run(ex);
}

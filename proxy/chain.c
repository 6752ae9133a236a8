#include "chain.h"

#include "base/require.h"

bool chain_begin(struct chain *c, const struct policy *policy, const struct filter_call *proto) {
    *c = (struct chain){.policy = policy};
    c->calls = arena_new_array(proto->arena, struct filter_call, policy->slot_count + 1);
    if (c->calls == NULL)
        return false;
    for (uint32_t i = 0; i < policy->slot_count; i++) {
        const struct filter_slot *slot = &policy->slots[i];
        c->calls[i] = *proto;
        c->calls[i].conf = slot->conf;
        c->calls[i].draws = slot->draws;
        if (slot->filter->state_size > 0 &&
            (c->calls[i].state = arena_calloc(proto->arena, 1, slot->filter->state_size)) == NULL)
            return false;
    }
    return true;
}

/* Counts v as slot's and, in observe mode, turns what is not PASS into it. */
static struct verdict judge(struct chain *c, struct stats *stats, uint32_t slot, struct verdict v) {
    static const enum filter_counter counters[] = {[VERDICT_PASS] = FILTER_PASS,
                                                   [VERDICT_DENY] = FILTER_DENY,
                                                   [VERDICT_SWITCH] = FILTER_SWITCH,
                                                   [VERDICT_FAULT] = FILTER_FAULT};
    const struct filter_slot *s = &c->policy->slots[slot];
    if (v.kind == VERDICT_WAIT)
        return v;
    require(v.kind == VERDICT_PASS || v.kind == VERDICT_SWITCH ||
            (v.reason != NULL && v.status >= 400));
    require(v.kind != VERDICT_SWITCH || v.policy != NULL);
    bool observed = c->policy->observe && v.kind != VERDICT_PASS;
    stats_add(&stats->filters[s->series][observed ? FILTER_WOULD_DENY : counters[v.kind]], 1);
    if (v.kind == VERDICT_PASS)
        return v;
    if (!observed) {
        c->refused_by = s->filter->name;
        return v;
    }
    stats_count(stats, COUNT_observed_denials);
    if (c->observed_count < FILTERS_MAX)
        c->observed[c->observed_count++] = s->filter->name;
    return verdict_pass();
}

struct verdict chain_query(struct chain *c, struct stats *stats) {
    while (c->at < c->policy->slot_count) {
        const struct filter *f = c->policy->slots[c->at].filter;
        c->entered = c->at + 1;
        if (f->on_query != NULL) {
            struct verdict v = judge(c, stats, c->at, f->on_query(&c->calls[c->at]));
            if (v.kind != VERDICT_PASS)
                return v;
        }
        c->at++;
    }
    return verdict_pass();
}

struct verdict chain_resume(struct chain *c, struct stats *stats, struct verdict v) {
    require(c->at < c->policy->slot_count && v.kind != VERDICT_WAIT);
    v = judge(c, stats, c->at, v);
    if (v.kind != VERDICT_PASS)
        return v;
    c->at++;
    return chain_query(c, stats);
}

struct verdict chain_answer(struct chain *c, struct stats *stats, struct predictions *p) {
    struct predictions copy;
    if (c->policy->observe && c->policy->slot_count > 0) {
        if (!predictions_copy(c->calls[0].arena, p, &copy))
            return verdict_fault("out of memory");
        p = &copy;
    }
    for (uint32_t i = 0; i < c->policy->slot_count; i++) {
        const struct filter *f = c->policy->slots[i].filter;
        if (f->on_answer == NULL)
            continue;
        struct verdict v = f->on_answer(&c->calls[i], p);
        require(v.kind != VERDICT_WAIT && v.kind != VERDICT_SWITCH);
        v = judge(c, stats, i, v);
        if (v.kind != VERDICT_PASS)
            return v;
    }
    return verdict_pass();
}

void chain_close(struct chain *c) {
    for (uint32_t i = 0; i < c->entered; i++)
        if (c->policy->slots[i].filter->on_close != NULL)
            c->policy->slots[i].filter->on_close(&c->calls[i]);
    c->entered = 0;
}

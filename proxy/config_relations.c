/* config_relations.c - what must go together once everything is read: filters of a policy with
 * those behind them, policies with those they switch to, both with the models' outputs, and what
 * must not be forgotten with a store that does not forget. */
#include <stdio.h>

#include "base/limits.h"
#include "config_private.h"

struct relations {
    struct reading *r;
    struct policy *policies; /* the snapshot's, while they may be written */
};

/* ---- Where ---- */

static const struct yaml_node *child(const struct yaml_node *n, uint32_t i) {
    n = n->first;
    while (i-- > 0)
        n = n->next;
    return n;
}

/* The filter's name and options in the file. */
static const struct yaml_node *slot_node(const struct relations *rel, const struct policy *p,
                                         uint32_t slot) {
    uint32_t index = (uint32_t)(p - rel->policies);
    const struct yaml_node *policy = child(config_at(rel->r->root, "policies"), index);
    return child(config_at(policy, "filters"), slot)->first;
}

static void say_with(const struct relations *rel, const struct yaml_node *filter,
                     const char *option, const char *hint, const char *text) {
    const struct yaml_node *value = option != NULL ? yaml_get(filter, option) : NULL;
    if (value != NULL)
        diagnostics_add(&rel->r->d, value->place, value->width, hint, "%s: %s", filter->key.at,
                        text);
    else
        diagnostics_add(&rel->r->d, filter->key_place, filter->key_width, hint, "%s: %s",
                        filter->key.at, text);
}

static void say(const struct relations *rel, const struct yaml_node *filter, const char *option,
                const char *text) {
    say_with(rel, filter, option, NULL, text);
}

/* ---- Within a policy ---- */

static void check_behind(const struct relations *rel, struct policy *p, uint32_t slot) {
    const struct filter *f = p->slots[slot].filter;
    struct filter_use behind[FILTERS_MAX];
    struct conf_error error = {.option = NULL};
    uint32_t count = 0;
    for (uint32_t i = slot + 1; i < p->slot_count; i++)
        behind[count++] =
            (struct filter_use){p->slots[i].filter, p->slots[i].conf, p->slots[i].draws};
    if (f->after != NULL && !f->after(p->slots[slot].conf, behind, count, &error))
        say(rel, slot_node(rel, p, slot), error.option, error.text);
}

/* Scores that are hidden are nothing to draw a class by. */
static void check_order(const struct relations *rel, struct policy *p, uint32_t slot) {
    bool hidden = false;
    for (uint32_t i = 0; i < slot; i++)
        hidden = hidden || strcmp(p->slots[i].filter->name, "top_k") == 0;
    if (hidden && strcmp(p->slots[slot].filter->name, "randomize") == 0)
        say(rel, slot_node(rel, p, slot), NULL,
            "top_k, above it, has taken away the scores that a class is drawn by, and what it kept "
            "is drawn over: put top_k behind it");
    if (hidden && strcmp(p->slots[slot].filter->name, "mask") == 0)
        say(rel, slot_node(rel, p, slot), NULL,
            "top_k, above it, leaves no row of probabilities that could be masked: put top_k "
            "behind it");
}

/* What draws before a budget is no part of what that counts, and need not draw the same again. */
static void check_counted(const struct relations *rel, struct policy *p, uint32_t slot) {
    if (p->slots[slot].filter->privacy == NULL)
        return;
    for (uint32_t i = slot + 1; i < p->slot_count; i++)
        if (p->slots[i].filter->lasting)
            say(rel, slot_node(rel, p, slot), NULL,
                "the budget, below it, counts only what stands behind it: put this behind the "
                "budget");
}

static void check_lasting(const struct relations *rel, struct policy *p, uint32_t slot) {
    const struct config *c = rel->r->c;
    if (!p->slots[slot].filter->lasting)
        return;
    if (c->store.kind == STORE_MEMORY)
        say(rel, slot_node(rel, p, slot), NULL,
            "what was spent must outlive the process, and 'memory:' gives it back with every "
            "restart: choose a store.url of memory:/PATH or redis://HOST");
    if (c->clients.pseudonym_version == 0)
        say(rel, slot_node(rel, p, slot), NULL,
            "without clients.pseudonym_key every client has a new name after a restart, and with "
            "it nothing spent: give a key file");
}

/* ---- From policy to policy ---- */

static struct policy *policy_named(const struct relations *rel, struct bytes name) {
    for (uint32_t i = 0; i < rel->r->c->policy_count; i++)
        if (bytes_eq(rel->policies[i].name, name))
            return &rel->policies[i];
    return NULL;
}

static void link_switch(const struct relations *rel, struct policy *p, uint32_t slot,
                        struct policy_ref *ref) {
    const struct yaml_node *filter = slot_node(rel, p, slot);
    struct policy *to = policy_named(rel, ref->name);
    const struct option_list *names = &rel->r->file->policies;
    const char *hint =
        to == NULL ? config_name_hint(rel->r, names, sizeof(struct policy_file), ref->name) : NULL;
    char text[200];
    ref->policy = to;
    if (to == NULL)
        snprintf(text, sizeof(text), "unknown policy '%.80s'", ref->name.at);
    else if (to->relay != p->relay)
        snprintf(text, sizeof(text),
                 "policy '%.60s' %s bodies and this one does not: a query that "
                 "is under way cannot change to it",
                 to->name.at, to->relay ? "relays" : "decodes");
    else if (to->observe && !p->observe)
        snprintf(text, sizeof(text), "policy '%.60s' only observes, so nothing would be enforced",
                 to->name.at);
    else
        return;
    say_with(rel, filter, ref->option, hint, text);
}

static void link_switches(const struct relations *rel, struct policy *p, uint32_t slot) {
    const struct filter_slot *s = &p->slots[slot];
    struct policy_ref *refs;
    uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
    for (uint32_t i = 0; i < count; i++)
        link_switch(rel, p, slot, &refs[i]);
}

/* Is goal reached from p?  steps bounds the walk where there is a cycle without goal in it. */
static bool reaches(const struct policy *p, const struct policy *goal, uint32_t steps) {
    for (uint32_t i = 0; i < p->slot_count && steps > 0; i++) {
        const struct filter_slot *s = &p->slots[i];
        struct policy_ref *refs;
        uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
        for (uint32_t k = 0; k < count; k++)
            if (refs[k].policy == goal ||
                (refs[k].policy != NULL && reaches(refs[k].policy, goal, steps - 1)))
                return true;
    }
    return false;
}

/* The most switches from p on. */
static uint32_t depth(const struct policy *p, uint32_t steps) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < p->slot_count && steps > 0; i++) {
        const struct filter_slot *s = &p->slots[i];
        struct policy_ref *refs;
        uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
        for (uint32_t k = 0; k < count; k++) {
            uint32_t more = 1 + depth(refs[k].policy, steps - 1);
            most = more > most ? more : most;
        }
    }
    return most;
}

static void check_cycle(const struct relations *rel, struct policy *p) {
    for (uint32_t slot = 0; slot < p->slot_count; slot++) {
        const struct filter_slot *s = &p->slots[slot];
        struct policy_ref *refs;
        uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
        for (uint32_t k = 0; k < count; k++)
            if (refs[k].policy != NULL &&
                (refs[k].policy == p || reaches(refs[k].policy, p, SWITCHES_MAX)))
                say(rel, slot_node(rel, p, slot), refs[k].option,
                    "from that policy the way leads back to this one");
            else if (depth(p, SWITCHES_MAX + 1) > SWITCHES_MAX)
                say(rel, slot_node(rel, p, slot), refs[k].option,
                    "more than 8 policies follow one after the other");
    }
}

/* ---- Policies and models ---- */

/* A mechanism and the labels of a model: beside what it makes private they would leave exact. */
static const char *labels_wrong(const struct model *m, const struct policy *p) {
    uint32_t acts = 0, promised = 0, declared = 0;
    for (int k = 0; k <= OUT_OPAQUE; k++)
        declared |= m->outputs[k] > 0 ? 1u << k : 0;
    for (uint32_t i = 0; i < p->slot_count; i++) {
        struct privacy promise = {.why = NULL};
        if (p->slots[i].filter->privacy == NULL)
            continue;
        if (p->slots[i].filter->privacy(p->slots[i].conf, &promise))
            promised |= promise.covers;
        acts |= promise.covers;
    }
    if (acts == 0 || (declared & (1u << OUT_LABELS) & ~acts) == 0)
        return NULL;
    if ((declared & acts) == 0)
        return "no mechanism of it acts on labels, and noise cannot: a class has no number to add "
               "to; randomize with 'classes' draws another label in its place";
    return (declared & promised) != 0
               ? "a label would leave exact beside what is given an epsilon, and void that "
                 "promise: "
                 "leave it out of 'outputs', give randomize with 'classes', or noise with 'scale', "
                 "which promises nothing"
               : NULL;
}

static void check_labels(const struct relations *rel, const struct yaml_node *model,
                         const struct model *m, const struct policy *p) {
    const struct yaml_node *at = config_at(model, "outputs");
    const char *why = labels_wrong(m, p);
    if (why != NULL)
        diagnostics_add(&rel->r->d, at->place, at->width, NULL, "policy '%s' and model '%s': %s",
                        p->name.at, m->match.at, why);
}

static void check_fits(const struct relations *rel, const struct yaml_node *model,
                       const struct model *m, const struct policy *p, uint32_t steps) {
    const uint32_t wrong = rel->r->d.count;
    for (uint32_t i = 0; i < p->slot_count && steps > 0; i++) {
        const struct filter_slot *s = &p->slots[i];
        struct conf_error error = {.option = NULL};
        struct policy_ref *refs;
        uint32_t count = s->filter->switches != NULL ? s->filter->switches(s->conf, &refs) : 0;
        const struct yaml_node *at = config_at(model, "outputs");
        if (s->filter->fits != NULL && !s->filter->fits(s->conf, m->outputs, &error))
            diagnostics_add(&rel->r->d, at->place, at->width, NULL,
                            "%s of policy '%s' and model '%s': %s", s->filter->name, p->name.at,
                            m->match.at, error.text);
        for (uint32_t k = 0; k < count; k++)
            check_fits(rel, model, m, refs[k].policy, steps - 1);
    }
    if (rel->r->d.count == wrong)
        check_labels(rel, model, m, p);
}

static void check_model(const struct relations *rel, struct model *m, const struct yaml_node *n) {
    for (uint32_t i = 0; i < m->declared.count; i++)
        m->outputs[m->declared.outputs[i].kind]++;
    check_fits(rel, n, m, m->policy, SWITCHES_MAX);
    for (uint32_t i = 0; i < m->tier_count; i++)
        if (m->tiers[i].policy != m->policy)
            check_fits(rel, n, m, m->tiers[i].policy, SWITCHES_MAX);
}

/* Each part is looked at only while all before it is right: what is wrong there would be said again
 * here in other words. */
void config_link_relations(struct reading *r) {
    struct relations rel = {.r = r, .policies = r->c->policies};
    if (r->d.count > 0)
        return;
    for (uint32_t i = 0; i < r->c->policy_count; i++)
        for (uint32_t k = 0; k < rel.policies[i].slot_count; k++) {
            check_behind(&rel, &rel.policies[i], k);
            check_order(&rel, &rel.policies[i], k);
            check_lasting(&rel, &rel.policies[i], k);
            check_counted(&rel, &rel.policies[i], k);
            link_switches(&rel, &rel.policies[i], k);
        }
    for (uint32_t i = 0; i < r->c->policy_count && r->d.count == 0; i++)
        check_cycle(&rel, &rel.policies[i]);
    for (uint32_t i = 0; i < r->c->model_count && r->d.count == 0; i++)
        check_model(&rel, &r->c->models[i], child(config_at(r->root, "models"), i));
}

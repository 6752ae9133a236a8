#include <string.h>

#include "base/limits.h"
#include "config_private.h"

/* ---- Names ---- */

/* NULL: unknown (said, unless there are no policies at all, which was said before). */
static const struct policy *policy_named(struct reading *r, const struct yaml_node *at,
                                         struct bytes name) {
    const struct option_list *list = &r->file->policies;
    for (uint32_t i = 0; i < r->c->policy_count; i++)
        if (bytes_eq(r->c->policies[i].name, name))
            return &r->c->policies[i];
    if (name.len > 0 && list->count > 0)
        diagnostics_add(&r->d, at->place, at->width,
                        config_name_hint(r, list, sizeof(struct policy_file), name),
                        "unknown policy '%s'", name.at);
    return NULL;
}

static const struct upstream_conf *upstream_named(struct reading *r, const struct yaml_node *at,
                                                  struct bytes name) {
    const struct option_list *list = &r->file->upstreams;
    for (uint32_t i = 0; i < r->c->upstream_count; i++)
        if (bytes_eq(r->c->upstreams[i].name, name))
            return &r->c->upstreams[i];
    if (name.len > 0 && list->count > 0)
        diagnostics_add(&r->d, at->place, at->width,
                        config_name_hint(r, list, sizeof(struct upstream_file), name),
                        "unknown upstream '%s'", name.at);
    return NULL;
}

static void check_length(struct reading *r, const struct yaml_node *n, struct bytes name,
                         size_t most) {
    if (name.len > most)
        diagnostics_add(&r->d, n->key_place, n->key_width, NULL, "a name of more than %zu bytes",
                        most);
}

/* ---- The parts of a model ---- */

static void link_tiers(struct reading *r, const struct yaml_node *n, const struct model_file *from,
                       struct model *m) {
    const struct option_pair *pairs = from->tiers.at;
    const struct yaml_node *at = config_at(n, "tiers")->first;
    struct tier_policy *tiers = config_array(r, from->tiers.count, sizeof(*tiers));
    m->tiers = tiers;
    for (uint32_t i = 0; tiers != NULL && i < from->tiers.count; i++, at = at->next) {
        tiers[i].tier = pairs[i].name;
        tiers[i].policy = policy_named(r, at, pairs[i].value);
        check_length(r, at, pairs[i].name, CLIENT_ID_MAX);
        m->tier_count++;
    }
}

static void link_outputs(struct reading *r, const struct yaml_node *n,
                         const struct model_file *from, struct model *m) {
    const struct option_pair *pairs = from->outputs.at;
    const struct yaml_node *at = config_at(n, "outputs")->first;
    struct declared_output *outputs = config_array(r, from->outputs.count, sizeof(*outputs));
    m->declared.outputs = outputs;
    for (uint32_t i = 0; outputs != NULL && i < from->outputs.count; i++, at = at->next) {
        outputs[i].name = pairs[i].name;
        outputs[i].kind = (enum output_kind)pairs[i].word;
        check_length(r, at, pairs[i].name, TENSOR_NAME_MAX);
        m->declared.count++;
    }
}

/* ---- What a model needs ---- */

static bool decodes(const struct policy *p) {
    return p != NULL && !p->relay;
}

static void check_outputs(struct reading *r, const struct yaml_node *n, const struct model *m) {
    const struct policy *reader = decodes(m->policy) ? m->policy : NULL;
    for (uint32_t i = 0; i < m->tier_count && reader == NULL; i++)
        reader = decodes(m->tiers[i].policy) ? m->tiers[i].policy : NULL;
    if (reader != NULL && m->match.len > 0 && yaml_get(n, "outputs") == NULL)
        diagnostics_add(&r->d, n->place, n->width,
                        "outputs: {NAME: KIND}, each output that may leave",
                        "model '%s' declares no outputs, so policy '%s' would let none out",
                        m->match.at, reader->name.at);
}

static bool is_prefix(struct bytes match) {
    return match.len > 0 && match.at[match.len - 1] == '*';
}

/* Does every name that b matches match a? */
static bool covers(struct bytes a, struct bytes b) {
    if (!is_prefix(a))
        return bytes_eq(a, b);
    return b.len >= a.len - 1 && memcmp(a.at, b.at, a.len - 1) == 0 &&
           (b.len >= a.len || !is_prefix(b));
}

static void check_match(struct reading *r, const struct yaml_node *n, uint32_t i) {
    const struct model *all = r->c->models;
    struct bytes match = all[i].match;
    const struct yaml_node *at = config_at(n, "match");
    const char *star = match.len > 0 ? memchr(match.at, '*', match.len) : NULL;
    if (match.len == 0)
        return;
    if (match.len > MODEL_NAME_MAX || (star != NULL && star != match.at + match.len - 1)) {
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "expected a model's name of at most %d bytes, or the beginning of names "
                        "and one '*' behind it",
                        MODEL_NAME_MAX);
        return;
    }
    for (uint32_t k = 0; k < i; k++)
        if (all[k].match.len > 0 && covers(all[k].match, match)) {
            diagnostics_add(&r->d, at->place, at->width, "put the narrower match first",
                            "'%s' is never reached: '%s', above it, matches first", match.at,
                            all[k].match.at);
            break;
        }
}

void config_link_models(struct reading *r) {
    const struct option_list *list = &r->file->models;
    const struct model_file *from = list->at;
    const struct yaml_node *n = config_at(r->root, "models")->first;
    struct model *all = config_array(r, list->count, sizeof(*all));
    if (all == NULL)
        return;
    r->c->models = all;
    for (uint32_t i = 0; i < list->count; i++, n = n->next) {
        all[i] = from[i].conf;
        all[i].index = i;
        all[i].upstream = upstream_named(r, config_at(n, "upstream"), from[i].upstream);
        all[i].policy = policy_named(r, config_at(n, "policy"), from[i].policy);
        link_tiers(r, n, &from[i], &all[i]);
        link_outputs(r, n, &from[i], &all[i]);
        check_outputs(r, n, &all[i]);
        check_match(r, n, i);
    }
    r->c->model_count = list->count;
}

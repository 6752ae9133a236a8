#include <stdio.h>

#include "base/limits.h"
#include "config_private.h"

/* A file the configuration names: is it there, and secret where it should be? */
static void look_at(struct reading *r, const struct yaml_node *at, struct bytes path, bool secret) {
    char why[CONFIG_WHY_MAX];
    const char *wrong = path.len > 0 ? r->io->load(path.at, secret, NULL, why) : NULL;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot use '%s': %s", path.at, wrong);
}

/* ---- Listeners ---- */

static bool same_address(const struct address *a, const struct address *b) {
    return a->len > 0 && a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

static void check_unique(struct reading *r, const struct yaml_node *n, uint32_t i) {
    const struct listener_conf *all = r->c->listeners, *l = &all[i];
    const struct yaml_node *name = config_at(n, "name"), *address = config_at(n, "address");
    for (uint32_t k = 0; k < i; k++) {
        if (l->name.len > 0 && bytes_eq(l->name, all[k].name))
            diagnostics_add(&r->d, name->place, name->width, NULL,
                            "a second listener with the name '%s'", l->name.at);
        if (same_address(&l->address, &all[k].address))
            diagnostics_add(&r->d, address->place, address->width, NULL,
                            "listener '%s' is on this address already", all[k].name.at);
    }
    if (same_address(&l->address, &r->c->admin))
        diagnostics_add(&r->d, address->place, address->width, NULL,
                        "the admin listener is on this address");
}

void config_link_listeners(struct reading *r) {
    const struct option_list *list = &r->file->listeners;
    const struct listener_file *from = list->at;
    struct listener_conf *all = config_array(r, list->count, sizeof(struct listener_conf));
    const struct yaml_node *n = config_at(r->root, "listeners")->first;
    if (all == NULL)
        return;
    r->c->listeners = all;
    for (uint32_t i = 0; i < list->count; i++, n = n->next) {
        const struct yaml_node *tls = config_at(n, "tls");
        all[i] = from[i].conf;
        all[i].tls.on = all[i].tls.cert.len > 0;
        config_check_name(r, config_at(n, "name"), all[i].name);
        look_at(r, config_at(tls, "cert"), all[i].tls.cert, false);
        look_at(r, config_at(tls, "key"), all[i].tls.key, true);
        look_at(r, config_at(tls, "client_ca"), all[i].tls.client_ca, false);
        look_at(r, config_at(tls, "client_crl"), all[i].tls.client_crl, false);
        if (all[i].address.text.len > 0 &&
            config_address(r, config_at(n, "address"), &all[i].address))
            check_unique(r, n, i);
    }
    r->c->listener_count = list->count;
}

/* ---- Upstreams ---- */

static void link_endpoints(struct reading *r, const struct yaml_node *n,
                           const struct upstream_file *from, struct upstream_conf *u) {
    const struct bytes *urls = from->http.at;
    const struct yaml_node *at = config_at(n, "http")->first;
    u->endpoints = config_array(r, from->http.count, sizeof(struct endpoint_conf));
    if (u->endpoints == NULL)
        return;
    for (uint32_t i = 0; i < from->http.count; i++, at = at->next)
        if (urls[i].len > 0 && config_url(r, at, urls[i], &u->endpoints[i]))
            u->tls.on |= u->endpoints[i].tls;
    u->endpoint_count = from->http.count;
}

static void link_upstream(struct reading *r, const struct yaml_node *n,
                          const struct upstream_file *from, struct upstream_conf *u) {
    const struct yaml_node *tls = yaml_get(n, "tls");
    const struct yaml_node *path = config_at(config_at(n, "health"), "path");
    *u = from->conf;
    u->codec = codecs_all[from->protocol];
    link_endpoints(r, n, from, u);
    if (tls != NULL && !u->tls.on && u->endpoint_count > 0)
        diagnostics_add(&r->d, tls->key_place, tls->key_width, NULL,
                        "'tls' has no use: no URL of 'http' begins with https://");
    look_at(r, config_at(config_at(n, "tls"), "ca"), u->tls.ca, false);
    for (size_t i = 0; i < u->health_path.len; i++)
        if (u->health_path.at[0] != '/' || (unsigned char)u->health_path.at[i] <= ' ') {
            diagnostics_add(&r->d, path->place, path->width, NULL,
                            "expected a path that begins with '/' and has no spaces");
            break;
        }
}

void config_link_upstreams(struct reading *r) {
    const struct option_list *list = &r->file->upstreams;
    const struct upstream_file *from = list->at;
    struct upstream_conf *all = config_array(r, list->count, sizeof(struct upstream_conf));
    const struct yaml_node *n = config_at(r->root, "upstreams")->first;
    if (all == NULL)
        return;
    r->c->upstreams = all;
    for (uint32_t i = 0; i < list->count; i++, n = n->next) {
        config_check_name(r, n, from[i].conf.name);
        link_upstream(r, n, &from[i], &all[i]);
        all[i].index = i;
    }
    r->c->upstream_count = list->count;
}

/* ---- Policies ---- */

/* The message for "- top_k:" with its options beside instead of below it. */
static void refuse_entry(struct reading *r, const struct yaml_node *n, const char *policy) {
    if (n->kind == YAML_MAP && n->count > 1)
        diagnostics_add(
            &r->d, n->first->next->key_place, n->first->next->key_width,
            "options stand deeper than the filter's name; a new filter begins with '- '",
            "more than one filter in an entry of policy '%s'", policy);
    else
        diagnostics_add(&r->d, n->place, n->width, "- NAME: {OPTIONS}",
                        "expected a filter's name and its options in policy '%s', not %s", policy,
                        yaml_kind_name(n));
}

/* Where a filter's own check says that it is wrong. */
static void refuse_conf(struct reading *r, const struct yaml_node *n, const struct conf_error *e) {
    const struct yaml_node *value = e->option != NULL ? yaml_get(n, e->option) : NULL;
    if (value != NULL)
        diagnostics_add(&r->d, value->place, value->width, NULL, "%s: %s", n->key.at, e->text);
    else
        diagnostics_add(&r->d, n->key_place, n->key_width, NULL, "%s: %s", n->key.at, e->text);
}

static void link_filter(struct reading *r, const struct yaml_node *n, const struct policy *p,
                        struct filter_slot *slot) {
    struct conf_error error = {.option = NULL};
    const struct filter *f = filter_named(n->key);
    char where[256];
    size_t loaded;
    if (f == NULL) {
        diagnostics_add(&r->d, n->key_place, n->key_width,
                        diagnostics_hint(&r->d, n->key, config_filters()),
                        "unknown filter '%s' in policy '%s'", n->key.at, p->name.at);
        return;
    }
    if (p->relay && f->needs != NEEDS_NOTHING)
        diagnostics_add(&r->d, n->key_place, n->key_width, NULL,
                        "'%s' reads bodies, which 'bodies: relay' of policy '%s' leaves unread",
                        f->name, p->name.at);
    snprintf(where, sizeof(where), "policies.%s.%s", p->name.at, f->name);
    slot->filter = f;
    slot->place = n->key_place;
    slot->index = r->c->slot_total++;
    loaded = r->loaded.len;
    slot->conf = arena_calloc(r->c->arena, 1, f->conf_size > 0 ? f->conf_size : 1);
    if (slot->conf == NULL)
        config_no_memory(r);
    else if (options_read(&r->options, n, f->options, where, slot->conf) &&
             ((f->check != NULL && !f->check(slot->conf, &error)) ||
              !config_load_filter(r, f, slot->conf, &error)))
        refuse_conf(r, n, &error);
    else
        config_note_draws(r, p, slot, bytes_skip(buf_bytes(&r->loaded), loaded));
}

static void link_filters(struct reading *r, const struct yaml_node *list, struct policy *p) {
    if (list->kind != YAML_LIST || list->count > FILTERS_MAX) {
        diagnostics_add(&r->d, list->place, list->width, NULL,
                        "policies.%s.filters: expected a list of at most %d filters", p->name.at,
                        FILTERS_MAX);
        return;
    }
    p->slots = config_array(r, list->count, sizeof(struct filter_slot));
    if (p->slots == NULL)
        return;
    for (const struct yaml_node *n = list->first; n != NULL; n = n->next)
        if (n->kind != YAML_MAP || n->count != 1)
            refuse_entry(r, n, p->name.at);
        else
            link_filter(r, n->first, p, &p->slots[p->slot_count++]);
}

void config_link_policies(struct reading *r) {
    const struct option_list *list = &r->file->policies;
    struct policy_file *from = list->at;
    struct policy *all = config_array(r, list->count, sizeof(struct policy));
    const struct yaml_node *n = config_at(r->root, "policies")->first;
    if (all == NULL)
        return;
    r->c->policies = all;
    for (uint32_t i = 0; i < list->count; i++, n = n->next) {
        struct policy *p = &from[i].conf;
        config_check_name(r, n, p->name);
        p->observe = from[i].mode == 1;
        p->relay = from[i].bodies == 1;
        if (p->name.len > 0 && from[i].filters != NULL)
            link_filters(r, from[i].filters, p);
        from[i].filters = NULL;
        all[i] = *p;
    }
    r->c->policy_count = list->count;
}

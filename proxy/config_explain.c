#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "config_private.h"
#include "peers.h"

/* What is being explained. */
struct view {
    const struct config *c;
    const struct api_key *key; /* NULL: the client is an address */
    struct client client;
    const struct model *model;
    struct bytes model_name;
    const struct policy *policy;
    struct buf *out;
};

static void add_between(struct buf *out, const char *before, struct bytes s, const char *after) {
    buf_add_str(out, before);
    buf_add_bytes(out, s);
    buf_add_str(out, after);
}

/* ---- Whom and what ---- */

bool config_peer(struct bytes text, char peer[CONFIG_PEER_MAX]) {
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    char copy[INET6_ADDRSTRLEN + 4];
    if (text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    char *suffix = strstr(copy, "/64");
    if (suffix != NULL && suffix[3] == '\0' && strchr(copy, ':') != NULL)
        *suffix = '\0';
    if (inet_pton(AF_INET, copy, &four.sin_addr) == 1)
        peer_text((const struct sockaddr *)&four, peer, CONFIG_PEER_MAX);
    else if (inet_pton(AF_INET6, copy, &six.sin6_addr) == 1)
        peer_text((const struct sockaddr *)&six, peer, CONFIG_PEER_MAX);
    else
        return false;
    return true;
}

static void suggest(struct buf *out, struct bytes word, const char *const *words) {
    struct arena *arena = arena_new(MIB(1));
    struct diagnostics *d = arena != NULL ? arena_new_array(arena, struct diagnostics, 1) : NULL;
    if (d != NULL) {
        diagnostics_init(d, arena);
        const char *hint = diagnostics_hint(d, word, words);
        if (hint != NULL)
            buf_printf(out, "    hint: %s\n", hint);
    }
    arena_free(arena);
}

#define SUGGESTED_MAX 4096 /* of more names, the first ones are compared */

static bool no_such_client(const struct config *c, struct bytes id, struct buf *out) {
    const char **names = calloc(SUGGESTED_MAX + 1, sizeof(*names));
    add_between(out, "no client '", id, "': neither the id of an API key nor an address\n");
    for (uint32_t i = 0; names != NULL && i < c->clients.key_count && i < SUGGESTED_MAX; i++)
        names[i] = c->clients.keys[i].id.at;
    if (names != NULL)
        suggest(out, id, names);
    if (clients_by(&c->clients, BY_JWT) || clients_by(&c->clients, BY_MTLS))
        buf_add_str(out,
                    "    who comes with a token or a certificate is not in the file: its name is "
                    "known when it comes, and it gets what its tier gets\n");
    free(names);
    return false;
}

static bool no_such_model(const struct config *c, struct bytes name, struct buf *out) {
    const char *names[MODELS_MAX + 1] = {NULL};
    add_between(out, "no model '", name, "': the gate answers 404\n");
    for (uint32_t i = 0; i < c->model_count; i++)
        names[i] = c->models[i].match.at;
    suggest(out, name, names);
    return false;
}

/* The client of that name.  False: there is none; said. */
static bool find_client(struct view *v, struct bytes id, char pseudonym[PSEUDONYM_MAX]) {
    const struct clients_conf *conf = &v->c->clients;
    char peer[CONFIG_PEER_MAX];
    for (uint32_t i = 0; i < conf->key_count && v->key == NULL; i++)
        if (bytes_eq(conf->keys[i].id, id))
            v->key = &conf->keys[i];
    if (v->key != NULL) {
        v->client = v->key->client;
        return true;
    }
    if (!config_peer(id, peer))
        return no_such_client(v->c, id, v->out);
    config_pseudonym(v->c, "address", bytes_str(peer), pseudonym);
    v->client.pseudonym = v->client.key = bytes_str(pseudonym);
    return true;
}

/* ---- The text ---- */

static void say_client(const struct view *v, struct bytes id) {
    add_between(v->out, "client  ", id, v->key != NULL ? ": an API key" : ": an address");
    if (v->c->clients.pseudonym_version > 0)
        add_between(v->out, ", in logs ", v->client.pseudonym, "");
    if (v->client.tier.len > 0)
        add_between(v->out, ", tier ", v->client.tier, "");
    if (v->key != NULL && v->key->not_after_s > 0) {
        char day[CLOCK_TEXT];
        clock_text(v->key->not_after_s * 1000000, day);
        buf_printf(v->out, ", good to the end of %.10s (UTC)", day);
    }
    buf_add_char(v->out, '\n');
}

static void say_route(const struct view *v) {
    const struct tier_policy *tier = NULL;
    add_between(v->out, "model   ", v->model_name, "");
    add_between(v->out, ": matched by '", v->model->match, "'");
    add_between(v->out, ", served by upstream '", v->model->upstream->name, "'");
    buf_printf(v->out, " (%s)\n", v->model->upstream->codec->name);
    for (uint32_t i = 0; i < v->model->tier_count && v->client.tier.len > 0; i++)
        if (bytes_eq(v->model->tiers[i].tier, v->client.tier))
            tier = &v->model->tiers[i];
    add_between(v->out, "policy  ", v->policy->name, "");
    if (tier != NULL)
        add_between(v->out, ": the model's for tier ", tier->tier, "");
    else
        buf_add_str(v->out, ": the model's own");
    buf_add_str(v->out, v->policy->observe ? ", only observed\n" : ", enforced\n");
}

static bool has_filter(const struct policy *p, const char *name) {
    for (uint32_t i = 0; i < p->slot_count; i++)
        if (strcmp(p->slots[i].filter->name, name) == 0)
            return true;
    return false;
}

/* By the ledger, for the store cannot be asked from here: one gate holds its file, or it is far. */
static void say_spent(const struct view *v) {
    struct ledger_state s;
    if (!has_filter(v->policy, "budget"))
        return;
    buf_add_str(v->out, "\nSpent so far:\n");
    if (v->c->ledger.path.len == 0)
        buf_add_str(v->out, "- not known: there is no ledger\n");
    else if (!ledger_last(v->c->ledger.path.at, v->client.pseudonym, v->model_name, &s))
        buf_add_str(v->out, "- not known: there is no ledger yet, or it cannot be read\n");
    else if (!s.found)
        buf_add_str(v->out, "- nothing that the ledger's file knows of\n");
    else
        buf_printf(v->out,
                   "- %s %.6g of %.6g at %s, by this client's last charge there; %.6g left\n",
                   s.is_rho ? "rho" : "epsilon", s.total, s.limit, s.time,
                   s.limit > s.total ? s.limit - s.total : 0);
}

/* True: no query of this client is answered, whatever the policy. */
static bool say_refused_client(const struct view *v) {
    const struct clients_conf *conf = &v->c->clients;
    uint64_t now_s = clock_wall_us() / 1000000;
    const char *why = NULL;
    if (v->key != NULL && v->key->not_after_s > 0 && now_s > v->key->not_after_s)
        why = "the key has ended";
    else if (v->key == NULL && !conf->anonymous)
        why = "clients without an API key are not let in";
    if (why != NULL)
        buf_printf(v->out, "\nRefused: %s; every query is answered 401.\n", why);
    return why != NULL;
}

static void indent_lines(struct buf *out, struct bytes text) {
    while (text.len > 0) {
        struct bytes line = bytes_cut(&text, '\n');
        add_between(out, "  ", line, "\n");
    }
}

static void say_filters(const struct view *v) {
    buf_add_str(v->out, "\nFilters, in this order:\n");
    if (v->policy->slot_count == 0)
        buf_add_str(v->out, "- none\n");
    for (uint32_t i = 0; i < v->policy->slot_count; i++) {
        const struct filter_slot *slot = &v->policy->slots[i];
        struct buf text;
        buf_init(&text, KIB(16));
        buf_printf(v->out, "- %s (%s:%u): %s\n", slot->filter->name, slot->place.file,
                   slot->place.line, slot->filter->says);
        if (slot->filter->explain != NULL)
            slot->filter->explain(slot->conf, &text);
        if (slot->filter->explain_for != NULL)
            slot->filter->explain_for(slot->conf, v->model->outputs, &text);
        indent_lines(v->out, buf_bytes(&text));
        buf_free(&text);
    }
}

static bool changes_answers(const struct policy *p) {
    for (uint32_t i = 0; i < p->slot_count; i++)
        if (p->slots[i].filter->on_answer != NULL)
            return !p->observe;
    return false;
}

static void say_released(const struct view *v) {
    const struct declared *d = &v->model->declared;
    const char *how =
        changes_answers(v->policy) ? "as the filters leave it" : "as the model says it";
    buf_add_str(v->out, "\nReleased:\n");
    if (v->policy->relay) {
        buf_add_str(v->out, "- the whole answer: bodies are relayed unread\n");
        return;
    }
    for (uint32_t i = 0; i < d->count; i++) {
        bool opaque = d->outputs[i].kind == OUT_OPAQUE;
        add_between(v->out, "- ", d->outputs[i].name, "");
        buf_printf(v->out, " (%s): %s\n", output_kind_names[d->outputs[i].kind],
                   opaque ? "unread, as the model says it" : how);
    }
    buf_printf(v->out, "- the model's version: %s\n", d->version_shown ? "yes" : "no");
    buf_add_str(v->out, "- nothing else: other outputs are dropped\n");
}

static void say_refused(const struct view *v) {
    buf_add_str(v->out, "\nRefused, whatever the filters say:\n"
                        "- calls other than inference, health and metadata\n"
                        "- models that no row of 'models' matches (404)\n"
                        "- bodies of more than ");
    buf_printf(v->out, "%lu bytes (413)\n", v->c->limits.max_body);
    if (!v->policy->relay)
        buf_add_str(v->out,
                    "- queries that cannot be decoded (400), or that ask for an output that "
                    "is not declared (403)\n"
                    "- answers that cannot be decoded (502)\n");
    if (!v->c->limits.compressed_bodies)
        buf_add_str(v->out, "- compressed bodies (415)\n");
}

/* Noise and what stands in for labels: any filter that draws. */
static bool is_noisy(const struct policy *p) {
    return has_filter(p, "noise") || has_filter(p, "randomize") || has_filter(p, "value") ||
           has_filter(p, "embedding");
}

static void say_privacy(const struct view *v) {
    struct buf *out = v->out;
    if (!is_noisy(v->policy) || v->policy->observe) {
        buf_add_str(out, "- there is no differential privacy in this policy: no noise is added\n");
        if (has_filter(v->policy, "budget"))
            buf_add_str(out,
                        "- its budget is charged all the same, in the store and the ledger, and "
                        "what is spent so stays spent\n");
        return;
    }
    if (!has_filter(v->policy, "budget"))
        buf_add_str(out, "- an epsilon above is one answer's: no privacy budget is kept, so a "
                         "client that asks n different questions is promised n times it, which "
                         "soon is nothing\n");
    if (!v->c->noise.lasting)
        buf_add_str(out, "- without noise_key sticky noise is drawn anew with every start, and "
                         "other gates draw differently: each is one more answer to average\n");
}

/* The sentences an operator would rather not read, and needs to. */
static void say_limits(const struct view *v) {
    struct buf *out = v->out;
    buf_add_str(out, "\nWhat this does not do:\n");
    if (v->policy->observe)
        buf_add_str(
            out, "- observe mode changes nothing that the filters would: they refuse no query and "
                 "leave every answer as it is\n");
    if (v->policy->relay)
        buf_add_str(out, "- relayed bodies are not looked at: scores, embeddings and undeclared "
                         "outputs all leave\n");
    say_privacy(v);
    buf_add_str(
        out, "- a top class or label that no filter draws is exact: it still shows the gap between "
             "training and test accuracy, which label-only membership inference uses, and "
             "enough of them copy the model\n");
    if (!has_filter(v->policy, "rate_limit"))
        buf_add_str(out, "- nothing limits how often this client may ask\n");
    if (v->key == NULL)
        buf_add_str(out,
                    "- an address proves nothing: many clients may share one, and one attacker "
                    "may hold many\n");
    buf_add_str(out,
                "- several clients may pool their answers, and no answer can be called back\n");
    if (v->c->clients.pseudonym_version == 0)
        buf_add_str(out,
                    "- without clients.pseudonym_key the pseudonyms change with every start\n");
}

bool config_explain(const struct config *c, struct bytes client, struct bytes model,
                    struct buf *out) {
    struct view v = {.c = c, .model_name = model, .out = out};
    char pseudonym[PSEUDONYM_MAX];
    if (!find_client(&v, client, pseudonym))
        return false;
    v.model = config_model(c, model);
    if (v.model == NULL)
        return no_such_model(c, model, out);
    v.policy = model_policy(v.model, &v.client);
    say_client(&v, client);
    say_route(&v);
    if (say_refused_client(&v))
        return true;
    say_filters(&v);
    say_spent(&v);
    say_released(&v);
    say_refused(&v);
    say_limits(&v);
    return true;
}

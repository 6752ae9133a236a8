/* identity_mtls.c - the client's certificate: whether it still holds, and whom it names. */
#include "base/limits.h"
#include "front.h"
#include "identity.h"
#include "tls.h"

/* A handshake's verdict is good for as long as what it was judged by: the configuration (its
 * authorities, its revocation lists) and, roughly, the time (lists and authorities end, too). */
static bool is_verified(const struct identity_request *r) {
    const struct peer_name *p = r->peer;
    return p->verified_under == r->config->serial && r->now_s >= p->verified_s &&
           r->now_s - p->verified_s < CERTIFICATE_RECHECK / SECONDS(1);
}

/* NULL: it does. */
static const char *what_fails(const struct identity_request *r, struct tls_context *context) {
    struct peer_name *p = r->peer;
    if (r->now_s < p->certificate->not_before_s)
        return "certificate: not yet good";
    if (r->now_s > p->certificate->not_after_s)
        return "certificate: expired";
    if (is_verified(r))
        return NULL;
    const char *fault = sock_peer_fault(p->sock, context);
    if (fault != NULL)
        return fault;
    p->verified_under = r->config->serial;
    p->verified_s = r->now_s;
    return NULL;
}

bool identity_certificate(struct identity_request *r, struct identity_refusal *why) {
    const struct listener_conf *l =
        r->peer->listener >= 0 ? &r->config->listeners[r->peer->listener] : NULL;
    if (l == NULL || l->context == NULL || l->tls.client_ca.len == 0)
        return true;
    if (r->peer->certificate == NULL) {
        *why = (struct identity_refusal){.said = "a client certificate is needed",
                                         .logged = "certificate: none"};
        return l->tls.client_certificate == CERTIFICATE_OPTIONAL;
    }
    *why = (struct identity_refusal){.said = "the client certificate does not hold any more",
                                     .logged = what_fails(r, l->context)};
    if (why->logged != NULL)
        return false;
    r->certificate = r->peer->certificate;
    return true;
}

/* The tier of the first row that fits; none: no tier. */
static struct bytes tier_of(const struct mtls_conf *conf, struct bytes value) {
    for (uint32_t i = 0; i < conf->tier_count; i++)
        if (name_matches(conf->tiers[i].name, value))
            return conf->tiers[i].value;
    return bytes_of(NULL, 0);
}

static bool is_listed(const struct mtls_conf *conf, struct bytes name) {
    for (uint32_t i = 0; i < conf->match_count; i++)
        if (name_matches(conf->match[i], name))
            return true;
    return conf->match_count == 0;
}

/* One name and no other of its kind, which the policy lets in; one value to choose the tier by, or
 * none.  Of several, which one counts would be the certificate's order.  NULL: so it is. */
static const char *what_is_amiss(const struct mtls_conf *conf, const struct tls_peer *p) {
    const struct tls_value *name = &p->values[conf->name], *tier = &p->values[conf->tier_by];
    if (name->text.len == 0)
        return name->count == 0  ? "certificate: no name"
               : name->count > 1 ? "certificate: several names"
                                 : "certificate: a name that cannot be one";
    if (!is_listed(conf, name->text))
        return "certificate: name not in match";
    if (conf->tier_count > 0 && tier->count > 0 && tier->text.len == 0)
        return "certificate: no one value for the tier";
    return NULL;
}

enum identity_status identity_mtls(const struct identity_request *r, struct client *out,
                                   struct identity_refusal *why) {
    const struct mtls_conf *conf = r->config->clients.mtls;
    if (r->certificate == NULL)
        return IDENTITY_ABSENT;
    *why = (struct identity_refusal){.said = "the client certificate names no client",
                                     .logged = what_is_amiss(conf, r->certificate)};
    if (why->logged != NULL)
        return IDENTITY_REFUSED;
    struct bytes name = r->certificate->values[conf->name].text;
    if (identity_recall(r, BY_MTLS, name, out))
        return IDENTITY_PROVEN;
    char pseudonym[PSEUDONYM_MAX];
    config_pseudonym(r->config, "mtls", name, pseudonym);
    struct client who = {.pseudonym = bytes_str(pseudonym)};
    if (conf->tier_count > 0)
        who.tier = tier_of(conf, r->certificate->values[conf->tier_by].text);
    identity_remember(r, BY_MTLS, name, 0, UINT64_MAX, &who);
    *out = r->peer->memo.client;
    return IDENTITY_PROVEN;
}

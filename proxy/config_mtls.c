/* config_mtls.c - client certificates: clients.mtls, and what listeners ask for. */
#include "base/limits.h"
#include "config_private.h"
#include "tls.h"

static const char *const name_words[] = {"san_uri", "san_dns", "san_email", "cn", NULL};
static const char *const tier_words[] = {"ou", "o", "name", NULL};

static const struct option tier_rows[] = {
    {.name = "field",
     .type = OPTION_WORD,
     .offset = offsetof(struct mtls_tier_file, field),
     .required = true,
     .words = tier_words,
     .says = "ou or o of the certificate's subject, or name, the client's own. A certificate with "
             "several of it is refused."},
    {.name = "values",
     .type = OPTION_MAP,
     .offset = offsetof(struct mtls_tier_file, values),
     .required = true,
     .min = 1,
     .max = TIERS_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct option_pair),
     .says = "Values, or beginnings of values and `*`, and the tier each means: the first that "
             "fits. A certificate that fits none has no tier."},
    {.type = OPTION_END},
};

const struct option config_mtls_rows[] = {
    {.name = "name",
     .type = OPTION_WORD,
     .offset = offsetof(struct mtls_file, name),
     .required = true,
     .min = 1,
     .words = name_words,
     .says = "What of the certificate is the client: its one alternative name of a kind, or its "
             "one common name. A certificate with none or several of it, or with one that holds "
             "control characters or more than 128 bytes, is refused. Leaves the process only as "
             "a pseudonym."},
    {.name = "match",
     .type = OPTION_LIST,
     .offset = offsetof(struct mtls_file, match),
     .min = 1,
     .max = CLIENT_MATCHES_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct bytes),
     .says = "Names, or beginnings of names and `*`, that are let in. Absent: all that the "
             "authorities vouch for."},
    {.name = "tier",
     .type = OPTION_SECTION,
     .offset = offsetof(struct mtls_file, tier),
     .rows = tier_rows,
     .says = "What chooses the client's tier. Absent: certificates have no tier."},
    {.type = OPTION_END},
};

static bool has_capitals(struct bytes s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.at[i] >= 'A' && s.at[i] <= 'Z')
            return true;
    return false;
}

/* A '*' that is not at the end would be taken for itself, which nobody means; names of hosts have
 * no case and are made small (tls.h), so that one in capitals would never fit. */
static void check_pattern(struct reading *r, struct place place, uint32_t width, int field,
                          struct bytes pattern) {
    const char *star = pattern.len > 0 ? memchr(pattern.at, '*', pattern.len) : NULL;
    if (star != NULL && star + 1 != pattern.at + pattern.len)
        diagnostics_add(&r->d, place, width, NULL, "'*' stands only at the end, not in '%s'",
                        pattern.at);
    if (field == TLS_SAN_DNS && has_capitals(pattern))
        diagnostics_add(&r->d, place, width, NULL,
                        "write '%s' in small letters: names of hosts have no case", pattern.at);
}

static void take_match(struct reading *r, const struct yaml_node *section, struct mtls_conf *conf) {
    const struct option_list *list = &r->file->clients.mtls.match;
    const struct yaml_node *n = config_at(section, "match")->first;
    conf->match = list->at;
    conf->match_count = list->count;
    for (uint32_t i = 0; i < list->count && n != NULL; i++, n = n->next)
        check_pattern(r, n->place, n->width, conf->name, conf->match[i]);
}

static void take_tiers(struct reading *r, const struct yaml_node *section, struct mtls_conf *conf) {
    const struct mtls_tier_file *file = &r->file->clients.mtls.tier;
    const struct yaml_node *n = config_at(config_at(section, "tier"), "values")->first;
    conf->tier_by = file->field == 0 ? TLS_OU : file->field == 1 ? TLS_O : conf->name;
    conf->tiers = file->values.at;
    conf->tier_count = file->values.count;
    for (uint32_t i = 0; i < conf->tier_count && n != NULL; i++, n = n->next) {
        check_pattern(r, n->key_place, n->key_width, conf->tier_by, conf->tiers[i].name);
        config_check_tier(r, n, conf->tiers[i].value);
    }
}

/* What of a listener's client certificates would say nothing.  True: it asks for them. */
static bool check_listener(struct reading *r, const struct yaml_node *n,
                           const struct listener_conf *l) {
    const struct yaml_node *tls = yaml_get(n, "tls");
    const struct yaml_node *crl = yaml_get(tls, "client_crl");
    const struct yaml_node *word = yaml_get(tls, "client_certificate");
    const struct yaml_node *lone = crl != NULL ? crl : word;
    bool asks = l->tls.client_ca.len > 0;
    if (!asks && lone != NULL)
        diagnostics_add(&r->d, lone->key_place, lone->key_width, "client_ca: FILE",
                        "'%s' has no use without 'client_ca'", lone->key.at);
    if (asks && l->tls.client_certificate == CERTIFICATE_OPTIONAL &&
        !clients_by(&r->c->clients, BY_MTLS))
        diagnostics_add(&r->d, word->place, word->width,
                        "require, or add 'mtls' to 'identify' of clients",
                        "an optional certificate has no use: 'identify' does not say 'mtls'");
    return asks;
}

void config_link_mtls(struct reading *r, const struct yaml_node *clients) {
    const struct yaml_node *section = yaml_get(clients, "mtls");
    const struct yaml_node *n = config_at(r->root, "listeners")->first;
    bool asked = false;
    for (uint32_t i = 0; i < r->c->listener_count && n != NULL; i++, n = n->next)
        asked |= check_listener(r, n, &r->c->listeners[i]);
    if (section == NULL)
        return;
    struct mtls_conf *conf = config_array(r, 1, sizeof(*conf));
    if (conf == NULL)
        return;
    r->c->clients.mtls = conf;
    conf->name = r->file->clients.mtls.name > 0 ? r->file->clients.mtls.name - 1 : 0;
    take_match(r, section, conf);
    take_tiers(r, section, conf);
    if (!asked && clients_by(&r->c->clients, BY_MTLS))
        diagnostics_add(&r->d, section->key_place, section->key_width,
                        "tls: {client_ca: FILE, ...}",
                        "no listener asks clients for a certificate");
}

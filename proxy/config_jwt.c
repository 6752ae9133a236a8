/* config_jwt.c - clients.jwt: its options, and the JWKS file they name. */
#include "base/limits.h"
#include "config_private.h"
#include "jwt.h"

static const struct option tier_rows[] = {
    {.name = "claim",
     .type = OPTION_STRING,
     .offset = offsetof(struct jwt_tier_file, claim),
     .required = true,
     .says = "The claim, a text or a list of texts; another kind of value refuses the token."},
    {.name = "values",
     .type = OPTION_MAP,
     .offset = offsetof(struct jwt_tier_file, values),
     .min = 1,
     .max = TIERS_MAX,
     .scalar = OPTION_STRING,
     .element_size = sizeof(struct option_pair),
     .says = "Values of the claim and the tier each means; of several that the token holds, the "
             "first here. Absent: the names of the models' tiers, each meaning itself. A token "
             "with none of them has no tier."},
    {.type = OPTION_END},
};

const struct option config_jwt_rows[] = {
    {.name = "jwks",
     .type = OPTION_FILE,
     .offset = offsetof(struct jwt_file, jwks),
     .required = true,
     .says = "JWKS file (RFC 7517) of the public keys that tokens are signed with: RSA from 2048 "
             "bits, EC P-256, OKP Ed25519; others are passed over, private ones refused. Read "
             "again with the policy, which takes effect on connections that are open, too."},
    {.name = "issuer",
     .type = OPTION_STRING,
     .offset = offsetof(struct jwt_file, issuer),
     .required = true,
     .says = "What the claim `iss` must be, exactly. One issuer: the subjects of two could be "
             "equal and be different clients."},
    {.name = "audience",
     .type = OPTION_STRING,
     .offset = offsetof(struct jwt_file, audience),
     .required = true,
     .says = "What the claim `aud` must be, or hold, exactly: tokens for other services do not "
             "pass."},
    {.name = "algorithms",
     .type = OPTION_LIST,
     .offset = offsetof(struct jwt_file, algorithms),
     .min = 1,
     .max = SIGN_COUNT,
     .words = sign_names,
     .scalar = OPTION_WORD,
     .element_size = sizeof(int),
     .says = "The signatures that are taken. Absent: all three."},
    {.name = "header",
     .type = OPTION_STRING,
     .offset = offsetof(struct jwt_file, header),
     .fallback = "Authorization",
     .says = "Header that carries the token: in Authorization behind the word Bearer, in another "
             "the token alone; it does not go to the upstream."},
    {.name = "subject",
     .type = OPTION_STRING,
     .offset = offsetof(struct jwt_file, subject),
     .fallback = "sub",
     .says = "The claim that says who the client is: a text of at most 128 bytes that the issuer "
             "gives to one client only. Leaves the process only as a pseudonym."},
    {.name = "leeway",
     .type = OPTION_DURATION,
     .offset = offsetof(struct jwt_file, leeway),
     .max = SECONDS(300),
     .fallback = "30s",
     .says = "How far the issuer's clock may be off, for `exp`, `nbf` and `iat`; in whole "
             "seconds."},
    {.name = "max_age",
     .type = OPTION_DURATION,
     .offset = offsetof(struct jwt_file, max_age),
     .min = SECONDS(1),
     .max = SECONDS(365 * 86400.0),
     .says = "How long after `iat`, which is then needed, a token is good at most. Absent: until "
             "`exp`, which is always needed."},
    {.name = "tier",
     .type = OPTION_SECTION,
     .offset = offsetof(struct jwt_file, tier),
     .rows = tier_rows,
     .says = "The claim that chooses the client's tier. Absent: tokens have no tier."},
    {.type = OPTION_END},
};

/* ---- Tiers ---- */

static bool has_tier(const struct jwt_conf *conf, struct bytes tier) {
    for (uint32_t i = 0; i < conf->tier_count; i++)
        if (bytes_eq(conf->tiers[i].tier, tier))
            return true;
    return false;
}

/* The models' tiers, each by its own name. */
static void tiers_of_models(struct reading *r, const struct yaml_node *at, struct jwt_conf *conf) {
    struct jwt_tier *tiers = config_array(r, JWT_TIERS_MAX, sizeof(*tiers));
    conf->tiers = tiers;
    for (uint32_t i = 0; i < r->c->model_count && tiers != NULL; i++) {
        const struct model *m = &r->c->models[i];
        for (uint32_t k = 0; k < m->tier_count; k++) {
            if (has_tier(conf, m->tiers[k].tier))
                continue;
            if (conf->tier_count == JWT_TIERS_MAX) {
                diagnostics_add(&r->d, at->place, at->width, "name them in 'values'",
                                "the models have more than %d tiers", JWT_TIERS_MAX);
                return;
            }
            tiers[conf->tier_count++] = (struct jwt_tier){m->tiers[k].tier, m->tiers[k].tier};
        }
    }
}

static void tiers_of_values(struct reading *r, const struct yaml_node *values,
                            const struct option_list *from, struct jwt_conf *conf) {
    const struct option_pair *pairs = from->at;
    const struct yaml_node *n = values->first;
    struct jwt_tier *tiers = config_array(r, from->count, sizeof(*tiers));
    conf->tiers = tiers;
    for (uint32_t i = 0; i < from->count && tiers != NULL && n != NULL; i++, n = n->next) {
        config_check_tier(r, n, pairs[i].value);
        tiers[conf->tier_count++] = (struct jwt_tier){pairs[i].name, pairs[i].value};
    }
}

static void take_tiers(struct reading *r, const struct yaml_node *section, struct jwt_conf *conf) {
    const struct jwt_tier_file *file = &r->file->clients.jwt.tier;
    const struct yaml_node *tier = yaml_get(section, "tier");
    conf->tier_claim = file->claim;
    if (tier == NULL || file->claim.len == 0)
        return;
    if (file->values.count > 0)
        tiers_of_values(r, config_at(tier, "values"), &file->values, conf);
    else
        tiers_of_models(r, tier, conf);
    if (conf->tier_count == 0 && r->d.count == 0)
        diagnostics_add(&r->d, tier->place, tier->width, "models: [{tiers: {...}}]",
                        "no model has tiers that the claim could choose");
}

/* ---- Keys ---- */

/* Its text joins what the policy's version is the hash of. */
static void read_jwks(struct reading *r, const struct yaml_node *at, const char *path,
                      struct jwt_conf *conf) {
    char why[JWT_WHY_MAX > CONFIG_WHY_MAX ? JWT_WHY_MAX : CONFIG_WHY_MAX];
    const char *hint = NULL;
    struct buf text;
    buf_init(&text, JWKS_BYTES_MAX + KIB(4));
    const char *wrong = r->io->load(path, false, &text, why);
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot read '%s': %s", path, wrong);
    else if ((wrong = jwt_keys_read(conf, r->c->arena, buf_bytes(&text), why, &hint)) != NULL)
        diagnostics_add(&r->d, at->place, at->width, hint, "'%s': %s", path, wrong);
    buf_add_bytes(&r->keys, buf_bytes(&text));
    if (r->keys.failed)
        config_no_memory(r);
    buf_free(&text);
}

/* ---- The section ---- */

static void take_header(struct reading *r, const struct yaml_node *section, struct jwt_conf *conf) {
    const struct clients_conf *c = &r->c->clients;
    const struct yaml_node *at = config_at(section, "header");
    conf->header = r->file->clients.jwt.header;
    conf->bearer = bytes_is_nocase(conf->header, "Authorization");
    config_check_header(r, at, conf->header);
    if (clients_by(c, BY_API_KEY) && c->key_header.len > 0 && conf->header.len > 0 &&
        bytes_is_nocase(c->key_header, conf->header.at))
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "'%s' carries API keys: a token needs another header", conf->header.at);
}

static void take_algorithms(struct reading *r, const struct yaml_node *section,
                            struct jwt_conf *conf) {
    const struct option_list *listed = &r->file->clients.jwt.algorithms;
    const struct yaml_node *n = config_at(section, "algorithms")->first;
    const int *words = listed->at;
    bool understood = listed->count > 0;
    for (uint32_t i = 0; i < listed->count && n != NULL; i++, n = n->next) {
        understood = understood && bytes_is(n->text, sign_names[words[i]]);
        if (understood && conf->algorithms[words[i]])
            diagnostics_add(&r->d, n->place, n->width, NULL, "algorithms: '%s' is there twice",
                            n->text.at);
        conf->algorithms[words[i]] = true;
    }
    /* What was not understood must not make keys look useless as well. */
    for (int i = 0; i < SIGN_COUNT && !understood; i++)
        conf->algorithms[i] = true;
}

void config_link_jwt(struct reading *r, const struct yaml_node *clients) {
    const struct jwt_file *file = &r->file->clients.jwt;
    const struct yaml_node *section = yaml_get(clients, "jwt");
    if (section == NULL)
        return;
    struct jwt_conf *conf = config_array(r, 1, sizeof(*conf));
    if (conf == NULL)
        return;
    r->c->clients.jwt = conf;
    conf->issuer = file->issuer;
    conf->audience = file->audience;
    conf->subject = file->subject;
    conf->leeway_s = file->leeway / SECONDS(1);
    conf->max_age_s = file->max_age / SECONDS(1);
    take_header(r, section, conf);
    take_algorithms(r, section, conf);
    take_tiers(r, section, conf);
    if (file->jwks.len > 0)
        read_jwks(r, config_at(section, "jwks"), file->jwks.at, conf);
}

/* config_clients.c - the section `clients`: who may ask, and under which names. */
#include "base/limits.h"
#include "config_private.h"
#include "identity.h"

/* ---- The pseudonym key ---- */

/* Its bytes are not part of the snapshot's hash: a hash in a log would confirm a guess. */
static void read_pseudonym_key(struct reading *r, const struct yaml_node *at, const char *path,
                               unsigned char out[SECRET_BYTES_MAX], size_t *out_len) {
    char why[CONFIG_WHY_MAX];
    struct buf secret;
    buf_init(&secret, KIB(8));
    const char *wrong = r->io->load(path, true, &secret, why);
    size_t len = secret.len;
    if (len > 0 && secret.at[len - 1] == '\n')
        len--;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot use '%s': %s", path, wrong);
    else if (len < SECRET_BYTES_MIN || len > SECRET_BYTES_MAX)
        diagnostics_add(&r->d, at->place, at->width, "openssl rand -hex 32 makes a good one",
                        "'%s' holds %zu bytes: expected %d to %d", path, len, SECRET_BYTES_MIN,
                        SECRET_BYTES_MAX);
    else
        memcpy(out, secret.at, *out_len = len);
    if (secret.at != NULL)
        crypto_wipe(secret.at, secret.room);
    buf_free(&secret);
}

static void take_previous_key(struct reading *r, const struct yaml_node *section) {
    const struct previous_file *file = &r->file->clients.pseudonym_key.previous;
    const struct yaml_node *at = yaml_get(section, "previous");
    struct clients_conf *c = &r->c->clients;
    if (at == NULL || file->file.len == 0)
        return;
    c->previous_version = (uint32_t)file->version;
    if (c->previous_version == c->pseudonym_version)
        diagnostics_add(&r->d, config_at(at, "version")->place, config_at(at, "version")->width,
                        "raise the version of the new key",
                        "both pseudonym keys have the version %u", c->previous_version);
    read_pseudonym_key(r, config_at(at, "file"), file->file.at, c->previous_key,
                       &c->previous_key_len);
}

static void take_pseudonym_key(struct reading *r, const struct yaml_node *clients) {
    const struct pseudonym_file *file = &r->file->clients.pseudonym_key;
    struct clients_conf *c = &r->c->clients;
    const struct yaml_node *section = yaml_get(clients, "pseudonym_key");
    if (section == NULL) {
        config_process_key(c->pseudonym_key);
        c->pseudonym_key_len = SHA256_BYTES;
    } else if (file->file.len > 0) {
        c->pseudonym_version = (uint32_t)file->version;
        read_pseudonym_key(r, config_at(section, "file"), file->file.at, c->pseudonym_key,
                           &c->pseudonym_key_len);
    }
    take_previous_key(r, section);
}

/* ---- Who may ask ---- */

/* False: a word of the list was not understood, and what it meant cannot be judged. */
static bool take_identify(struct reading *r, const struct yaml_node *list) {
    struct clients_conf *c = &r->c->clients;
    const int *words = r->file->clients.identify.at;
    const struct yaml_node *n = list->first;
    bool understood = r->file->clients.identify.count > 0;
    for (uint32_t i = 0; i < r->file->clients.identify.count; i++, n = n->next) {
        if (!bytes_is(n->text, config_identify_words[words[i]]))
            understood = false;
        else if (clients_by(c, (enum identify_by)words[i]))
            diagnostics_add(&r->d, n->place, n->width, NULL, "identify: '%s' is there twice",
                            n->text.at);
        else
            c->order[c->order_count++] = (enum identify_by)words[i];
    }
    c->anonymous = r->file->clients.anonymous == 1;
    return understood;
}

/* Everybody has an address: what stands behind it would never be asked for. */
static void check_order(struct reading *r, const struct yaml_node *list) {
    const struct clients_conf *c = &r->c->clients;
    const struct yaml_node *n = list->first;
    for (uint32_t i = 0; i + 1 < c->order_count && n != NULL; i++, n = n->next)
        if (c->order[i] == BY_ADDRESS)
            diagnostics_add(&r->d, n->place, n->width, NULL,
                            "identify: 'address' must be last: what follows it is never reached");
}

/* "a client certificate, a bearer token or an API key is needed" */
static void say_wanted(struct reading *r) {
    struct clients_conf *c = &r->c->clients;
    struct buf text;
    buf_init(&text, KIB(1));
    for (uint32_t i = 0; i < c->order_count; i++) {
        buf_add_str(&text, i == 0 ? "" : i + 1 < c->order_count ? ", " : " or ");
        buf_add_str(&text, identity_methods[c->order[i]].wanted);
    }
    buf_add_str(&text, " is needed");
    c->wanted = arena_copy(r->c->arena, buf_bytes(&text));
    if (text.failed || c->wanted.at == NULL)
        config_no_memory(r);
    buf_free(&text);
}

/* An address proves nothing, so letting clients in by it takes both words. */
static void check_address(struct reading *r, const struct yaml_node *clients) {
    const struct clients_conf *c = &r->c->clients;
    const struct yaml_node *identify = config_at(clients, "identify");
    const struct yaml_node *anonymous = config_at(clients, "anonymous");
    if (clients_by(c, BY_ADDRESS) && !c->anonymous)
        diagnostics_add(&r->d, identify->place, identify->width,
                        "anonymous: allow, or take 'address' out",
                        "'address' has no use while clients without a key are denied");
    if (c->anonymous && !clients_by(c, BY_ADDRESS))
        diagnostics_add(&r->d, anonymous->place, anonymous->width, "add 'address' to 'identify'",
                        "anonymous clients need 'address' in 'identify'");
}

static bool is_header_name(struct bytes name) {
    for (size_t i = 0; i < name.len; i++) {
        char c = ascii_lower(name.at[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return name.len <= 64;
}

/* What the gate, or HTTP, reads there itself. */
static bool has_a_meaning(struct bytes name) {
    static const char *const known[] = {"Host",         "Connection",       "Content-Length",
                                        "Content-Type", "Content-Encoding", "Transfer-Encoding",
                                        "Forwarded",    "X-Forwarded-For",  "traceparent"};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (bytes_is_nocase(name, known[i]))
            return true;
    return false;
}

void config_check_header(struct reading *r, const struct yaml_node *at, struct bytes name) {
    if (!is_header_name(name))
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "expected a header's name of letters, digits and '-', not '%s'", name.at);
    else if (has_a_meaning(name))
        diagnostics_add(&r->d, at->place, at->width, NULL,
                        "'%s' has another meaning: a credential needs a header of its own",
                        name.at);
}

/* A word of `identify` and the section that says how belong together. */
static const struct {
    enum identify_by by;
    const char *section, *example;
} needed[] = {
    {BY_MTLS, "mtls", "mtls: {name: san_uri}"},
    {BY_JWT, "jwt", "jwt: {jwks: jwks.json, issuer: ..., audience: ...}"},
    {BY_API_KEY, "api_keys", "api_keys: {file: keys.yaml}"},
};

static void check_sections(struct reading *r, const struct yaml_node *clients) {
    const struct yaml_node *identify = config_at(clients, "identify");
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        const struct yaml_node *section = yaml_get(clients, needed[i].section);
        const char *word = config_identify_words[needed[i].by];
        bool wanted = clients_by(&r->c->clients, needed[i].by);
        if (wanted && section == NULL)
            diagnostics_add(&r->d, identify->place, identify->width, needed[i].example,
                            "'%s' needs the option '%s' in clients", word, needed[i].section);
        if (!wanted && section != NULL)
            diagnostics_add(&r->d, section->key_place, section->key_width,
                            arena_printf(r->scratch, "add '%s' to 'identify'", word).at,
                            "'%s' has no use: 'identify' does not say '%s'", needed[i].section,
                            word);
    }
}

static void take_api_keys(struct reading *r, const struct yaml_node *clients) {
    struct clients_conf *c = &r->c->clients;
    const struct api_keys_file *file = &r->file->clients.api_keys;
    const struct yaml_node *section = config_at(clients, "api_keys");
    const struct yaml_node *header = config_at(section, "header");
    c->key_header = file->header;
    config_check_header(r, header, c->key_header);
    if (file->file.len > 0)
        config_link_keys(r, config_at(section, "file"), file->file.at);
}

/* Ways that this version does not have. */
static void check_methods(struct reading *r, const struct yaml_node *list) {
    const struct clients_conf *c = &r->c->clients;
    const struct yaml_node *n = list->first;
    for (uint32_t i = 0; i < c->order_count && n != NULL; i++, n = n->next)
        if (identity_methods[c->order[i]].prove == NULL)
            diagnostics_add(&r->d, n->place, n->width, NULL,
                            "'%s' needs the option '%s' in clients", n->text.at, n->text.at);
}

static bool is_tier(const struct reading *r, struct bytes tier) {
    for (uint32_t i = 0; i < r->c->model_count; i++)
        for (uint32_t k = 0; k < r->c->models[i].tier_count; k++)
            if (bytes_eq(r->c->models[i].tiers[k].tier, tier))
                return true;
    return false;
}

static const char *tier_hint(struct reading *r, struct bytes tier) {
    const char *names[TIERS_MAX + 1];
    size_t count = 0;
    for (uint32_t i = 0; i < r->c->model_count; i++)
        for (uint32_t k = 0; k < r->c->models[i].tier_count && count < TIERS_MAX; k++)
            names[count++] = r->c->models[i].tiers[k].tier.at;
    names[count] = NULL;
    return diagnostics_hint(&r->d, tier, names);
}

bool config_check_tier(struct reading *r, const struct yaml_node *at, struct bytes tier) {
    if (tier.len == 0 || is_tier(r, tier))
        return true;
    diagnostics_add(&r->d, at->place, at->width, tier_hint(r, tier),
                    "no model has a policy for tier '%s'", tier.at);
    return false;
}

void config_link_clients(struct reading *r) {
    const struct yaml_node *clients = yaml_get(r->root, "clients");
    if (clients == NULL || clients->kind != YAML_MAP)
        return;
    take_pseudonym_key(r, clients);
    if (take_identify(r, config_at(clients, "identify"))) {
        check_order(r, config_at(clients, "identify"));
        check_address(r, clients);
        check_sections(r, clients);
        check_methods(r, config_at(clients, "identify"));
    }
    say_wanted(r);
    take_api_keys(r, clients);
    config_link_forwarded(r, clients);
    config_link_mtls(r, clients);
    config_link_jwt(r, clients);
}

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "config_private.h"
#include "identity.h"

/* ---- The key list ---- */

struct key_list {
    struct reading *r;
    const struct yaml_node *list; /* the keys' nodes */
    const struct key_file *from;
    struct api_key *keys;
    const struct yaml_node **nodes; /* by index, for errors after sorting */
    uint32_t count;
};

static int hex_digit(char c) {
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_sha256(struct bytes text, unsigned char out[SHA256_BYTES]) {
    if (text.len != 2 * SHA256_BYTES)
        return false;
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = hex_digit(text.at[2 * i]), low = hex_digit(text.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* The last second of a day, UTC.  False: no such day. */
static bool read_date(struct bytes text, uint64_t *out) {
    uint64_t part[3] = {0, 0, 0};
    struct bytes rest = text;
    if (text.len != 10 || text.at[4] != '-' || text.at[7] != '-')
        return false;
    for (int i = 0; i < 3; i++)
        if (!bytes_to_u64(bytes_cut(&rest, '-'), 9999, &part[i]))
            return false;
    struct tm day = {
        .tm_year = (int)part[0] - 1900, .tm_mon = (int)part[1] - 1, .tm_mday = (int)part[2]};
    struct tm given = day;
    time_t start = timegm(&day);
    *out = (uint64_t)start + 86399;
    return part[0] >= 1970 && day.tm_year == given.tm_year && day.tm_mon == given.tm_mon &&
           day.tm_mday == given.tm_mday;
}

static bool is_hash_of_nothing(const struct api_key *k) {
    unsigned char nothing[SHA256_BYTES];
    crypto_sha256(BYTES_LITERAL(""), nothing);
    return memcmp(nothing, k->sha256, sizeof(nothing)) == 0;
}

static void check_hash(struct reading *r, const struct yaml_node *n, struct bytes text,
                       struct api_key *k) {
    const struct yaml_node *at = config_at(n, "sha256");
    if (!read_sha256(text, k->sha256))
        diagnostics_add(&r->d, at->place, at->width, "querygate hash-key prints it",
                        "sha256: expected 64 hexadecimal digits, not %zu characters", text.len);
    else if (is_hash_of_nothing(k))
        diagnostics_add(&r->d, at->place, at->width, NULL, "sha256: this is the hash of no key");
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

/* A tier nobody names is a slip that would give the client another policy than was meant. */
static void check_key(struct reading *r, const struct yaml_node *n, const struct key_file *from,
                      struct api_key *k) {
    const struct yaml_node *id = config_at(n, "id"), *tier = config_at(n, "tier");
    const struct yaml_node *end = config_at(n, "not_after");
    if (k->id.len > CLIENT_ID_MAX)
        diagnostics_add(&r->d, id->place, id->width, NULL, "id: more than %d bytes", CLIENT_ID_MAX);
    if (from->sha256.len > 0)
        check_hash(r, n, from->sha256, k);
    if (k->tier.len > 0 && !is_tier(r, k->tier))
        diagnostics_add(&r->d, tier->place, tier->width, tier_hint(r, k->tier),
                        "no model has a policy for tier '%s'", k->tier.at);
    if (from->not_after.len > 0 && !read_date(from->not_after, &k->not_after_s))
        diagnostics_add(&r->d, end->place, end->width, NULL,
                        "not_after: expected a day as YYYY-MM-DD, not '%s'", from->not_after.at);
}

static int compare_bytes(struct bytes a, struct bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.at, b.at, n) : 0;
    return order != 0 ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int by_id(const void *a, const void *b, void *cookie) {
    const struct key_list *l = cookie;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    int order = compare_bytes(l->keys[i].id, l->keys[k].id);
    return order != 0 ? order : i < k ? -1 : 1;
}

static int by_hash(const void *a, const void *b, void *cookie) {
    const struct key_list *l = cookie;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    int order = memcmp(l->keys[i].sha256, l->keys[k].sha256, SHA256_BYTES);
    return order != 0 ? order : i < k ? -1 : 1;
}

static void refuse_twins(struct key_list *l, uint32_t *order) {
    for (uint32_t i = 0; i < l->count; i++)
        order[i] = i;
    qsort_r(order, l->count, sizeof(*order), by_id, l);
    for (uint32_t i = 1; i < l->count; i++) {
        const struct yaml_node *a = config_at(l->nodes[order[i - 1]], "id");
        const struct yaml_node *b = config_at(l->nodes[order[i]], "id");
        if (l->keys[order[i]].id.len > 0 &&
            bytes_eq(l->keys[order[i - 1]].id, l->keys[order[i]].id))
            diagnostics_add(&l->r->d, b->place, b->width, NULL,
                            "a second key with the id '%s', first in line %u",
                            l->keys[order[i]].id.at, a->place.line);
    }
    qsort_r(order, l->count, sizeof(*order), by_hash, l);
    for (uint32_t i = 1; i < l->count; i++) {
        const struct yaml_node *a = config_at(l->nodes[order[i - 1]], "sha256");
        const struct yaml_node *b = config_at(l->nodes[order[i]], "sha256");
        if (l->from[order[i]].sha256.len == 2 * SHA256_BYTES &&
            memcmp(l->keys[order[i - 1]].sha256, l->keys[order[i]].sha256, SHA256_BYTES) == 0)
            diagnostics_add(&l->r->d, b->place, b->width, NULL,
                            "the same key as that of '%s' in line %u",
                            l->keys[order[i - 1]].id.len > 0 ? l->keys[order[i - 1]].id.at : "?",
                            a->place.line);
    }
}

/* The pseudonym in the snapshot.  False: out of memory. */
static bool name_client(struct reading *r, struct api_key *k) {
    char name[PSEUDONYM_MAX];
    config_pseudonym(r->c, "key", k->id, name);
    k->client.pseudonym = arena_copy(r->c->arena, bytes_str(name));
    k->client.key = k->client.pseudonym;
    k->client.tier = k->tier;
    return k->client.pseudonym.at != NULL;
}

static int by_sha256(const void *a, const void *b) {
    const struct api_key *x = a, *y = b;
    return memcmp(x->sha256, y->sha256, SHA256_BYTES);
}

static void link_keys(struct reading *r, const struct yaml_node *root,
                      const struct keys_file *file) {
    struct key_list l = {.r = r, .from = file->keys.at, .count = file->keys.count};
    l.list = config_at(root, "keys");
    l.keys = config_array(r, l.count, sizeof(*l.keys));
    l.nodes = config_array(r, l.count, sizeof(const struct yaml_node *));
    uint32_t *order = config_array(r, l.count, sizeof(*order));
    const struct yaml_node *n = l.list->first;
    if (l.keys == NULL || l.nodes == NULL || order == NULL)
        return;
    for (uint32_t i = 0; i < l.count; i++, n = n->next) {
        l.nodes[i] = n;
        l.keys[i].id = l.from[i].id;
        l.keys[i].tier = l.from[i].tier;
        check_key(r, n, &l.from[i], &l.keys[i]);
    }
    refuse_twins(&l, order);
    for (uint32_t i = 0; i < l.count && r->d.count == 0; i++)
        if (!name_client(r, &l.keys[i]))
            config_no_memory(r);
    qsort(l.keys, l.count, sizeof(*l.keys), by_sha256);
    r->c->clients.keys = l.keys;
    r->c->clients.key_count = l.count;
}

static void read_keys(struct reading *r, const struct yaml_node *at, const char *path) {
    char why[CONFIG_WHY_MAX];
    struct keys_file file = {.keys = {.at = NULL}};
    struct option_reader options = r->options;
    const char *wrong = r->io->load(path, false, &r->keys, why);
    if (wrong != NULL) {
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot read '%s': %s", path, wrong);
        return;
    }
    diagnostics_source(&r->d, path, buf_bytes(&r->keys));
    const struct yaml_node *root = yaml_parse(r->scratch, path, buf_bytes(&r->keys), &r->d);
    if (root == NULL)
        return;
    options_read(&options, root, config_key_rows, "", &file);
    link_keys(r, root, &file);
}

/* ---- The pseudonym key ---- */

/* Its bytes are not part of the snapshot's hash: a hash in a log would confirm a guess. */
static void read_pseudonym_key(struct reading *r, const struct yaml_node *at, const char *path) {
    struct clients_conf *c = &r->c->clients;
    char why[CONFIG_WHY_MAX];
    struct buf secret;
    buf_init(&secret, KIB(8));
    const char *wrong = r->io->load(path, true, &secret, why);
    size_t len = secret.len;
    if (len > 0 && secret.at[len - 1] == '\n')
        len--;
    if (wrong != NULL)
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot use '%s': %s", path, wrong);
    else if (len < SECRET_BYTES_MIN || len > sizeof(c->pseudonym_key))
        diagnostics_add(&r->d, at->place, at->width, "openssl rand -hex 32 makes a good one",
                        "'%s' holds %zu bytes: expected %d to %zu", path, len, SECRET_BYTES_MIN,
                        sizeof(c->pseudonym_key));
    else
        memcpy(c->pseudonym_key, secret.at, c->pseudonym_key_len = len);
    if (secret.at != NULL)
        crypto_wipe(secret.at, secret.room);
    buf_free(&secret);
}

static void take_pseudonym_key(struct reading *r, const struct yaml_node *clients) {
    const struct pseudonym_file *file = &r->file->clients.pseudonym_key;
    struct clients_conf *c = &r->c->clients;
    const struct yaml_node *at = config_at(config_at(clients, "pseudonym_key"), "file");
    if (yaml_get(clients, "pseudonym_key") == NULL) {
        config_process_key(c->pseudonym_key);
        c->pseudonym_key_len = SHA256_BYTES;
    } else if (file->file.len > 0) {
        c->pseudonym_version = (uint32_t)file->version;
        read_pseudonym_key(r, at, file->file.at);
    }
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
    return name.len > 0 && name.len <= 64;
}

/* 'api_keys' and 'identify: [api_key]' belong together. */
static void check_api_keys(struct reading *r, const struct yaml_node *clients) {
    const struct yaml_node *section = yaml_get(clients, "api_keys");
    const struct yaml_node *identify = config_at(clients, "identify");
    bool wanted = clients_by(&r->c->clients, BY_API_KEY);
    if (wanted && section == NULL)
        diagnostics_add(&r->d, identify->place, identify->width, "api_keys: {file: keys.yaml}",
                        "'api_key' needs the option 'api_keys' in clients");
    if (!wanted && section != NULL)
        diagnostics_add(&r->d, section->key_place, section->key_width,
                        "add 'api_key' to 'identify'",
                        "'api_keys' has no use: 'identify' does not say 'api_key'");
}

static void take_api_keys(struct reading *r, const struct yaml_node *clients) {
    struct clients_conf *c = &r->c->clients;
    const struct api_keys_file *file = &r->file->clients.api_keys;
    const struct yaml_node *section = config_at(clients, "api_keys");
    const struct yaml_node *header = config_at(section, "header");
    c->key_header = file->header;
    if (c->key_header.len > 0 && !is_header_name(c->key_header))
        diagnostics_add(&r->d, header->place, header->width, NULL,
                        "expected a header's name of letters, digits and '-', not '%s'",
                        c->key_header.at);
    if (file->file.len > 0)
        read_keys(r, config_at(section, "file"), file->file.at);
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

void config_link_clients(struct reading *r) {
    const struct yaml_node *clients = yaml_get(r->root, "clients");
    if (clients == NULL || clients->kind != YAML_MAP)
        return;
    take_pseudonym_key(r, clients);
    if (take_identify(r, config_at(clients, "identify"))) {
        check_order(r, config_at(clients, "identify"));
        check_address(r, clients);
        check_api_keys(r, clients);
        check_methods(r, config_at(clients, "identify"));
    }
    say_wanted(r);
    take_api_keys(r, clients);
}

/* config_keys.c - the list of API keys, a file of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/limits.h"
#include "config_private.h"

struct key_list {
    struct reading *r;
    const struct key_file *from;
    struct api_key *keys;
    const struct yaml_node **nodes; /* by index, for errors after sorting */
    uint32_t count;
    const struct option_list *group_list;
    struct key_group *groups;
    uint32_t group_count;
};

struct key_group {
    struct group_file from;
    uint64_t not_after_s;
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

/* A key's own tier wins over its group's; of two last days the earlier one counts. */
static void take_group(struct reading *r, const struct yaml_node *n, const struct key_list *l,
                       struct bytes name, struct api_key *k) {
    const struct yaml_node *at = config_at(n, "group");
    for (uint32_t i = 0; i < l->group_count; i++)
        if (bytes_eq(l->groups[i].from.name, name)) {
            if (k->tier.len == 0)
                k->tier = l->groups[i].from.tier;
            if (k->not_after_s == 0 ||
                (l->groups[i].not_after_s > 0 && l->groups[i].not_after_s < k->not_after_s))
                k->not_after_s = l->groups[i].not_after_s;
            return;
        }
    diagnostics_add(&r->d, at->place, at->width,
                    config_name_hint(r, l->group_list, sizeof(struct group_file), name),
                    "there is no group '%s'", name.at);
}

static void check_day(struct reading *r, const struct yaml_node *n, struct bytes text,
                      uint64_t *out) {
    const struct yaml_node *end = config_at(n, "not_after");
    if (text.len > 0 && !read_date(text, out))
        diagnostics_add(&r->d, end->place, end->width, NULL,
                        "not_after: expected a day as YYYY-MM-DD, not '%s'", text.at);
}

static void check_key(struct reading *r, const struct yaml_node *n, const struct key_list *l,
                      const struct key_file *from, struct api_key *k) {
    const struct yaml_node *id = config_at(n, "id");
    if (k->id.len > CLIENT_ID_MAX)
        diagnostics_add(&r->d, id->place, id->width, NULL, "id: more than %d bytes", CLIENT_ID_MAX);
    if (from->sha256.len > 0)
        check_hash(r, n, from->sha256, k);
    config_check_tier(r, config_at(n, "tier"), k->tier);
    check_day(r, n, from->not_after, &k->not_after_s);
    if (from->group.len > 0)
        take_group(r, n, l, from->group, k);
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

/* Several keys of one id are one client with one budget, so that a new key can be handed out before
 * the old one ends; but a client has one tier. */
static void refuse_other_tiers(struct key_list *l, uint32_t *order) {
    for (uint32_t i = 0; i < l->count; i++)
        order[i] = i;
    qsort_r(order, l->count, sizeof(*order), by_id, l);
    for (uint32_t i = 1; i < l->count; i++) {
        const struct api_key *before = &l->keys[order[i - 1]], *k = &l->keys[order[i]];
        const struct yaml_node *at = config_at(l->nodes[order[i]], "id");
        if (k->id.len > 0 && bytes_eq(before->id, k->id) && !bytes_eq(before->tier, k->tier))
            diagnostics_add(&l->r->d, at->place, at->width, NULL,
                            "another tier for this client than in line %u",
                            l->nodes[order[i - 1]]->place.line);
    }
}

static void refuse_twins(struct key_list *l, uint32_t *order) {
    for (uint32_t i = 0; i < l->count; i++)
        order[i] = i;
    qsort_r(order, l->count, sizeof(*order), by_hash, l);
    for (uint32_t i = 1; i < l->count; i++) {
        const struct yaml_node *a = config_at(l->nodes[order[i - 1]], "sha256");
        const struct yaml_node *b = config_at(l->nodes[order[i]], "sha256");
        if (l->from[order[i]].sha256.len == 2 * SHA256_BYTES &&
            memcmp(l->keys[order[i - 1]].sha256, l->keys[order[i]].sha256, SHA256_BYTES) == 0)
            diagnostics_add(&l->r->d, b->place, b->width, NULL, "the same key as in line %u",
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

/* False: out of memory. */
static bool link_groups(struct reading *r, const struct yaml_node *root, struct key_list *l) {
    const struct group_file *from = l->group_list->at;
    const struct yaml_node *n = config_at(root, "groups")->first;
    l->groups = config_array(r, l->group_list->count, sizeof(*l->groups));
    if (l->groups == NULL)
        return false;
    for (; l->group_count < l->group_list->count; l->group_count++, n = n->next) {
        struct key_group *g = &l->groups[l->group_count];
        g->from = from[l->group_count];
        config_check_tier(r, config_at(n, "tier"), g->from.tier);
        check_day(r, n, g->from.not_after, &g->not_after_s);
    }
    return true;
}

static void link_keys(struct reading *r, const struct yaml_node *root,
                      const struct keys_file *file) {
    struct key_list l = {
        .r = r, .from = file->keys.at, .count = file->keys.count, .group_list = &file->groups};
    l.keys = config_array(r, l.count, sizeof(*l.keys));
    l.nodes = config_array(r, l.count, sizeof(const struct yaml_node *));
    uint32_t *order = config_array(r, l.count, sizeof(*order));
    const struct yaml_node *n = config_at(root, "keys")->first;
    if (l.keys == NULL || l.nodes == NULL || order == NULL || !link_groups(r, root, &l))
        return;
    for (uint32_t i = 0; i < l.count; i++, n = n->next) {
        l.nodes[i] = n;
        l.keys[i].id = l.from[i].id;
        l.keys[i].tier = l.from[i].tier;
        check_key(r, n, &l, &l.from[i], &l.keys[i]);
    }
    refuse_other_tiers(&l, order);
    refuse_twins(&l, order);
    for (uint32_t i = 0; i < l.count && r->d.count == 0; i++)
        if (!name_client(r, &l.keys[i]))
            config_no_memory(r);
    qsort(l.keys, l.count, sizeof(*l.keys), by_sha256);
    r->c->clients.keys = l.keys;
    r->c->clients.key_count = l.count;
}

void config_link_keys(struct reading *r, const struct yaml_node *at, const char *path) {
    char why[CONFIG_WHY_MAX];
    struct keys_file file = {.keys = {.at = NULL}};
    struct option_reader options = r->options;
    const char *wrong = r->io->load(path, false, &r->keys, why);
    if (wrong != NULL) {
        diagnostics_add(&r->d, at->place, at->width, NULL, "cannot read '%s': %s", path, wrong);
        return;
    }
    diagnostics_secret(&r->d, path);
    const struct yaml_node *root = yaml_parse(r->scratch, path, buf_bytes(&r->keys), &r->d);
    if (root == NULL)
        return;
    options_read(&options, root, config_key_rows, "", &file);
    link_keys(r, root, &file);
}

#include "policy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/limits.h"
#include "base/require.h"
#include "config_private.h"
#include "jwt.h"

struct config *config_ref(struct config *c) {
    require(atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed) > 0);
    return c;
}

void config_unref(struct config *c) {
    unsigned before;
    if (c == NULL)
        return;
    before = atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel);
    require(before > 0);
    if (before > 1)
        return;
    if (c->release != NULL)
        c->release(c);
    jwt_keys_free(c->clients.jwt);
    crypto_wipe(c->clients.pseudonym_key, sizeof(c->clients.pseudonym_key));
    crypto_wipe(c->clients.previous_key, sizeof(c->clients.previous_key));
    arena_free(c->arena);
}

bool name_matches(struct bytes match, struct bytes name) {
    if (match.len == 0 || match.at[match.len - 1] != '*')
        return bytes_eq(match, name);
    size_t prefix = match.len - 1;
    return name.len >= prefix && (prefix == 0 || memcmp(match.at, name.at, prefix) == 0);
}

const struct model *config_model(const struct config *c, struct bytes name) {
    for (uint32_t i = 0; i < c->model_count; i++)
        if (name_matches(c->models[i].match, name))
            return &c->models[i];
    return NULL;
}

const struct policy *model_policy(const struct model *m, const struct client *client) {
    for (uint32_t i = 0; i < m->tier_count && client->tier.len > 0; i++)
        if (bytes_eq(m->tiers[i].tier, client->tier))
            return m->tiers[i].policy;
    return m->policy;
}

/* By bisection over hashes: how long it takes says nothing about the key. */
const struct api_key *config_api_key(const struct config *c, struct bytes secret, uint64_t now_s) {
    const struct clients_conf *conf = &c->clients;
    unsigned char digest[SHA256_BYTES];
    uint32_t low = 0, high = conf->key_count;
    if (secret.len == 0 || secret.len > API_KEY_BYTES_MAX)
        return NULL;
    crypto_sha256(secret, digest);
    /* The search looks at half of the digest; whether it is the key is told in constant time. (That
     * two rows share half of it is as likely as that they share all: refused, or never.) */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct api_key *k = &conf->keys[middle];
        int order = memcmp(digest, k->sha256, sizeof(digest) / 2);
        if (order == 0)
            return crypto_equal(digest, k->sha256, sizeof(digest)) && api_key_valid(k, now_s)
                       ? k
                       : NULL;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void name_under(struct bytes key, uint32_t version, const char *kind, struct bytes id,
                       char out[PSEUDONYM_MAX]) {
    unsigned char digest[SHA256_BYTES];
    char text[CLIENT_ID_MAX + 16], hex[17];
    size_t kind_len = strlen(kind);
    require(kind_len + 1 + id.len <= sizeof(text));
    memcpy(text, kind, kind_len);
    text[kind_len] = ':';
    if (id.len > 0)
        memcpy(text + kind_len + 1, id.at, id.len);
    crypto_hmac_sha256(key, bytes_of(text, kind_len + 1 + id.len), digest);
    crypto_hex(digest, 8, hex);
    snprintf(out, PSEUDONYM_MAX, "k%u:%s", version, hex);
}

void config_pseudonym(const struct config *c, const char *kind, struct bytes id,
                      char out[PSEUDONYM_MAX]) {
    const struct clients_conf *conf = &c->clients;
    name_under(bytes_of(conf->pseudonym_key, conf->pseudonym_key_len), conf->pseudonym_version,
               kind, id, out);
}

bool config_previous_pseudonym(const struct config *c, const char *kind, struct bytes id,
                               char out[PSEUDONYM_MAX]) {
    const struct clients_conf *conf = &c->clients;
    if (conf->previous_version == 0)
        return false;
    name_under(bytes_of(conf->previous_key, conf->previous_key_len), conf->previous_version, kind,
               id, out);
    return true;
}

static unsigned char process_key[SHA256_BYTES];

static void make_process_key(void) {
    crypto_random(process_key, sizeof(process_key));
}

void config_process_key(unsigned char out[SHA256_BYTES]) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_process_key);
    memcpy(out, process_key, sizeof(process_key));
}

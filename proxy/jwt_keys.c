/* jwt_keys.c - the JWKS file (RFC 7517): public keys, and no others. */
#include <jansson.h>
#include <stdio.h>

#include "base/limits.h"
#include "jwt.h"

/* What is made of one key of the file. */
enum taken { TAKEN, PASSED_OVER, WRONG };

struct jwk_reader {
    struct jwt_conf *conf;
    struct arena *arena;
    char *why; /* JWT_WHY_MAX */
    const char **hint;
    size_t index; /* of the key in the file */
    const json_t *at;
};

static enum taken wrong(struct jwk_reader *r, const char *what) {
    const char *kid = json_string_value(json_object_get(r->at, "kid"));
    if (kid != NULL)
        snprintf(r->why, JWT_WHY_MAX, "key %zu (kid '%.60s'): %s", r->index, kid, what);
    else
        snprintf(r->why, JWT_WHY_MAX, "key %zu (without a kid): %s", r->index, what);
    return WRONG;
}

static struct bytes text_of(const json_t *v) {
    return bytes_of(json_string_value(v), json_string_length(v));
}

static bool is_text(const json_t *v, const char *want) {
    return json_is_string(v) && bytes_is(text_of(v), want);
}

static bool holds_text(const json_t *list, const char *want) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (is_text(json_array_get(list, i), want))
            return true;
    return false;
}

/* A private half would be with whoever may read the policy, and "k" is a shared secret, with which
 * a reader could also sign. */
static const char *private_part(const json_t *key) {
    static const char *const parts[] = {"d", "p", "q", "dp", "dq", "qi", "oth", "k", NULL};
    for (const char *const *p = parts; *p != NULL; p++)
        if (json_object_get(key, *p) != NULL)
            return *p;
    return NULL;
}

/* Is it there for checking signatures? */
static bool for_signatures(const json_t *key) {
    const json_t *use = json_object_get(key, "use"), *ops = json_object_get(key, "key_ops");
    return (use == NULL || is_text(use, "sig")) && (ops == NULL || holds_text(ops, "verify"));
}

/* The algorithm that the key's type allows, if it is one of ours. */
static bool algorithm_of(const json_t *key, enum sign_algorithm *out) {
    const json_t *kty = json_object_get(key, "kty"), *crv = json_object_get(key, "crv");
    const json_t *alg = json_object_get(key, "alg");
    if (is_text(kty, "RSA"))
        *out = SIGN_RS256;
    else if (is_text(kty, "EC") && is_text(crv, "P-256"))
        *out = SIGN_ES256;
    else if (is_text(kty, "OKP") && is_text(crv, "Ed25519"))
        *out = SIGN_EDDSA;
    else
        return false;
    return alg == NULL || is_text(alg, sign_names[*out]);
}

static struct bytes number(struct jwk_reader *r, const char *name) {
    const json_t *v = json_object_get(r->at, name);
    return jwt_base64url(r->arena, text_of(v));
}

static enum taken make_key(struct jwk_reader *r, struct jwk *out) {
    static const char *const names[SIGN_COUNT][2] = {
        [SIGN_RS256] = {"n", "e"}, [SIGN_ES256] = {"x", "y"}, [SIGN_EDDSA] = {"x", NULL}};
    struct bytes part[2] = {{NULL, 0}, {NULL, 0}};
    const char *why;
    for (int i = 0; i < 2 && names[out->algorithm][i] != NULL; i++) {
        char text[80];
        part[i] = number(r, names[out->algorithm][i]);
        snprintf(text, sizeof(text), "'%s' is missing or no base64url", names[out->algorithm][i]);
        if (part[i].at == NULL)
            return wrong(r, text);
    }
    out->key = sign_key_new(out->algorithm, part[0], part[1], &why);
    return out->key != NULL ? TAKEN : wrong(r, why);
}

static enum taken take_kid(struct jwk_reader *r, struct jwk *out) {
    const json_t *kid = json_object_get(r->at, "kid");
    if (kid == NULL)
        return TAKEN;
    struct bytes text = text_of(kid);
    if (text.len == 0 || text.len > JWT_KID_MAX)
        return wrong(r, "its kid is not 1 to 256 bytes of text");
    for (uint32_t i = 0; i < r->conf->key_count; i++)
        if (bytes_eq(r->conf->keys[i].kid, text))
            return wrong(r, "another key before it has this kid");
    out->kid = arena_copy(r->arena, text);
    return out->kid.at != NULL ? TAKEN : wrong(r, "out of memory");
}

static enum taken take_key(struct jwk_reader *r) {
    struct jwk *out = &r->conf->keys[r->conf->key_count];
    if (!json_is_object(r->at))
        return wrong(r, "expected an object");
    if (!json_is_string(json_object_get(r->at, "kty")))
        return wrong(r, "'kty' is missing or no text");
    const char *secret = private_part(r->at);
    if (secret != NULL) {
        char text[80];
        *r->hint = "the file holds public keys; replace one that was in it, it is no secret now";
        snprintf(text, sizeof(text), "'%s' is a secret part of a key", secret);
        return wrong(r, text);
    }
    if (!algorithm_of(r->at, &out->algorithm) || !r->conf->algorithms[out->algorithm] ||
        !for_signatures(r->at))
        return PASSED_OVER;
    enum taken taken = take_kid(r, out);
    if (taken == TAKEN)
        taken = make_key(r, out);
    return taken;
}

static const char *take_keys(struct jwk_reader *r, const json_t *list) {
    size_t count = json_array_size(list);
    if (count > JWKS_KEYS_MAX)
        return "it holds more than 64 keys";
    r->conf->keys = arena_new_array(r->arena, struct jwk, count + 1);
    if (r->conf->keys == NULL)
        return "out of memory";
    for (r->index = 0; r->index < count; r->index++) {
        r->at = json_array_get(list, r->index);
        enum taken taken = take_key(r);
        if (taken == WRONG)
            return r->why;
        r->conf->key_count += taken == TAKEN;
    }
    if (r->conf->key_count > 0)
        return NULL;
    *r->hint = "RSA (RS256), EC P-256 (ES256) and OKP Ed25519 (EdDSA) keys with use 'sig' or none";
    return "none of its keys can check a token's signature";
}

const char *jwt_keys_read(struct jwt_conf *conf, struct arena *arena, struct bytes text,
                          char why[JWT_WHY_MAX], const char **hint) {
    struct jwk_reader r = {.conf = conf, .arena = arena, .why = why, .hint = hint};
    const char *failed = NULL;
    json_error_t error;
    json_t *root =
        json_loadb(text.at != NULL ? text.at : "", text.len, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(root, "keys");
    if (root == NULL) {
        snprintf(why, JWT_WHY_MAX, "no JSON, line %d, column %d: %s", error.line, error.column,
                 error.text);
        failed = why;
    } else if (!json_is_array(list)) {
        *hint = "{\"keys\": [...]}";
        failed = "it is no JWKS: an object with a list 'keys'";
    } else {
        failed = take_keys(&r, list);
    }
    json_decref(root);
    return failed;
}

void jwt_keys_free(struct jwt_conf *conf) {
    for (uint32_t i = 0; conf != NULL && i < conf->key_count; i++)
        sign_key_free(conf->keys[i].key);
    if (conf != NULL)
        conf->key_count = 0;
}

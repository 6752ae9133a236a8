/* jwt.h - JSON Web Tokens: a JWKS file of public keys, and tokens checked against it.
 *
 * OpenSSL checks signatures (crypto_sign.h), jansson reads JSON; the envelope between them (RFC
 * 7515's compact form, RFC 7519's claims) is ours, because no packaged library does it all: libjwt
 * 1.10 and cjose know no EdDSA, and rhonabwy brings GnuTLS, curl and the fetching of keys from
 * where a token says.
 *
 * What does not pass, beside what is wrong or has ended:
 *   - every algorithm but RS256, ES256 and EdDSA (Ed25519).  The key's type, and the `alg` of its
 *     JWK, say how a signature is checked; the token's `alg` must agree and decides nothing;
 *   - tokens that bring or name a key of their own (`jwk`, `jku`, `x5c`, `x5u`), extensions
 * (`crit`, `b64`), a `typ` other than JWT and at+jwt;
 *   - tokens bound to a key that the sender would have to prove (`cnf`): this is no such proof;
 *   - base64url with padding, with bits behind the last byte, with anything between;
 *   - JSON with a duplicate name, trailing text, more depth than JSON_DEPTH_MAX. */
#ifndef QG_JWT_H
#define QG_JWT_H

#include "base/arena.h"
#include "crypto_sign.h"

struct jwk {
    enum sign_algorithm algorithm;
    struct bytes kid; /* empty: it has none */
    struct sign_key *key;
};

/* A claim's value and the tier it means. */
struct jwt_tier {
    struct bytes value, tier;
};

struct jwt_conf {
    struct bytes header;
    bool bearer; /* the header is Authorization: the token follows the word Bearer */
    bool algorithms[SIGN_COUNT];
    struct bytes issuer, audience;
    struct bytes subject;         /* name of the claim that says who the client is */
    uint64_t leeway_s, max_age_s; /* max_age 0: any age */
    struct bytes tier_claim;      /* empty: no tiers */
    const struct jwt_tier *tiers; /* the first that the claim holds is it */
    uint32_t tier_count;
    struct jwk *keys;
    uint32_t key_count;
};

/* Reads a JWKS into conf->keys: those that are of an algorithm of conf and for checking signatures;
 * others are passed over.  NULL: done.  Otherwise: what is wrong, and with which key, in why[] or
 * static text; *hint may be set.  jwt_keys_free in either case. */
#define JWT_WHY_MAX 240
const char *jwt_keys_read(struct jwt_conf *conf, struct arena *arena, struct bytes text,
                          char why[JWT_WHY_MAX], const char **hint);
void jwt_keys_free(struct jwt_conf *conf); /* NULL is fine */

enum jwt_status {
    JWT_GOOD,
    JWT_INVALID,
    JWT_EXPIRED, /* it was good in every other respect */
    JWT_NO_MEMORY,
};

struct jwt_claims {
    const char *why;      /* INVALID, EXPIRED: which check failed; static, for a log */
    struct bytes subject; /* in the arena */
    struct bytes tier;    /* conf's; empty: none */
    uint64_t not_before_s, not_after_s; /* first and last second at which it is good */
};

/* *out is set when GOOD, its `why` when INVALID or EXPIRED. */
enum jwt_status jwt_check(const struct jwt_conf *conf, struct arena *arena, struct bytes token,
                          uint64_t now_s, struct jwt_claims *out);

/* A base64url text without padding, the one spelling it has.  at == NULL: it is none, or out of
 * memory. */
MUST struct bytes jwt_base64url(struct arena *arena, struct bytes text);

#endif

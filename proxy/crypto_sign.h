/* crypto_sign.h - signatures of others, checked: public keys from their numbers, three algorithms.
 *
 * Each key is made for one algorithm and checks no other, so that what a message says of itself
 * cannot choose how it is checked. */
#ifndef QG_CRYPTO_SIGN_H
#define QG_CRYPTO_SIGN_H

#include "base/bytes.h"

enum sign_algorithm {
    SIGN_RS256, /* RSASSA-PKCS1-v1_5 with SHA-256 */
    SIGN_ES256, /* ECDSA over P-256 with SHA-256; the signature is r || s, 64 bytes */
    SIGN_EDDSA, /* Ed25519 */
    SIGN_COUNT,
};

/* The names of RFC 7518 and 8037, by enum sign_algorithm, NULL-terminated. */
extern const char *const sign_names[];

struct sign_key;

/* A public key from its big-endian numbers: modulus and exponent (RS256), x and y (ES256), or the
 * 32 bytes of the key and nothing (EdDSA).  NULL: *why says in a sentence what is wrong with it. */
struct sign_key *sign_key_new(enum sign_algorithm algorithm, struct bytes first,
                              struct bytes second, const char **why);
void sign_key_free(struct sign_key *key);

/* True: whoever has the private half signed exactly this text.  Any thread may ask at any time. */
MUST bool sign_verify(const struct sign_key *key, struct bytes text, struct bytes signature);

#endif

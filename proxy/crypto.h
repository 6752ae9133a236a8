/* crypto.h - digests, keyed digests, random bits, constant-time compare.  With tls.c the only file
 * that sees OpenSSL. */
#ifndef QG_CRYPTO_H
#define QG_CRYPTO_H

#include "base/bytes.h"
#include "base/hash.h"

#define SHA1_BYTES   20
#define SHA256_BYTES 32
#define SHA256_HEX   65 /* with the NUL */

void crypto_sha256(struct bytes data, unsigned char out[SHA256_BYTES]);
void crypto_sha1(struct bytes data, unsigned char out[SHA1_BYTES]); /* a name, not a proof */
void crypto_hmac_sha256(struct bytes key, struct bytes data, unsigned char out[SHA256_BYTES]);
void crypto_random(void *out, size_t len);
bool crypto_equal(const void *a, const void *b, size_t len); /* time does not depend on the bytes */
void crypto_hex(const unsigned char *bytes, size_t len, char *out); /* 2 len + 1 characters */
struct hash_key crypto_hash_key(void);                              /* a random key for a table */
void crypto_wipe(void *at, size_t len);

#endif

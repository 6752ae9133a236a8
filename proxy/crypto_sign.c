#include "crypto_sign.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/require.h"

enum { P256_BYTES = 32, ED25519_BYTES = 32, ED25519_SIGNATURE = 64, P256_DER_MAX = 72 };

const char *const sign_names[] = {"RS256", "ES256", "EdDSA", NULL};

struct sign_key {
    enum sign_algorithm algorithm;
    EVP_PKEY *public;
};

/* ---- Keys ---- */

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *builder) {
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL), *check = NULL;
    EVP_PKEY *key = NULL;
    if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
        (void)EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params);
    /* A point off its curve, a modulus with small factors: no such key proves anything. */
    if (key != NULL)
        check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (check == NULL || EVP_PKEY_public_check(check) != 1) {
        EVP_PKEY_free(key);
        key = NULL;
    }
    EVP_PKEY_CTX_free(check);
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    return key;
}

static const char *check_rsa(const BIGNUM *n, const BIGNUM *e) {
    int bits = BN_num_bits(n);
    if (bits < RSA_BITS_MIN)
        return "its modulus is shorter than 2048 bits";
    if (bits > RSA_BITS_MAX)
        return "its modulus is longer than 8192 bits";
    if (!BN_is_odd(e) || BN_is_one(e) || BN_num_bits(e) > 32)
        return "its exponent is not an odd number from 3 to 4294967295";
    return NULL;
}

static EVP_PKEY *new_rsa(struct bytes modulus, struct bytes exponent, const char **why) {
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *n = BN_bin2bn((const unsigned char *)modulus.at, (int)modulus.len, NULL);
    BIGNUM *e = BN_bin2bn((const unsigned char *)exponent.at, (int)exponent.len, NULL);
    EVP_PKEY *key = NULL;
    if (builder == NULL || n == NULL || e == NULL) {
        *why = "out of memory";
    } else if ((*why = check_rsa(n, e)) == NULL) {
        if (OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
            OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) == 1)
            key = from_params("RSA", builder);
        if (key == NULL)
            *why = "its modulus is no product of two large primes";
    }
    BN_free(n);
    BN_free(e);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static EVP_PKEY *new_p256(struct bytes x, struct bytes y, const char **why) {
    unsigned char point[1 + 2 * P256_BYTES] = {POINT_CONVERSION_UNCOMPRESSED};
    EVP_PKEY *key = NULL;
    if (x.len != P256_BYTES || y.len != P256_BYTES) {
        *why = "its coordinates are not 32 bytes each";
        return NULL;
    }
    memcpy(point + 1, x.at, P256_BYTES);
    memcpy(point + 1 + P256_BYTES, y.at, P256_BYTES);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    if (builder != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) ==
            1)
        key = from_params("EC", builder);
    if (key == NULL)
        *why = "its coordinates are no point of P-256";
    OSSL_PARAM_BLD_free(builder);
    return key;
}

static EVP_PKEY *new_ed25519(struct bytes x, const char **why) {
    EVP_PKEY *key = NULL;
    if (x.len == ED25519_BYTES)
        key =
            EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)x.at, x.len);
    if (key == NULL)
        *why = "its x is not 32 bytes";
    return key;
}

struct sign_key *sign_key_new(enum sign_algorithm algorithm, struct bytes first,
                              struct bytes second, const char **why) {
    struct sign_key *key = calloc(1, sizeof(*key));
    *why = "out of memory";
    if (key == NULL)
        return NULL;
    ERR_set_mark();
    key->algorithm = algorithm;
    if (algorithm == SIGN_RS256)
        key->public = new_rsa(first, second, why);
    else if (algorithm == SIGN_ES256)
        key->public = new_p256(first, second, why);
    else
        key->public = new_ed25519(first, why);
    ERR_pop_to_mark();
    if (key->public != NULL)
        return key;
    free(key);
    return NULL;
}

void sign_key_free(struct sign_key *key) {
    if (key == NULL)
        return;
    EVP_PKEY_free(key->public);
    free(key);
}

/* ---- Signatures ---- */

/* r || s as the DER that OpenSSL reads.  0: it is not 64 bytes, or out of memory. */
static size_t to_der(struct bytes signature, unsigned char out[P256_DER_MAX]) {
    const unsigned char *at = (const unsigned char *)signature.at;
    ECDSA_SIG *pair = signature.len == 2 * P256_BYTES ? ECDSA_SIG_new() : NULL;
    int len = 0;
    if (pair == NULL)
        return 0;
    BIGNUM *r = BN_bin2bn(at, P256_BYTES, NULL), *s = BN_bin2bn(at + P256_BYTES, P256_BYTES, NULL);
    if (r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair's now */
        len = i2d_ECDSA_SIG(pair, &out);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    return len > 0 ? (size_t)len : 0;
}

static bool verify(const struct sign_key *key, struct bytes text, const unsigned char *signature,
                   size_t len) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    const char *digest = key->algorithm == SIGN_EDDSA ? NULL : "SHA256";
    bool holds =
        ctx != NULL &&
        EVP_DigestVerifyInit_ex(ctx, NULL, digest, NULL, NULL, key->public, NULL) == 1 &&
        EVP_DigestVerify(ctx, signature, len, (const unsigned char *)text.at, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    return holds;
}

bool sign_verify(const struct sign_key *key, struct bytes text, struct bytes signature) {
    unsigned char der[P256_DER_MAX];
    bool holds = false;
    require(key != NULL && key->public != NULL);
    /* What OpenSSL leaves in this thread's queue would look like an error of the next TLS call. */
    ERR_set_mark();
    if (key->algorithm == SIGN_ES256) {
        size_t len = to_der(signature, der);
        holds = len > 0 && verify(key, text, der, len);
    } else if (key->algorithm != SIGN_EDDSA || signature.len == ED25519_SIGNATURE) {
        holds = verify(key, text, (const unsigned char *)signature.at, signature.len);
    }
    ERR_pop_to_mark();
    return holds;
}

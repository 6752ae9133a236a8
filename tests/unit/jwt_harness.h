/* jwt_harness.h - an issuer, and an attacker, for tests: private keys, a JWKS, tokens of any kind.
 */
#ifndef QG_JWT_HARNESS_H
#define QG_JWT_HARNESS_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../proxy/base/limits.h"
#include "../../proxy/base/require.h"
#include "../../proxy/jwt.h"

/* Who signs.  The second three have the types of the first and are in no JWKS. */
enum signer {
    BY_RSA,
    BY_EC,
    BY_ED,
    BY_OTHER_RSA,
    BY_OTHER_EC,
    BY_OTHER_ED,
    SIGNERS,
    BY_PEM, /* HMAC-SHA256 under the PEM of the RSA key, as those who confuse keys would check */
    BY_JWK, /* HMAC-SHA256 under its modulus */
    BY_NOBODY,
};

static EVP_PKEY *signers[SIGNERS];
static char jwks_text[KIB(8)];

static void encode(struct bytes in, char *out) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned bits = 0, have = 0;
    for (size_t i = 0; i < in.len; i++) {
        bits = bits << 8 | (unsigned char)in.at[i];
        for (have += 8; have >= 6;) {
            have -= 6;
            *out++ = digits[bits >> have & 63];
        }
    }
    if (have > 0)
        *out++ = digits[bits << (6 - have) & 63];
    *out = '\0';
}

static void number_of(EVP_PKEY *key, const char *name, char *out) {
    unsigned char raw[1024];
    BIGNUM *n = NULL;
    require(EVP_PKEY_get_bn_param(key, name, &n) == 1);
    int len = BN_num_bytes(n);
    if (strcmp(name, OSSL_PKEY_PARAM_EC_PUB_X) == 0 || strcmp(name, OSSL_PKEY_PARAM_EC_PUB_Y) == 0)
        len = 32;
    require(BN_bn2binpad(n, raw, len) == len);
    encode(bytes_of(raw, (size_t)len), out);
    BN_free(n);
}

/* The public half as a JWK; more: further members, each with a comma before it. */
static void jwk_of(EVP_PKEY *key, const char *more, char *out, size_t room) {
    char a[800], b[800];
    unsigned char raw[32];
    size_t len = sizeof(raw);
    if (EVP_PKEY_is_a(key, "RSA")) {
        number_of(key, OSSL_PKEY_PARAM_RSA_N, a);
        number_of(key, OSSL_PKEY_PARAM_RSA_E, b);
        snprintf(out, room, "{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"%s}", a, b, more);
    } else if (EVP_PKEY_is_a(key, "EC")) {
        number_of(key, OSSL_PKEY_PARAM_EC_PUB_X, a);
        number_of(key, OSSL_PKEY_PARAM_EC_PUB_Y, b);
        snprintf(out, room, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"%s}", a, b,
                 more);
    } else {
        require(EVP_PKEY_get_raw_public_key(key, raw, &len) == 1);
        encode(bytes_of(raw, len), a);
        snprintf(out, room, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"%s}", a, more);
    }
}

static void make_signers(void) {
    static const char *const kids[] = {",\"kid\":\"rsa\"", ",\"kid\":\"ec\",\"alg\":\"ES256\"",
                                       ",\"kid\":\"ed\",\"use\":\"sig\""};
    char one[2000];
    for (int i = 0; i < SIGNERS; i += 3) {
        signers[i] = EVP_RSA_gen(2048);
        signers[i + 1] = EVP_EC_gen("P-256");
        signers[i + 2] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    strcpy(jwks_text, "{\"keys\":[");
    for (int i = 0; i < 3; i++) {
        jwk_of(signers[i], kids[i], one, sizeof(one));
        sprintf(jwks_text + strlen(jwks_text), "%s%s", i > 0 ? "," : "", one);
    }
    strcat(jwks_text, "]}");
}

static void free_signers(void) {
    for (int i = 0; i < SIGNERS; i++)
        EVP_PKEY_free(signers[i]);
}

/* DER to r || s. */
static size_t to_raw(unsigned char *signature, size_t len) {
    const unsigned char *at = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    require(pair != NULL);
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32);
    ECDSA_SIG_free(pair);
    return 64;
}

static size_t hmac(enum signer by, const char *text, unsigned char out[512]) {
    char secret[2000] = "";
    unsigned len = 0;
    if (by == BY_PEM) {
        BIO *bio = BIO_new(BIO_s_mem());
        require(PEM_write_bio_PUBKEY(bio, signers[BY_RSA]) == 1);
        require(BIO_read(bio, secret, sizeof(secret) - 1) > 0);
        BIO_free(bio);
    } else {
        number_of(signers[BY_RSA], OSSL_PKEY_PARAM_RSA_N, secret);
    }
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), out,
         &len);
    return len;
}

static size_t signature_of(enum signer by, const char *text, unsigned char out[512]) {
    size_t len = 512;
    if (by > SIGNERS)
        return by == BY_NOBODY ? 0 : hmac(by, text, out);
    EVP_PKEY *key = signers[by];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool plain = EVP_PKEY_is_a(key, "ED25519");
    require(EVP_DigestSignInit(ctx, NULL, plain ? NULL : EVP_sha256(), NULL, key) == 1);
    require(EVP_DigestSign(ctx, out, &len, (const unsigned char *)text, strlen(text)) == 1);
    EVP_MD_CTX_free(ctx);
    return EVP_PKEY_is_a(key, "EC") ? to_raw(out, len) : len;
}

/* A token of a header and a payload in which ' stands for ".  The caller frees. */
static char *token_of(enum signer by, const char *header, const char *payload) {
    size_t room = (strlen(header) + strlen(payload)) * 2 + 2000;
    char *out = malloc(room), *part = malloc(room);
    unsigned char signature[512];
    const char *texts[] = {header, payload};
    require(out != NULL && part != NULL);
    *out = '\0';
    for (int i = 0; i < 2; i++) {
        strcpy(part, texts[i]);
        for (char *c = part; *c != '\0'; c++)
            *c = *c == '\'' ? '"' : *c;
        encode(bytes_str(part), out + strlen(out));
        strcat(out, i == 0 ? "." : "");
    }
    size_t len = signature_of(by, out, signature);
    strcat(out, ".");
    encode(bytes_of(signature, len), out + strlen(out));
    free(part);
    return out;
}

#endif

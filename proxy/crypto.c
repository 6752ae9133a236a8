#include "crypto.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <pthread.h>

#include "base/require.h"

/* EVP looks its algorithm up by name on every one-shot call; a fetched one is kept per process, and
 * a context per thread, to the thread's end. */
static const EVP_MD *sha256;
static pthread_key_t contexts;

static void free_context(void *ctx) {
    EVP_MD_CTX_free(ctx);
}

static void prepare(void) {
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    require(sha256 != NULL && pthread_key_create(&contexts, free_context) == 0);
}

static void prepare_once(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
}

static EVP_MD_CTX *context(void) {
    static _Thread_local EVP_MD_CTX *ctx;
    if (ctx == NULL) {
        prepare_once();
        ctx = EVP_MD_CTX_new();
        require(ctx != NULL && pthread_setspecific(contexts, ctx) == 0);
    }
    return ctx;
}

void crypto_sha256(struct bytes data, unsigned char out[SHA256_BYTES]) {
    EVP_MD_CTX *ctx = context();
    require(EVP_DigestInit_ex(ctx, sha256, NULL) == 1);
    require(EVP_DigestUpdate(ctx, data.at, data.len) == 1);
    require(EVP_DigestFinal_ex(ctx, out, NULL) == 1);
}

void crypto_sha1(struct bytes data, unsigned char out[SHA1_BYTES]) {
    require(EVP_Digest(data.at, data.len, out, NULL, EVP_sha1(), NULL) == 1);
}

void crypto_hmac_sha256(struct bytes key, struct bytes data, unsigned char out[SHA256_BYTES]) {
    unsigned len = SHA256_BYTES;
    prepare_once();
    require(HMAC(sha256, key.at != NULL ? key.at : "", (int)key.len, (const unsigned char *)data.at,
                 data.len, out, &len) != NULL);
    require(len == SHA256_BYTES);
}

void crypto_random(void *out, size_t len) {
    require(RAND_bytes(out, (int)len) == 1);
}

bool crypto_equal(const void *a, const void *b, size_t len) {
    return CRYPTO_memcmp(a, b, len) == 0;
}

void crypto_hex(const unsigned char *bytes, size_t len, char *out) {
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * len] = '\0';
}

struct hash_key crypto_hash_key(void) {
    struct hash_key key;
    crypto_random(&key, sizeof(key));
    return key;
}

void crypto_wipe(void *at, size_t len) {
    OPENSSL_cleanse(at, len);
}

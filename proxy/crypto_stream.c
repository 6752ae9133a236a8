#include "crypto_stream.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/require.h"
#include "crypto.h"

#define KEY_BYTES      32
#define BLOCK          64
#define REFILL         2048 /* of a fresh stream, the next key included */
#define RESEED_REFILLS 512
#define WINDOW         16 /* elements whose first blocks are made at once */

/* ---- ChaCha20 ---- */

static EVP_CIPHER *chacha20;
static atomic_uint forks; /* of this process and its ancestors */

static void count_fork(void) {
    atomic_fetch_add(&forks, 1);
}

static void prepare(void) {
    chacha20 = EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
    require(chacha20 != NULL && pthread_atfork(NULL, NULL, count_fork) == 0);
}

static EVP_CIPHER_CTX *context_new(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, prepare);
    return EVP_CIPHER_CTX_new();
}

/* key NULL: the one from before. */
static void keystream(EVP_CIPHER_CTX *ctx, const unsigned char *key, uint32_t counter,
                      uint32_t nonce, unsigned char *out, int len) {
    unsigned char iv[16] = {0};
    int made = 0;
    for (int i = 0; i < 4; i++) {
        iv[i] = (unsigned char)(counter >> 8 * i);
        iv[4 + i] = (unsigned char)(nonce >> 8 * i);
    }
    memset(out, 0, (size_t)len);
    require(EVP_EncryptInit_ex(ctx, key != NULL ? chacha20 : NULL, NULL, key, iv) == 1);
    require(EVP_EncryptUpdate(ctx, out, &made, out, len) == 1 && made == len);
}

/* ---- Fresh ---- */

struct fresh_stream {
    struct bits bits;
    EVP_CIPHER_CTX *ctx;
    unsigned forks_seen;
    uint32_t refills;
    size_t at; /* bytes of made that are used up */
    unsigned char made[REFILL];
};

/* Afterwards made begins with the key of the next refill. */
static void refill(struct fresh_stream *s) {
    unsigned now = atomic_load(&forks);
    if (s->refills++ % RESEED_REFILLS == 0 || s->forks_seen != now)
        crypto_random(s->made, KEY_BYTES);
    s->forks_seen = now;
    unsigned char key[KEY_BYTES];
    memcpy(key, s->made, KEY_BYTES);
    keystream(s->ctx, key, 0, 0, s->made, REFILL);
    crypto_wipe(key, sizeof(key));
    s->at = KEY_BYTES;
}

static void fresh_fill(struct bits *b, void *to, size_t len) {
    struct fresh_stream *s = list_object(b, struct fresh_stream, bits);
    unsigned char *out = to;
    while (len > 0) {
        if (s->at == REFILL || s->forks_seen != atomic_load(&forks))
            refill(s);
        size_t n = len < REFILL - s->at ? len : REFILL - s->at;
        memcpy(out, s->made + s->at, n);
        crypto_wipe(s->made + s->at, n);
        s->at += n;
        out += n;
        len -= n;
    }
}

struct bits *fresh_stream_new(void) {
    struct fresh_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    if ((s->ctx = context_new()) == NULL) {
        free(s);
        return NULL;
    }
    s->bits.fill = fresh_fill;
    s->at = REFILL;
    s->forks_seen = atomic_load(&forks);
    return &s->bits;
}

void fresh_stream_free(struct bits *b) {
    if (b == NULL)
        return;
    struct fresh_stream *s = list_object(b, struct fresh_stream, bits);
    EVP_CIPHER_CTX_free(s->ctx);
    crypto_wipe(s, sizeof(*s));
    free(s);
}

/* ---- Keyed ---- */

struct keyed_stream {
    struct bits bits;
    EVP_CIPHER_CTX *ctx;
    uint32_t element, nonce;
    const unsigned char *block; /* the element's current one */
    size_t at;                  /* bytes of it that are used up */
    uint32_t window;            /* the first element of first[] */
    bool made;                  /* first[] is this stream's */
    unsigned char first[WINDOW * BLOCK], more[BLOCK];
};

static void keyed_seek(struct bits *b, uint32_t element) {
    struct keyed_stream *s = list_object(b, struct keyed_stream, bits);
    uint32_t window = element - element % WINDOW;
    if (!s->made || s->window != window)
        keystream(s->ctx, NULL, window, 0, s->first, sizeof(s->first));
    s->made = true;
    s->window = window;
    s->element = element;
    s->nonce = 0;
    s->block = s->first + (element - window) * BLOCK;
    s->at = 0;
}

static void keyed_fill(struct bits *b, void *to, size_t len) {
    struct keyed_stream *s = list_object(b, struct keyed_stream, bits);
    unsigned char *out = to;
    while (len > 0) {
        if (s->at == BLOCK) {
            keystream(s->ctx, NULL, s->element, ++s->nonce, s->more, BLOCK);
            s->block = s->more;
            s->at = 0;
        }
        size_t n = len < BLOCK - s->at ? len : BLOCK - s->at;
        memcpy(out, s->block + s->at, n);
        s->at += n;
        out += n;
        len -= n;
    }
}

struct keyed_stream *keyed_stream_new(void) {
    struct keyed_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return NULL;
    if ((s->ctx = context_new()) == NULL) {
        free(s);
        return NULL;
    }
    s->bits.fill = keyed_fill;
    s->bits.seek = keyed_seek;
    return s;
}

void keyed_stream_free(struct keyed_stream *s) {
    if (s == NULL)
        return;
    EVP_CIPHER_CTX_free(s->ctx);
    crypto_wipe(s, sizeof(*s));
    free(s);
}

static struct bits *keyed_open(struct bit_source *source, struct bytes context) {
    struct keyed_source *k = list_object(source, struct keyed_source, source);
    struct keyed_stream *s = k->stream;
    unsigned char key[KEY_BYTES];
    crypto_hmac_sha256(k->key, context, key);
    keystream(s->ctx, key, 0, 0, s->first, sizeof(s->first));
    crypto_wipe(key, sizeof(key));
    s->made = true;
    s->window = 0;
    bits_seek(&s->bits, 0);
    return &s->bits;
}

/* Needs no key: it only ever goes into a context, which is keyed. */
static void plain_digest(struct bit_source *source, struct bytes data, unsigned char out[32]) {
    (void)source;
    crypto_sha256(data, out);
}

void keyed_source_init(struct keyed_source *k, struct keyed_stream *s, struct bytes key) {
    *k = (struct keyed_source){
        .source = {.open = keyed_open, .digest = plain_digest}, .stream = s, .key = key};
}

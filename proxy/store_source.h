/* store_source.h - the shared count itself, at the far end of a connection: what store_lease and
 * store_guard stand on.  store_redis.h has the one there is.
 *
 * Buckets are named by a digest of their key, so that no layer need keep the key. */
#ifndef QG_STORE_SOURCE_H
#define QG_STORE_SOURCE_H

#include "crypto.h"
#include "store.h"

/* The first 66 bits of SHA-256 of the bucket's key, as base64url.  Keys hold a pseudonym of 64
 * bits, and nobody without the pseudonym key can make one: this adds no collisions to speak of
 * (10^6 buckets: 10^-8 that any two are one). */
enum { BUCKET_NAME = 11 };
struct bucket {
    char name[BUCKET_NAME];
};

static inline struct bucket bucket_of(struct bytes key) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    unsigned char hash[SHA256_BYTES];
    struct bucket b;
    uint32_t bits = 0, held = 0;
    crypto_sha256(key, hash);
    for (uint32_t i = 0, at = 0; i < BUCKET_NAME; i++) {
        if (held < 6) {
            bits = bits << 8 | hash[at++];
            held += 8;
        }
        held -= 6;
        b.name[i] = digits[bits >> held & 63];
    }
    return b;
}

struct source;

struct source_ops {
    /* Takes n tokens, or none, and with them up to `extra` more, as many as there are
     * (answer->granted).  n may be 0: then it is admitted, and retry_after_us tells when there will
     * be a token if none was granted.  done as in store.h; STORE_FAILED: no answer, and whether the
     * tokens are gone is not known. */
    enum store_status (*ask)(struct source *, const struct bucket *, const struct store_rate *,
                             uint64_t n, uint64_t extra, store_done_fn *done, void *cookie,
                             struct store_answer *out);
    /* As in store.h. */
    enum store_status (*spend)(struct source *, const struct bucket *, const struct store_budget *,
                               const struct store_spending *, store_done_fn *done, void *cookie,
                               struct store_answer *out);
    /* Best effort, unanswered: gives tokens back, or (charge) takes them whether there are any or
     * not, to a debt of the burst at most.  False: not sent. */
    bool (*settle)(struct source *, const struct bucket *, const struct store_rate *, bool charge,
                   uint64_t tokens);
    /* The cheapest question that shows that takes would be answered, of the server that has this
     * bucket (NULL: of any). */
    enum store_status (*ping)(struct source *, const struct bucket *, store_done_fn *done,
                              void *cookie);
    void (*cancel)(struct source *, void *cookie);
    void (*free)(struct source *);
};

struct source {
    const struct source_ops *ops;
};

#endif

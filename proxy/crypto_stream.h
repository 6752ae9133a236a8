/* crypto_stream.h - streams of random bits from ChaCha20 (RFC 8439), by OpenSSL.
 *
 * A fresh stream is a generator of its own for one thread: ChaCha20 under a key from RAND_bytes,
 * which is replaced by the stream's own first bytes at every refill, so that what was drawn cannot
 * be found again in memory; seeded anew from RAND_bytes after some refills and after a fork (a
 * child shares at most the 64 bits that stood in struct bits).
 *
 * A keyed source gives a stream for a context: ChaCha20 under HMAC-SHA256(key, context).  Element e
 * of it is the blocks with block counter e and nonce 0, 1, 2, ... */
#ifndef QG_CRYPTO_STREAM_H
#define QG_CRYPTO_STREAM_H

#include "base/bits.h"

/* NULL: out of memory. */
struct bits *fresh_stream_new(void);
void fresh_stream_free(struct bits *);

/* A worker's place for the keyed stream that is open. */
struct keyed_stream;
struct keyed_stream *keyed_stream_new(void); /* NULL: out of memory */
void keyed_stream_free(struct keyed_stream *);

/* The streams of one key; the key is borrowed. */
struct keyed_source {
    struct bit_source source;
    struct keyed_stream *stream;
    struct bytes key;
};
void keyed_source_init(struct keyed_source *, struct keyed_stream *, struct bytes key);

#endif

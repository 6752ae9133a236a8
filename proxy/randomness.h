/* randomness.h - what filters draw noise from: a worker's generators, an exchange's view of them.
 */
#ifndef QG_RANDOMNESS_H
#define QG_RANDOMNESS_H

#include "crypto_stream.h"
#include "filter.h"

struct noise_conf;

struct random_place {
    struct bits *fresh;
    struct keyed_stream *keyed;
    struct pools pools;
};

MUST bool random_open(struct random_place *);
void random_close(struct random_place *);

struct exchange_random {
    struct randomness view; /* for filters */
    struct keyed_source source;
};

/* conf and place outlive it.  now_s chooses between the key and the one before it. */
void random_begin(struct exchange_random *, struct random_place *, const struct noise_conf *,
                  uint64_t now_s);

#endif

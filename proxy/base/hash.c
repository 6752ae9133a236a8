#include "hash.h"

static uint64_t rotl(uint64_t x, int b) {
    return (x << b) | (x >> (64 - b));
}

struct state {
    uint64_t v0, v1, v2, v3;
};

static void round_once(struct state *s) {
    s->v0 += s->v1;
    s->v1 = rotl(s->v1, 13) ^ s->v0;
    s->v0 = rotl(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = rotl(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = rotl(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = rotl(s->v1, 17) ^ s->v2;
    s->v2 = rotl(s->v2, 32);
}

static void absorb(struct state *s, uint64_t word) {
    s->v3 ^= word;
    round_once(s);
    s->v0 ^= word;
}

static uint64_t squeeze(struct state *s, uint64_t tweak) {
    s->v2 ^= tweak;
    for (int i = 0; i < 3; i++)
        round_once(s);
    return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The state after all of data; wide is SipHash-128's 0xee, or 0. */
static struct state run(const struct hash_key *key, struct bytes data, uint64_t wide) {
    struct state s = {key->k0 ^ 0x736f6d6570736575u, key->k1 ^ 0x646f72616e646f6du ^ wide,
                      key->k0 ^ 0x6c7967656e657261u, key->k1 ^ 0x7465646279746573u};
    size_t whole = data.len & ~(size_t)7;
    uint64_t word;
    for (size_t i = 0; i < whole; i += 8) {
        memcpy(&word, data.at + i, 8);
        absorb(&s, word);
    }
    word = (uint64_t)data.len << 56;
    for (size_t i = whole; i < data.len; i++)
        word |= (uint64_t)(unsigned char)data.at[i] << (8 * (i - whole));
    absorb(&s, word);
    return s;
}

uint64_t hash_bytes(const struct hash_key *key, struct bytes data) {
    struct state s = run(key, data, 0);
    return squeeze(&s, 0xff);
}

struct hash128 hash_bytes128(const struct hash_key *key, struct bytes data) {
    struct state s = run(key, data, 0xee);
    struct hash128 h;
    h.lo = squeeze(&s, 0xee);
    s.v1 ^= 0xdd;
    h.hi = squeeze(&s, 0);
    return h;
}

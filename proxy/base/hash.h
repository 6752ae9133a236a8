/* hash.h - SipHash-1-3 with a 128-bit key, for tables whose keys an attacker may choose.
 *
 * Aumasson, Bernstein: "SipHash: a fast short-input PRF" (2012); 1-3 rounds as in most languages'
 * hash tables.  Not a MAC: what leaves the process uses HMAC (proxy/crypto.h). */
#ifndef QG_HASH_H
#define QG_HASH_H

#include "bytes.h"

struct hash_key {
    uint64_t k0, k1;
};

uint64_t hash_bytes(const struct hash_key *key, struct bytes data);

/* Two independent halves: 128 bits that stand for the data itself (a collision among 2^20 entries
 * has probability below 2^-88). */
struct hash128 {
    uint64_t lo, hi;
};
struct hash128 hash_bytes128(const struct hash_key *key, struct bytes data);

#endif

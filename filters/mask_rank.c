#include "mask_rank.h"

#include <stdbool.h>
#include <string.h>

#define DIGITS     8  /* of a key, a byte each */
#define INSERT_MAX 32 /* so few are kept sorted while all are read once */

/* Rises as the value falls; both zeros are one. */
static uint64_t key_of(double v) {
    uint64_t bits;
    v += 0.0;
    memcpy(&bits, &v, sizeof(bits));
    return bits >> 63 != 0 ? bits : ~bits & (UINT64_MAX >> 1);
}

static bool all_in_one(const uint32_t counts[256], uint32_t cols) {
    for (int i = 0; i < 256; i++)
        if (counts[i] != 0)
            return counts[i] == cols;
    return true;
}

/* By one digit, keeping the order of equals. */
static void sort_digit(const struct mask_rank *from, struct mask_rank *to, uint32_t cols,
                       const uint32_t counts[256], unsigned shift) {
    uint32_t next[256], sum = 0;
    for (int i = 0; i < 256; i++) {
        next[i] = sum;
        sum += counts[i];
    }
    for (uint32_t i = 0; i < cols; i++)
        to[next[from[i].key >> shift & 255]++] = from[i];
}

void mask_rank_all(const double *values, uint32_t cols, struct mask_rank *rank,
                   struct mask_rank *spare) {
    uint32_t counts[DIGITS][256] = {{0}};
    struct mask_rank *from = rank, *to = spare;
    for (uint32_t i = 0; i < cols; i++) {
        uint64_t key = key_of(values[i]);
        rank[i] = (struct mask_rank){key, i};
        for (unsigned d = 0; d < DIGITS; d++)
            counts[d][key >> 8 * d & 255]++;
    }
    for (unsigned d = 0; d < DIGITS; d++) {
        if (all_in_one(counts[d], cols))
            continue;
        sort_digit(from, to, cols, counts[d], 8 * d);
        struct mask_rank *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != rank)
        memcpy(rank, from, cols * sizeof(*rank));
}

void mask_rank_best(const double *values, uint32_t cols, uint32_t count, struct mask_rank *rank,
                    struct mask_rank *spare) {
    uint32_t held = 0;
    if (count > INSERT_MAX) {
        mask_rank_all(values, cols, rank, spare);
        return;
    }
    for (uint32_t i = 0; i < cols; i++) {
        struct mask_rank new = {key_of(values[i]), i};
        uint32_t to = held < count ? held++ : count;
        if (to == count && (count == 0 || new.key >= rank[--to].key))
            continue;
        for (; to > 0 && rank[to - 1].key > new.key; to--)
            rank[to] = rank[to - 1];
        rank[to] = new;
    }
}

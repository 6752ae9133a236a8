/* mask_rank.h - the order of a row's numbers: greater first, among equals the lower column. */
#ifndef QG_MASK_RANK_H
#define QG_MASK_RANK_H

#include <stdint.h>

struct mask_rank {
    uint64_t key;
    uint32_t at; /* the column */
};

/* All columns in order, into rank; spare is as long.  No value is NaN. */
void mask_rank_all(const double *values, uint32_t cols, struct mask_rank *rank,
                   struct mask_rank *spare);

/* The first `count` columns in order, count at most cols; rank and spare have room for cols. */
void mask_rank_best(const double *values, uint32_t cols, uint32_t count, struct mask_rank *rank,
                    struct mask_rank *spare);

#endif

/* Pools, and rows to be masked.  A pool that is read holds falling probabilities; a row that is a
 * distribution is masked within its bounds, in every datatype, and any other is refused as such.
 *
 * The first byte chooses: 0 a pool's file; else the datatype of a row, whose numbers the rest is.
 */
#include "../../filters/mask.c"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const enum dtype types[] = {DTYPE_FP64, DTYPE_FP32, DTYPE_FP16, DTYPE_BF16};

static void try_pool(struct arena *arena, struct bytes file) {
    char why[LOADER_WHY_MAX] = "";
    const struct mask_pool *pool = mask_pool_read(arena, file, why);
    require(pool != NULL || why[0] != '\0');
    for (uint32_t r = 0; pool != NULL && r < pool->rows; r++) {
        const float *row = pool->values + (size_t)r * pool->cols;
        for (uint32_t i = 0; i < pool->cols; i++)
            require(row[i] >= 0 && (i == 0 || row[i] <= row[i - 1]));
    }
}

/* A distribution with the bytes as weights, or with weights of all sizes. */
static void weigh(double *row, uint32_t cols, const uint8_t *data, bool whole) {
    double sum = 0;
    for (uint32_t i = 0; i < cols; i++) {
        row[i] = whole ? ldexp(1, data[i] % 64) * (data[i] >= 64) : data[i];
        sum += row[i];
    }
    for (uint32_t i = 0; i < cols && sum > 0; i++)
        row[i] /= sum;
}

static void try_row(struct arena *arena, enum dtype type, uint8_t choice, const uint8_t *data,
                    size_t size) {
    static const double distances[] = {DISTANCE_MIN, 0.1, 0.5, 2};
    struct conf conf = {.method = MODEL_GUARD, .distance = distances[choice & 3]};
    uint32_t cols = (uint32_t)(size < 2000 ? size : 2000);
    struct output o = {.tensor = {.dtype = type}, .kind = OUT_SCORES, .rows = 1, .cols = cols};
    struct room room;
    conf.top = choice & 4 ? MASK_LP_MAX : 2 + (choice >> 4);
    o.values = arena_new_array(arena, double, cols);
    require(o.values != NULL && make_room(arena, &o, &room));
    weigh(o.values, cols, data, choice & 8);
    struct verdict v = guard_row(&conf, &room, &o, 0);
    require(v.kind == VERDICT_PASS || strstr(v.reason, "not probabilities") != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3)
        return 0;
    struct arena *arena = arena_new(MIB(128));
    require(arena != NULL);
    if (data[0] == 0)
        try_pool(arena, bytes_of(data + 1, size - 1));
    else
        try_row(arena, types[data[0] % 4], data[1], data + 2, size - 2);
    arena_free(arena);
    return 0;
}

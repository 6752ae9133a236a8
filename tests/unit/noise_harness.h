/* noise_harness.h - what tests of noise share: bits from a fixed seed, a filter call with a real
 * keyed source, outputs and queries made by hand, and a chi-square. */
#ifndef QG_NOISE_HARNESS_H
#define QG_NOISE_HARNESS_H

#include <math.h>

#include "../../proxy/base/list.h"
#include "../../proxy/crypto_stream.h"
#include "../../proxy/filter.h"

struct seeded {
    struct bits bits;
    uint64_t x;
};

static uint64_t splitmix(uint64_t *x) {
    uint64_t z = (*x += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void seeded_fill(struct bits *b, void *to, size_t len) {
    struct seeded *s = list_object(b, struct seeded, bits);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t z = splitmix(&s->x);
        memcpy((char *)to + at, &z, len - at < 8 ? len - at : 8);
    }
}

static struct seeded seeded(uint64_t seed) {
    return (struct seeded){.bits = {.fill = seeded_fill}, .x = seed};
}

/* The statistic, bins expected fewer than 10 times taken together; *freedom its degrees. */
static double chi_square(const uint64_t *seen, const long double *p, int bins, uint64_t n,
                         int *freedom) {
    double sum = 0, rest_seen = 0, rest = 0;
    *freedom = -1;
    for (int i = 0; i < bins; i++) {
        double expected = (double)(p[i] * (long double)n);
        if (expected < 10) {
            rest += expected;
            rest_seen += (double)seen[i];
            continue;
        }
        sum += pow((double)seen[i] - expected, 2) / expected;
        ++*freedom;
    }
    if (rest >= 1) {
        sum += pow(rest_seen - rest, 2) / rest;
        ++*freedom;
    }
    return sum;
}

/* Above this a chi-square comes once in about 10^5 (Wilson and Hilferty). */
static double chi_square_limit(int freedom) {
    double v = 2.0 / (9 * freedom);
    return freedom * pow(1 - v + 4.265 * sqrt(v), 3);
}

/* ---- A call ---- */

struct bench {
    struct arena *arena;
    struct keyed_stream *stream;
    struct keyed_source source;
    struct seeded fresh;
    struct pools pools;
    struct randomness random;
    struct tensor inputs[4];
    struct query query;
    struct client client;
    struct filter_call call;
    uint64_t state[8];
};

static const char bench_key[] = "0123456789abcdef0123456789abcdef";

static void bench_open(struct bench *b, const void *conf) {
    *b = (struct bench){.arena = arena_new(MIB(64)), .stream = keyed_stream_new()};
    b->fresh = seeded(7);
    keyed_source_init(&b->source, b->stream, BYTES_LITERAL(bench_key));
    b->random = (struct randomness){&b->fresh.bits, &b->source.source, &b->pools};
    b->query = (struct query){.inputs = b->inputs, .rows = 1};
    b->call = (struct filter_call){.client = &b->client,
                                   .query = &b->query,
                                   .model_name = BYTES_LITERAL("m"),
                                   .conf = conf,
                                   .state = b->state,
                                   .arena = b->arena,
                                   .random = &b->random};
}

static void bench_close(struct bench *b) {
    pools_free(&b->pools);
    keyed_stream_free(b->stream);
    arena_free(b->arena);
}

static void bench_input(struct bench *b, const char *name, const double *data, uint32_t rows,
                        uint32_t cols) {
    b->inputs[b->query.input_count++] =
        (struct tensor){.name = bytes_str(name),
                        .dtype = DTYPE_FP64,
                        .rank = 2,
                        .shape = {rows, cols},
                        .elements = (uint64_t)rows * cols,
                        .data = bytes_of(data, (size_t)rows * cols * sizeof(*data))};
    b->query.rows = rows;
}

/* The values are copied, so that an answer can be made from the same ones again. */
static struct output bench_output(enum output_kind kind, enum dtype type, uint32_t rows,
                                  uint32_t cols, const double *from, struct arena *arena) {
    size_t n = (size_t)rows * cols, size = dtype_size(type);
    char *data = arena_alloc(arena, n * size + 1);
    for (size_t i = 0; i < n; i++)
        dtype_write(type, from[i], data + i * size);
    return (struct output){.tensor = {.name = BYTES_LITERAL("out"),
                                      .dtype = type,
                                      .rank = 2,
                                      .shape = {rows, cols},
                                      .elements = n,
                                      .data = bytes_of(data, n * size)},
                           .kind = kind,
                           .rows = rows,
                           .cols = cols,
                           .grid_digits = -1};
}

#endif

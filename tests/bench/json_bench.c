/* json_bench - the tensor reader beside jansson, and the number writers.
 *
 * Usage: json_bench [ROUNDS].  Each row is the fastest of ROUNDS rounds, in thread CPU time: other
 * work on the machine makes a round slower, never faster. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../proto/json.h"
#include "../../proxy/base/limits.h"
#include "../../proxy/base/require.h"
#include "../unit/jansson_oracle.h"

#define ROUND_SECONDS 0.01

struct job {
    struct arena *arena;
    struct bytes text;
    enum dtype type;
    uint64_t elements;
    struct buf out;
    const double *values;
};

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call, the fastest round. */
static double fastest(void (*run)(struct job *), struct job *job, int rounds) {
    double best = INFINITY;
    for (int i = 0; i < rounds; i++) {
        long calls = 0;
        double start = cpu_seconds(), spent;
        do {
            run(job);
            calls++;
            spent = cpu_seconds() - start;
        } while (spent < ROUND_SECONDS);
        best = fmin(best, spent / (double)calls);
    }
    return best;
}

static void run_reader(struct job *job) {
    struct json_reader r;
    struct json_tensor t;
    arena_reset(job->arena);
    bool fine = json_start(&r, job->arena, job->text) &&
                json_tensor(&r, job->type, job->elements, &t) && json_end(&r);
    require(fine && t.elements == job->elements);
}

static void run_skip(struct job *job) {
    struct json_reader r;
    arena_reset(job->arena);
    bool fine = json_start(&r, job->arena, job->text) && json_skip(&r, NULL) && json_end(&r);
    require(fine);
}

static void run_jansson(struct job *job) {
    json_t *root = json_loadb(job->text.at, job->text.len, JSON_REJECT_DUPLICATES, NULL);
    require(root != NULL && json_array_size(root) == job->elements);
    float *to = malloc(job->elements * sizeof(*to));
    require(to != NULL);
    for (size_t i = 0; i < job->elements; i++)
        to[i] = (float)json_number_value(json_array_get(root, i));
    free(to);
    json_decref(root);
}

/* As tests with real bodies have them: uniform in [0, 1), FP32 printed as a double. */
static struct bytes make_text(uint64_t n, int digits, const char *comma) {
    struct buf b;
    buf_init(&b, MIB(64));
    srand(42);
    for (uint64_t i = 0; i < n; i++)
        buf_printf(&b, "%s%.*g", i > 0 ? comma : "[", digits, (double)((float)rand() / RAND_MAX));
    buf_add_char(&b, ']');
    require(buf_reserve(&b, BODY_PADDING) != NULL);
    memset(b.at + b.len, 0, BODY_PADDING);
    return buf_bytes(&b);
}

static void bench_reader(const char *name, enum dtype type, uint64_t n, int digits,
                         const char *comma, int rounds) {
    struct job job = {.type = type, .elements = n, .text = make_text(n, digits, comma)};
    job.arena = arena_new(ARENA_BYTES_MAX);
    require(job.arena != NULL);
    double megabytes = (double)job.text.len / 1e6;
    double reader = fastest(run_reader, &job, rounds), skip = fastest(run_skip, &job, rounds);
    double jansson = fastest(run_jansson, &job, rounds > 5 ? 5 : rounds);
    printf("%-26s %9zu B %7.0f MB/s %5.1f ns/number   skip %5.0f   jansson %4.0f   %5.1fx\n", name,
           job.text.len, megabytes / reader, 1e9 * reader / (double)n, megabytes / skip,
           megabytes / jansson, jansson / reader);
    arena_free(job.arena);
    free((void *)job.text.at);
}

static void run_doubles(struct job *job) {
    buf_clear(&job->out);
    for (uint64_t i = 0; i < job->elements; i++)
        json_write_double(&job->out, job->values[i]);
}

static void run_floats(struct job *job) {
    buf_clear(&job->out);
    for (uint64_t i = 0; i < job->elements; i++)
        json_write_float(&job->out, (float)job->values[i]);
}

static void run_grid(struct job *job) {
    buf_clear(&job->out);
    for (uint64_t i = 0; i < job->elements; i++)
        json_write_grid(&job->out, (int64_t)(job->values[i] * 1e4), 4);
}

static void bench_writers(int rounds) {
    enum { COUNT = 1000 };
    static double any[COUNT], decimal[COUNT], whole[COUNT];
    for (int i = 0; i < COUNT; i++) {
        any[i] = (double)rand() / RAND_MAX;
        decimal[i] = (double)(rand() % 10000) / 1e4;
        whole[i] = rand() % 1000;
    }
    const struct {
        const char *name;
        void (*run)(struct job *);
        const double *values;
    } rows[] = {
        {"write double, any", run_doubles, any},
        {"write double, 4 digits", run_doubles, decimal},
        {"write double, whole", run_doubles, whole},
        {"write float, any", run_floats, any},
        {"write float, 4 digits", run_floats, decimal},
        {"write grid, 4 digits", run_grid, any},
    };
    struct job job = {.elements = COUNT};
    buf_init(&job.out, MIB(1));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        job.values = rows[i].values;
        printf("%-26s %5.1f ns/number\n", rows[i].name,
               1e9 * fastest(rows[i].run, &job, rounds) / COUNT);
    }
    buf_free(&job.out);
}

int main(int argc, char **argv) {
    int rounds = argc > 1 ? atoi(argv[1]) : 20;
    bench_reader("784 FP32, 17 digits", DTYPE_FP32, 784, 17, ",", rounds);
    bench_reader("784 FP32, 8 digits", DTYPE_FP32, 784, 8, ",", rounds);
    bench_reader("150528 FP32, 17 digits", DTYPE_FP32, 150528, 17, ",", rounds);
    bench_reader("1000 FP32, 17 digits", DTYPE_FP32, 1000, 17, ",", rounds);
    bench_reader("1000 FP32, 17, \", \"", DTYPE_FP32, 1000, 17, ", ", rounds);
    bench_reader("1000 FP64, 17 digits", DTYPE_FP64, 1000, 17, ",", rounds);
    bench_reader("1000 FP16, 5 digits", DTYPE_FP16, 1000, 5, ",", rounds);
    bench_writers(rounds);
    return 0;
}

/* filter_bench - what noise, randomize and mask cost an answer of one row of 1000 classes, beside
 * reading those scores from the model's JSON and writing them to the client's.
 *
 * Usage: filter_bench [ROUNDS [FILTER...]].  FILTER: as YAML, in place of these.  Each row is the
 * fastest of ROUNDS rounds, in thread CPU time. "later" is what is done when the reply has left:
 * samples drawn ahead for the next ones. */

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../../proto/json.h"
#include "../../proxy/base/limits.h"
#include "../../proxy/base/require.h"
#include "../../proxy/config.h"
#include "../unit/noise_harness.h"

#define ROUND_SECONDS 0.01

enum { CLASSES = 1000, INPUTS = 784, POOL_ROWS = 64 };

static const char policy[] =
    "listeners: [{name: rest, address: \"127.0.0.1:1\"}]\n"
    "admin: {address: \"127.0.0.1:2\"}\n"
    "clients: {identify: [address], anonymous: allow}\n"
    "upstreams: {u: {protocol: open-inference, http: [\"http://127.0.0.1:3\"]}}\n"
    "models: [{match: m, upstream: u, policy: p, outputs: {out: scores}}]\n"
    "policies: {p: {filters: [%s]}}\n";

struct job {
    struct bench bench;
    const struct filter *filter; /* NULL: the answer is made and left alone */
    double scores[CLASSES], inputs[INPUTS];
    uint64_t asked; /* so that no question comes twice */
    double later;   /* seconds in on_close, since it was set to 0 */
    bool timed;     /* on_close is */
    struct bits *fresh;
    struct buf text;
};

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one call, the fastest round; *later: of what comes after, in that round. */
static double fastest(void (*run)(struct job *), struct job *job, int rounds, double *later) {
    double best = INFINITY;
    for (int i = 0; i < rounds; i++) {
        long calls = 0;
        double start = cpu_seconds(), spent;
        job->later = 0;
        do {
            run(job);
            calls++;
            spent = cpu_seconds() - start;
        } while (spent < ROUND_SECONDS);
        double each = (spent - job->later) / (double)calls;
        if (each < best) {
            best = each;
            *later = job->later / (double)calls;
        }
    }
    return best;
}

/* ---- A filter as the configuration makes it ---- */

static const char *load(const char *path, bool secret, struct buf *out, char why[CONFIG_WHY_MAX]) {
    struct seeded s = seeded(3);
    (void)path, (void)secret, (void)why;
    for (int r = 0; r < POOL_ROWS && out != NULL; r++) {
        double values[CLASSES], sum = 0;
        for (int i = 0; i < CLASSES; i++)
            sum += values[i] = (double)bits_take(&s.bits, 20) + 1;
        for (int i = 0; i < CLASSES; i++)
            buf_printf(out, "%s%.9g", i == 0 ? "[" : ",", values[i] / sum);
        buf_add_str(out, "]\n");
    }
    return NULL;
}

static const char *resolve(const char *host, const char *port, struct sockaddr_storage *at,
                           socklen_t *len) {
    struct sockaddr_in four = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    if (inet_pton(AF_INET, host, &four.sin_addr) != 1)
        return "no address";
    memcpy(at, &four, *len = sizeof(four));
    return NULL;
}

static struct config *configure(const char *filter) {
    static const struct config_io io = {.load = load, .resolve = resolve};
    struct buf errors;
    char text[1024];
    int n = snprintf(text, sizeof(text), policy, filter);
    require(n > 0 && (size_t)n < sizeof(text));
    buf_init(&errors, MIB(1));
    struct config *c = config_read_text(bytes_str(text), "bench.yaml", &io, &errors);
    if (c == NULL) {
        fprintf(stderr, "%.*s", (int)errors.len, errors.at);
        exit(1);
    }
    buf_free(&errors);
    return c;
}

/* ---- What is timed ---- */

static void run_filter(struct job *job) {
    struct bench *b = &job->bench;
    arena_reset(b->arena);
    job->inputs[0] = (double)++job->asked;
    struct output o = bench_output(OUT_SCORES, DTYPE_FP32, 1, CLASSES, job->scores, b->arena);
    struct predictions p = {.outputs = &o, .count = 1};
    if (job->filter == NULL)
        return;
    memset(b->state, 0, sizeof(b->state));
    bool passed =
        job->filter->on_query == NULL || job->filter->on_query(&b->call).kind == VERDICT_PASS;
    require(passed && job->filter->on_answer(&b->call, &p).kind == VERDICT_PASS);
    if (job->filter->on_close == NULL)
        return;
    double start = job->timed ? cpu_seconds() : 0;
    job->filter->on_close(&b->call);
    job->later += job->timed ? cpu_seconds() - start : 0;
}

static void run_read(struct job *job) {
    struct json_reader r;
    struct json_tensor t;
    arena_reset(job->bench.arena);
    struct bytes text = bytes_of(job->text.at, job->text.len);
    bool fine = json_start(&r, job->bench.arena, text) &&
                json_tensor(&r, DTYPE_FP32, CLASSES, &t) && json_end(&r);
    require(fine && t.elements == CLASSES);
}

static void run_write(struct job *job) {
    buf_clear(&job->text);
    for (int i = 0; i < CLASSES; i++) {
        buf_add_char(&job->text, i == 0 ? '[' : ',');
        json_write_float(&job->text, (float)job->scores[i]);
    }
    buf_add_char(&job->text, ']');
}

static void bench_filter(struct job *job, const char *filter, double bare, double answer,
                         int rounds) {
    double later = 0;
    struct config *c = configure(filter);
    const struct filter_slot *slot = &c->policies[0].slots[0];
    require(slot->filter->state_size <= sizeof(job->bench.state));
    bench_open(&job->bench, slot->conf);
    bench_input(&job->bench, "x", job->inputs, 1, INPUTS);
    job->bench.random.fresh = job->fresh;
    job->filter = slot->filter;
    job->timed = slot->filter->on_close != NULL;
    double each = fastest(run_filter, job, rounds, &later) - bare;
    printf("%-78s %8.1f us %8.1f us later %6.2fx\n", filter, 1e6 * each, 1e6 * later,
           each / answer);
    bench_close(&job->bench);
    config_unref(c);
}

int main(int argc, char **argv) {
    static const char *const filters[] = {
        "top_k: {k: 1}",
        "noise: {epsilon: 4, sticky: false}",
        "noise: {epsilon: 4}",
        "noise: {mechanism: discrete_gaussian, epsilon: 4, delta: 1e-6, sticky: false}",
        "noise: {mechanism: discrete_gaussian, epsilon: 4, delta: 1e-6}",
        "noise: {epsilon: 4, after: simplex}",
        "randomize: {epsilon: 8}",
        "randomize: {mechanism: permute_and_flip, epsilon: 8}",
        "randomize: {mechanism: exponential, epsilon: 8}",
        "mask: {method: model_guard, distance: 0.5}",
        "mask: {method: rank_swap, pool: pool.jsonl}",
    };
    static struct job job;
    int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20;
    double sum = 0, none = 0;
    struct seeded s = seeded(1);
    for (int i = 0; i < CLASSES; i++)
        sum += job.scores[i] = pow((double)bits_take(&s.bits, 30) / (1 << 30), 20);
    for (int i = 0; i < CLASSES; i++)
        job.scores[i] /= sum;
    buf_init(&job.text, MIB(1));
    require((job.fresh = fresh_stream_new()) != NULL);
    bench_open(&job.bench, NULL);
    double bare = fastest(run_filter, &job, rounds, &none);
    double writing = fastest(run_write, &job, rounds, &none);
    require(buf_reserve(&job.text, BODY_PADDING) != NULL);
    memset(job.text.at + job.text.len, 0, BODY_PADDING);
    double reading = fastest(run_read, &job, rounds, &none);
    bench_close(&job.bench);
    printf("%-78s %8.1f us, to read %.1f, to write %.1f\n", "the answer's own scores",
           1e6 * (reading + writing), 1e6 * reading, 1e6 * writing);
    for (size_t i = 0; argc <= 2 && i < sizeof(filters) / sizeof(filters[0]); i++)
        bench_filter(&job, filters[i], bare, reading + writing, rounds);
    for (int i = 2; i < argc; i++)
        bench_filter(&job, argv[i], bare, reading + writing, rounds);
    fresh_stream_free(job.fresh);
    buf_free(&job.text);
    return 0;
}

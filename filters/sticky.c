#include "sticky.h"

#include <math.h>
#include <stdlib.h>

#include "../proxy/base/require.h"

#define DIGEST     32
#define WHOLE_BITS 53 /* whole numbers of so many bits are doubles */

/* ---- What was asked ---- */

/* One input while questions are read from it, first to last. */
struct reader {
    const struct tensor *t;
    uint64_t each; /* elements of one question */
    uint64_t next; /* element */
    size_t at;     /* BYTES: where it lies in the data */
    bool shared;   /* belongs to every question, whole */
    bool done;     /* and digest is already its */
    unsigned char digest[DIGEST];
};

static int by_name(const void *at, const void *bt) {
    struct bytes a = ((const struct reader *)at)->t->name, b = ((const struct reader *)bt)->t->name;
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.at, b.at, n) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static void add_u64(struct buf *b, uint64_t v) {
    buf_add(b, &v, sizeof(v));
}

static void add_bytes(struct buf *b, struct bytes s) {
    add_u64(b, s.len);
    buf_add_bytes(b, s);
}

static bool dtype_is_wide(enum dtype type) {
    return type == DTYPE_INT64 || type == DTYPE_UINT64;
}

/* One form for all datatypes, for both zeros and for every NaN. */
static double canonical(double v, double bucket) {
    if (bucket > 0)
        v = rint(v / bucket);
    return isnan(v) ? NAN : v + 0.0;
}

static void add_strings(struct buf *b, struct reader *r) {
    for (uint64_t i = 0; i < r->each; i++) {
        uint32_t len;
        require(r->t->data.len - r->at >= sizeof(len));
        memcpy(&len, r->t->data.at + r->at, sizeof(len));
        require(r->t->data.len - r->at - sizeof(len) >= len);
        buf_add(b, r->t->data.at + r->at, sizeof(len) + len);
        r->at += sizeof(len) + len;
    }
}

/* Whole numbers that no double holds are told apart by their own bytes, behind all. */
static void add_wide(struct buf *b, const struct reader *r) {
    for (uint64_t i = 0; i < r->each && dtype_is_wide(r->t->dtype); i++) {
        uint64_t v;
        memcpy(&v, r->t->data.at + (r->next + i) * sizeof(v), sizeof(v));
        uint64_t size = r->t->dtype == DTYPE_INT64 && v >> 63 != 0 ? -v : v;
        if (size >> WHOLE_BITS == 0)
            continue;
        add_u64(b, i);
        add_u64(b, v);
    }
}

/* What is one element's is the same in every rank. */
static void add_shape(struct buf *b, const struct reader *r) {
    uint32_t from = r->shared ? 0 : 1;
    while (from < r->t->rank && r->t->shape[from] == 1)
        from++;
    add_u64(b, r->t->rank - from);
    for (uint32_t i = from; i < r->t->rank; i++)
        add_u64(b, r->t->shape[i]);
}

static void add_numbers(struct buf *b, struct reader *r, double bucket) {
    if (r->each > SIZE_MAX / sizeof(double)) {
        b->failed = true;
        return;
    }
    size_t size = (size_t)r->each * sizeof(double);
    char *to = buf_reserve(b, size > 0 ? size : 1);
    if (to == NULL)
        return;
    for (uint64_t i = 0; i < r->each; i++) {
        double v = canonical(tensor_number(r->t, r->next + i), bucket);
        memcpy(to + i * sizeof(v), &v, sizeof(v));
    }
    b->len += size;
    if (bucket == 0)
        add_wide(b, r);
}

/* The digest of the next question's part of an input.  False: too much. */
static bool read_input(struct sticky *s, struct reader *r) {
    struct bit_source *source = s->call->random->sticky;
    if (r->shared && r->done)
        return true;
    buf_clear(&s->context);
    add_bytes(&s->context, r->t->name);
    add_bytes(&s->context, r->t->form);
    add_shape(&s->context, r);
    buf_add_char(&s->context, r->t->dtype == DTYPE_BYTES ? 's' : 'n');
    if (r->t->dtype == DTYPE_BYTES)
        add_strings(&s->context, r);
    else
        add_numbers(&s->context, r, s->conf->bucket);
    r->next += r->each;
    r->done = true;
    if (!s->context.failed)
        source->digest(source, buf_bytes(&s->context), r->digest);
    return !s->context.failed;
}

/* An input whose first dimension is the batch is cut; any other belongs to all questions. */
static struct reader *readers(const struct filter_call *call, uint32_t items) {
    const struct query *q = call->query;
    struct reader *all = arena_new_array(call->arena, struct reader, q->input_count + 1);
    for (uint32_t i = 0; all != NULL && i < q->input_count; i++) {
        const struct tensor *t = &q->inputs[i];
        bool cut = t->rank > 0 && t->shape[0] == items && items > 1;
        all[i] = (struct reader){
            .t = t, .each = cut ? t->elements / items : t->elements, .shared = !cut};
    }
    if (all != NULL)
        qsort(all, q->input_count, sizeof(*all), by_name);
    return all;
}

/* A batch of which no input has the rows is one question. */
static uint32_t questions(const struct query *q) {
    for (uint32_t i = 0; i < q->input_count; i++)
        if (q->inputs[i].rank > 0 && q->inputs[i].shape[0] == q->rows)
            return q->rows > 0 ? q->rows : 1;
    return 1;
}

static bool digest_question(struct sticky *s, struct reader *all, unsigned char out[DIGEST]) {
    struct bit_source *source = s->call->random->sticky;
    unsigned char parts[TENSORS_MAX][DIGEST];
    uint32_t count = s->call->query->input_count;
    require(count <= TENSORS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        if (!read_input(s, &all[i]))
            return false;
        memcpy(parts[i], all[i].digest, DIGEST);
    }
    source->digest(source, bytes_of(parts, count * DIGEST), out);
    return true;
}

static bool digest_questions(struct sticky *s) {
    s->items = questions(s->call->query);
    struct reader *all = readers(s->call, s->items);
    s->digests = arena_calloc(s->call->arena, s->items, sizeof(*s->digests));
    if (all == NULL || s->digests == NULL)
        return false;
    for (uint32_t i = 0; i < s->items; i++)
        if (!digest_question(s, all, s->digests[i]))
            return false;
    return true;
}

/* ---- The streams ---- */

struct verdict sticky_query(const struct filter_call *call, const struct sticky_conf *conf) {
    if (conf->on && call->query->rows > STICKY_ROWS_MAX)
        return verdict_deny(413, "too many rows in one request");
    if (conf->on && call->query->in_sequence)
        return verdict_deny(403, "requests of a sequence are not offered here");
    return verdict_pass();
}

bool sticky_begin(struct sticky *s, const struct filter_call *call, const struct sticky_conf *conf,
                  const struct predictions *p, struct bytes what) {
    *s = (struct sticky){.call = call, .conf = conf, .what = what, .items = 1};
    buf_init(&s->context, STICKY_BYTES_MAX);
    s->version = p->version.len > 0 ? p->version : call->query->version;
    if (!conf->on || digest_questions(s))
        return true;
    sticky_end(s);
    return false;
}

void sticky_end(struct sticky *s) {
    buf_free(&s->context);
}

/* rows = questions x rows of each; if they do not fit, every row has all questions in it. */
static void add_question(struct sticky *s, const struct output *o, uint32_t row) {
    struct buf *b = &s->context;
    if (o->rows % s->items == 0) {
        uint32_t each = o->rows / s->items;
        buf_add(b, s->digests[row / each], sizeof(*s->digests));
        add_u64(b, row % each);
        return;
    }
    for (uint32_t i = 0; i < s->items; i++)
        buf_add(b, s->digests[i], sizeof(*s->digests));
    add_u64(b, row);
}

struct bits *sticky_row(struct sticky *s, const struct output *o, uint32_t row, struct bytes who) {
    const struct randomness *random = s->call->random;
    struct buf *b = &s->context;
    if (!s->conf->on)
        return random->fresh;
    buf_clear(b);
    add_bytes(b, s->what);
    buf_add(b, &s->call->draws, sizeof(s->call->draws));
    add_bytes(b, s->call->model_name);
    add_bytes(b, s->version);
    add_bytes(b, o->tensor.name);
    add_bytes(b, who);
    add_u64(b, s->conf->bucket > 0);
    buf_add(b, &s->conf->bucket, sizeof(s->conf->bucket));
    add_question(s, o, row);
    return b->failed ? NULL : random->sticky->open(random->sticky, buf_bytes(b));
}

void sticky_explain(const struct sticky_conf *conf, struct buf *out) {
    if (!conf->on) {
        buf_add_str(out, "- every answer has new noise: the mean of n repeats is sqrt(n) times as "
                         "exact as one, so without a budget this hides little from whoever may "
                         "ask often\n");
        return;
    }
    buf_add_str(out,
                "- repeats get the same answer, whoever asks, in whichever form, at every "
                "gate with the same `noise_key`; each new key is one new draw\n"
                "- the same question is one that the same version of the model, as the upstream "
                "says it, always answers alike: where the model is changed under one version, "
                "or says none, its noise stays, and the difference of two answers is exact\n");
    if (conf->bucket == 0) {
        buf_add_str(out, "- an input changed in its last bit is another question with noise of its "
                         "own: averaging over such inputs is stopped by a limit on questions, not "
                         "by this filter\n");
        return;
    }
    buf_printf(out,
               "- inputs that are equal after division by %g and rounding share their noise; near "
               "a bucket's edge a small step gets new noise, and there are more edges the more "
               "inputs there are\n",
               conf->bucket);
    buf_add_str(out, "- within a bucket noise cancels: the difference of two answers is exact to "
                     "the grid, and no epsilon bounds what it tells\n");
}

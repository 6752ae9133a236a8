#include "oip.h"

/* An answer while it is read. */
struct incoming {
    struct oip_reader r;
    const struct query *q;
    const struct declared *declared;
    struct predictions *p;
    uint32_t seen_count; /* outputs of the upstream, whether released or not */
    struct bytes seen[TENSORS_MAX];
    bool has_outputs;
};

static bool is_integer(enum dtype type) {
    return type >= DTYPE_UINT8 && type <= DTYPE_INT64;
}

/* The datatypes that each kind can be of.  An answer that is not what the policy thinks it is does
 * not pass: a float "label" may well be a score. */
static bool kind_fits(enum output_kind kind, enum dtype type) {
    switch (kind) {
    case OUT_SCORES:
    case OUT_LOGITS:
    case OUT_VALUE:
    case OUT_EMBEDDING:
        return is_integer(type) || dtype_is_float(type);
    case OUT_LABELS:
    case OUT_TOKENS:
        return is_integer(type) || type == DTYPE_BOOL || type == DTYPE_BYTES;
    case OUT_TEXT:
        return type == DTYPE_BYTES;
    case OUT_OPAQUE:
        return true;
    }
    return false;
}

static bool set_rows(struct oip_reader *r, struct output *o) {
    const struct tensor *t = &o->tensor;
    bool columns = o->kind == OUT_SCORES || o->kind == OUT_LOGITS || o->kind == OUT_VALUE ||
                   o->kind == OUT_EMBEDDING;
    uint64_t cols = columns && t->rank > 0 ? t->shape[t->rank - 1] : 1;
    uint64_t rows = t->elements / cols;
    r->field = "shape";
    if (cols > UINT32_MAX || rows > UINT32_MAX)
        return oip_fail(r, CODEC_TOO_BIG, "too many elements");
    o->rows = (uint32_t)rows;
    o->cols = (uint32_t)cols;
    return true;
}

static bool make_output(struct incoming *in, const struct tensor *t, enum output_kind kind,
                        const struct wanted_output *wanted) {
    struct predictions *p = in->p;
    if (!oip_grow(&in->r, (void **)&p->outputs, p->count, sizeof(*p->outputs)))
        return false;
    struct output *o = &p->outputs[p->count++];
    *o = (struct output){.tensor = *t, .kind = kind, .grid_digits = -1};
    if (wanted->classification > 0)
        return oip_read_ranking(&in->r, o, wanted->classification);
    in->r.field = "datatype";
    if (!kind_fits(kind, t->dtype))
        return oip_fail(&in->r, CODEC_BAD, "%s does not fit an output declared as %s",
                        dtype_name(t->dtype), output_kind_names[kind]);
    return set_rows(&in->r, o);
}

static bool add_output(struct incoming *in, const struct tensor *t) {
    struct oip_reader *r = &in->r;
    struct wanted_output wanted;
    r->field = NULL;
    for (uint32_t i = 0; i < in->seen_count; i++)
        if (bytes_eq(in->seen[i], t->name))
            return oip_fail(r, CODEC_BAD, "has the name of outputs[%u]", i);
    in->seen[in->seen_count++] = t->name;
    const struct declared_output *d = oip_declared(in->declared, t->name);
    if (d == NULL || !oip_wanted(in->q, t->name, &wanted))
        return true;
    return make_output(in, t, d->kind, &wanted);
}

static bool read_outputs(struct incoming *in) {
    struct oip_reader *r = &in->r;
    struct oip_tensor t;
    in->has_outputs = true;
    if (!json_enter_array(&r->json))
        return oip_fail_json(r);
    while (json_element(&r->json))
        if (!oip_place(r, "outputs", in->seen_count) || !oip_read_tensor(r, &t) ||
            !add_output(in, &t.tensor))
            return false;
    r->list = NULL;
    return r->json.failure == JSON_FINE || oip_fail_json(r);
}

enum { MODEL_NAME, MODEL_VERSION, ID, OUTPUTS };
static const char *const keys[] = {"model_name", "model_version", "id", "outputs", NULL};

/* Some servers write null for what they do not have. */
static bool read_text(struct oip_reader *r, struct bytes *out) {
    return oip_null(r) || oip_string(r, REQUEST_ID_MAX, out);
}

static bool read_key(struct incoming *in, int which) {
    switch (which) {
    case MODEL_NAME:
        return read_text(&in->r, &in->p->model);
    case MODEL_VERSION:
        return read_text(&in->r, &in->p->version);
    case ID:
        return read_text(&in->r, &in->p->id);
    case OUTPUTS:
        return read_outputs(in);
    default:
        return oip_skip(&in->r);
    }
}

enum codec_status oip_decode_answer(struct arena *a, const struct message *m, const struct query *q,
                                    const struct declared *declared, struct predictions *out,
                                    struct codec_error *error) {
    struct incoming in = {.q = q, .declared = declared, .p = out};
    struct oip_reader *r = &in.r;
    int which;
    *out = (struct predictions){0};
    if (!oip_start(r, a, m, true, error))
        return r->status;
    if (!json_enter_object(&r->json))
        oip_fail_json(r);
    while (r->status == CODEC_OK && oip_key(r, keys, &which))
        (void)!read_key(&in, which);
    if (r->status == CODEC_OK && oip_end(r) && !in.has_outputs)
        oip_fail(r, CODEC_BAD, "has no outputs");
    return r->status;
}

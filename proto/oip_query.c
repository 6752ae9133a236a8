#include "oip.h"

/* A request while it is read. */
struct incoming {
    struct oip_reader r;
    struct query *q;
    struct oip_request *request;
    bool has_inputs;
    bool said[TENSORS_MAX]; /* wanted[i] says itself whether it is to be binary */
};

enum {
    BINARY_DATA_OUTPUT,
    SEQUENCE_ID,
    SEQUENCE_START,
    SEQUENCE_END,
    PRIORITY,
    TIMEOUT,
    REQUEST_SHARED_MEMORY, /* and all after it */
};
static const char *const request_parameters[] = {"binary_data_output",
                                                 "sequence_id",
                                                 "sequence_start",
                                                 "sequence_end",
                                                 "priority",
                                                 "timeout",
                                                 "shared_memory_region",
                                                 "shared_memory_offset",
                                                 "shared_memory_byte_size",
                                                 NULL};

static bool read_sequence_id(struct oip_reader *r, struct oip_request *q) {
    if (json_peek(&r->json) == JSON_STRING) {
        q->sequence = OIP_SEQUENCE_STRING;
        return oip_string(r, REQUEST_ID_MAX, &q->sequence_string);
    }
    q->sequence = OIP_SEQUENCE_NUMBER;
    return oip_u64(r, &q->sequence_number);
}

/* Number 0 and an empty text stand for none. */
static bool is_of_sequence(const struct oip_request *q) {
    return q->sequence_number != 0 || q->sequence_string.len > 0 || q->start || q->end;
}

static bool read_request_parameter(struct incoming *in, int which) {
    struct oip_reader *r = &in->r;
    struct oip_request *q = in->request;
    switch (which) {
    case BINARY_DATA_OUTPUT:
        return oip_bool(r, &in->q->binary_output);
    case SEQUENCE_ID:
        return read_sequence_id(r, q);
    case SEQUENCE_START:
        q->has_start = true;
        return oip_bool(r, &q->start);
    case SEQUENCE_END:
        q->has_end = true;
        return oip_bool(r, &q->end);
    case PRIORITY:
        q->has_priority = true;
        return oip_u64(r, &q->priority);
    case TIMEOUT:
        q->has_timeout = true;
        return oip_u64(r, &q->timeout);
    case -1:
        return oip_skip_flat(r);
    default:
        return oip_fail(r, CODEC_UNSUPPORTED, "shared memory is not let through");
    }
}

static bool read_request_parameters(struct incoming *in) {
    int which;
    if (oip_null(&in->r))
        return true;
    if (!json_enter_object(&in->r.json))
        return oip_fail_json(&in->r);
    while (oip_key(&in->r, request_parameters, &which))
        if (!read_request_parameter(in, which))
            return false;
    in->q->in_sequence = is_of_sequence(in->request);
    return in->r.status == CODEC_OK;
}

static bool add_input(struct incoming *in, const struct oip_tensor *t) {
    struct oip_reader *r = &in->r;
    struct query *q = in->q;
    struct oip_request *extra = in->request;
    r->field = NULL;
    for (uint32_t i = 0; i < q->input_count; i++)
        if (bytes_eq(q->inputs[i].name, t->tensor.name))
            return oip_fail(r, CODEC_BAD, "has the name of inputs[%u]", i);
    if (!oip_grow(r, (void **)&q->inputs, q->input_count, sizeof(*q->inputs)) ||
        !oip_grow(r, (void **)&extra->content_types, q->input_count, sizeof(struct bytes)))
        return false;
    q->inputs[q->input_count] = t->tensor;
    q->inputs[q->input_count].form = t->content_type;
    extra->content_types[q->input_count++] = t->content_type;
    return true;
}

static bool read_inputs(struct incoming *in) {
    struct oip_reader *r = &in->r;
    struct oip_tensor t;
    in->has_inputs = true;
    if (!json_enter_array(&r->json))
        return oip_fail_json(r);
    while (json_element(&r->json))
        if (!oip_place(r, "inputs", in->q->input_count) || !oip_read_tensor(r, &t) ||
            !add_input(in, &t))
            return false;
    r->list = NULL;
    return r->json.failure == JSON_FINE || oip_fail_json(r);
}

enum { BINARY_DATA, CLASSIFICATION, OUTPUT_SHARED_MEMORY };
static const char *const output_parameters[] = {
    "binary_data",          "classification",          "shared_memory_region",
    "shared_memory_offset", "shared_memory_byte_size", NULL};

static bool read_classification(struct oip_reader *r, struct wanted_output *w) {
    uint64_t k;
    if (!oip_u64(r, &k))
        return false;
    if (k < 1 || k > CLASSIFICATION_MAX)
        return oip_fail(r, CODEC_BAD, "is not within 1 and %d", CLASSIFICATION_MAX);
    w->classification = (uint32_t)k;
    return true;
}

static bool read_output_parameters(struct oip_reader *r, struct wanted_output *w, bool *said) {
    int which;
    bool fine = true;
    if (oip_null(r))
        return true;
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (fine && oip_key(r, output_parameters, &which)) {
        if (which == BINARY_DATA)
            fine = *said = oip_bool(r, &w->binary);
        else if (which == CLASSIFICATION)
            fine = read_classification(r, w);
        else if (which < 0)
            fine = oip_skip_flat(r);
        else
            fine = oip_fail(r, CODEC_UNSUPPORTED, "shared memory is not let through");
    }
    return r->status == CODEC_OK;
}

enum { OUTPUT_NAME, OUTPUT_PARAMETERS };
static const char *const output_keys[] = {"name", "parameters", NULL};

static bool read_output(struct oip_reader *r, struct wanted_output *w, bool *said) {
    int which;
    bool fine = true;
    *w = (struct wanted_output){0};
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (fine && oip_key(r, output_keys, &which)) {
        if (which == OUTPUT_NAME)
            fine = oip_string(r, TENSOR_NAME_MAX, &w->name);
        else if (which == OUTPUT_PARAMETERS)
            fine = read_output_parameters(r, w, said);
        else
            fine = oip_skip(r);
    }
    if (r->status == CODEC_OK && w->name.len == 0)
        return oip_fail(r, CODEC_BAD, "has no name");
    return r->status == CODEC_OK;
}

static bool add_output(struct incoming *in, const struct wanted_output *w) {
    struct query *q = in->q;
    in->r.field = NULL;
    for (uint32_t i = 0; i < q->wanted_count; i++)
        if (bytes_eq(q->wanted[i].name, w->name))
            return oip_fail(&in->r, CODEC_BAD, "has the name of outputs[%u]", i);
    if (!oip_grow(&in->r, (void **)&q->wanted, q->wanted_count, sizeof(*q->wanted)))
        return false;
    q->wanted[q->wanted_count++] = *w;
    return true;
}

static bool read_outputs(struct incoming *in) {
    struct oip_reader *r = &in->r;
    struct wanted_output w;
    if (oip_null(r))
        return true;
    if (!json_enter_array(&r->json))
        return oip_fail_json(r);
    while (json_element(&r->json)) {
        uint32_t i = in->q->wanted_count;
        if (!oip_place(r, "outputs", i) || !read_output(r, &w, &in->said[i]) || !add_output(in, &w))
            return false;
    }
    r->list = NULL;
    return r->json.failure == JSON_FINE || oip_fail_json(r);
}

enum { ID, PARAMETERS, INPUTS, OUTPUTS };
static const char *const keys[] = {"id", "parameters", "inputs", "outputs", NULL};

static bool read_key(struct incoming *in, int which) {
    switch (which) {
    case ID:
        return oip_null(&in->r) || oip_string(&in->r, REQUEST_ID_MAX, &in->q->id);
    case PARAMETERS:
        return read_request_parameters(in);
    case INPUTS:
        return read_inputs(in);
    case OUTPUTS:
        return read_outputs(in);
    default:
        return oip_skip(&in->r);
    }
}

static bool read_request(struct incoming *in) {
    struct oip_reader *r = &in->r;
    int which;
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (oip_key(r, keys, &which))
        if (!read_key(in, which))
            return false;
    if (r->status != CODEC_OK || !oip_end(r))
        return false;
    r->field = "inputs";
    if (!in->has_inputs || in->q->input_count == 0)
        return oip_fail(r, CODEC_BAD, "at least one is required");
    return true;
}

/* A client's own name back to it, in a message and in a log: short and printable. */
static void printable(struct bytes name, char out[65]) {
    size_t n = name.len < 64 ? name.len : 64;
    for (size_t i = 0; i < n; i++)
        out[i] = name.at[i] > ' ' && name.at[i] < 0x7f && strchr("'\"\\", name.at[i]) == NULL
                     ? name.at[i]
                     : '?';
    out[n] = '\0';
}

static bool check_wanted(struct incoming *in, const struct declared *declared) {
    struct query *q = in->q;
    char name[65];
    for (uint32_t i = 0; i < q->wanted_count; i++) {
        struct wanted_output *w = &q->wanted[i];
        const struct declared_output *d = oip_declared(declared, w->name);
        printable(w->name, name);
        if (d == NULL)
            return oip_fail(&in->r, CODEC_UNSUPPORTED, "output '%s' is not released by the policy",
                            name);
        if (w->classification > 0 && d->kind != OUT_SCORES && d->kind != OUT_LOGITS)
            return oip_fail(&in->r, CODEC_UNSUPPORTED, "output '%s' has no classes to rank", name);
        if (!in->said[i])
            w->binary = q->binary_output;
    }
    return true;
}

/* The batch: the first dimension of the inputs that have one, as ROWS_AUTO of a policy has it. */
static bool count_rows(struct incoming *in) {
    struct query *q = in->q;
    uint64_t rows = 1;
    for (uint32_t i = 0; i < q->input_count; i++) {
        const struct tensor *t = &q->inputs[i];
        q->elements += t->elements;
        if (t->rank >= 2 && t->shape[0] > rows)
            rows = t->shape[0];
    }
    if (rows > UINT32_MAX)
        return oip_fail(&in->r, CODEC_TOO_BIG, "too many rows");
    q->rows = (uint32_t)rows;
    return true;
}

enum codec_status oip_decode_query(struct arena *a, const struct message *m,
                                   const struct call *call, const struct declared *declared,
                                   struct query *out, struct codec_error *error) {
    struct incoming in = {.q = out};
    *out = (struct query){.model = call->model, .version = call->version};
    if (!oip_start(&in.r, a, m, false, error))
        return in.r.status;
    in.r.check_only = declared->inputs_unread;
    if ((in.request = arena_new_array(a, struct oip_request, 1)) == NULL)
        return oip_error(error, CODEC_NO_MEMORY, "out of memory");
    out->dialect = in.request;
    if (read_request(&in)) {
        in.r.field = NULL;
        if (check_wanted(&in, declared) && count_rows(&in))
            return CODEC_OK;
    }
    return in.r.status;
}

#include "oip.h"

#include <math.h>

/* The extensions that pass the gate; the rest of the upstream's list is not the client's. */
static const char *const extensions[] = {"classification", "sequence", "schedule_policy",
                                         "binary_tensor_data", NULL};

/* A metadata answer while it is read and, as it is read, written. */
struct metadata {
    struct oip_reader r;
    struct oip_writer w;
    const struct declared *declared;
};

static bool listed(const char *const *list, struct bytes name) {
    for (; *list != NULL; list++)
        if (bytes_is(name, *list))
            return true;
    return false;
}

/* An array of strings: those that are in `only` (NULL: all) are written. */
static bool copy_strings(struct metadata *m, const char *key, const char *const *only, bool write) {
    struct buf *b = &m->w.json;
    bool first = true;
    struct bytes s;
    if (oip_null(&m->r))
        return true;
    if (!json_enter_array(&m->r.json))
        return oip_fail_json(&m->r);
    if (write)
        buf_printf(b, ",\"%s\":[", key);
    while (json_element(&m->r.json)) {
        if (!oip_string(&m->r, TENSOR_NAME_MAX, &s))
            return false;
        if (!write || (only != NULL && !listed(only, s)))
            continue;
        if (!first)
            buf_add_char(b, ',');
        buf_add_json(b, s);
        first = false;
    }
    if (write)
        buf_add_char(b, ']');
    return m->r.json.failure == JSON_FINE || oip_fail_json(&m->r);
}

/* What metadata says of a tensor; a dimension of -1 is any. */
struct description {
    struct bytes name;
    enum dtype dtype;
    uint32_t rank;
    int64_t shape[TENSOR_DIMS_MAX];
};

static bool read_dimensions(struct oip_reader *r, struct description *d) {
    double dim;
    if (!json_enter_array(&r->json))
        return oip_fail_json(r);
    while (json_element(&r->json)) {
        if (d->rank == TENSOR_DIMS_MAX)
            return oip_fail(r, CODEC_BAD, "more than %d dimensions", TENSOR_DIMS_MAX);
        if (!json_read_double(&r->json, &dim))
            return oip_fail_json(r);
        if (dim < -1 || dim > UINT32_MAX || dim != trunc(dim))
            return oip_fail(r, CODEC_BAD, "a dimension is not a count");
        d->shape[d->rank++] = (int64_t)dim;
    }
    return r->json.failure == JSON_FINE || oip_fail_json(r);
}

static bool read_description(struct oip_reader *r, struct description *d) {
    static const char *const keys[] = {"name", "datatype", "shape", NULL};
    struct bytes type = {NULL, 0};
    bool fine = true;
    int which;
    *d = (struct description){0};
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (fine && oip_key(r, keys, &which)) {
        if (which == 0)
            fine = oip_string(r, TENSOR_NAME_MAX, &d->name);
        else if (which == 1)
            fine = oip_string(r, TENSOR_NAME_MAX, &type);
        else if (which == 2)
            fine = read_dimensions(r, d);
        else
            fine = oip_skip(r);
    }
    d->dtype = dtype_named(type);
    if (r->status == CODEC_OK && (d->name.len == 0 || d->dtype == DTYPE_NONE))
        return oip_fail(r, CODEC_BAD, "has no name or no datatype");
    return r->status == CODEC_OK;
}

static void write_description(struct oip_writer *w, const struct description *d) {
    buf_add_char(&w->json, '{');
    oip_key_string(w, "name", d->name);
    buf_add_char(&w->json, ',');
    oip_key_string(w, "datatype", bytes_str(dtype_name(d->dtype)));
    buf_add_str(&w->json, ",\"shape\":[");
    for (uint32_t i = 0; i < d->rank; i++)
        buf_printf(&w->json, i > 0 ? ",%lld" : "%lld", (long long)d->shape[i]);
    buf_add_str(&w->json, "]}");
}

static bool copy_tensors(struct metadata *m, const char *key, bool declared_only) {
    struct description d;
    bool first = true;
    buf_printf(&m->w.json, ",\"%s\":[", key);
    if (!json_enter_array(&m->r.json))
        return oip_fail_json(&m->r);
    for (uint32_t i = 0; json_element(&m->r.json); i++) {
        if (!oip_place(&m->r, key, i) || !read_description(&m->r, &d))
            return false;
        if (declared_only && oip_declared(m->declared, d.name) == NULL)
            continue;
        if (!first)
            buf_add_char(&m->w.json, ',');
        write_description(&m->w, &d);
        first = false;
    }
    m->r.list = NULL;
    buf_add_char(&m->w.json, ']');
    return m->r.json.failure == JSON_FINE || oip_fail_json(&m->r);
}

static bool filter_server(struct metadata *m) {
    static const char *const keys[] = {"extensions", NULL};
    int which;
    /* The protocol requires a version; which server this is, and how old, is nobody's business. */
    buf_add_str(&m->w.json, "{\"name\":\"querygate\",\"version\":\"\"");
    while (oip_key(&m->r, keys, &which))
        if (!(which == 0 ? copy_strings(m, keys[0], extensions, true) : oip_skip(&m->r)))
            return false;
    return m->r.status == CODEC_OK;
}

static bool filter_model(struct metadata *m, const struct call *call) {
    static const char *const keys[] = {"versions", "inputs", "outputs", NULL};
    bool fine = true;
    int which;
    buf_add_char(&m->w.json, '{');
    oip_key_string(&m->w, "name", call->model);
    buf_add_str(&m->w.json, ",\"platform\":\"\"");
    while (fine && oip_key(&m->r, keys, &which)) {
        if (which == 0)
            fine = copy_strings(m, keys[0], NULL, m->declared->version_shown);
        else if (which > 0)
            fine = copy_tensors(m, keys[which], which == 2);
        else
            fine = oip_skip(&m->r);
    }
    return m->r.status == CODEC_OK;
}

static bool filter_ready(struct metadata *m, const struct call *call) {
    static const char *const keys[] = {"ready", NULL};
    bool fine = true, ready = false, seen = false;
    int which;
    while (fine && oip_key(&m->r, keys, &which)) {
        seen = seen || which == 0;
        fine = which == 0 ? oip_bool(&m->r, &ready) : oip_skip(&m->r);
    }
    if (m->r.status == CODEC_OK && !seen)
        return oip_fail(&m->r, CODEC_BAD, "does not say whether it is ready");
    buf_add_char(&m->w.json, '{');
    oip_key_string(&m->w, "name", call->model);
    buf_add_str(&m->w.json, ready ? ",\"ready\":true" : ",\"ready\":false");
    return m->r.status == CODEC_OK;
}

static enum codec_status rewrite(struct arena *a, const struct call *call, const struct message *in,
                                 const struct declared *declared, struct outgoing *out,
                                 struct codec_error *error) {
    struct metadata m = {.declared = declared};
    bool fine;
    oip_writer_init(&m.w, a);
    if (!oip_start(&m.r, a, in, true, error))
        return oip_finish(&m.w, m.r.status, out, error);
    if (!json_enter_object(&m.r.json))
        fine = oip_fail_json(&m.r);
    else if (call->kind == CALL_SERVER_METADATA)
        fine = filter_server(&m);
    else if (call->kind == CALL_MODEL_METADATA)
        fine = filter_model(&m, call);
    else
        fine = filter_ready(&m, call);
    if (fine && oip_end(&m.r))
        buf_add_char(&m.w.json, '}');
    return oip_finish(&m.w, m.r.status, out, error);
}

/* Health bodies are a constant or empty, and clients differ in what they can take. */
static enum codec_status pass(struct arena *a, const struct message *in, struct outgoing *out,
                              struct codec_error *error) {
    *out = (struct outgoing){0};
    if (in->body.len == 0)
        return CODEC_OK;
    if (in->body.len > HEALTH_BODY_MAX)
        return oip_error(error, CODEC_TOO_BIG, "a health answer of %zu bytes", in->body.len);
    if ((out->pieces = arena_new_array(a, struct bytes, 1)) == NULL)
        return oip_error(error, CODEC_NO_MEMORY, "out of memory");
    out->pieces[0] = in->body;
    out->piece_count = 1;
    out->body_len = in->body.len;
    if (in->body.at[0] == '{')
        out->content_type = BYTES_LITERAL("application/json");
    else
        out->content_type = BYTES_LITERAL("text/plain");
    return CODEC_OK;
}

enum codec_status oip_filter_answer(struct arena *a, const struct call *call,
                                    const struct message *in, const struct declared *declared,
                                    struct outgoing *out, struct codec_error *error) {
    switch (call->kind) {
    case CALL_MODEL_READY:
        if (in->body.len == 0)
            return pass(a, in, out, error);
        return rewrite(a, call, in, declared, out, error);
    case CALL_SERVER_METADATA:
    case CALL_MODEL_METADATA:
        return rewrite(a, call, in, declared, out, error);
    case CALL_LIVE:
    case CALL_READY:
        return pass(a, in, out, error);
    case CALL_REFUSED:
    case CALL_INFER:
        break;
    }
    *out = (struct outgoing){0};
    return oip_error(error, CODEC_UNSUPPORTED, "not a call with an answer to filter");
}

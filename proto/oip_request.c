#include "oip.h"

static void write_flag(struct buf *b, const char *key, bool value) {
    buf_add_str(b, key);
    buf_add_str(b, value ? "true," : "false,");
}

static void write_number(struct buf *b, const char *key, uint64_t value) {
    buf_add_str(b, key);
    buf_add_u64(b, value);
    buf_add_char(b, ',');
}

/* The parameters that pass, each with a comma behind it; the last comma becomes the end. */
static void write_parameters(struct buf *b, const struct oip_request *q) {
    size_t start = b->len;
    buf_add_str(b, "\"parameters\":{");
    size_t empty = b->len;
    if (q->sequence == OIP_SEQUENCE_NUMBER)
        write_number(b, "\"sequence_id\":", q->sequence_number);
    if (q->sequence == OIP_SEQUENCE_STRING) {
        buf_add_str(b, "\"sequence_id\":");
        buf_add_json(b, q->sequence_string);
        buf_add_char(b, ',');
    }
    if (q->has_start)
        write_flag(b, "\"sequence_start\":", q->start);
    if (q->has_end)
        write_flag(b, "\"sequence_end\":", q->end);
    if (q->has_priority)
        write_number(b, "\"priority\":", q->priority);
    if (q->has_timeout)
        write_number(b, "\"timeout\":", q->timeout);
    if (b->failed)
        return;
    if (b->len == empty) {
        b->len = start;
        return;
    }
    b->at[b->len - 1] = '}';
    buf_add_char(b, ',');
}

static void write_input(struct oip_writer *w, const struct tensor *t, struct bytes content_type) {
    struct buf *b = &w->json;
    bool binary = t->text.len == 0;
    buf_add_char(b, '{');
    oip_key_string(w, "name", t->name);
    buf_add_char(b, ',');
    oip_key_string(w, "datatype", bytes_str(dtype_name(t->dtype)));
    buf_add_char(b, ',');
    oip_shape(w, t, 0);
    if (binary || content_type.len > 0)
        buf_add_str(b, ",\"parameters\":{");
    if (content_type.len > 0)
        oip_key_string(w, "content_type", content_type);
    if (binary) {
        buf_add_str(b, content_type.len > 0 ? ",\"binary_data_size\":" : "\"binary_data_size\":");
        buf_add_u64(b, t->data.len);
        oip_add_binary(w, t->data);
    }
    if (binary || content_type.len > 0)
        buf_add_char(b, '}');
    if (!binary) {
        buf_add_str(b, ",\"data\":");
        oip_splice(w, t->text);
    }
    buf_add_char(b, '}');
}

static void write_inputs(struct oip_writer *w, const struct query *q,
                         const struct oip_request *request) {
    buf_add_str(&w->json, "\"inputs\":[");
    for (uint32_t i = 0; i < q->input_count; i++) {
        if (i > 0)
            buf_add_char(&w->json, ',');
        write_input(w, &q->inputs[i],
                    request != NULL ? request->content_types[i] : bytes_of(NULL, 0));
    }
    buf_add_char(&w->json, ']');
}

/* JSON is every server's default, so only a wish for something else is put into words: servers
 * that lack the binary extension then never hear of it. */
static void write_output(struct oip_writer *w, const struct wanted_output *o) {
    struct buf *b = &w->json;
    buf_add_char(b, '{');
    oip_key_string(w, "name", o->name);
    if (o->binary || o->classification > 0)
        buf_add_str(b, ",\"parameters\":{");
    if (o->binary)
        buf_add_str(b, "\"binary_data\":true");
    if (o->binary && o->classification > 0)
        buf_add_char(b, ',');
    if (o->classification > 0) {
        buf_add_str(b, "\"classification\":");
        buf_add_u64(b, o->classification);
    }
    buf_add_str(b, o->binary || o->classification > 0 ? "}}" : "}");
}

/* What the client named or else all that is declared, so that no other output is even computed. */
static void write_outputs(struct oip_writer *w, const struct query *q,
                          const struct declared *declared) {
    uint32_t count = q->wanted_count > 0 ? q->wanted_count : declared->count;
    if (count == 0)
        return;
    buf_add_str(&w->json, ",\"outputs\":[");
    for (uint32_t i = 0; i < count; i++) {
        struct wanted_output any = {.binary = q->binary_output};
        if (q->wanted_count == 0)
            any.name = declared->outputs[i].name;
        if (i > 0)
            buf_add_char(&w->json, ',');
        write_output(w, q->wanted_count > 0 ? &q->wanted[i] : &any);
    }
    buf_add_char(&w->json, ']');
}

static struct bytes infer_path(struct arena *a, const struct query *q) {
    bool versioned = q->version.len > 0;
    const struct bytes parts[] = {BYTES_LITERAL("/v2/models/"), q->model,
                                  bytes_str(versioned ? "/versions/" : ""), q->version,
                                  BYTES_LITERAL("/infer")};
    return arena_join(a, parts, sizeof(parts) / sizeof(parts[0]));
}

enum codec_status oip_encode_query(struct arena *a, const struct query *q,
                                   const struct declared *declared, struct outgoing *out,
                                   struct codec_error *error) {
    const struct oip_request *request = q->dialect;
    struct oip_writer w;
    oip_writer_init(&w, a);
    buf_add_char(&w.json, '{');
    if (q->id.len > 0) {
        oip_key_string(&w, "id", q->id);
        buf_add_char(&w.json, ',');
    }
    if (request != NULL)
        write_parameters(&w.json, request);
    write_inputs(&w, q, request);
    write_outputs(&w, q, declared);
    buf_add_char(&w.json, '}');
    enum codec_status status = oip_finish(&w, CODEC_OK, out, error);
    if (status != CODEC_OK)
        return status;
    out->path = infer_path(a, q);
    return out->path.at != NULL ? CODEC_OK : oip_error(error, CODEC_NO_MEMORY, "out of memory");
}

#include "oip.h"

#include "../proxy/base/require.h"

/* A span shorter than this is cheaper to copy than to pass on as a piece of its own. */
#define SPLICE_MIN 1024

void oip_writer_init(struct oip_writer *w, struct arena *a) {
    w->arena = a;
    w->splice_count = w->binary_count = 0;
    buf_init(&w->json, ANSWER_BYTES_MAX);
}

void oip_key_string(struct oip_writer *w, const char *key, struct bytes value) {
    buf_add_char(&w->json, '"');
    buf_add_str(&w->json, key);
    buf_add(&w->json, "\":", 2);
    buf_add_json(&w->json, value);
}

void oip_splice(struct oip_writer *w, struct bytes span) {
    if (span.len < SPLICE_MIN) {
        buf_add_bytes(&w->json, span);
        return;
    }
    require(w->splice_count < TENSORS_MAX);
    w->splices[w->splice_count].at = w->json.len;
    w->splices[w->splice_count++].from = span;
}

void oip_add_binary(struct oip_writer *w, struct bytes data) {
    require(w->binary_count < TENSORS_MAX);
    w->binary[w->binary_count++] = data;
}

void oip_shape(struct oip_writer *w, const struct tensor *t, uint64_t last) {
    buf_add_str(&w->json, "\"shape\":[");
    for (uint32_t i = 0; i < t->rank; i++) {
        if (i > 0)
            buf_add_char(&w->json, ',');
        buf_add_u64(&w->json, i + 1 == t->rank && last > 0 ? last : t->shape[i]);
    }
    buf_add_char(&w->json, ']');
}

static void add_piece(struct outgoing *out, struct bytes piece) {
    if (piece.len == 0)
        return;
    out->pieces[out->piece_count++] = piece;
    out->body_len += piece.len;
}

/* Our text cut where spans go in; the length of it all. */
static size_t add_json(struct oip_writer *w, struct outgoing *out, struct bytes text) {
    size_t done = 0;
    for (uint32_t i = 0; i < w->splice_count; i++) {
        add_piece(out, bytes_of(text.at + done, w->splices[i].at - done));
        add_piece(out, w->splices[i].from);
        done = w->splices[i].at;
    }
    add_piece(out, bytes_skip(text, done));
    return out->body_len;
}

static bool add_length_header(struct oip_writer *w, struct outgoing *out, size_t json_length) {
    struct bytes text = arena_printf(w->arena, "%zu", json_length);
    out->headers = arena_new_array(w->arena, struct header, 1);
    if (text.at == NULL || out->headers == NULL)
        return false;
    out->headers[0] = (struct header){BYTES_LITERAL("Inference-Header-Content-Length"), text};
    out->header_count = 1;
    return true;
}

static bool assemble(struct oip_writer *w, struct outgoing *out) {
    struct bytes text = arena_copy(w->arena, buf_bytes(&w->json));
    out->pieces =
        arena_new_array(w->arena, struct bytes, 1 + 2 * w->splice_count + w->binary_count);
    if (text.at == NULL || out->pieces == NULL)
        return false;
    size_t json_length = add_json(w, out, text);
    out->content_type = BYTES_LITERAL("application/json");
    if (w->binary_count == 0)
        return true;
    out->content_type = BYTES_LITERAL("application/octet-stream");
    for (uint32_t i = 0; i < w->binary_count; i++)
        add_piece(out, w->binary[i]);
    return add_length_header(w, out, json_length);
}

enum codec_status oip_finish(struct oip_writer *w, enum codec_status status, struct outgoing *out,
                             struct codec_error *error) {
    *out = (struct outgoing){0};
    if (status == CODEC_OK && w->json.failed)
        status = oip_error(error, CODEC_TOO_BIG, "the message is too long to write");
    if (status == CODEC_OK && !assemble(w, out))
        status = oip_error(error, CODEC_NO_MEMORY, "out of memory");
    buf_free(&w->json);
    return status;
}

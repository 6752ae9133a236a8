#include "oip.h"

#include <stdarg.h>
#include <stdio.h>

#include "../proxy/base/require.h"

#define LENGTH_HEADER "Inference-Header-Content-Length"

enum codec_status oip_error(struct codec_error *error, enum codec_status status, const char *format,
                            ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return status;
}

/* "inputs[1].shape: ", "outputs[0]: ", "id: " or nothing. */
static size_t write_place(const struct oip_reader *r) {
    char *to = r->error->text;
    size_t room = sizeof(r->error->text);
    int n = 0;
    if (r->list != NULL && r->field != NULL)
        n = snprintf(to, room, "%s[%u].%s: ", r->list, r->index, r->field);
    else if (r->list != NULL)
        n = snprintf(to, room, "%s[%u]: ", r->list, r->index);
    else if (r->field != NULL)
        n = snprintf(to, room, "%s: ", r->field);
    require(n >= 0 && (size_t)n < room);
    return (size_t)n;
}

bool oip_fail(struct oip_reader *r, enum codec_status status, const char *format, ...) {
    va_list args;
    if (r->status != CODEC_OK)
        return false;
    r->status = status;
    size_t place = write_place(r);
    va_start(args, format);
    vsnprintf(r->error->text + place, sizeof(r->error->text) - place, format, args);
    va_end(args);
    return false;
}

bool oip_fail_json(struct oip_reader *r) {
    if (r->json.failure == JSON_NO_MEMORY)
        return oip_fail(r, CODEC_NO_MEMORY, "out of memory");
    const char *what = r->json.error != NULL ? r->json.error : "malformed JSON";
    return oip_fail(r, CODEC_BAD, "%s (byte %zu)", what, r->json.error_offset);
}

/* The length of the JSON part.  Only digits: a lenient server would read " 12", "+12" or "12abc"
 * as a number, and then not the same one as we. */
static bool json_length(struct oip_reader *r, const struct message *in, size_t *out) {
    struct bytes text;
    uint64_t n;
    *out = in->body.len;
    if (!message_has(in, LENGTH_HEADER))
        return true;
    if (!message_header(in, LENGTH_HEADER, &text))
        return oip_fail(r, CODEC_BAD, "more than one header " LENGTH_HEADER);
    if (text.len > 9 || !bytes_to_u64(text, 999999999, &n))
        return oip_fail(r, CODEC_BAD, LENGTH_HEADER ": expected 1 to 9 digits");
    if (n > in->body.len)
        return oip_fail(r, CODEC_BAD, LENGTH_HEADER ": is over the length of the body");
    if (n == 0)
        return oip_fail(r, CODEC_BAD, "raw binary bodies are not let through");
    *out = (size_t)n;
    return true;
}

bool oip_start(struct oip_reader *r, struct arena *a, const struct message *in, bool answer,
               struct codec_error *error) {
    size_t length;
    *r = (struct oip_reader){.arena = a, .answer = answer, .error = error};
    error->text[0] = '\0';
    if (!json_length(r, in, &length))
        return false;
    r->binary = bytes_skip(in->body, length);
    if (!json_start(&r->json, a, bytes_of(in->body.at, length)))
        return oip_fail(r, CODEC_NO_MEMORY, "out of memory");
    return true;
}

bool oip_end(struct oip_reader *r) {
    r->list = r->field = NULL;
    if (!json_end(&r->json))
        return oip_fail_json(r);
    if (r->binary.len > 0)
        return oip_fail(r, CODEC_BAD, "%zu bytes behind the last binary tensor", r->binary.len);
    return true;
}

bool oip_key(struct oip_reader *r, const char *const *names, int *which) {
    struct bytes key;
    r->field = NULL;
    *which = -1;
    if (!json_key(&r->json, &key)) {
        if (r->json.failure != JSON_FINE)
            oip_fail_json(r);
        return false;
    }
    for (int i = 0; names[i] != NULL; i++)
        if (bytes_is(key, names[i])) {
            r->field = names[i];
            *which = i;
            return true;
        }
    for (int i = 0; names[i] != NULL; i++)
        if (bytes_is_nocase(key, names[i])) {
            r->field = names[i];
            return oip_fail(r, CODEC_BAD, "spelt in other letter case");
        }
    return true;
}

bool oip_place(struct oip_reader *r, const char *list, uint32_t index) {
    r->list = list;
    r->index = index;
    r->field = NULL;
    if (index >= TENSORS_MAX)
        return oip_fail(r, CODEC_TOO_BIG, "more than %d", TENSORS_MAX);
    return true;
}

bool oip_string(struct oip_reader *r, size_t max, struct bytes *out) {
    if (!json_read_string(&r->json, out))
        return oip_fail_json(r);
    if (out->len > max)
        return oip_fail(r, CODEC_BAD, "longer than %zu bytes", max);
    return true;
}

bool oip_bool(struct oip_reader *r, bool *out) {
    return json_read_bool(&r->json, out) || oip_fail_json(r);
}

bool oip_u64(struct oip_reader *r, uint64_t *out) {
    return json_read_u64(&r->json, out) || oip_fail_json(r);
}

bool oip_skip(struct oip_reader *r) {
    return json_skip(&r->json, NULL) || oip_fail_json(r);
}

bool oip_skip_flat(struct oip_reader *r) {
    enum json_type type = json_peek(&r->json);
    if (!r->answer && (type == JSON_NULL || type == JSON_ARRAY || type == JSON_OBJECT)) {
        r->field = "parameters";
        return oip_fail(r, CODEC_BAD, "values must be numbers, strings or booleans");
    }
    return oip_skip(r);
}

bool oip_null(struct oip_reader *r) {
    return json_peek(&r->json) == JSON_NULL && json_read_null(&r->json);
}

bool oip_grow(struct oip_reader *r, void **at, uint32_t count, size_t size) {
    /* Full when count is 0 or a power of two from 4 on. */
    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return true;
    uint32_t room = count == 0 ? 4 : count * 2;
    void *grown = arena_calloc(r->arena, room, size);
    if (grown == NULL)
        return oip_fail(r, CODEC_NO_MEMORY, "out of memory");
    if (count > 0)
        memcpy(grown, *at, count * size);
    *at = grown;
    return true;
}

const struct declared_output *oip_declared(const struct declared *declared, struct bytes name) {
    for (uint32_t i = 0; i < declared->count; i++)
        if (bytes_eq(declared->outputs[i].name, name))
            return &declared->outputs[i];
    return NULL;
}

bool oip_wanted(const struct query *q, struct bytes name, struct wanted_output *out) {
    *out = (struct wanted_output){.name = name, .binary = q->binary_output};
    for (uint32_t i = 0; i < q->wanted_count; i++) {
        if (!bytes_eq(q->wanted[i].name, name))
            continue;
        *out = q->wanted[i];
        return true;
    }
    return q->wanted_count == 0;
}

/* oip_harness.h - messages for the tests of the Open Inference Protocol: bodies in exactly the
 * memory they may be read from, so that AddressSanitizer sees a byte too far. */
#ifndef QG_OIP_HARNESS_H
#define QG_OIP_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../proto/oip.h"
#include "../../proxy/base/limits.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

extern const struct codec codec_open_inference;

static const struct declared_output test_outputs[] = {
    {BYTES_LITERAL("scores"), OUT_SCORES}, {BYTES_LITERAL("logits"), OUT_LOGITS},
    {BYTES_LITERAL("label"), OUT_LABELS},  {BYTES_LITERAL("value"), OUT_VALUE},
    {BYTES_LITERAL("emb"), OUT_EMBEDDING}, {BYTES_LITERAL("text"), OUT_TEXT},
    {BYTES_LITERAL("tokens"), OUT_TOKENS}, {BYTES_LITERAL("blob"), OUT_OPAQUE},
};
static const struct declared test_declared = {test_outputs, COUNT(test_outputs), false, false};

struct test {
    struct arena *arena;
    char *bodies[256]; /* freed at the end */
    size_t body_count;
    struct codec_error error;
    struct query q;
    struct predictions p;
    struct outgoing out;
};

static void test_begin(struct test *t) {
    memset(t, 0, sizeof(*t));
    t->arena = arena_new(MIB(64));
    assert_non_null(t->arena);
}

static void test_end(struct test *t) {
    for (size_t i = 0; i < t->body_count; i++)
        free(t->bodies[i]);
    arena_free(t->arena);
}

static struct bytes test_body(struct test *t, struct bytes text) {
    assert_true(t->body_count < COUNT(t->bodies));
    char *at = malloc(text.len + BODY_PADDING);
    assert_non_null(at);
    if (text.len > 0)
        memcpy(at, text.at, text.len);
    memset(at + text.len, '\xa5', BODY_PADDING);
    return bytes_of(t->bodies[t->body_count++] = at, text.len);
}

/* json and, unless length is NULL, binary behind it and the header that says so. */
static struct message test_message(struct test *t, struct bytes json, const char *length,
                                   struct bytes binary) {
    char *both = arena_alloc(t->arena, json.len + binary.len + 1);
    assert_non_null(both);
    memcpy(both, json.at, json.len);
    if (binary.len > 0)
        memcpy(both + json.len, binary.at, binary.len);
    struct message m = {.body = test_body(t, bytes_of(both, json.len + binary.len))};
    if (length == NULL)
        return m;
    struct header *h = arena_new_array(t->arena, struct header, 1);
    assert_non_null(h);
    *h = (struct header){BYTES_LITERAL("inference-header-content-length"), bytes_str(length)};
    m.headers = h;
    m.header_count = 1;
    return m;
}

static struct message test_binary(struct test *t, struct bytes json, struct bytes binary) {
    return test_message(t, json, arena_printf(t->arena, "%zu", json.len).at, binary);
}

static enum codec_status test_query(struct test *t, const struct message *m) {
    const struct call call = {CALL_INFER, BYTES_LITERAL("digits"), {NULL, 0}};
    return codec_open_inference.decode_query(t->arena, m, &call, &test_declared, &t->q, &t->error);
}

static enum codec_status test_answer(struct test *t, const struct message *m) {
    return codec_open_inference.decode_answer(t->arena, m, &t->q, &test_declared, &t->p, &t->error);
}

static enum codec_status test_encode_answer(struct test *t) {
    return codec_open_inference.encode_answer(t->arena, &t->q, &t->p, &test_declared, &t->out,
                                              &t->error);
}

/* What went out, as it would come in. */
static struct message test_sent(struct test *t) {
    char *all = arena_alloc(t->arena, t->out.body_len + 1);
    size_t len = 0;
    assert_non_null(all);
    for (uint32_t i = 0; i < t->out.piece_count; i++) {
        memcpy(all + len, t->out.pieces[i].at, t->out.pieces[i].len);
        len += t->out.pieces[i].len;
    }
    assert_int_equal(len, t->out.body_len);
    return (struct message){.body = test_body(t, bytes_of(all, len)),
                            .headers = t->out.headers,
                            .header_count = t->out.header_count};
}

static void assert_status(struct test *t, enum codec_status got, enum codec_status want,
                          const char *what) {
    if (got != want)
        fail_msg("%s: status %d, not %d (%s)", what, got, want, t->error.text);
}

static void assert_says(struct test *t, const char *words, const char *what) {
    if (words != NULL && strstr(t->error.text, words) == NULL)
        fail_msg("%s: says \"%s\", not \"%s\"", what, t->error.text, words);
}

static void assert_body(struct test *t, const char *want) {
    struct message m = test_sent(t);
    if (!bytes_is(m.body, want))
        fail_msg("\"%.*s\"\nis not\n\"%s\"", (int)m.body.len, m.body.at, want);
}

static void assert_same_tensor(const struct tensor *a, const struct tensor *b) {
    assert_true(bytes_eq(a->name, b->name));
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->rank, b->rank);
    assert_memory_equal(a->shape, b->shape, a->rank * sizeof(a->shape[0]));
    assert_true(bytes_eq(a->data, b->data));
}

#endif

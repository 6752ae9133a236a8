/* oip_fuzz.h - what holds for every message of the Open Inference Protocol that is accepted. */
#ifndef QG_OIP_FUZZ_H
#define QG_OIP_FUZZ_H

#include <stdio.h>
#include <stdlib.h>

#include "../../proto/oip.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

extern const struct codec codec_open_inference;

static const struct declared_output fuzz_outputs[] = {
    {BYTES_LITERAL("s"), OUT_SCORES}, {BYTES_LITERAL("l"), OUT_LABELS},
    {BYTES_LITERAL("v"), OUT_VALUE},  {BYTES_LITERAL("e"), OUT_EMBEDDING},
    {BYTES_LITERAL("t"), OUT_TEXT},   {BYTES_LITERAL("o"), OUT_OPAQUE},
};
static const struct declared fuzz_declared = {fuzz_outputs, 6, false, false};

static void check(bool holds) {
    if (!holds)
        abort();
}

/* The pieces as one body with its padding, and nothing readable behind that. */
static struct message fuzz_message(const struct bytes *pieces, uint32_t count,
                                   const struct header *headers, uint32_t header_count) {
    size_t len = 0;
    for (uint32_t i = 0; i < count; i++)
        len += pieces[i].len;
    char *at = calloc(1, len + BODY_PADDING), *to = at;
    check(at != NULL);
    for (uint32_t i = 0; i < count; i++, to += pieces[i - 1].len)
        if (pieces[i].len > 0)
            memcpy(to, pieces[i].at, pieces[i].len);
    return (struct message){
        .body = bytes_of(at, len), .headers = headers, .header_count = header_count};
}

static void check_same(const struct tensor *a, const struct tensor *b) {
    check(bytes_eq(a->name, b->name) && a->dtype == b->dtype && a->rank == b->rank);
    check(memcmp(a->shape, b->shape, a->rank * sizeof(a->shape[0])) == 0);
    check(a->elements == b->elements && bytes_eq(a->data, b->data));
}

static void check_same_query(const struct query *a, const struct query *b) {
    check(a->input_count == b->input_count && a->rows == b->rows && a->rows >= 1);
    check(bytes_eq(a->id, b->id) && a->elements == b->elements);
    for (uint32_t i = 0; i < a->input_count; i++)
        check_same(&a->inputs[i], &b->inputs[i]);
    for (uint32_t i = 0; i < b->wanted_count; i++) {
        struct wanted_output w;
        check(oip_wanted(a, b->wanted[i].name, &w) && w.binary == b->wanted[i].binary);
        check(w.classification == b->wanted[i].classification);
    }
    const struct oip_request *x = a->dialect, *y = b->dialect;
    check(x->sequence == y->sequence && x->sequence_number == y->sequence_number);
    check(bytes_eq(x->sequence_string, y->sequence_string) && x->start == y->start);
}

/* A request that is accepted goes on as a request that means the same. */
static void fuzz_query(struct arena *a, const struct message *m) {
    static const struct call call = {CALL_INFER, BYTES_LITERAL("m"), {NULL, 0}};
    const struct codec *c = &codec_open_inference;
    struct codec_error error = {""};
    struct query first, second;
    struct outgoing out;
    enum codec_status status = c->decode_query(a, m, &call, &fuzz_declared, &first, &error);
    check(status == CODEC_OK || error.text[0] != '\0');
    if (status != CODEC_OK)
        return;
    check(c->encode_query(a, &first, &fuzz_declared, &out, &error) == CODEC_OK);
    struct message again = fuzz_message(out.pieces, out.piece_count, out.headers, out.header_count);
    check(c->decode_query(a, &again, &call, &fuzz_declared, &second, &error) == CODEC_OK);
    check(second.wanted_count == (first.wanted_count > 0 ? first.wanted_count : 6));
    check_same_query(&first, &second);
    free((char *)again.body.at);
}

/* Only keys of ours, and only names that are declared. */
static void check_released(struct arena *a, const struct message *m) {
    static const char *const top[] = {"model_name", "id", "outputs", NULL};
    static const char *const inner[] = {"name", "datatype", "shape", "data", "parameters", NULL};
    struct codec_error error;
    struct oip_reader r;
    struct bytes name;
    int which;
    check(oip_start(&r, a, m, true, &error) && json_enter_object(&r.json));
    while (oip_key(&r, top, &which)) {
        check(which >= 0);
        if (which < 2) {
            check(json_read_string(&r.json, &name) && bytes_is(name, which == 0 ? "m" : "i"));
            continue;
        }
        check(json_enter_array(&r.json));
        while (json_element(&r.json)) {
            check(json_enter_object(&r.json));
            while (oip_key(&r, inner, &which)) {
                check(which >= 0);
                if (which == 0)
                    check(json_read_string(&r.json, &name) && oip_declared(&fuzz_declared, name));
                else
                    check(json_skip(&r.json, NULL));
            }
        }
    }
    check(r.status == CODEC_OK && json_end(&r.json));
}

/* An answer that is accepted leaves as one that says the same and nothing else.  flags: 1 changed,
 * 2 binary, 4 a ranking of s, 8 only l and o. */
static void fuzz_answer(struct arena *a, const struct message *m, unsigned flags) {
    struct wanted_output ranking = {BYTES_LITERAL("s"), (flags & 2) != 0, 3};
    struct wanted_output few[] = {{BYTES_LITERAL("l"), (flags & 2) != 0, 0},
                                  {BYTES_LITERAL("o"), (flags & 2) == 0, 0}};
    struct query q = {.model = BYTES_LITERAL("m"), .id = BYTES_LITERAL("i"), .rows = 1};
    const struct codec *c = &codec_open_inference;
    struct codec_error error = {""};
    struct predictions p, again;
    struct outgoing out;
    q.binary_output = (flags & 2) != 0;
    q.wanted = (flags & 4) != 0 ? &ranking : few;
    q.wanted_count = (flags & 4) != 0 ? 1 : (flags & 8) != 0 ? 2 : 0;
    enum codec_status status = c->decode_answer(a, m, &q, &fuzz_declared, &p, &error);
    check(status == CODEC_OK || error.text[0] != '\0');
    if (status != CODEC_OK)
        return;
    for (uint32_t i = 0; i < p.count; i++)
        p.outputs[i].changed = output_values(a, &p.outputs[i]) != NULL && (flags & 1) != 0;
    if (c->encode_answer(a, &q, &p, &fuzz_declared, &out, &error) != CODEC_OK)
        return;
    struct message sent = fuzz_message(out.pieces, out.piece_count, out.headers, out.header_count);
    check_released(a, &sent);
    check(c->decode_answer(a, &sent, &q, &fuzz_declared, &again, &error) == CODEC_OK);
    check(again.count == p.count);
    for (uint32_t i = 0; i < p.count; i++)
        if (!p.outputs[i].changed)
            check_same(&p.outputs[i].tensor, &again.outputs[i].tensor);
    free((char *)sent.body.at);
}

static void fuzz_both(const struct message *m, unsigned flags) {
    struct arena *a = arena_new(MIB(64));
    check(a != NULL);
    if ((flags & 0x80) != 0)
        fuzz_answer(a, m, flags);
    else
        fuzz_query(a, m);
    arena_free(a);
}

#endif

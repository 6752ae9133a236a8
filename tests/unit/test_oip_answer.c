/* Answers: what is read, what is left out, what the client gets. */
#include "oip_harness.h"

#include <math.h>

#include "../../proto/oip_release.c"

/* A request that wants these outputs. */
static void want(struct test *t, const char *outputs) {
    struct bytes body = arena_printf(t->arena,
                                     "{\"id\":\"mine\",\"inputs\":[{\"name\":\"x\",\"datatype\":"
                                     "\"INT8\",\"shape\":[1],\"data\":[1]}],"
                                     "\"outputs\":[%s]}",
                                     outputs);
    struct message m = test_message(t, body, NULL, bytes_of("", 0));
    assert_status(t, test_query(t, &m), CODEC_OK, outputs);
}

static enum codec_status answer_json(struct test *t, const char *outputs) {
    struct bytes body =
        arena_printf(t->arena,
                     "{\"model_name\":\"up\",\"model_version\":\"9\",\"id\":\"theirs\","
                     "\"outputs\":[%s]}",
                     outputs);
    struct message m = test_message(t, body, NULL, bytes_of("", 0));
    return test_answer(t, &m);
}

#define O(name, type, shape, data)                                                                 \
    "{\"name\":\"" name "\",\"datatype\":\"" type "\",\"shape\":" shape ",\"data\":" data "}"
#define K(k) "{\"name\":\"scores\",\"parameters\":{\"classification\":" k "}}"

static void test_rows(void **state) {
    static const struct {
        const char *wanted, *outputs;
        enum codec_status status;
        const char *says;
    } rows[] = {
        {"", O("scores", "FP32", "[1,2]", "[0.25,0.75]"), CODEC_OK, NULL},
        {"", O("scores", "FP32", "[2,2]", "[[1,0],[0,1]]"), CODEC_OK, NULL},
        {"", "", CODEC_OK, NULL},
        {"{\"name\":\"label\"}", O("scores", "FP32", "[1]", "[1]"), CODEC_OK, NULL},
        {"",
         "{\"parameters\":null,\"name\":\"value\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":[1]"
         "}",
         CODEC_OK, NULL},
        {"",
         "{\"parameters\":{\"x\":{}},\"name\":\"value\",\"datatype\":\"FP64\",\"shape\":[1],"
         "\"data\":[1]}",
         CODEC_OK, NULL},
        {"", O("label", "BYTES", "[2]", "[\"cat\",\"dog\"]"), CODEC_OK, NULL},
        {"", O("label", "BOOL", "[1]", "[true]"), CODEC_OK, NULL},
        {"", O("text", "BYTES", "[1]", "[\"hello\"]"), CODEC_OK, NULL},
        {"", O("blob", "BYTES", "[1]", "[\"x\"]"), CODEC_OK, NULL},
        /* Not what it was declared as. */
        {"", O("scores", "BYTES", "[1]", "[\"0.7:1\"]"), CODEC_BAD, "outputs[0].datatype: BYTES"},
        {"", O("logits", "BOOL", "[1]", "[true]"), CODEC_BAD, "datatype"},
        {"", O("emb", "BYTES", "[1]", "[\"x\"]"), CODEC_BAD, "embedding"},
        {"", O("label", "FP32", "[1]", "[0.7]"), CODEC_BAD, "labels"},
        {"", O("tokens", "FP64", "[1]", "[1]"), CODEC_BAD, "tokens"},
        {"", O("text", "INT32", "[1]", "[1]"), CODEC_BAD, "text"},
        /* Malformed, even where it would not be released. */
        {"", O("secret", "FP32", "[3]", "[1,2]"), CODEC_BAD, "outputs[0].data"},
        {"", O("secret", "FP32", "[0]", "[]"), CODEC_BAD, "outputs[0].shape"},
        {"", O("secret", "FP99", "[1]", "[1]"), CODEC_BAD, "outputs[0].datatype"},
        {"", O("secret", "FP32", "[1]", "[NaN]"), CODEC_BAD, "outputs[0].data"},
        {"", O("secret", "FP32", "[1]", "[1]") "," O("secret", "FP32", "[1]", "[1]"), CODEC_BAD,
         "outputs[1]: has the name of outputs[0]"},
        {"", O("scores", "FP32", "[1]", "[1]") "," O("scores", "FP32", "[1]", "[1]"), CODEC_BAD,
         "outputs[1]"},
        {"",
         "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":"
         "{\"shared_memory_region\":\"r\"}}",
         CODEC_UNSUPPORTED, "shared memory"},
        {"", "{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1]}", CODEC_BAD, "no data"},
        {"", "{\"name\":\"scores\",\"datatype\":\"FP32\",\"Shape\":[1],\"data\":[1]}", CODEC_BAD,
         "spelt"},
        /* Rankings. */
        {K("3"), O("scores", "BYTES", "[1,2]", "[\"0.7:1:a:b\",\"0.3:0\"]"), CODEC_OK, NULL},
        {K("2"), O("scores", "BYTES", "[2]", "[\"-1.5e-3:4294967295:\",\"0:0:\"]"), CODEC_OK, NULL},
        {K("2"), O("scores", "BYTES", "[2,1]", "[\"1:1\",\"1:2\"]"), CODEC_OK, NULL},
        {K("1"), O("scores", "BYTES", "[2]", "[\"0.7:1\",\"0.3:0\"]"), CODEC_BAD, "more classes"},
        {K("2"), O("scores", "FP32", "[2]", "[0.7,0.3]"), CODEC_BAD, "not a ranking"},
        {K("2"), O("scores", "BYTES", "[]", "[\"0.7:1\"]"), CODEC_BAD, "not a ranking"},
        {K("2"), O("scores", "BYTES", "[1,1,1]", "[\"0.7:1\"]"), CODEC_BAD, "not a ranking"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"0.7\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[2]", "[\"0.7:1\",\"\"]"), CODEC_BAD, "element 1"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"nan:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"inf:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1e999:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"0x1:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"+1:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\" 1:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1.:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\".5:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1e:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"-:1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1:\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1:-1\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1:01\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1:4294967296\"]"), CODEC_BAD, "element 0"},
        {K("2"), O("scores", "BYTES", "[1]", "[\"1:1.0:x\"]"), CODEC_BAD, "element 0"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        test_begin(&t);
        want(&t, rows[i].wanted);
        assert_status(&t, answer_json(&t, rows[i].outputs), rows[i].status, rows[i].outputs);
        assert_says(&t, rows[i].says, rows[i].outputs);
        test_end(&t);
    }
}

static void test_envelope(void **state) {
    static const struct {
        const char *body;
        enum codec_status status;
    } rows[] = {
        {"{\"outputs\":[]}", CODEC_OK},
        {"{\"model_name\":null,\"model_version\":null,\"id\":null,\"parameters\":null,\"outputs\":["
         "]}",
         CODEC_OK},
        {"{\"parameters\":{\"a\":[{}]},\"outputs\":[],\"x\":[1]}", CODEC_OK},
        {"{}", CODEC_BAD},
        {"{\"error\":\"stack trace\"}", CODEC_BAD},
        {"{\"outputs\":null}", CODEC_BAD},
        {"{\"outputs\":{}}", CODEC_BAD},
        {"{\"outputs\":[],\"Outputs\":[]}", CODEC_BAD},
        {"{\"outputs\":[],\"outputs\":[]}", CODEC_BAD},
        {"{\"model_version\":1,\"outputs\":[]}", CODEC_BAD},
        {"{\"outputs\":[]}{}", CODEC_BAD},
        {"{\"outputs\":[]", CODEC_BAD},
        {"<html>", CODEC_BAD},
        {"", CODEC_BAD},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        test_begin(&t);
        want(&t, "");
        struct message m = test_message(&t, bytes_str(rows[i].body), NULL, bytes_of("", 0));
        assert_status(&t, test_answer(&t, &m), rows[i].status, rows[i].body);
        test_end(&t);
    }
}

static void test_shapes(void **state) {
    static const struct {
        const char *outputs;
        uint32_t rows, cols;
    } rows[] = {
        {O("scores", "FP32", "[]", "[1]"), 1, 1},
        {O("scores", "FP32", "[4]", "[1,2,3,4]"), 1, 4},
        {O("scores", "INT8", "[2,2]", "[1,2,3,4]"), 2, 2},
        {O("emb", "FP64", "[2,1,2]", "[1,2,3,4]"), 2, 2},
        {O("value", "FP64", "[4,1]", "[1,2,3,4]"), 4, 1},
        {O("label", "INT64", "[4]", "[1,2,3,4]"), 4, 1},
        {O("tokens", "INT64", "[2,2]", "[1,2,3,4]"), 4, 1},
        {O("blob", "FP32", "[2,2]", "[1,2,3,4]"), 4, 1},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        test_begin(&t);
        want(&t, "");
        assert_status(&t, answer_json(&t, rows[i].outputs), CODEC_OK, rows[i].outputs);
        const struct output *o = &t.p.outputs[0];
        assert_int_equal(t.p.count, 1);
        assert_true(o->rows == rows[i].rows && o->cols == rows[i].cols);
        assert_true(o->grid_digits == -1 && !o->changed && o->values == NULL);
        test_end(&t);
    }
}

/* The fixed form: the client's own model name and id, nothing of the upstream's. */
static void test_envelope_out(void **state) {
    static const struct declared shown = {test_outputs, COUNT(test_outputs), true, false};
    struct test t;
    (void)state;
    test_begin(&t);
    want(&t, "{\"name\":\"label\"},{\"name\":\"scores\"}");
    assert_status(
        &t,
        answer_json(
            &t, O("secret", "FP32", "[1]", "[0.5]") "," O("value", "FP32", "[1]", "[0.5]") "," O(
                    "scores", "FP32", "[ 1, 2]", "[ 0.250, 7.5e-1 ]") "," O("label", "INT64", "[1]",
                                                                            "[3]")),
        CODEC_OK, "answer");
    assert_int_equal(t.p.count, 2);
    assert_true(bytes_is(t.p.model, "up") && bytes_is(t.p.version, "9"));
    assert_status(&t, test_encode_answer(&t), CODEC_OK, "encode");
    assert_body(&t, "{\"model_name\":\"digits\",\"id\":\"mine\",\"outputs\":[{\"name\":\"scores\","
                    "\"datatype\":\"FP32\",\"shape\":[1,2],\"data\":[ 0.250, 7.5e-1 ]},{\"name\":"
                    "\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[3]}]}");
    t.p.outputs[0].dropped = true;
    assert_status(&t,
                  codec_open_inference.encode_answer(t.arena, &t.q, &t.p, &shown, &t.out, &t.error),
                  CODEC_OK, "encode");
    assert_body(&t,
                "{\"model_name\":\"digits\",\"model_version\":\"9\",\"id\":\"mine\",\"outputs\":["
                "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[3]}]}");
    test_end(&t);
}

/* Every datatype: sent as JSON or binary, wanted as JSON or binary, untouched or rewritten from
 * equal numbers: the client reads the same elements. */
static const struct {
    const char *type, *json; /* NULL: no JSON form */
    struct bytes binary;
    const char *name;
} forms[] = {
    {"BOOL", "[true,0]", {"\1\0", 2}, "label"},
    {"UINT8", "[255,0]", {"\xff\0", 2}, "scores"},
    {"INT8", "[-128,127]", {"\x80\x7f", 2}, "scores"},
    {"UINT16", "[65535,1]", {"\xff\xff\1\0", 4}, "label"},
    {"INT16", "[-2,1]", {"\xfe\xff\1\0", 4}, "scores"},
    {"UINT32", "[4294967295,1]", {"\xff\xff\xff\xff\1\0\0\0", 8}, "label"},
    {"INT32", "[-2147483648,0]", {"\0\0\0\x80\0\0\0\0", 8}, "scores"},
    {"UINT64", "[9007199254740992,0]", {"\0\0\0\0\0\0\x20\0\0\0\0\0\0\0\0\0", 16}, "label"},
    {"INT64", "[-1,1]", {"\xff\xff\xff\xff\xff\xff\xff\xff\1\0\0\0\0\0\0\0", 16}, "label"},
    {"FP16", NULL, {"\0\x3c\xff\x7b", 4}, "scores"},
    {"BF16", NULL, {"\x80\x3f\x01\x80", 4}, "emb"},
    {"FP32", "[0.1,-3.4028235e38]", {"\xcd\xcc\xcc\x3d\xff\xff\x7f\xff", 8}, "scores"},
    {"FP64", "[0.1,5e-324]", {"\x9a\x99\x99\x99\x99\x99\xb9\x3f\1\0\0\0\0\0\0\0", 16}, "value"},
    {"BYTES", "[\"\\u00e9\",\"\"]", {"\2\0\0\0\xc3\xa9\0\0\0\0", 10}, "text"},
};

static struct message form_answer(struct test *t, size_t form, bool binary) {
    const char *parameter = "", *data = "";
    if (binary)
        parameter = arena_printf(t->arena, ",\"parameters\":{\"binary_data_size\":%zu}",
                                 forms[form].binary.len)
                        .at;
    else
        data = arena_printf(t->arena, ",\"data\":%s", forms[form].json).at;
    struct bytes json = arena_printf(
        t->arena, "{\"outputs\":[{\"name\":\"%s\",\"datatype\":\"%s\",\"shape\":[2]%s%s}]}",
        forms[form].name, forms[form].type, parameter, data);
    return binary ? test_binary(t, json, forms[form].binary)
                  : test_message(t, json, NULL, bytes_of("", 0));
}

static void check_form(size_t form, bool binary_in, bool binary_out, bool rewrite) {
    struct test t;
    test_begin(&t);
    want(&t, arena_printf(t.arena, "{\"name\":\"%s\",\"parameters\":{\"binary_data\":%s}}",
                          forms[form].name, binary_out ? "true" : "false")
                 .at);
    struct message m = form_answer(&t, form, binary_in);
    assert_status(&t, test_answer(&t, &m), CODEC_OK, forms[form].type);
    struct output *o = &t.p.outputs[0];
    struct tensor first = o->tensor;
    assert_true(bytes_eq(first.data, forms[form].binary));
    if (rewrite)
        o->changed = output_values(t.arena, o) != NULL;
    enum codec_status status = test_encode_answer(&t);
    if (!binary_out && forms[form].json == NULL) {
        assert_status(&t, status, CODEC_BAD, forms[form].type);
        assert_says(&t, "no JSON form", forms[form].type);
    } else {
        assert_status(&t, status, CODEC_OK, forms[form].type);
        assert_int_equal(t.out.header_count, binary_out ? 1 : 0);
        struct message sent = test_sent(&t);
        assert_status(&t, test_answer(&t, &sent), CODEC_OK, "what was sent");
        assert_same_tensor(&first, &t.p.outputs[0].tensor);
    }
    test_end(&t);
}

static void test_forms(void **state) {
    (void)state;
    for (size_t form = 0; form < COUNT(forms); form++)
        for (unsigned bits = 0; bits < 8; bits++)
            if ((bits & 1) != 0 || forms[form].json != NULL)
                check_form(form, bits & 1, bits & 2, bits & 4);
}

static void test_prefixes(void **state) {
    static const char json[] =
        "{\"outputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[1],"
        "\"parameters\":{\"binary_data_size\":4}},{\"name\":\"label\","
        "\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}]}";
    (void)state;
    for (size_t n = 0; n <= sizeof(json) + 3; n++) {
        struct test t;
        test_begin(&t);
        want(&t, "");
        struct message m = test_binary(&t, bytes_str(json), bytes_of("\0\0\0\0", 4));
        m.body = test_body(&t, bytes_of(m.body.at, n));
        assert_status(&t, test_answer(&t, &m), n == sizeof(json) + 3 ? CODEC_OK : CODEC_BAD,
                      "prefix");
        test_end(&t);
    }
}

/* Values that filters left: each row an FP32 or FP64 output of two columns. */
static void test_changed(void **state) {
    static const struct {
        const char *type;
        double a, b;
        int grid;
        const char *data; /* NULL: refused */
    } rows[] = {
        {"FP32", 0.1, 0, -1, "[0.1,0]"},
        {"FP64", 0.1, 1, -1, "[0.1,1]"},
        {"FP64", 0, 0, -1, "[0,0]"},
        {"FP64", -0.0, 1, -1, "[0,1]"},
        {"FP64", 0.25, -3.5, 2, "[0.25,-3.5]"},
        {"FP32", 29 * 0.01, 1, 2, "[0.29,1]"},
        {"FP64", 0.255, 1, 2, NULL},
        {"FP64", NAN, 1, 2, NULL},
        {"FP64", 1e300, 1, 2, NULL},
        {"FP64", NAN, 1, -1, NULL},
        {"FP64", INFINITY, 1, -1, NULL},
        {"FP32", 1e39, 1, -1, NULL},
        {"INT8", 3.6, -200, -1, "[4,-128]"},
        {"INT8", 3, -4, 2, "[3,-4]"},
        {"UINT64", 1e30, 2, -1, "[18446744073709551615,2]"},
        {"INT64", -9007199254740992.0, 0, -1, "[-9007199254740992,0]"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int binary = 0; binary < 2; binary++) {
            struct test t;
            test_begin(&t);
            want(&t, binary ? "{\"name\":\"scores\",\"parameters\":{\"binary_data\":true}}" : "");
            struct bytes in = arena_printf(t.arena,
                                           "{\"name\":\"scores\",\"datatype\":\"%s\",\"shape\":"
                                           "[1,2],\"data\":[7,7]}",
                                           rows[i].type);
            assert_status(&t, answer_json(&t, in.at), CODEC_OK, in.at);
            struct output *o = &t.p.outputs[0];
            double *v = output_values(t.arena, o);
            v[0] = rows[i].a;
            v[1] = rows[i].b;
            o->changed = true;
            o->grid_digits = rows[i].grid;
            assert_status(&t, test_encode_answer(&t), rows[i].data != NULL ? CODEC_OK : CODEC_BAD,
                          in.at);
            if (rows[i].data != NULL && !binary)
                assert_body(&t,
                            arena_printf(t.arena,
                                         "{\"model_name\":\"digits\",\"id\":\"mine\",\"outputs\":[{"
                                         "\"name\":\"scores\",\"datatype\":\"%s\",\"shape\":[1,2],"
                                         "\"data\":%s}]}",
                                         rows[i].type, rows[i].data)
                                .at);
            if (rows[i].data != NULL && binary) {
                struct message sent = test_sent(&t);
                assert_status(&t, test_answer(&t, &sent), CODEC_OK, "sent");
                if (rows[i].a == 29 * 0.01)
                    assert_true(tensor_number(&t.p.outputs[0].tensor, 0) == 0.29f);
                assert_false(signbit(tensor_number(&t.p.outputs[0].tensor, 0)) && rows[i].a == 0);
            }
            test_end(&t);
        }
}

/* Columns that a filter took away are gone from the shape, too. */
static void test_truncated(void **state) {
    struct test t;
    (void)state;
    test_begin(&t);
    want(&t, "");
    assert_status(&t, answer_json(&t, O("emb", "FP32", "[2,1,3]", "[1,2,3,4,5,6]")), CODEC_OK,
                  "in");
    struct output *o = &t.p.outputs[0];
    double *v = output_values(t.arena, o);
    v[1] = 4;
    o->cols = 1;
    o->changed = true;
    assert_status(&t, test_encode_answer(&t), CODEC_OK, "out");
    assert_body(&t, "{\"model_name\":\"digits\",\"id\":\"mine\",\"outputs\":[{\"name\":\"emb\","
                    "\"datatype\":\"FP32\",\"shape\":[2,1,1],\"data\":[1,4]}]}");
    test_end(&t);
}

/* The zero runs that are written in pieces: every length about the piece's. */
static void test_zero_runs(void **state) {
    (void)state;
    for (size_t n = 1; n < 140; n++) {
        double values[140] = {0};
        struct output o = {.tensor.dtype = DTYPE_FP32, .rows = 1, .cols = (uint32_t)n};
        struct buf b;
        buf_init(&b, MIB(1));
        o.values = values;
        o.grid_digits = -1;
        values[n / 2] = 1;
        assert_true(write_values(&b, &o));
        assert_int_equal(b.len, 2 * n + 1);
        for (size_t i = 0; i < n; i++)
            assert_int_equal(b.at[2 * i + 1], i == n / 2 ? '1' : '0');
        for (size_t i = 1; i < n; i++)
            assert_int_equal(b.at[2 * i], ',');
        assert_true(b.at[0] == '[' && b.at[2 * n] == ']');
        buf_free(&b);
    }
}

static void test_ranking(void **state) {
    struct test t;
    (void)state;
    test_begin(&t);
    want(&t, K("3"));
    assert_status(&t,
                  answer_json(&t, O("scores", "BYTES", "[1,3]",
                                    "[\"0.70000003:7:a:b\",\"0.2:1:\\u00e9\",\"0.1:0\"]")),
                  CODEC_OK, "in");
    struct output *o = &t.p.outputs[0];
    assert_true(o->rows == 1 && o->cols == 3 && o->kind == OUT_SCORES);
    assert_true(o->values[0] == 0.70000003 && o->classes[0].index == 7);
    assert_true(bytes_is(o->classes[0].label, "a:b") && o->classes[2].label.len == 0);
    assert_status(&t, test_encode_answer(&t), CODEC_OK, "unchanged");
    assert_body(&t, "{\"model_name\":\"digits\",\"id\":\"mine\",\"outputs\":[{\"name\":\"scores\","
                    "\"datatype\":\"BYTES\",\"shape\":[1,3],\"data\":[\"0.70000003:7:a:b\","
                    "\"0.2:1:\\u00e9\",\"0.1:0\"]}]}");
    o->changed = true;
    o->cols = 2;
    o->values[1] = -0.0;
    assert_status(&t, test_encode_answer(&t), CODEC_OK, "changed");
    assert_body(&t, "{\"model_name\":\"digits\",\"id\":\"mine\",\"outputs\":[{\"name\":\"scores\","
                    "\"datatype\":\"BYTES\",\"shape\":[1,2],\"data\":[\"0.700000:7:a:b\","
                    "\"0.000000:1:\xc3\xa9\"]}]}");
    o->grid_digits = 1;
    t.q.wanted[0].binary = true;
    assert_status(&t, test_encode_answer(&t), CODEC_OK, "binary");
    struct message sent = test_sent(&t);
    assert_status(&t, test_answer(&t, &sent), CODEC_OK, "sent");
    assert_true(bytes_eq(t.p.outputs[0].tensor.data, BYTES_LITERAL("\x09\0\0\0"
                                                                   "0.7:7:a:b"
                                                                   "\x08\0\0\0"
                                                                   "0.0:1:\xc3\xa9")));
    t.p.outputs[0].changed = true;
    t.p.outputs[0].values[0] = NAN;
    assert_status(&t, test_encode_answer(&t), CODEC_BAD, "nan");
    test_end(&t);
}

/* Bytes that are no text cannot be JSON, and are not bent into it. */
static void test_not_utf8(void **state) {
    struct test t;
    (void)state;
    test_begin(&t);
    want(&t, "");
    struct message m = test_binary(
        &t,
        BYTES_LITERAL("{\"outputs\":[{\"name\":\"text\",\"datatype\":\"BYTES\",\"shape\":[1],"
                      "\"parameters\":{\"binary_data_size\":5}}]}"),
        BYTES_LITERAL("\1\0\0\0\xff"));
    assert_status(&t, test_answer(&t, &m), CODEC_OK, "in");
    assert_status(&t, test_encode_answer(&t), CODEC_BAD, "out");
    assert_says(&t, "no JSON form", "out");
    test_end(&t);
}

static void test_no_memory(void **state) {
    bool whole = false;
    (void)state;
    for (size_t cap = 16; !whole; cap += 16) {
        struct test t;
        test_begin(&t);
        want(&t, K("2") ",{\"name\":\"emb\",\"parameters\":{\"binary_data\":true}}");
        struct message m = test_message(
            &t,
            BYTES_LITERAL("{\"outputs\":[" O("scores", "BYTES", "[1]", "[\"0.5:1\"]") "," O(
                "emb", "FP32", "[2]", "[1,2]") "]}"),
            NULL, bytes_of("", 0));
        struct arena *full = t.arena;
        t.arena = arena_new(cap);
        enum codec_status status = test_answer(&t, &m);
        if (status == CODEC_OK && output_values(t.arena, &t.p.outputs[1]) == NULL)
            status = CODEC_NO_MEMORY;
        if (status == CODEC_OK) {
            t.p.outputs[0].changed = t.p.outputs[1].changed = true;
            status = test_encode_answer(&t);
        }
        whole = status == CODEC_OK;
        if (!whole)
            assert_status(&t, status, CODEC_NO_MEMORY, "small arena");
        arena_free(t.arena);
        t.arena = full;
        test_end(&t);
        assert_true(cap < MIB(1));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),      cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_shapes),    cmocka_unit_test(test_envelope_out),
        cmocka_unit_test(test_forms),     cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_changed),   cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_zero_runs), cmocka_unit_test(test_ranking),
        cmocka_unit_test(test_not_utf8),  cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

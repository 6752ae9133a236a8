/* The calls, and requests on their way in and on. */
#include "oip_harness.h"
#include "oip_rows.h"

#include "../../proto/open_inference.c"

static void test_match(void **state) {
    static const struct {
        const char *method, *path;
        int kind; /* -1: unknown */
        const char *model, *version;
    } rows[] = {
        {"POST", "/v2/models/digits/infer", CALL_INFER, "digits", ""},
        {"POST", "/v2/models/a.b_c-D9/versions/v1/infer", CALL_INFER, "a.b_c-D9", "v1"},
        {"GET", "/v2", CALL_SERVER_METADATA, "", ""},
        {"HEAD", "/v2", CALL_SERVER_METADATA, "", ""},
        {"GET", "/v2/", CALL_SERVER_METADATA, "", ""},
        {"GET", "/v2/health/live", CALL_LIVE, "", ""},
        {"HEAD", "/v2/health/ready", CALL_READY, "", ""},
        {"GET", "/v2/models/m", CALL_MODEL_METADATA, "m", ""},
        {"GET", "/v2/models/m/versions/2", CALL_MODEL_METADATA, "m", "2"},
        {"GET", "/v2/models/m/ready", CALL_MODEL_READY, "m", ""},
        {"GET", "/v2/models/m/versions/2/ready", CALL_MODEL_READY, "m", "2"},
        {"POST", "/v2/models/stats/infer", CALL_INFER, "stats", ""},
        {"GET", "/v2/models/stats", CALL_REFUSED, "", ""},
        {"GET", "/v2/models", CALL_REFUSED, "", ""},
        {"GET", "/v2/models/m/infer", CALL_REFUSED, "m", ""},
        {"HEAD", "/v2/models/m/infer", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/generate", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/generate_stream", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/infer_stream", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/versions/1/generate", CALL_REFUSED, "m", "1"},
        {"POST", "/v2/models/m/explain", CALL_REFUSED, "m", ""},
        {"GET", "/v2/models/m/config", CALL_REFUSED, "m", ""},
        {"GET", "/v2/models/m/versions/1/config", CALL_REFUSED, "m", "1"},
        {"GET", "/v2/models/m/stats", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/trace/setting", CALL_REFUSED, "m", ""},
        {"GET", "/v2/models/m/docs", CALL_REFUSED, "m", ""},
        {"POST", "/v2/repository/index", CALL_REFUSED, "", ""},
        {"POST", "/v2/repository/models/m/load", CALL_REFUSED, "", ""},
        {"GET", "/v2/systemsharedmemory/status", CALL_REFUSED, "", ""},
        {"POST", "/v2/cudasharedmemory/region/r/register", CALL_REFUSED, "", ""},
        {"GET", "/v2/trace/setting", CALL_REFUSED, "", ""},
        {"POST", "/v2/logging", CALL_REFUSED, "", ""},
        {"GET", "/v2/docs", CALL_REFUSED, "", ""},
        {"GET", "/metrics", CALL_REFUSED, "", ""},
        {"POST", "/V2/models/m/infer", CALL_REFUSED, "m", ""},
        {"POST", "/v2/models/m/INFER", CALL_REFUSED, "m", ""},
        {"GET", "/v2/Health/live", CALL_REFUSED, "", ""},
        {"POST", "/v2/models/m/infer/", -1, "", ""},
        {"GET", "/v2/health/live/", -1, "", ""},
        {"GET", "/v2/models/", -1, "", ""},
        {"GET", "/v2/models/m/", -1, "", ""},
        {"POST", "/v2/models//infer", -1, "", ""},
        {"POST", "/v2/models/../infer", -1, "", ""},
        {"POST", "/v2/models/a%62/infer", -1, "", ""},
        {"POST", "/v2/models/a b/infer", -1, "", ""},
        {"POST", "/v2/models/m/infer/x", -1, "", ""},
        {"POST", "v2/models/m/infer", -1, "", ""},
        {"POST", "//v2/models/m/infer", -1, "", ""},
        {"GET", "/v3", -1, "", ""},
        {"GET", "/", -1, "", ""},
        {"GET", "", -1, "", ""},
        {"GET", "/v1/models/m", -1, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct call call;
        bool known =
            codec_open_inference.match(bytes_str(rows[i].method), bytes_str(rows[i].path), &call);
        if ((known ? (int)call.kind : -1) != rows[i].kind)
            fail_msg("%s %s: %d", rows[i].method, rows[i].path, known ? (int)call.kind : -1);
        if (known &&
            (!bytes_is(call.model, rows[i].model) || !bytes_is(call.version, rows[i].version)))
            fail_msg("%s %s: another model or version", rows[i].method, rows[i].path);
    }
}

static void test_match_long_names(void **state) {
    char name[MODEL_NAME_MAX + 1], path[256];
    struct call call;
    (void)state;
    for (int extra = 0; extra <= 1; extra++) {
        memset(name, 'm', sizeof(name));
        int n = snprintf(path, sizeof(path), "/v2/models/%.*s/infer", MODEL_NAME_MAX + extra, name);
        assert_int_equal(match(BYTES_LITERAL("POST"), bytes_of(path, (size_t)n), &call),
                         extra == 0);
    }
}

static void test_json_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(json_rows); i++) {
        struct test t;
        test_begin(&t);
        struct message m = test_message(&t, bytes_str(json_rows[i].body), NULL, bytes_of("", 0));
        enum codec_status status = test_query(&t, &m);
        assert_status(&t, status, json_rows[i].status, json_rows[i].body);
        assert_says(&t, json_rows[i].says, json_rows[i].body);
        if (status != CODEC_OK)
            assert_true(t.error.text[0] != '\0');
        test_end(&t);
    }
}

static void test_binary_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(binary_rows); i++) {
        struct test t;
        test_begin(&t);
        struct bytes json = bytes_str(binary_rows[i].json);
        const char *length = binary_rows[i].length;
        if (length != NULL && (strcmp(length, "=") == 0 || strcmp(length, "+") == 0))
            length = arena_printf(t.arena, "%zu", json.len + (length[0] == '+')).at;
        struct message m = test_message(&t, json, length, binary_rows[i].binary);
        assert_status(&t, test_query(&t, &m), binary_rows[i].status, binary_rows[i].json);
        assert_says(&t, binary_rows[i].says, binary_rows[i].json);
        test_end(&t);
    }
}

static void test_two_lengths(void **state) {
    struct test t;
    char body[] = IN(X);
    struct header two[2];
    (void)state;
    test_begin(&t);
    struct message m = test_binary(&t, bytes_str(body), bytes_of("", 0));
    two[0] = two[1] = m.headers[0];
    m.headers = two;
    m.header_count = 2;
    assert_status(&t, test_query(&t, &m), CODEC_BAD, "two headers");
    assert_says(&t, "more than one", "two headers");
    test_end(&t);
}

/* One over each count and length. */
static void test_limits(void **state) {
    (void)state;
    for (uint32_t n = TENSORS_MAX; n <= TENSORS_MAX + 1; n++) {
        struct test t;
        struct buf b;
        test_begin(&t);
        buf_init(&b, MIB(1));
        buf_add_str(&b, "{\"inputs\":[");
        for (uint32_t i = 0; i < n; i++)
            buf_printf(&b, "%s{\"name\":\"x%u\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}",
                       i > 0 ? "," : "", i);
        buf_add_str(&b, "]}");
        struct message m = test_message(&t, buf_bytes(&b), NULL, bytes_of("", 0));
        assert_status(&t, test_query(&t, &m), n > TENSORS_MAX ? CODEC_TOO_BIG : CODEC_OK, "inputs");
        assert_status(
            &t, codec_open_inference.encode_query(t.arena, &t.q, &test_declared, &t.out, &t.error),
            CODEC_OK, "encode");
        buf_free(&b);
        test_end(&t);
    }
}

/* A body that ends early is never taken for a whole one. */
static void test_prefixes(void **state) {
    static const char json[] =
        "{\"id\":\"a\",\"parameters\":{\"priority\":1},\"inputs\":[{\"name\":\"x\",\"datatype\":"
        "\"FP32\",\"shape\":[1],\"parameters\":{\"binary_data_size\":4}},{\"name\":\"y\","
        "\"datatype\":"
        "\"BYTES\",\"shape\":[1],\"data\":[\"z\"]}],\"outputs\":[{\"name\":\"label\"}]}";
    static const char binary[] = {0, 0, -128, 0x3f};
    (void)state;
    for (size_t n = 0; n <= sizeof(json) - 1 + sizeof(binary); n++) {
        struct test t;
        test_begin(&t);
        struct bytes all = arena_printf(t.arena, "%s%.4s", json, "----");
        memcpy((char *)all.at + sizeof(json) - 1, binary, sizeof(binary));
        struct message m = test_binary(&t, bytes_str(json), bytes_of("", 0));
        m.body = test_body(&t, bytes_of(all.at, n));
        bool whole = n == sizeof(json) - 1 + sizeof(binary);
        assert_status(&t, test_query(&t, &m), whole ? CODEC_OK : CODEC_BAD, "prefix");
        test_end(&t);
    }
}

static void test_rows(void **state) {
    static const struct {
        const char *shape, *data;
        uint32_t rows;
    } rows[] = {{"[]", "[1]", 1},          {"[4]", "[1,2,3,4]", 1},   {"[4,1]", "[1,2,3,4]", 4},
                {"[2,2]", "[1,2,3,4]", 2}, {"[3,1,1]", "[1,2,3]", 3}, {"[1,4]", "[1,2,3,4]", 1}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        test_begin(&t);
        struct bytes body = arena_printf(
            t.arena,
            "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":%s,\"data\":%s},"
            "{\"name\":\"y\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}]}",
            rows[i].shape, rows[i].data);
        struct message m = test_message(&t, body, NULL, bytes_of("", 0));
        assert_status(&t, test_query(&t, &m), CODEC_OK, rows[i].shape);
        assert_int_equal(t.q.rows, rows[i].rows);
        assert_int_equal(t.q.elements, t.q.inputs[0].elements + 1);
        test_end(&t);
    }
}

static void encode(struct test *t, const struct declared *declared) {
    assert_status(t,
                  codec_open_inference.encode_query(t->arena, &t->q, declared, &t->out, &t->error),
                  CODEC_OK, "encode_query");
}

/* What the upstream gets: known keys only, in one order, the outputs always named. */
static void test_canonical(void **state) {
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"{\"evil\":1,\"outputs\":[{\"name\":\"label\",\"x\":1}],\"inputs\":[{\"x\":{},\"name\":"
         "\"x\","
         "\"data\":[ 1.0 , 2 ],\"datatype\":\"FP32\",\"shape\":[ 2 "
         "],\"parameters\":{\"content_type\":"
         "\"np\",\"own\":1}}],\"id\":\"a\\u0022b\"}",
         "{\"id\":\"a\\\"b\",\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[2],"
         "\"parameters\":{\"content_type\":\"np\"},\"data\":[ 1.0 , 2 ]}],\"outputs\":[{\"name\":"
         "\"label\"}]}"},
        {"{\"parameters\":{\"sequence_id\":7,\"sequence_start\":true,\"sequence_end\":false,"
         "\"priority\":2,\"timeout\":1000,\"own\":1,\"triton_x\":true,\"headers\":\"h\","
         "\"binary_data_output\":true},\"inputs\":[" X "],\"outputs\":[{\"name\":\"scores\","
         "\"parameters\":{\"classification\":3}},{\"name\":\"label\",\"parameters\":{\"binary_"
         "data\":"
         "false}}]}",
         "{\"parameters\":{\"sequence_id\":7,\"sequence_start\":true,\"sequence_end\":false,"
         "\"priority\":2,\"timeout\":1000},\"inputs\":[" X "],\"outputs\":[{\"name\":\"scores\","
         "\"parameters\":{\"binary_data\":true,\"classification\":3}},{\"name\":\"label\"}]}"},
        {"{\"parameters\":{\"sequence_id\":\"s\\n\"},\"inputs\":[" X "],\"outputs\":[{\"name\":"
         "\"value\",\"parameters\":{\"binary_data\":true}}]}",
         "{\"parameters\":{\"sequence_id\":\"s\\u000a\"},\"inputs\":[" X "],\"outputs\":[{\"name\":"
         "\"value\",\"parameters\":{\"binary_data\":true}}]}"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        test_begin(&t);
        struct message m = test_message(&t, bytes_str(rows[i].in), NULL, bytes_of("", 0));
        assert_status(&t, test_query(&t, &m), CODEC_OK, rows[i].in);
        encode(&t, &test_declared);
        assert_body(&t, rows[i].out);
        assert_true(bytes_is(t.out.path, "/v2/models/digits/infer"));
        assert_true(bytes_is(t.out.content_type, "application/json"));
        test_end(&t);
    }
}

static void test_default_outputs(void **state) {
    static const struct declared two = {test_outputs, 2, false, false};
    static const struct declared none = {NULL, 0, false, false};
    static const char head[] = "{\"inputs\":[" X "]";
    struct test t;
    (void)state;
    test_begin(&t);
    struct message m = test_message(&t, bytes_str(PARAMETERS("\"binary_data_output\":true")), NULL,
                                    bytes_of("", 0));
    assert_status(&t, test_query(&t, &m), CODEC_OK, "no outputs");
    t.q.version = BYTES_LITERAL("7");
    encode(&t, &two);
    assert_body(
        &t, arena_printf(t.arena,
                         "%s,\"outputs\":[{\"name\":\"scores\",\"parameters\":{\"binary_data\""
                         ":true}},{\"name\":\"logits\",\"parameters\":{\"binary_data\":true}}]}",
                         head)
                .at);
    assert_true(bytes_is(t.out.path, "/v2/models/digits/versions/7/infer"));
    encode(&t, &none);
    assert_body(&t, arena_printf(t.arena, "%s}", head).at);
    test_end(&t);
}

/* Binary parts go on with sizes of our own making; what comes out reads back as what went in.  The
 * long JSON tensor is passed on where it lies. */
static void test_round_trip(void **state) {
    struct test t;
    struct buf b;
    (void)state;
    test_begin(&t);
    buf_init(&b, MIB(1));
    buf_add_str(&b,
                "{\"inputs\":[{\"name\":\"a\",\"datatype\":\"BYTES\",\"shape\":[1,2],"
                "\"parameters\":{\"content_type\":\"str\",\"binary_data_size\":9}},{\"name\":\"b\","
                "\"datatype\":\"FP64\",\"shape\":[1000],\"data\":[0.5");
    for (int i = 1; i < 1000; i++)
        buf_printf(&b, ",%.17g", i / 7.0);
    buf_add_str(&b, "]},{\"name\":\"c\",\"datatype\":\"FP16\",\"shape\":[],\"parameters\":"
                    "{\"binary_data_size\":2}}]}");
    struct message m = test_binary(&t, buf_bytes(&b), BYTES_LITERAL("\1\0\0\0z\0\0\0\0\0\x3c"));
    assert_status(&t, test_query(&t, &m), CODEC_OK, "in");
    encode(&t, &test_declared);
    assert_int_equal(t.out.header_count, 1);
    assert_true(bytes_is(t.out.content_type, "application/octet-stream"));
    bool borrowed = false;
    for (uint32_t i = 0; i < t.out.piece_count; i++)
        borrowed = borrowed || t.out.pieces[i].at == t.q.inputs[1].text.at;
    assert_true(borrowed);
    struct message sent = test_sent(&t);
    struct query first = t.q;
    assert_status(&t, test_query(&t, &sent), CODEC_OK, "again");
    assert_int_equal(t.q.input_count, first.input_count);
    for (uint32_t i = 0; i < first.input_count; i++)
        assert_same_tensor(&first.inputs[i], &t.q.inputs[i]);
    buf_free(&b);
    test_end(&t);
}

/* Out of memory at any point is an answer, not a crash. */
static void test_no_memory(void **state) {
    static const char body[] = OUT("{\"name\":\"label\"}");
    bool whole = false;
    (void)state;
    for (size_t cap = 16; !whole; cap += 16) {
        struct test t;
        test_begin(&t);
        struct message m = test_message(&t, bytes_str(body), NULL, bytes_of("", 0));
        struct arena *full = t.arena;
        t.arena = arena_new(cap);
        enum codec_status status = test_query(&t, &m);
        if (status == CODEC_OK)
            status =
                codec_open_inference.encode_query(t.arena, &t.q, &test_declared, &t.out, &t.error);
        whole = status == CODEC_OK;
        if (!whole)
            assert_status(&t, status, CODEC_NO_MEMORY, "small arena");
        arena_free(t.arena);
        t.arena = full;
        test_end(&t);
        assert_true(cap < MIB(1));
    }
}

static void test_denial(void **state) {
    struct test t;
    (void)state;
    test_begin(&t);
    assert_int_equal(
        codec_open_inference.encode_denial(t.arena, 403, BYTES_LITERAL("a \"b\""), &t.out),
        CODEC_OK);
    assert_body(&t, "{\"error\":\"a \\\"b\\\"\"}");
    assert_true(bytes_is(t.out.content_type, "application/json"));
    test_end(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_match),       cmocka_unit_test(test_match_long_names),
        cmocka_unit_test(test_json_rows),   cmocka_unit_test(test_binary_rows),
        cmocka_unit_test(test_two_lengths), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_prefixes),    cmocka_unit_test(test_rows),
        cmocka_unit_test(test_canonical),   cmocka_unit_test(test_default_outputs),
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_denial),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Calls without tensors, and the canary: nothing undeclared leaves, in any form. */
#include "oip_harness.h"

#include "../../proto/oip_metadata.c"

static const struct declared two = {test_outputs, 2, false, false};
static const struct declared shown = {test_outputs, 2, true, false};

static void test_filter(void **state) {
    static const struct {
        enum call_kind kind;
        const struct declared *declared;
        const char *in, *out; /* out NULL: CODEC_BAD */
    } rows[] = {
        {CALL_LIVE, &two, "", ""},
        {CALL_LIVE, &two, "{\"live\":true}", "{\"live\":true}"},
        {CALL_READY, &two, "anything at all", "anything at all"},
        {CALL_MODEL_READY, &two, "", ""},
        {CALL_MODEL_READY, &two, "{\"name\":\"inner\",\"ready\":true,\"x\":[1]}",
         "{\"name\":\"m\",\"ready\":true}"},
        {CALL_MODEL_READY, &two, "{\"ready\":false}", "{\"name\":\"m\",\"ready\":false}"},
        {CALL_MODEL_READY, &two, "{\"name\":\"m\"}", NULL},
        {CALL_MODEL_READY, &two, "{\"ready\":1}", NULL},
        {CALL_MODEL_READY, &two, "true", NULL},
        {CALL_SERVER_METADATA, &two,
         "{\"name\":\"triton\",\"version\":\"2.1\",\"extensions\":[\"classification\","
         "\"statistics\","
         "\"sequence\",\"cuda_shared_memory\",\"binary_tensor_data\",\"schedule_policy\"]}",
         "{\"name\":\"querygate\",\"version\":\"\",\"extensions\":[\"classification\",\"sequence\","
         "\"binary_tensor_data\",\"schedule_policy\"]}"},
        {CALL_SERVER_METADATA, &two, "{}", "{\"name\":\"querygate\",\"version\":\"\"}"},
        {CALL_SERVER_METADATA, &two, "{\"extensions\":[1]}", NULL},
        {CALL_SERVER_METADATA, &two, "{\"extensions\":[]}x", NULL},
        {CALL_SERVER_METADATA, &two, "", NULL},
        {CALL_MODEL_METADATA, &two,
         "{\"name\":\"inner\",\"versions\":[\"1\"],\"platform\":\"sklearn\",\"inputs\":[{\"name\":"
         "\"x\","
         "\"datatype\":\"FP32\",\"shape\":[-1,4],\"parameters\":{\"a\":1}}],\"outputs\":[{\"name\":"
         "\"secret\",\"datatype\":\"FP32\",\"shape\":[-1,9]},{\"name\":\"scores\",\"datatype\":"
         "\"FP32\","
         "\"shape\":[-1,10]}],\"parameters\":{}}",
         "{\"name\":\"m\",\"platform\":\"\",\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\","
         "\"shape\":"
         "[-1,4]}],\"outputs\":[{\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[-1,10]}]}"},
        {CALL_MODEL_METADATA, &shown, "{\"versions\":[\"1\",\"2\"],\"inputs\":[],\"outputs\":[]}",
         "{\"name\":\"m\",\"platform\":\"\",\"versions\":[\"1\",\"2\"],\"inputs\":[],\"outputs\":[]"
         "}"},
        {CALL_MODEL_METADATA, &shown, "{\"versions\":null}", "{\"name\":\"m\",\"platform\":\"\"}"},
        {CALL_MODEL_METADATA, &two,
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[-2]}]}", NULL},
        {CALL_MODEL_METADATA, &two,
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1.5]}]}", NULL},
        {CALL_MODEL_METADATA, &two,
         "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"F\",\"shape\":[1]}]}", NULL},
        {CALL_MODEL_METADATA, &two, "{\"inputs\":[{\"datatype\":\"FP32\",\"shape\":[1]}]}", NULL},
        {CALL_MODEL_METADATA, &two, "{\"inputs\":[],\"inputs\":[]}", NULL},
        {CALL_MODEL_METADATA, &two, "{\"outputs\":[", NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        const struct call call = {rows[i].kind, BYTES_LITERAL("m"), {NULL, 0}};
        test_begin(&t);
        struct message m = test_message(&t, bytes_str(rows[i].in), NULL, bytes_of("", 0));
        enum codec_status status = codec_open_inference.filter_answer(
            t.arena, &call, &m, rows[i].declared, &t.out, &t.error);
        assert_status(&t, status, rows[i].out != NULL ? CODEC_OK : CODEC_BAD, rows[i].in);
        if (rows[i].out != NULL)
            assert_body(&t, rows[i].out);
        test_end(&t);
    }
}

static void test_health_limit(void **state) {
    const struct call call = {.kind = CALL_LIVE};
    (void)state;
    for (size_t extra = 0; extra <= 1; extra++) {
        struct test t;
        test_begin(&t);
        char *long_body = arena_calloc(t.arena, 1, HEALTH_BODY_MAX + extra);
        struct message m = {.body = test_body(&t, bytes_of(long_body, HEALTH_BODY_MAX + extra))};
        assert_status(&t, oip_filter_answer(t.arena, &call, &m, &two, &t.out, &t.error),
                      extra > 0 ? CODEC_TOO_BIG : CODEC_OK, "health");
        test_end(&t);
    }
}

static void test_calls(void **state) {
    static const struct {
        enum call_kind kind;
        const char *version, *path;
    } rows[] = {{CALL_LIVE, "", "/v2/health/live"},
                {CALL_READY, "", "/v2/health/ready"},
                {CALL_SERVER_METADATA, "", "/v2"},
                {CALL_MODEL_METADATA, "", "/v2/models/m"},
                {CALL_MODEL_METADATA, "3", "/v2/models/m/versions/3"},
                {CALL_MODEL_READY, "", "/v2/models/m/ready"},
                {CALL_MODEL_READY, "3", "/v2/models/m/versions/3/ready"},
                {CALL_REFUSED, "", NULL},
                {CALL_INFER, "", NULL}};
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct test t;
        const struct call call = {rows[i].kind, BYTES_LITERAL("m"), bytes_str(rows[i].version)};
        test_begin(&t);
        enum codec_status status = codec_open_inference.encode_call(t.arena, &call, &t.out);
        assert_int_equal(status, rows[i].path != NULL ? CODEC_OK : CODEC_UNSUPPORTED);
        assert_true(bytes_is(t.out.path, rows[i].path != NULL ? rows[i].path : ""));
        test_end(&t);
    }
}

/* 0.123456789 in every form an answer could carry it in. */
#define FP16_MARK "\xe7\x2f"
#define BF16_MARK "\xfd\x3d"
#define FP32_MARK "\xea\xd6\xfc\x3d"
#define FP64_MARK "\x5f\x63\x39\x37\xdd\x9a\xbf\x3f"
static const struct bytes marks[] = {
    {"0.12345", 7},
    {"1234567", 7},
    {"secret", 6},
    {FP32_MARK, 4},
    {FP64_MARK, 8},
    {FP16_MARK FP16_MARK, 4}, /* two of them: one could be a length or a shape */
    {BF16_MARK BF16_MARK, 4},
    {"X2M5N92avz8", 11}, /* base64 of the FP64, the FP32 and the text */
    {"6tb8PQ", 6},
    {"MC4xMjM0NTY3ODk", 15},
};

#define PLANTED                                                                                    \
    "{\"deep\":[0.123456789,\"MC4xMjM0NTY3ODk=\",\"6tb8PQ==\",{\"k\":\"X2M5N92avz8=\"}]}"
static const char planted[] =
    "{\"model_name\":\"secret "
    "0.123456789\",\"model_version\":\"0.123456789\",\"id\":\"0.123456789\","
    "\"own\":" PLANTED ",\"parameters\":" PLANTED ",\"outputs\":["
    "{\"name\":\"secret\",\"datatype\":\"FP64\",\"shape\":[2],\"data\":[0.123456789,0.123456789]},"
    "{\"name\":\"secret16\",\"datatype\":\"FP16\",\"shape\":[2],\"parameters\":{\"binary_data_"
    "size\":4}},"
    "{\"name\":\"secretb\",\"datatype\":\"BF16\",\"shape\":[2],\"parameters\":{\"binary_data_"
    "size\":4}},"
    "{\"name\":\"secrets\",\"datatype\":\"BYTES\",\"shape\":[1],\"data\":[\"0.123456789:1:secret\"]"
    "},"
    "{\"own\":" PLANTED ",\"name\":\"scores\",\"datatype\":\"FP32\",\"shape\":[2],"
    "\"parameters\":{\"x\":0.123456789,\"binary_data_size\":8}},"
    "{\"name\":\"secret32\",\"datatype\":\"FP32\",\"shape\":[1],\"parameters\":{\"binary_data_"
    "size\":4}},"
    "{\"name\":\"secret64\",\"datatype\":\"FP64\",\"shape\":[1],\"parameters\":{\"binary_data_"
    "size\":8}},"
    "{\"name\":\"label\",\"datatype\":\"INT64\",\"shape\":[1],\"data\":[3],\"parameters\":{"
    "\"content_type\""
    ":\"0.123456789\",\"own\":" PLANTED "}},"
    "{\"name\":\"value\",\"datatype\":\"FP64\",\"shape\":[1],\"data\":[0.123456789]}]}";
static const char planted_binary[] =
    FP16_MARK FP16_MARK BF16_MARK BF16_MARK "\0\0\0\x3f\0\0\0\x3f" FP32_MARK FP64_MARK;

static bool holds(struct bytes all, struct bytes part) {
    return memmem(all.at, all.len, part.at, part.len) != NULL;
}

static void test_canary(void **state) {
    static const char *const wishes[] = {
        "\"outputs\":[{\"name\":\"scores\"},{\"name\":\"label\"}]",
        "\"outputs\":[{\"name\":\"label\"}]",
        "\"outputs\":[{\"name\":\"scores\",\"parameters\":{\"binary_data\":true}},{\"name\":"
        "\"label\"}]",
        "\"parameters\":{\"binary_data_output\":true},\"outputs\":[{\"name\":\"label\"}]",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(wishes); i++) {
        struct test t;
        test_begin(&t);
        struct bytes body = arena_printf(t.arena,
                                         "{%s,\"inputs\":[{\"name\":\"x\",\"datatype\":\"INT8\","
                                         "\"shape\":[1],\"data\":[1]}]}",
                                         wishes[i]);
        struct message m = test_message(&t, body, NULL, bytes_of("", 0));
        assert_status(&t, test_query(&t, &m), CODEC_OK, wishes[i]);
        m = test_binary(&t, bytes_str(planted),
                        bytes_of(planted_binary, sizeof(planted_binary) - 1));
        for (size_t j = 0; j < COUNT(marks); j++)
            assert_true(holds(m.body, marks[j]));
        assert_status(&t, test_answer(&t, &m), CODEC_OK, "planted");
        assert_status(&t, test_encode_answer(&t), CODEC_OK, wishes[i]);
        struct message sent = test_sent(&t);
        for (size_t j = 0; j < COUNT(marks); j++)
            if (holds(sent.body, marks[j]))
                fail_msg("\"%s\" let mark %zu through", wishes[i], j);
        assert_true(holds(sent.body, BYTES_LITERAL("label")));
        test_end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_health_limit),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_canary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

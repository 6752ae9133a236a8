/* The calls, and requests on their way in and on. */
#include "oip_harness.h"

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

#define X          "{\"name\":\"x\",\"datatype\":\"FP32\",\"shape\":[1,3],\"data\":[1,2,3]}"
#define IN(tensor) "{\"inputs\":[" tensor "]}"
#define TENSOR(type, shape, data)                                                                  \
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" type "\",\"shape\":" shape ",\"data\":" data    \
    "}]}"
#define OUT(outputs)  "{\"inputs\":[" X "],\"outputs\":[" outputs "]}"
#define PARAMETERS(p) "{\"inputs\":[" X "],\"parameters\":{" p "}}"

static const struct {
    const char *body;
    enum codec_status status;
    const char *says;
} json_rows[] = {
    /* What is good. */
    {IN(X), CODEC_OK, NULL},
    {" { \"inputs\" : [ " X " ] } \n", CODEC_OK, NULL},
    {TENSOR("FP32", "[1,3]", "[[1,2,3]]"), CODEC_OK, NULL},
    {TENSOR("FP32", "[3]", "[1e5,-0,0.25]"), CODEC_OK, NULL},
    {TENSOR("FP64", "[]", "[0.5]"), CODEC_OK, NULL},
    {TENSOR("BOOL", "[4]", "[true,false,1,0]"), CODEC_OK, NULL},
    {TENSOR("UINT64", "[1]", "[18446744073709551615]"), CODEC_OK, NULL},
    {TENSOR("BYTES", "[2]", "[\"\",\"\\u00e9\"]"), CODEC_OK, NULL},
    {TENSOR("INT8", "[2,1,2]", "[[[1,2]],[[3,4]]]"), CODEC_OK, NULL},
    {IN("{\"data\":[[1,2]],\"shape\":[1,2],\"datatype\":\"INT8\",\"name\":\"x\"}"), CODEC_OK, NULL},
    {IN("{\"shape\":[2],\"data\":[1,2],\"datatype\":\"INT8\",\"name\":\"x\"}"), CODEC_OK, NULL},
    {IN("{\"datatype\":\"INT8\",\"data\":[1,2],\"shape\":[2],\"name\":\"x\"}"), CODEC_OK, NULL},
    {"{\"id\":null,\"parameters\":null,\"outputs\":null,\"inputs\":[" X "]}", CODEC_OK, NULL},
    {"{\"other\":{\"a\":[1,{}]},\"inputs\":[" X "],\"id\":\"\"}", CODEC_OK, NULL},
    {OUT(""), CODEC_OK, NULL},
    {OUT("{\"name\":\"scores\",\"parameters\":{\"classification\":10000}}"), CODEC_OK, NULL},
    {OUT("{\"name\":\"label\",\"parameters\":{\"binary_data\":false,\"other\":1}}"), CODEC_OK,
     NULL},
    {PARAMETERS("\"headers\":\"x\",\"triton_x\":true,\"own\":1.5"), CODEC_OK, NULL},
    /* T-5.1 */
    {"{\"u\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]],\"inputs\":[" X "]}", CODEC_BAD, "deep"},
    {TENSOR("FP32", "[1]", "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]"), CODEC_BAD, NULL},
    /* T-5.2 */
    {TENSOR("FP32", "[1]", "[NaN]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[Infinity]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[-Infinity]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP64", "[1]", "[1e999]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP64", "[1]", "[-1e999]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[1e39]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP16", "[1]", "[1]"), CODEC_BAD, "no JSON form"},
    {TENSOR("BF16", "[1]", "[1]"), CODEC_BAD, "no JSON form"},
    {TENSOR("FP32", "[1]", "[0x1]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[01]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[.5]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[1.]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[+1]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[1e]"), CODEC_BAD, "inputs[0].data"},
    /* T-5.3 */
    {"{\"inputs\":[" X "],\"inputs\":[" X "]}", CODEC_BAD, "duplicate"},
    {"{\"inputs\":[" X "],\"\\u0069nputs\":[" X "]}", CODEC_BAD, "duplicate"},
    {"{\"inputs\":[" X "],\"Inputs\":[" X "]}", CODEC_BAD, "inputs: spelt"},
    {"{\"OUTPUTS\":[],\"inputs\":[" X "]}", CODEC_BAD, "outputs: spelt"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1],\"Data\":[2]}"),
     CODEC_BAD, "inputs[0].data: spelt"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1],\"data\":[2]}"),
     CODEC_BAD, "duplicate"},
    {PARAMETERS("\"Binary_data_output\":true"), CODEC_BAD, "spelt"},
    {"{\"a\":1,\"\\u0061\":2,\"inputs\":[" X "]}", CODEC_BAD, "duplicate"},
    {IN(X "," X), CODEC_BAD, "inputs[1]: has the name of inputs[0]"},
    {OUT("{\"name\":\"label\"},{\"name\":\"label\"}"), CODEC_BAD,
     "outputs[1]: has the name of outputs[0]"},
    /* T-5.4 */
    {TENSOR("BYTES", "[1]", "[\"\\ud800\"]"), CODEC_BAD, NULL},
    {TENSOR("BYTES", "[1]", "[\"\xc0\xaf\"]"), CODEC_BAD, NULL},
    {"\xef\xbb\xbf" IN(X), CODEC_BAD, NULL},
    {IN(X) "x", CODEC_BAD, NULL},
    {IN(X) IN(X), CODEC_BAD, NULL},
    {"{/**/\"inputs\":[" X "]}", CODEC_BAD, NULL},
    {"{\"inputs\":[" X ",]}", CODEC_BAD, NULL},
    {"{\"inputs\":[" X "],}", CODEC_BAD, NULL},
    {"", CODEC_BAD, NULL},
    {"[]", CODEC_BAD, "object"},
    {"null", CODEC_BAD, "object"},
    /* T-5.6 */
    {TENSOR("INT8", "[2,3]", "[1,2,3,4,5]"), CODEC_BAD, "inputs[0].data: 5 values"},
    {TENSOR("INT8", "[2,3]", "[1,2,3,4,5,6,7]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("INT8", "[-1,3]", "[1,2,3]"), CODEC_BAD, "inputs[0].shape"},
    {TENSOR("INT8", "[0]", "[]"), CODEC_BAD, "inputs[0].shape: a dimension is 0"},
    {TENSOR("INT8", "[3,0]", "[]"), CODEC_BAD, "inputs[0].shape: a dimension is 0"},
    {TENSOR("INT8", "[]", "[]"), CODEC_BAD, "inputs[0].data: 0 values"},
    {TENSOR("INT8", "[]", "[1,2]"), CODEC_BAD, NULL},
    {TENSOR("INT8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "[1]"), CODEC_BAD, "dimensions"},
    {TENSOR("INT8", "[1.0]", "[1]"), CODEC_BAD, "inputs[0].shape"},
    {TENSOR("INT8", "[1e0]", "[1]"), CODEC_BAD, "inputs[0].shape"},
    {TENSOR("INT8", "[4294967296,4294967296]", "[1]"), CODEC_BAD, "overflows"},
    {TENSOR("INT8", "[3037000500,3037000500]", "[1]"), CODEC_BAD, "fewer values"},
    {TENSOR("INT8", "[18446744073709551616]", "[1]"), CODEC_BAD, "inputs[0].shape"},
    {TENSOR("INT8", "1", "[1]"), CODEC_BAD, "inputs[0].shape"},
    {TENSOR("INT8", "[2,2]", "[[1,2,3,4]]"), CODEC_BAD, "nested"},
    {TENSOR("INT8", "[2,2]", "[[1],[2],[3],[4]]"), CODEC_BAD, "nested"},
    {TENSOR("INT8", "[4]", "[[1,2],[3,4]]"), CODEC_BAD, "nested"},
    {TENSOR("INT8", "[2,2]", "[[1,2],[3]]"), CODEC_BAD, NULL},
    {TENSOR("INT8", "[2,2]", "[[1,2],3,4]"), CODEC_BAD, NULL},
    {TENSOR("INT8", "[1]", "1"), CODEC_BAD, NULL},
    {TENSOR("INT8", "[1]", "null"), CODEC_BAD, NULL},
    /* The same when the shape comes last and cannot bound the reading. */
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"data\":[1,2,3],\"shape\":[2]}"), CODEC_BAD,
     "3 values where the shape says 2"},
    /* T-5.7, the JSON half */
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1],"
        "\"parameters\":{\"binary_data_size\":1}}"),
     CODEC_BAD, "both"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],"
        "\"parameters\":{\"binary_data_size\":1}}"),
     CODEC_BAD, "left of the body"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1]}"), CODEC_BAD, "no data"},
    /* T-5.8 */
    {TENSOR("FP32", "[1]", "[\"1\"]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("FP32", "[1]", "[true]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("BOOL", "[1]", "[2]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("INT8", "[1]", "[300]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("UINT8", "[1]", "[-1]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("UINT64", "[1]", "[18446744073709551616]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("INT64", "[1]", "[1.0]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("BYTES", "[1]", "[1]"), CODEC_BAD, "inputs[0].data"},
    {TENSOR("fp32", "[1]", "[1]"), CODEC_BAD, "inputs[0].datatype: no such datatype"},
    {TENSOR("STRING", "[1]", "[1]"), CODEC_BAD, "inputs[0].datatype"},
    /* What is missing or of another type. */
    {"{}", CODEC_BAD, "inputs: at least one"},
    {"{\"inputs\":[]}", CODEC_BAD, "inputs: at least one"},
    {"{\"inputs\":null}", CODEC_BAD, NULL},
    {"{\"inputs\":{}}", CODEC_BAD, "array"},
    {"{\"inputs\":[1]}", CODEC_BAD, "inputs[0]: expected an object"},
    {IN("{\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}"), CODEC_BAD, "inputs[0]: has no name"},
    {IN("{\"name\":\"\",\"datatype\":\"INT8\",\"shape\":[1],\"data\":[1]}"), CODEC_BAD, "no name"},
    {IN("{\"name\":\"x\",\"shape\":[1],\"data\":[1]}"), CODEC_BAD, "no datatype"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"data\":[1]}"), CODEC_BAD, "no shape"},
    {"{\"id\":1,\"inputs\":[" X "]}", CODEC_BAD, "id: "},
    {OUT("{}"), CODEC_BAD, "outputs[0]: has no name"},
    {OUT("1"), CODEC_BAD, "outputs[0]"},
    /* Parameters. */
    {PARAMETERS("\"own\":{}"), CODEC_BAD, "parameters: values must be"},
    {PARAMETERS("\"own\":[1]"), CODEC_BAD, "parameters: values must be"},
    {PARAMETERS("\"own\":null"), CODEC_BAD, "parameters: values must be"},
    {PARAMETERS("\"binary_data_output\":1"), CODEC_BAD, "binary_data_output"},
    {PARAMETERS("\"sequence_id\":-1"), CODEC_BAD, "sequence_id"},
    {PARAMETERS("\"sequence_start\":\"yes\""), CODEC_BAD, "sequence_start"},
    {PARAMETERS("\"timeout\":1.5"), CODEC_BAD, "timeout"},
    {PARAMETERS("\"shared_memory_region\":\"r\""), CODEC_UNSUPPORTED, "shared memory"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],"
        "\"parameters\":{\"shared_memory_region\":\"r\"}}"),
     CODEC_UNSUPPORTED, "inputs[0].shared_memory_region: shared memory is not let through"},
    {IN("{\"name\":\"x\",\"datatype\":\"INT8\",\"shape\":[1],"
        "\"parameters\":{\"shared_memory_byte_size\":9}}"),
     CODEC_UNSUPPORTED, "shared memory"},
    {OUT("{\"name\":\"label\",\"parameters\":{\"shared_memory_offset\":1}}"), CODEC_UNSUPPORTED,
     "outputs[0].shared_memory_offset"},
    {OUT("{\"name\":\"label\",\"parameters\":{\"x\":{}}}"), CODEC_BAD, "values must be"},
    {OUT("{\"name\":\"scores\",\"parameters\":{\"classification\":0}}"), CODEC_BAD, "within"},
    {OUT("{\"name\":\"scores\",\"parameters\":{\"classification\":10001}}"), CODEC_BAD, "within"},
    {OUT("{\"name\":\"scores\",\"parameters\":{\"classification\":\"2\"}}"), CODEC_BAD, NULL},
    {OUT("{\"name\":\"label\",\"parameters\":{\"classification\":2}}"), CODEC_UNSUPPORTED,
     "output 'label' has no classes"},
    {OUT("{\"name\":\"secret\"}"), CODEC_UNSUPPORTED,
     "output 'secret' is not released by the policy"},
    {OUT("{\"name\":\"Scores\"}"), CODEC_UNSUPPORTED, "output 'Scores' is not released"},
    {OUT("{\"name\":\"a\\n'\\u00e9\"}"), CODEC_UNSUPPORTED, "output 'a\?\?\?\?' is not released"},
};

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

#define BINARY(type, shape, size)                                                                  \
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" type "\",\"shape\":" shape                      \
    ",\"parameters\":{\"binary_data_size\":" size "}}]}"
#define RAW(s)                                                                                     \
    { s, sizeof(s) - 1 }

/* T-5.7: length "=" is the true length of the JSON part. */
static const struct {
    const char *json, *length;
    struct bytes binary;
    enum codec_status status;
    const char *says;
} binary_rows[] = {
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\x80\x3f"), CODEC_OK, NULL},
    {BINARY("FP16", "[2]", "4"), "=", RAW("\0\x3c\xff\x7b"), CODEC_OK, NULL},
    {BINARY("BF16", "[1]", "2"), "=", RAW("\x80\x3f"), CODEC_OK, NULL},
    {BINARY("BOOL", "[2]", "2"), "=", RAW("\1\0"), CODEC_OK, NULL},
    {BINARY("BYTES", "[2]", "10"), "=", RAW("\0\0\0\0\2\0\0\0\xff\xfe"), CODEC_OK, NULL},
    {IN(X), "=", RAW(""), CODEC_OK, NULL},
    {IN(X), "0", RAW(""), CODEC_UNSUPPORTED, "raw binary"},
    {IN(X), "000", RAW(""), CODEC_UNSUPPORTED, "raw binary"},
    {IN(X), "-1", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "+5", RAW(""), CODEC_BAD, "digits"},
    {IN(X), " 5", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "12abc", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "1234567890", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "999999999", RAW(""), CODEC_BAD, "over the length"},
    {IN(X), "10", RAW(""), CODEC_BAD, NULL},
    {IN(X), "=", RAW("x"), CODEC_BAD, "1 bytes behind"},
    {BINARY("FP32", "[1]", "4"), NULL, RAW("\0\0\x80\x3f"), CODEC_BAD, NULL},
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\x80"), CODEC_BAD, "left of the body"},
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\x80\x3f\0"), CODEC_BAD, "1 bytes behind"},
    {BINARY("FP32", "[1]", "3"), "=", RAW("\0\0\x80"), CODEC_BAD, "inputs[0].data: 3 bytes"},
    {BINARY("FP32", "[2]", "4"), "=", RAW("\0\0\x80\x3f"), CODEC_BAD, "inputs[0].data"},
    {BINARY("FP32", "[1]", "0"), "=", RAW(""), CODEC_BAD, "inputs[0].data: 0 bytes"},
    {BINARY("FP32", "[1]", "-4"), "=", RAW("\0\0\x80\x3f"), CODEC_BAD, "binary_data_size"},
    {BINARY("FP32", "[1]", "4.0"), "=", RAW("\0\0\x80\x3f"), CODEC_BAD, "binary_data_size"},
    {BINARY("FP32", "[1]", "\"4\""), "=", RAW("\0\0\x80\x3f"), CODEC_BAD, "binary_data_size"},
    {BINARY("FP32", "[1]", "18446744073709551615"), "=", RAW(""), CODEC_BAD, "left of the body"},
    {BINARY("FP64", "[2305843009213693953]", "8"), "=", RAW("\0\0\0\0\0\0\0\0"), CODEC_BAD, NULL},
    {BINARY("BOOL", "[2]", "2"), "=", RAW("\1\2"), CODEC_BAD, "BOOL"},
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\xc0\x7f"), CODEC_BAD,
     "data: a value is not finite"},
    {BINARY("FP32", "[3]", "12"), "=", RAW("\0\0\0\0\0\0\0\0\0\0\x80\xff"), CODEC_BAD, "finite"},
    {BINARY("FP64", "[1]", "8"), "=", RAW("\0\0\0\0\0\0\xf0\x7f"), CODEC_BAD, "finite"},
    {BINARY("FP16", "[1]", "2"), "=", RAW("\0\x7c"), CODEC_BAD, "finite"},
    {BINARY("BF16", "[5]", "10"), "=", RAW("\0\0\0\0\0\0\0\0\x80\x7f"), CODEC_BAD, "finite"},
    {BINARY("BYTES", "[1]", "4"), "=", RAW("\1\0\0\0"), CODEC_BAD, "lengths inside"},
    {BINARY("BYTES", "[1]", "5"), "=", RAW("\0\0\0\0x"), CODEC_BAD, "lengths inside"},
    {BINARY("BYTES", "[2]", "6"), "=", RAW("\2\0\0\0xy"), CODEC_BAD, "lengths inside"},
    {BINARY("BYTES", "[1]", "4"), "=", RAW("\xff\xff\xff\xff"), CODEC_BAD, "lengths inside"},
    {BINARY("BYTES", "[4611686018427387905]", "4"), "=", RAW("\0\0\0\0"), CODEC_BAD, "lengths"},
};

static void test_binary_rows(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(binary_rows); i++) {
        struct test t;
        test_begin(&t);
        struct bytes json = bytes_str(binary_rows[i].json);
        const char *length = binary_rows[i].length;
        struct message m = length != NULL && length[0] == '='
                               ? test_binary(&t, json, binary_rows[i].binary)
                               : test_message(&t, json, length, binary_rows[i].binary);
        if (length == NULL)
            m.header_count = 0;
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
    static const struct declared two = {test_outputs, 2, false};
    static const struct declared none = {NULL, 0, false};
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

/* oip_rows.h - request bodies, good and bad, what becomes of them and the words that say so. */
#ifndef QG_OIP_ROWS_H
#define QG_OIP_ROWS_H

#include "oip_harness.h"

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

#define BINARY(type, shape, size)                                                                  \
    "{\"inputs\":[{\"name\":\"x\",\"datatype\":\"" type "\",\"shape\":" shape                      \
    ",\"parameters\":{\"binary_data_size\":" size "}}]}"
#define RAW(s)                                                                                     \
    { s, sizeof(s) - 1 }

/* T-5.7: length "=" is the true length of the JSON part, "+" that of the body and one more. */
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
    {IN(X), "0", RAW(""), CODEC_BAD, "raw binary"},
    {IN(X), "000", RAW(""), CODEC_BAD, "raw binary"},
    {IN(X), "-1", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "+5", RAW(""), CODEC_BAD, "digits"},
    {IN(X), " 5", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "12abc", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "1234567890", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "0000000001", RAW(""), CODEC_BAD, "digits"},
    {IN(X), "+", RAW(""), CODEC_BAD, "over the length"},
    {IN(X), "999999999", RAW(""), CODEC_BAD, "over the length"},
    {IN(X), "10", RAW(""), CODEC_BAD, NULL},
    {IN(X), "=", RAW("x"), CODEC_BAD, "1 bytes behind"},
    {BINARY("FP32", "[1]", "4"), NULL, RAW("\0\0\x80\x3f"), CODEC_BAD, NULL},
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\x80"), CODEC_BAD, "left of the body"},
    {BINARY("FP32", "[1]", "4"), "=", RAW("\0\0\x80\x3f\0"), CODEC_BAD, "1 bytes behind"},
    {BINARY("FP32", "[1]", "8"), "=", RAW("\0\0\x80\x3f\0\0\0\0"), CODEC_BAD, "data: 8 bytes"},
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

#endif

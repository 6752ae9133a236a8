#include "oip.h"

/* Parameters of a tensor; from SHARED_MEMORY on, those whose bytes would go round the gate. */
enum { BINARY_DATA_SIZE, CONTENT_TYPE, SHARED_MEMORY };
static const char *const parameters[] = {"binary_data_size",        "content_type",
                                         "shared_memory_region",    "shared_memory_offset",
                                         "shared_memory_byte_size", NULL};

#define CONTENT_TYPE_MAX 128

static bool read_parameter(struct oip_reader *r, struct oip_tensor *t, int which) {
    switch (which) {
    case BINARY_DATA_SIZE:
        t->has_size = true;
        return oip_u64(r, &t->binary_size);
    case CONTENT_TYPE:
        if (r->answer)
            return oip_skip(r);
        return oip_string(r, CONTENT_TYPE_MAX, &t->content_type);
    case -1:
        return oip_skip_flat(r);
    default:
        return oip_fail(r, CODEC_UNSUPPORTED, "shared memory is not let through");
    }
}

static bool read_parameters(struct oip_reader *r, struct oip_tensor *t) {
    int which;
    if (oip_null(r))
        return true;
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (oip_key(r, parameters, &which))
        if (!read_parameter(r, t, which))
            return false;
    return r->status == CODEC_OK;
}

static bool read_shape(struct oip_reader *r, struct tensor *t) {
    t->elements = 1;
    if (!json_enter_array(&r->json))
        return oip_fail_json(r);
    while (json_element(&r->json)) {
        uint64_t dim;
        if (t->rank == TENSOR_DIMS_MAX)
            return oip_fail(r, CODEC_BAD, "more than %d dimensions", TENSOR_DIMS_MAX);
        if (!oip_u64(r, &dim))
            return false;
        if (dim == 0)
            return oip_fail(r, CODEC_BAD, "a dimension is 0");
        if (__builtin_mul_overflow(t->elements, dim, &t->elements))
            return oip_fail(r, CODEC_BAD, "the product of the dimensions overflows");
        t->shape[t->rank++] = dim;
    }
    return r->json.failure == JSON_FINE || oip_fail_json(r);
}

static bool read_datatype(struct oip_reader *r, struct tensor *t) {
    struct bytes name;
    if (!oip_string(r, TENSOR_NAME_MAX, &name))
        return false;
    if ((t->dtype = dtype_named(name)) == DTYPE_NONE)
        return oip_fail(r, CODEC_BAD, "no such datatype");
    return true;
}

/* The elements at json, once the datatype is known. */
static bool read_elements(struct oip_reader *r, struct json_reader *json, struct oip_tensor *t) {
    uint64_t most = (uint64_t)(json->end - json->at);
    if (t->tensor.dtype == DTYPE_FP16 || t->tensor.dtype == DTYPE_BF16)
        return oip_fail(r, CODEC_BAD, "%s has no JSON form", dtype_name(t->tensor.dtype));
    /* An element takes a byte of text at least, so a shape of more is wrong without looking. */
    if (t->has_shape && t->tensor.elements > most)
        return oip_fail(r, CODEC_BAD, "fewer values than the shape says");
    if (t->has_shape)
        most = t->tensor.elements;
    if (r->check_only ? json_tensor_check(json, t->tensor.dtype, most, &t->json)
                      : json_tensor(json, t->tensor.dtype, most, &t->json))
        return true;
    r->json.failure = json->failure;
    r->json.error = json->error;
    r->json.error_offset = (size_t)(json->start - r->json.start) + json->error_offset;
    return oip_fail_json(r);
}

static bool read_data(struct oip_reader *r, struct oip_tensor *t) {
    t->has_data = true;
    if (t->has_datatype)
        return read_elements(r, &r->json, t);
    return json_skip(&r->json, &t->unread) || oip_fail_json(r);
}

/* Data that stood before its datatype is read a second time, now with it. */
static bool read_unread(struct oip_reader *r, struct oip_tensor *t) {
    struct json_reader again;
    if (t->unread.len == 0)
        return true;
    if (!json_start(&again, r->arena, t->unread))
        return oip_fail(r, CODEC_NO_MEMORY, "out of memory");
    return read_elements(r, &again, t);
}

static bool take_json(struct oip_reader *r, struct oip_tensor *t) {
    r->field = "data";
    if (!read_unread(r, t))
        return false;
    const struct json_tensor *j = &t->json;
    struct tensor *to = &t->tensor;
    if (j->elements != to->elements)
        return oip_fail(r, CODEC_BAD, "%llu values where the shape says %llu",
                        (unsigned long long)j->elements, (unsigned long long)to->elements);
    if (j->nested_rank > 1 &&
        (j->nested_rank != to->rank ||
         memcmp(j->nested_shape, to->shape, to->rank * sizeof(to->shape[0])) != 0))
        return oip_fail(r, CODEC_BAD, "is nested in another shape than it says");
    to->data = j->data;
    to->text = j->text;
    return true;
}

/* Do elements with their length in front fill data exactly? */
static bool strings_tile(struct bytes data, uint64_t elements) {
    if (elements > data.len / 4)
        return false;
    for (uint64_t i = 0; i < elements; i++) {
        uint32_t len;
        if (data.len < sizeof(len))
            return false;
        memcpy(&len, data.at, sizeof(len));
        data = bytes_skip(data, sizeof(len));
        if (len > data.len)
            return false;
        data = bytes_skip(data, len);
    }
    return data.len == 0;
}

static bool booleans_clean(struct bytes data) {
    unsigned char seen = 0;
    for (size_t i = 0; i < data.len; i++)
        seen |= (unsigned char)data.at[i];
    return seen <= 1;
}

/* Eight bytes at a time: adding one to an exponent carries into the sign bit (cleared before) only
 * when all its bits were set. */
static bool any_exponent_full(struct bytes data, uint64_t exponent, uint64_t one) {
    uint64_t carry = 0, word;
    size_t i = 0;
    for (; i + sizeof(word) <= data.len; i += sizeof(word)) {
        memcpy(&word, data.at + i, sizeof(word));
        carry |= (word & exponent) + one;
    }
    word = 0;
    memcpy(&word, data.at + i, data.len - i);
    carry |= (word & exponent) + one;
    return (carry & (exponent + one)) != 0;
}

bool oip_has_nonfinite(enum dtype type, struct bytes data) {
    switch (type) {
    case DTYPE_FP16:
        return any_exponent_full(data, 0x7c007c007c007c00, 0x0400040004000400);
    case DTYPE_BF16:
        return any_exponent_full(data, 0x7f807f807f807f80, 0x0080008000800080);
    case DTYPE_FP32:
        return any_exponent_full(data, 0x7f8000007f800000, 0x0080000000800000);
    case DTYPE_FP64:
        return any_exponent_full(data, 0x7ff0000000000000, 0x0010000000000000);
    default:
        return false;
    }
}

static bool check_binary(struct oip_reader *r, const struct tensor *t) {
    size_t size = dtype_size(t->dtype);
    uint64_t total;
    r->field = "data";
    if (t->dtype == DTYPE_BYTES) {
        if (!strings_tile(t->data, t->elements))
            return oip_fail(r, CODEC_BAD, "the lengths inside do not fill binary_data_size");
        return true;
    }
    if (__builtin_mul_overflow(t->elements, size, &total) || total != t->data.len)
        return oip_fail(r, CODEC_BAD, "%zu bytes for %llu elements of %zu", t->data.len,
                        (unsigned long long)t->elements, size);
    if (t->dtype == DTYPE_BOOL && !booleans_clean(t->data))
        return oip_fail(r, CODEC_BAD, "a BOOL is neither 0 nor 1");
    if (!r->answer && oip_has_nonfinite(t->dtype, t->data))
        return oip_fail(r, CODEC_BAD, "a value is not finite");
    return true;
}

static bool take_binary(struct oip_reader *r, struct oip_tensor *t) {
    r->field = "parameters.binary_data_size";
    if (t->binary_size > r->binary.len)
        return oip_fail(r, CODEC_BAD, "is over what is left of the body");
    t->tensor.data = bytes_of(r->binary.at, (size_t)t->binary_size);
    r->binary = bytes_skip(r->binary, (size_t)t->binary_size);
    return check_binary(r, &t->tensor);
}

static bool complete(struct oip_reader *r, struct oip_tensor *t) {
    r->field = NULL;
    if (!t->has_name || t->tensor.name.len == 0)
        return oip_fail(r, CODEC_BAD, "has no name");
    if (!t->has_datatype)
        return oip_fail(r, CODEC_BAD, "has no datatype");
    if (!t->has_shape)
        return oip_fail(r, CODEC_BAD, "has no shape");
    if (t->has_data && t->has_size)
        return oip_fail(r, CODEC_BAD, "has both data and binary_data_size");
    if (t->has_data)
        return take_json(r, t);
    if (t->has_size)
        return take_binary(r, t);
    return oip_fail(r, CODEC_BAD, "has no data");
}

enum { NAME, DATATYPE, SHAPE, DATA, PARAMETERS };
static const char *const keys[] = {"name", "datatype", "shape", "data", "parameters", NULL};

static bool read_key(struct oip_reader *r, struct oip_tensor *t, int which) {
    switch (which) {
    case NAME:
        t->has_name = true;
        return oip_string(r, TENSOR_NAME_MAX, &t->tensor.name);
    case DATATYPE:
        t->has_datatype = true;
        return read_datatype(r, &t->tensor);
    case SHAPE:
        t->has_shape = true;
        return read_shape(r, &t->tensor);
    case DATA:
        return read_data(r, t);
    case PARAMETERS:
        return read_parameters(r, t);
    default:
        return oip_skip(r);
    }
}

bool oip_read_tensor(struct oip_reader *r, struct oip_tensor *t) {
    int which;
    memset(t, 0, sizeof(*t));
    if (!json_enter_object(&r->json))
        return oip_fail_json(r);
    while (oip_key(r, keys, &which))
        if (!read_key(r, t, which))
            return false;
    return r->status == CODEC_OK && complete(r, t);
}

/* The JSON reader: what it accepts jansson accepts, with the same structure and numbers; a tensor
 * of any datatype is a valid document, has the size it says, and survives being written.
 *
 * The first byte chooses the datatype. */
#include <stdlib.h>

#include "../../proto/json.h"
#include "../../proxy/base/limits.h"
#include "../../proxy/base/require.h"
#include "../unit/jansson_oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena *arena;

static bool start(struct json_reader *r, struct bytes text) {
    arena_reset(arena);
    return json_start(r, arena, text);
}

static void check_document(struct bytes text) {
    struct json_reader r;
    json_error_t error = {0};
    if (!start(&r, text) || !json_skip(&r, NULL) || !json_end(&r)) {
        require(r.failure != JSON_FINE && r.error != NULL && r.error_offset <= text.len);
        return;
    }
    json_t *want = json_loadb(text.at, text.len, JANSSON_STRICT, &error);
    /* jansson has no keys with a NUL in them. */
    require(want != NULL || json_error_code(&error) == json_error_null_byte_in_key);
    require(want == NULL || (start(&r, text) && same_as_jansson(&r, want)));
    json_decref(want);
}

static void check_tensor(struct bytes text, enum dtype type) {
    struct json_reader r;
    struct json_tensor t, again;
    bool checks = start(&r, text) && json_tensor_check(&r, type, 1000, &again) && json_end(&r);
    bool reads = start(&r, text) && json_tensor(&r, type, 1000, &t) && json_end(&r);
    require(checks == reads);
    if (!reads)
        return;
    uint64_t product = 1;
    for (uint32_t i = 0; i < t.nested_rank; i++)
        product *= t.nested_shape[i];
    require(product == t.elements && t.elements <= 1000);
    require(type == DTYPE_BYTES || t.data.len == t.elements * dtype_size(type));
    struct buf b;
    buf_init(&b, MIB(4));
    require(json_write_tensor(&b, type, t.data, t.elements));
    require(buf_reserve(&b, BODY_PADDING) != NULL);
    struct json_reader second;
    require(json_start(&second, arena, buf_bytes(&b)));
    require(json_tensor(&second, type, t.elements, &again) && json_end(&second));
    require(bytes_eq(t.data, again.data) && json_start(&r, arena, text) && json_skip(&r, NULL));
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (arena == NULL)
        arena = arena_new(MIB(64));
    char *text = malloc(size + BODY_PADDING);
    if (size > 0 && arena != NULL && text != NULL) {
        memcpy(text, data + 1, size - 1);
        memset(text + size - 1, data[0], BODY_PADDING);
        check_document(bytes_of(text, size - 1));
        check_tensor(bytes_of(text, size - 1), (enum dtype)(1 + data[0] % DTYPE_BYTES));
    }
    free(text);
    return 0;
}

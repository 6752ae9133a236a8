/* Bodies with binary tensors: a byte of flags (below 0x80: a request), the value of
 * Inference-Header-Content-Length up to a line feed, then the body. */
#include "oip_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > KIB(64))
        return 0;
    struct bytes body = bytes_of(data + 1, size - 1);
    struct bytes length = bytes_cut(&body, '\n');
    struct header header = {BYTES_LITERAL("Inference-Header-Content-Length"), length};
    struct message m = fuzz_message(&body, 1, &header, 1);
    fuzz_both(&m, data[0]);
    free((char *)m.body.at);
    return 0;
}

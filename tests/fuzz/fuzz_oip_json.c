/* JSON bodies of the Open Inference Protocol: a byte of flags (below 0x80: a request, from 0x80
 * on: an answer), then the body. */
#include "oip_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > KIB(64))
        return 0;
    struct bytes body = bytes_of(data + 1, size - 1);
    struct message m = fuzz_message(&body, 1, NULL, 0);
    fuzz_both(&m, data[0]);
    free((char *)m.body.at);
    return 0;
}

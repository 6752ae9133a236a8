#include <stdbool.h>

#include "alert_private.h"

#define RANDOM_BYTES 10

/* Big-endian plus one.  False: it was the greatest. */
static bool increment(unsigned char *number, size_t len) {
    while (len-- > 0)
        if (++number[len] != 0)
            return true;
    return false;
}

void alert_id(uint64_t wall_ms, char out[ALERT_ID]) {
    static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    static uint64_t last_ms;
    static unsigned char low[RANDOM_BYTES];
    /* In one millisecond, and after the clock went back, the random part counts on. */
    if (wall_ms > last_ms || !increment(low, sizeof(low))) {
        last_ms = wall_ms > last_ms ? wall_ms : last_ms + 1;
        crypto_random(low, sizeof(low));
    }
    unsigned __int128 bits = last_ms & ((UINT64_C(1) << 48) - 1);
    for (size_t i = 0; i < sizeof(low); i++)
        bits = bits << 8 | low[i];
    for (int i = ALERT_ID - 2; i >= 0; i--) {
        out[i] = digits[bits & 31];
        bits >>= 5;
    }
    out[ALERT_ID - 1] = '\0';
}

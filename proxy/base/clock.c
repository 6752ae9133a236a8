#include "clock.h"

#include <string.h>
#include <time.h>

static uint64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t clock_us(void) {
    return read_clock(CLOCK_MONOTONIC) / 1000;
}

uint64_t clock_ns(void) {
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void) {
    return read_clock(CLOCK_REALTIME) / 1000;
}

void clock_text(uint64_t wall_us, char out[CLOCK_TEXT]) {
    /* Calendar arithmetic once a second; only the milliseconds move within one. */
    static _Thread_local time_t known = -1;
    static _Thread_local char text[32];
    time_t seconds = (time_t)(wall_us / 1000000);
    unsigned ms = (unsigned)(wall_us / 1000 % 1000);
    if (seconds != known) {
        struct tm tm;
        gmtime_r(&seconds, &tm);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S.000Z", &tm);
        known = seconds;
    }
    memcpy(out, text, CLOCK_TEXT);
    out[20] = (char)('0' + ms / 100);
    out[21] = (char)('0' + ms / 10 % 10);
    out[22] = (char)('0' + ms % 10);
}

#include "clock.h"

#include <stdio.h>
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
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;
    char day[32];
    gmtime_r(&seconds, &tm);
    strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, CLOCK_TEXT, "%.19s.%03uZ", day, (unsigned)(wall_us / 1000 % 1000));
}

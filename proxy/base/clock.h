/* clock.h - time.  Deadlines and rates use the monotonic clock only. */
#ifndef QG_CLOCK_H
#define QG_CLOCK_H

#include <stdint.h>

uint64_t clock_us(void);      /* monotonic, microseconds */
uint64_t clock_ns(void);      /* monotonic, nanoseconds */
uint64_t clock_wall_us(void); /* since 1970, UTC: log lines only */

/* "2026-11-26T08:00:00.123Z": 24 characters and a NUL. */
#define CLOCK_TEXT 25
void clock_text(uint64_t wall_us, char out[CLOCK_TEXT]);

#endif

/* json_harness.h - where the JSON tests get their texts and their chance from. */
#ifndef QG_JSON_HARNESS_H
#define QG_JSON_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../proto/json.h"
#include "../../proxy/base/limits.h"

/* What stands in the padding must not matter: it may even go on where the text stops. */
static const char fillings[] = {'\0', '9', '"', ']', ',', 'e', ' ', '}'};

/* text, with exactly BODY_PADDING readable bytes behind it, two of them `filling`, and then a page
 * that must not be touched.  Valid until the next call. */
static inline struct bytes guarded(struct bytes text, char filling) {
    static char *edge;
    size_t room = MIB(16);
    if (edge == NULL) {
        char *at = mmap(NULL, room + 4096, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_ptr_not_equal(at, MAP_FAILED);
        edge = at + room;
        assert_int_equal(mprotect(edge, 4096, PROT_NONE), 0);
    }
    assert_true(text.len <= room - BODY_PADDING);
    char *to = edge - BODY_PADDING - text.len;
    if (text.len > 0)
        memmove(to, text.at, text.len);
    memset(edge - BODY_PADDING, filling == ',' ? ']' : ',', BODY_PADDING);
    memset(edge - BODY_PADDING, filling, 2);
    return bytes_of(to, text.len);
}

/* xorshift64*: the same numbers on every machine. */
static inline uint64_t chance(void) {
    static uint64_t state = 0x9e3779b97f4a7c15u;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1du;
}

static inline uint64_t below(uint64_t n) {
    return chance() % n;
}

static inline double seconds_used(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif

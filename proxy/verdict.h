/* verdict.h - what a filter decided about a query. */
#ifndef QG_VERDICT_H
#define QG_VERDICT_H

#include <stdint.h>

enum verdict_kind {
    VERDICT_PASS,   /* go on with the next filter */
    VERDICT_DENY,   /* refuse, with status and reason */
    VERDICT_WAIT,   /* the filter has started something and will call filter_resume() */
    VERDICT_SWITCH, /* another policy's filters decide, from the first */
    VERDICT_FAULT,  /* the filter could not decide (store down, no memory): refused with 503 */
};

struct policy;

struct verdict {
    enum verdict_kind kind;
    uint16_t status;             /* HTTP status of a DENY or FAULT */
    uint32_t retry_after_ms;     /* 0: none is said */
    const char *reason;          /* static text for the client and the log; never holds a payload */
    const struct policy *policy; /* of a SWITCH: one that the filter named, see filter.h */
};

static inline struct verdict verdict_pass(void) {
    return (struct verdict){.kind = VERDICT_PASS};
}

static inline struct verdict verdict_wait(void) {
    return (struct verdict){.kind = VERDICT_WAIT};
}

static inline struct verdict verdict_deny(uint16_t status, const char *reason) {
    return (struct verdict){.kind = VERDICT_DENY, .status = status, .reason = reason};
}

static inline struct verdict verdict_switch(const struct policy *policy) {
    return (struct verdict){.kind = VERDICT_SWITCH, .policy = policy};
}

static inline struct verdict verdict_fault(const char *reason) {
    return (struct verdict){
        .kind = VERDICT_FAULT, .status = 503, .retry_after_ms = 1000, .reason = reason};
}

#endif

/* alert_private.h - an alert on its way to the sinks, shared by alert*.c.
 *
 * A format is one file, one `const struct alert_format alert_NAME` and one row in
 * alert_formats.def. */
#ifndef QG_ALERT_PRIVATE_H
#define QG_ALERT_PRIVATE_H

#include "alert.h"
#include "base/buf.h"
#include "base/limits.h"
#include "crypto.h"

/* A ULID: 48 bits of milliseconds since 1970 and 80 random ones in Crockford's base 32, so that ids
 * sort by time. */
#define ALERT_ID 27 /* with the NUL */

struct alert_event {
    struct alert alert;         /* client and model point into this struct's own copies */
    char id[ALERT_ID];          /* the same in every format and at every attempt */
    uint64_t sequence;          /* of this process, from 1: a gap is a loss */
    uint64_t count;             /* how many alerts this one stands for */
    uint64_t first_us, last_us; /* wall time of the first and the last of them */
    const char *gate;           /* the instance's name */
    const char *policy_sha256;  /* in force when it was delivered */
};

struct alert_format {
    const char *name; /* the word in the policy */
    /* Appends one record, its end included. */
    void (*encode)(const struct alert_event *, struct buf *out);
};

#define ALERT_FORMAT(name) extern const struct alert_format alert_##name;
#include "alert_formats.def"
#undef ALERT_FORMAT

extern const struct alert_format *const alert_formats[]; /* NULL-terminated */

/* A new id, greater than every one before it.  Main thread only. */
void alert_id(uint64_t wall_ms, char out[ALERT_ID]);

#endif

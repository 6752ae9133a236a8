/* codec.h - the contract of an inference protocol.
 *
 * A codec is a set of pure functions of bytes: no clock, no log, no I/O, no state between calls.
 * Unit tests, fuzzers and the proxy call the same functions.  To add a protocol: one file with a
 * `const struct codec codec_NAME`, one row CODEC(NAME) in codecs.def. */
#ifndef QG_CODEC_H
#define QG_CODEC_H

#include "message.h"
#include "predictions.h"

/* Which call of the protocol a request is.  What match() does not know, the gate refuses. */
enum call_kind {
    CALL_REFUSED, /* a call that exists but is not let through: statistics, repository, ... */
    CALL_INFER,
    CALL_LIVE, /* server or upstream health: the answer's body passes untouched */
    CALL_READY,
    CALL_SERVER_METADATA,
    CALL_MODEL_METADATA, /* filtered: only declared outputs are named */
    CALL_MODEL_READY,
};

struct call {
    enum call_kind kind;
    struct bytes model, version; /* empty when the call has none */
};

enum codec_status {
    CODEC_OK,
    CODEC_BAD,         /* malformed: 400 for a query, 502 for an answer */
    CODEC_TOO_BIG,     /* over a limit of base/limits.h: 413 or 502 */
    CODEC_UNSUPPORTED, /* well formed, but asks for what is not let through: 403 */
    CODEC_NO_MEMORY,   /* 503 */
};

/* What is wrong and where, for the client: "inputs[0].data: 5 values for shape [2,3]".  Holds no
 * payload. */
struct codec_error {
    char text[200];
};

/* One declared output of a model (from the policy). */
struct declared_output {
    struct bytes name;
    enum output_kind kind;
};

struct declared {
    const struct declared_output *outputs;
    uint32_t count;
    bool version_shown; /* model_version may leave */
    bool inputs_unread; /* no filter looks at the inputs' floats: they need only be checked, and
                           their tensors have no data */
};

struct codec {
    const char *name; /* as upstreams.*.protocol spells it */

    /* Is this request one of the protocol's?  path is decoded and normal.  False: not. */
    bool (*match)(struct bytes method, struct bytes path, struct call *out);

    /* A whole request body to its typed form.  declared->outputs bounds what may be asked for: an
     * output that is not declared is CODEC_UNSUPPORTED, by name. */
    enum codec_status (*decode_query)(struct arena *, const struct message *in, const struct call *,
                                      const struct declared *, struct query *out,
                                      struct codec_error *);

    /* The canonical request for the upstream: every byte of it written by us or checked by us,
     * asking for exactly the declared outputs that the client may have. */
    enum codec_status (*encode_query)(struct arena *, const struct query *, const struct declared *,
                                      struct outgoing *out, struct codec_error *);

    /* A whole answer to predictions.  Outputs that were not declared (or not asked for) are left
     * out.  CODEC_BAD: not understood, so it does not pass. */
    enum codec_status (*decode_answer)(struct arena *, const struct message *in,
                                       const struct query *, const struct declared *,
                                       struct predictions *out, struct codec_error *);

    /* The answer for the client, in the form the client asked for. */
    enum codec_status (*encode_answer)(struct arena *, const struct query *,
                                       const struct predictions *, const struct declared *,
                                       struct outgoing *out, struct codec_error *);

    /* The canonical request for a call without a body, and its answer with everything undeclared
     * left out (CALL_LIVE and CALL_READY: the body as it is). */
    enum codec_status (*encode_call)(struct arena *, const struct call *, struct outgoing *out);
    enum codec_status (*filter_answer)(struct arena *, const struct call *,
                                       const struct message *in, const struct declared *,
                                       struct outgoing *out, struct codec_error *);

    /* An error body in the protocol's own shape.  reason is a fixed sentence of ours. */
    enum codec_status (*encode_denial)(struct arena *, unsigned status, struct bytes reason,
                                       struct outgoing *out);
};

extern const struct codec *const codecs_all[]; /* NULL-terminated, in the order of codecs.def */

/* NULL: no such protocol. */
const struct codec *codec_named(struct bytes name);

#endif

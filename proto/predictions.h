/* predictions.h - one query and one answer, whatever protocol they came in.
 *
 * Everything here is a view: it borrows from the message's bytes and from the exchange's arena, and
 * is gone with them.  A codec fills these structs; filters read queries and change answers through
 * the functions below; a codec writes them out again. */
#ifndef QG_PREDICTIONS_H
#define QG_PREDICTIONS_H

#include "../proxy/base/arena.h"
#include "../proxy/base/limits.h"

enum dtype {
    DTYPE_NONE,
    DTYPE_BOOL,
    DTYPE_UINT8,
    DTYPE_UINT16,
    DTYPE_UINT32,
    DTYPE_UINT64,
    DTYPE_INT8,
    DTYPE_INT16,
    DTYPE_INT32,
    DTYPE_INT64,
    DTYPE_FP16,
    DTYPE_BF16,
    DTYPE_FP32,
    DTYPE_FP64,
    DTYPE_BYTES,
};

/* "FP32" and so on, as the Open Inference Protocol spells them; DTYPE_NONE: no such type. */
enum dtype dtype_named(struct bytes name);
const char *dtype_name(enum dtype type);
size_t dtype_size(enum dtype type); /* bytes an element; 0 for BYTES (each has its own length) */
bool dtype_is_float(enum dtype type);

/* data is the canonical form: elements in row-major order, little-endian, packed, unaligned; for
 * BYTES each element is a 4-byte little-endian length and that many bytes. */
struct tensor {
    struct bytes name;
    enum dtype dtype;
    uint32_t rank;
    uint64_t shape[TENSOR_DIMS_MAX];
    uint64_t elements; /* product of shape; 1 when rank is 0 */
    struct bytes data;
    struct bytes text; /* the JSON array data was read from, strict JSON; len 0: it was binary */
    struct bytes form; /* of an input: how the upstream is told to read it; len 0: it is not */
};

/* Element i as a number (exact up to 2^53; NaN for BYTES). */
double tensor_number(const struct tensor *t, uint64_t i);

/* Writes v as an element of type into out (dtype_size bytes), rounded to nearest, ties to even;
 * integers saturate; FP16, BF16 and FP32 that would overflow become infinite. */
void dtype_write(enum dtype type, double v, void *out);

enum output_kind {
    OUT_SCORES,    /* probabilities or any score where more is better, a class per column */
    OUT_LOGITS,    /* unbounded scores */
    OUT_LABELS,    /* the answer itself: class numbers or strings */
    OUT_VALUE,     /* regression */
    OUT_EMBEDDING, /* a representation */
    OUT_TEXT,
    OUT_TOKENS,
    OUT_OPAQUE, /* let through unread, because the policy says so */
};
extern const char *const output_kind_names[]; /* by enum output_kind, NULL-terminated */

/* One output of an answer.
 *
 * For SCORES, LOGITS, VALUE and EMBEDDING the last dimension is the columns and all others make the
 * rows; a tensor of rank 1 is one row.  For the other kinds every element is a row.
 *
 * Two forms: the plain tensor, or (classes != NULL) a ranking, as the classification extension
 * makes it: each row has `cols` entries in the upstream's order, each a value and a class. */
struct output {
    struct tensor tensor; /* as the upstream sent it; filters never write into it */
    enum output_kind kind;
    uint32_t rows, cols;
    struct output_class *classes; /* rows x cols, or NULL */
    double *values;  /* rows x cols; NULL until output_values; then what will be released */
    bool changed;    /* values (or classes, cols) differ from the tensor: encode from them */
    int grid_digits; /* >= 0: every value is an integer times 10^-grid_digits, print it so; -1: not
                      */
    bool dropped;    /* not to be released at all */
};

struct output_class {
    uint32_t index;
    struct bytes label; /* may be empty */
};

struct predictions {
    struct output *outputs;
    uint32_t count;
    struct bytes model, version, id; /* as the upstream said */
};

/* The numbers of o, made on first use from its tensor.  NULL: out of memory, or o has no numbers
 * (BYTES that are not a ranking, OPAQUE).  Whoever writes to them sets o->changed. */
MUST double *output_values(struct arena *a, struct output *o);

/* A copy whose outputs and numbers can be changed without changing those of p (for observe mode).
 * False: out of memory. */
MUST bool predictions_copy(struct arena *a, const struct predictions *p, struct predictions *out);

/* What the client asked of one output. */
struct wanted_output {
    struct bytes name;
    bool binary;             /* in the binary form */
    uint32_t classification; /* K of the classification extension; 0: the plain tensor */
};

struct query {
    struct bytes model, version, id;
    struct tensor *inputs;
    uint32_t input_count;
    struct wanted_output *wanted; /* empty: the client named none */
    uint32_t wanted_count;
    bool binary_output;  /* outputs that do not say otherwise are wanted in binary form */
    uint32_t rows;       /* queries in this batch: what limits and budgets charge; at least 1 */
    uint64_t elements;   /* of all inputs */
    bool in_sequence;    /* the upstream's answer depends on queries before it, too */
    const void *dialect; /* the codec's own, kept from decode_query to encode_answer */
};

#endif

/* oip.h - the Open Inference Protocol's REST form, inside: what its files share.
 *
 * oip_read.c reads what requests and answers have in common, oip_tensor.c one tensor of either,
 * oip_query.c and oip_answer.c the two messages, oip_request.c and oip_release.c write them again,
 * oip_write.c holds what these share, oip_ranking.c is the classification extension, oip_metadata.c
 * filters the calls without tensors. */
#ifndef QG_OIP_H
#define QG_OIP_H

#include "codec.h"
#include "json.h"

/* A message while it is read.  The first failure is kept, with its place: list[index].field. */
struct oip_reader {
    struct json_reader json;
    struct arena *arena;
    struct bytes binary; /* behind the JSON, not yet claimed by a tensor */
    bool answer;         /* the upstream's: parameters that we do not know may be nested */
    bool check_only;     /* nobody looks at the floats: they are checked, not converted */
    const char *list;    /* "inputs", "outputs"; NULL: the message itself */
    uint32_t index;
    const char *field; /* NULL: the element itself */
    enum codec_status status;
    struct codec_error *error;
};

/* Splits the body at Inference-Header-Content-Length and starts the reader on the JSON part. */
MUST bool oip_start(struct oip_reader *r, struct arena *a, const struct message *in, bool answer,
                    struct codec_error *error);

/* After the top-level object: nothing may follow it, and no binary byte may be left over. */
MUST bool oip_end(struct oip_reader *r);

/* Records a failure at the reader's place; always false. */
bool oip_fail(struct oip_reader *r, enum codec_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for what the JSON reader found wrong. */
bool oip_fail_json(struct oip_reader *r);

/* A codec_error without a reader. */
enum codec_status oip_error(struct codec_error *error, enum codec_status status, const char *format,
                            ...) __attribute__((format(printf, 3, 4)));

/* The next key of the open object as an index into names; -1: a key that is not among them.  False:
 * the end of the object, or a failure (r->status).  A name in other letter case is a failure. */
MUST bool oip_key(struct oip_reader *r, const char *const *names, int *which);

/* The place is list[index] from here on.  False: more than TENSORS_MAX. */
MUST bool oip_place(struct oip_reader *r, const char *list, uint32_t index);

/* Typed values; false: a failure, recorded. */
MUST bool oip_string(struct oip_reader *r, size_t max, struct bytes *out);
MUST bool oip_bool(struct oip_reader *r, bool *out);
MUST bool oip_u64(struct oip_reader *r, uint64_t *out);
MUST bool oip_skip(struct oip_reader *r);
MUST bool oip_skip_flat(struct oip_reader *r); /* a number, string or boolean, in a request */

/* null, which stands for "left out": true when one was read over. */
MUST bool oip_null(struct oip_reader *r);

/* Room for element `count` in *at, count elements of size being there.  False: out of memory. */
MUST bool oip_grow(struct oip_reader *r, void **at, uint32_t count, size_t size);

/* One tensor, whatever the order of its keys. */
struct oip_tensor {
    struct tensor tensor;
    struct bytes content_type; /* len 0: none */
    bool has_name, has_datatype, has_shape, has_data, has_size;
    struct bytes unread;  /* data that stood before datatype */
    uint64_t binary_size; /* parameters.binary_data_size */
    struct json_tensor json;
};
MUST bool oip_read_tensor(struct oip_reader *r, struct oip_tensor *t);

/* True if a float of type in data is infinite or not a number. */
bool oip_has_nonfinite(enum dtype type, struct bytes data);

/* What the request said beyond struct query: query->dialect. */
enum oip_sequence { OIP_NO_SEQUENCE, OIP_SEQUENCE_NUMBER, OIP_SEQUENCE_STRING };
struct oip_request {
    enum oip_sequence sequence;
    uint64_t sequence_number;
    struct bytes sequence_string;
    bool has_start, has_end, start, end;
    bool has_priority, has_timeout;
    uint64_t priority, timeout;
    struct bytes *content_types; /* by input */
};

enum codec_status oip_decode_query(struct arena *, const struct message *, const struct call *,
                                   const struct declared *, struct query *, struct codec_error *);
enum codec_status oip_encode_query(struct arena *, const struct query *, const struct declared *,
                                   struct outgoing *, struct codec_error *);
enum codec_status oip_decode_answer(struct arena *, const struct message *, const struct query *,
                                    const struct declared *, struct predictions *,
                                    struct codec_error *);
enum codec_status oip_encode_answer(struct arena *, const struct query *,
                                    const struct predictions *, const struct declared *,
                                    struct outgoing *, struct codec_error *);
enum codec_status oip_filter_answer(struct arena *, const struct call *, const struct message *,
                                    const struct declared *, struct outgoing *,
                                    struct codec_error *);

/* NULL: not declared. */
const struct declared_output *oip_declared(const struct declared *declared, struct bytes name);

/* What the client asked of that output.  False: it named others. */
MUST bool oip_wanted(const struct query *q, struct bytes name, struct wanted_output *out);

/* o's BYTES "value:index[:label]" to values and classes, at most `most` a row.  Sets rows, cols. */
MUST bool oip_read_ranking(struct oip_reader *r, struct output *o, uint32_t most);

/* The canonical BYTES of a ranking's values and classes, from the arena. */
enum codec_status oip_write_ranking(struct arena *a, const struct output *o, struct bytes *out,
                                    struct codec_error *error);

/* A message while it is written: JSON of our own with checked spans spliced in, then binary parts.
 * Nothing needs looking at before oip_finish. */
struct oip_writer {
    struct arena *arena;
    struct buf json;
    uint32_t splice_count, binary_count;
    struct {
        size_t at; /* in json */
        struct bytes from;
    } splices[TENSORS_MAX];
    struct bytes binary[TENSORS_MAX];
};
void oip_writer_init(struct oip_writer *w, struct arena *a);
void oip_key_string(struct oip_writer *w, const char *key, struct bytes value); /* "key":"value" */
void oip_splice(struct oip_writer *w, struct bytes span);
void oip_add_binary(struct oip_writer *w, struct bytes data); /* the part, not its size */
void oip_shape(struct oip_writer *w, const struct tensor *t, uint64_t last); /* last: 0 keeps it */

/* Ends the writer (it holds memory until then) and, when status is CODEC_OK, fills *out. */
enum codec_status oip_finish(struct oip_writer *w, enum codec_status status, struct outgoing *out,
                             struct codec_error *error);

#endif

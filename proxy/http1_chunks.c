#include "base/require.h"
#include "http1_private.h"

enum { SIZE_DIGITS_MAX = 16, NAME_KEPT = 40 };

enum state {
    IN_SIZE,
    IN_EXTENSION,
    IN_SIZE_LF,
    IN_DATA,
    IN_DATA_CR,
    IN_DATA_LF,
    IN_TRAILER, /* at the start of a line */
    IN_NAME,
    IN_VALUE,
    IN_VALUE_LF,
    IN_LAST_LF,
    IN_END,
    IN_ERROR,
};

struct http1_chunks {
    enum state state;
    uint64_t left;    /* of the chunk: the size as read so far, then the bytes still to come */
    unsigned line;    /* bytes of the size line */
    unsigned trailer; /* bytes of the trailer section */
    unsigned name_len;
    char name[NAME_KEPT]; /* of a trailer: longer ones are in no list of names */
    unsigned status;
    const char *reason;
};

struct http1_chunks *http1_chunks_new(struct arena *arena) {
    return arena_new_array(arena, struct http1_chunks, 1);
}

static void reject(struct http1_chunks *c, unsigned status, const char *reason) {
    c->state = IN_ERROR;
    c->status = status;
    c->reason = reason;
}

static void step_size(struct http1_chunks *c, char b) {
    int digit = http1_hex(b);
    c->line++;
    if (digit >= 0 && c->line > SIZE_DIGITS_MAX)
        reject(c, 400, "a chunk size over 64 bits");
    else if (digit >= 0)
        c->left = c->left << 4 | (unsigned)digit;
    else if (c->line == 1)
        reject(c, 400, "a chunk without a size");
    else if (b == ';')
        c->state = IN_EXTENSION;
    else if (b == '\r')
        c->state = IN_SIZE_LF;
    else
        reject(c, 400, "a malformed chunk size");
}

static void step_extension(struct http1_chunks *c, char b) {
    c->line++;
    if (b == '\r')
        c->state = IN_SIZE_LF;
    else if (http1_is_control(b) || (unsigned char)b >= 0x80)
        reject(c, 400, "a control byte in a chunk extension");
    else if (c->line > CHUNK_LINE_MAX)
        reject(c, 400, "a chunk line over 256 bytes");
}

static void step_size_lf(struct http1_chunks *c, char b) {
    if (b == '\n')
        c->state = c->left > 0 ? IN_DATA : IN_TRAILER;
    else
        reject(c, 400, "a chunk line that does not end in CRLF");
}

static void step_data_cr(struct http1_chunks *c, char b) {
    if (b == '\r')
        c->state = IN_DATA_LF;
    else
        reject(c, 400, "a chunk longer than its size");
}

static void step_data_lf(struct http1_chunks *c, char b) {
    c->state = IN_SIZE;
    c->line = 0;
    if (b != '\n')
        reject(c, 400, "a chunk that does not end in CRLF");
}

/* Every byte of the trailer section, its empty line included, passes here first. */
static bool trailer_fits(struct http1_chunks *c) {
    if (++c->trailer > TRAILER_BYTES_MAX)
        reject(c, 400, "trailers over 4 KiB");
    return c->state != IN_ERROR;
}

static void step_name(struct http1_chunks *c, char b) {
    if (!trailer_fits(c))
        return;
    c->state = IN_NAME;
    if (http1_is(b, CLASS_NAME)) {
        if (c->name_len < NAME_KEPT)
            c->name[c->name_len++] = b;
    } else if (b != ':' || c->name_len == 0) {
        reject(c, 400, "a malformed trailer");
    } else if (http1_is_guarded(bytes_of(c->name, c->name_len))) {
        reject(c, 400, "a trailer that frames or routes");
    } else {
        c->state = IN_VALUE;
    }
}

static void step_trailer(struct http1_chunks *c, char b) {
    c->name_len = 0;
    if (b != '\r')
        step_name(c, b);
    else if (trailer_fits(c))
        c->state = IN_LAST_LF;
}

static void step_value(struct http1_chunks *c, char b) {
    if (!trailer_fits(c))
        return;
    if (b == '\r')
        c->state = IN_VALUE_LF;
    else if (http1_is_control(b))
        reject(c, 400, "a control byte in a trailer");
}

static void step_value_lf(struct http1_chunks *c, char b) {
    if (!trailer_fits(c))
        return;
    if (b == '\n')
        c->state = IN_TRAILER;
    else
        reject(c, 400, "a trailer that does not end in CRLF");
}

static void step_last_lf(struct http1_chunks *c, char b) {
    if (b == '\n')
        c->state = IN_END;
    else
        reject(c, 400, "a chunked body that does not end in CRLF");
}

typedef void step_fn(struct http1_chunks *, char);
static step_fn *const steps[] = {
    [IN_SIZE] = step_size,       [IN_EXTENSION] = step_extension, [IN_SIZE_LF] = step_size_lf,
    [IN_DATA_CR] = step_data_cr, [IN_DATA_LF] = step_data_lf,     [IN_TRAILER] = step_trailer,
    [IN_NAME] = step_name,       [IN_VALUE] = step_value,         [IN_VALUE_LF] = step_value_lf,
    [IN_LAST_LF] = step_last_lf,
};

/* Takes what there is of the chunk's data; returns how much. */
static size_t take_data(struct http1_chunks *c, struct bytes in, struct buf *out) {
    size_t n = in.len < c->left ? in.len : (size_t)c->left;
    buf_add(out, in.at, n);
    if (out->failed) {
        reject(c, 503, "out of memory");
        return 0;
    }
    c->left -= n;
    if (c->left == 0)
        c->state = IN_DATA_CR;
    return n;
}

enum http1_status http1_chunks_feed(struct http1_chunks *c, struct bytes in, size_t *used,
                                    struct buf *out, unsigned *status, const char **reason) {
    size_t at = 0;
    require(c->state <= IN_ERROR);
    while (at < in.len && c->state < IN_END) {
        if (c->state == IN_DATA) {
            at += take_data(c, bytes_skip(in, at), out);
            continue;
        }
        steps[c->state](c, in.at[at++]);
        /* The size alone decides, so that a body over the limit is refused before it is read. */
        if (c->state == IN_DATA && c->left > out->cap - out->len)
            reject(c, 413, "a body over the limit");
    }
    *used = at;
    if (c->state == IN_ERROR) {
        *status = c->status;
        *reason = c->reason;
        return HTTP1_BAD;
    }
    return c->state == IN_END ? HTTP1_DONE : HTTP1_MORE;
}

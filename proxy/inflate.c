#include "inflate.h"

#include <zlib.h>

#include "base/limits.h"

enum { WINDOW_ZLIB = 15, WINDOW_GZIP = 15 + 16, STEP = 32768 };

static size_t bound(size_t coded, size_t cap) {
    size_t most = coded * INFLATE_RATIO_MAX + INFLATE_SLACK;
    return most < cap ? most : cap;
}

static enum inflate_status run(z_stream *z, size_t most, struct buf *out) {
    for (int r = Z_OK; r != Z_STREAM_END;) {
        size_t room = most - out->len < STEP ? most - out->len : STEP;
        char *to = buf_reserve(out, room + 1);
        if (to == NULL)
            return INFLATE_TOO_BIG;
        z->next_out = (Bytef *)to;
        z->avail_out = (uInt)room + 1; /* The byte too many tells "full" from "over". */
        r = inflate(z, Z_NO_FLUSH);
        out->len += room + 1 - z->avail_out;
        if (out->len > most)
            return INFLATE_TOO_BIG;
        if (r != Z_OK && r != Z_STREAM_END)
            return INFLATE_BAD;
        if (r == Z_OK && z->avail_in == 0 && z->avail_out > 0)
            return INFLATE_BAD; /* Truncated. */
    }
    return z->avail_in == 0 ? INFLATE_OK : INFLATE_BAD;
}

enum inflate_status inflate_body(struct bytes coding, struct bytes body, struct buf *out,
                                 bool *coded) {
    int window;
    *coded = true;
    if (bytes_is_nocase(coding, "gzip") || bytes_is_nocase(coding, "x-gzip"))
        window = WINDOW_GZIP;
    else if (bytes_is_nocase(coding, "deflate"))
        window = WINDOW_ZLIB;
    else {
        *coded = false;
        return bytes_is_nocase(coding, "identity") ? INFLATE_OK : INFLATE_UNSUPPORTED;
    }
    z_stream z = {.next_in = (Bytef *)body.at, .avail_in = (uInt)body.len};
    if (inflateInit2(&z, window) != Z_OK)
        return INFLATE_BAD;
    /* The cap leaves room for the padding that readers of bodies expect. */
    enum inflate_status s = run(&z, bound(body.len, out->cap - BODY_PADDING - 1), out);
    inflateEnd(&z);
    if (s == INFLATE_OK && buf_reserve(out, BODY_PADDING) == NULL)
        return INFLATE_TOO_BIG;
    return s;
}

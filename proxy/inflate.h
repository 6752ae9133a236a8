/* inflate.h - undoes gzip and deflate bodies within bounds.  The only zlib user. */
#ifndef QG_INFLATE_H
#define QG_INFLATE_H

#include "base/buf.h"

enum inflate_status {
    INFLATE_OK,
    INFLATE_BAD,         /* broken, truncated, wrong checksum, bytes behind the end */
    INFLATE_TOO_BIG,     /* over the ratio or out's cap: stops there, nothing more is decoded */
    INFLATE_UNSUPPORTED, /* not exactly one of gzip, deflate, identity */
};

/* coding: the Content-Encoding header's value.  Appends to out, which must be empty.  At most
 * INFLATE_RATIO_MAX x body + INFLATE_SLACK bytes come out.  identity: out stays empty and *coded
 * says false. */
enum inflate_status inflate_body(struct bytes coding, struct bytes body, struct buf *out,
                                 bool *coded);

#endif

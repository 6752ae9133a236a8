/* pieces.h - a head and a body in pieces as what a socket is given. */
#ifndef QG_PIECES_H
#define QG_PIECES_H

#include <sys/uio.h>

#include "base/arena.h"

/* The iovec of head and pieces, in the arena; *count: of it.  A small message is copied into one
 * piece; of a large one only the head is.  NULL: out of memory. */
struct iovec *pieces_lay_out(struct arena *a, struct bytes head, const struct bytes *pieces,
                             uint32_t piece_count, uint32_t *count);

/* Steps over n written bytes: *at is the first piece that is not written in full. */
void pieces_written(struct iovec *iov, uint32_t count, uint32_t *at, size_t n);

#endif

#include "pieces.h"

#include "base/limits.h"

static struct iovec *one_piece(struct arena *a, struct bytes head, const struct bytes *pieces,
                               uint32_t piece_count, size_t len) {
    struct iovec *iov = arena_alloc(a, sizeof(*iov));
    char *to = arena_alloc(a, len);
    if (iov == NULL || to == NULL)
        return NULL;
    *iov = (struct iovec){to, len};
    memcpy(to, head.at, head.len);
    to += head.len;
    for (uint32_t i = 0; i < piece_count; i++) {
        if (pieces[i].len > 0)
            memcpy(to, pieces[i].at, pieces[i].len);
        to += pieces[i].len;
    }
    return iov;
}

struct iovec *pieces_lay_out(struct arena *a, struct bytes head, const struct bytes *pieces,
                             uint32_t piece_count, uint32_t *count) {
    size_t len = head.len;
    for (uint32_t i = 0; i < piece_count; i++)
        len += pieces[i].len;
    *count = 1;
    if (len <= SMALL_MESSAGE)
        return one_piece(a, head, pieces, piece_count, len);
    struct bytes copy = arena_copy(a, head);
    struct iovec *iov = arena_alloc(a, (piece_count + 1) * sizeof(*iov));
    if (copy.at == NULL || iov == NULL)
        return NULL;
    iov[0] = (struct iovec){(void *)copy.at, copy.len};
    for (uint32_t i = 0; i < piece_count; i++)
        if (pieces[i].len > 0)
            iov[(*count)++] = (struct iovec){(void *)pieces[i].at, pieces[i].len};
    return iov;
}

void pieces_written(struct iovec *iov, uint32_t count, uint32_t *at, size_t n) {
    while (*at < count && n >= iov[*at].iov_len)
        n -= iov[(*at)++].iov_len;
    if (*at < count)
        iov[*at] = (struct iovec){(char *)iov[*at].iov_base + n, iov[*at].iov_len - n};
}

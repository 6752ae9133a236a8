#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "require.h"
#include "utf8.h"

void buf_init(struct buf *b, size_t cap) {
    *b = (struct buf){.cap = cap};
}

void buf_free(struct buf *b) {
    free(b->at);
    buf_init(b, b->cap);
}

void buf_clear(struct buf *b) {
    b->len = 0;
    b->failed = false;
}

void buf_consume(struct buf *b, size_t n) {
    require(n <= b->len);
    if (n > 0)
        memmove(b->at, b->at + n, b->len - n);
    b->len -= n;
}

char *buf_reserve(struct buf *b, size_t n) {
    if (n <= b->room - b->len)
        return b->at + b->len;
    if (n > b->cap || b->len > b->cap - n)
        goto fail;
    size_t room = b->room < 256 ? 256 : b->room * 2;
    if (room < b->len + n)
        room = b->len + n;
    if (room > b->cap)
        room = b->cap;
    char *at = realloc(b->at, room);
    if (at == NULL)
        goto fail;
    b->at = at;
    b->room = room;
    return at + b->len;
fail:
    b->failed = true;
    return NULL;
}

void buf_add_u64(struct buf *b, uint64_t v) {
    char text[20];
    size_t n = sizeof(text);
    do
        text[--n] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    buf_add(b, text + n, sizeof(text) - n);
}

void buf_printf(struct buf *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    require(n >= 0);
    char *to = buf_reserve(b, (size_t)n + 1);
    if (to != NULL) {
        vsnprintf(to, (size_t)n + 1, format, again);
        b->len += (size_t)n;
    }
    va_end(again);
}

static bool is_plain(unsigned char c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void buf_add_json(struct buf *b, struct bytes s) {
    buf_add_char(b, '"');
    while (s.len > 0) {
        size_t n = 0;
        while (n < s.len && is_plain((unsigned char)s.at[n]))
            n++;
        buf_add(b, s.at, n);
        s = bytes_skip(s, n);
        if (s.len == 0)
            break;
        unsigned char c = (unsigned char)s.at[0];
        n = 1;
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c < 0x80)
            buf_printf(b, "\\u%04x", c);
        else if ((n = utf8_length(s)) > 0)
            buf_add(b, s.at, n);
        else
            buf_add_str(b, "\xef\xbf\xbd");
        s = bytes_skip(s, n > 0 ? n : 1);
    }
    buf_add_char(b, '"');
}

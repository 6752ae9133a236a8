#include "../proxy/base/limits.h"
#include "../proxy/base/utf8.h"
#include "json_scan.h"

#define EACH_BYTE(c) (0x0101010101010101u * (unsigned char)(c))

/* The top bit of each byte that is c, right up to and including the first such byte. */
static uint64_t bytes_that_are(uint64_t w, char c) {
    w ^= EACH_BYTE(c);
    return (w - EACH_BYTE(1)) & ~w & EACH_BYTE(0x80);
}

/* Behind the bytes that stand for themselves: not ", \, controls or UTF-8's.  Reads fewer than 16
 * bytes past end. */
static const char *skip_plain(const char *p, const char *end) {
    for (; p < end; p += 8) {
        uint64_t w;
        memcpy(&w, p, sizeof(w));
        uint64_t control = (w - EACH_BYTE(0x20)) & ~w;
        uint64_t stop =
            bytes_that_are(w, '"') | bytes_that_are(w, '\\') | ((control | w) & EACH_BYTE(0x80));
        if (stop != 0)
            return p + __builtin_ctzll(stop) / 8;
    }
    return p;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits of \uXXXX; -1: they are not. */
static int32_t code_unit(const char *p) {
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(p[i]);
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

/* p is at a backslash.  Length of the escape; 0: bad.  A pair of surrogates is one escape. */
static size_t escape_length(const char *p) {
    if (p[1] != 'u')
        return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) != NULL ? 2 : 0;
    int32_t unit = code_unit(p + 2);
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return 0;
    if (unit < 0xd800 || unit > 0xdfff)
        return 6;
    if (p[6] != '\\' || p[7] != 'u')
        return 0;
    int32_t low = code_unit(p + 8);
    return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
}

const char *json_raw_string(struct json_reader *r, const char *at, struct json_raw *raw) {
    const char *p = at + 1, *error = "unterminated string";
    raw->escaped = false;
    for (;;) {
        p = skip_plain(p, r->end);
        if (p >= r->end || *p == '"')
            break;
        size_t n = 0;
        if (*p == '\\') {
            raw->escaped = true;
            n = escape_length(p);
            error = "bad escape";
        } else if ((unsigned char)*p < 0x20) {
            error = "control character in string";
        } else {
            n = utf8_length(bytes_of(p, (size_t)(r->end - p)));
            error = "string is not UTF-8";
        }
        if (n == 0 || n > (size_t)(r->end - p))
            goto bad;
        p += n;
    }
    if (p >= r->end) {
        error = "unterminated string";
        p = r->end;
        goto bad;
    }
    raw->text = bytes_of(at + 1, (size_t)(p - at - 1));
    if (raw->text.len > JSON_STRING_MAX) {
        json_fail(r, JSON_LIMIT, at, "string too long");
        return NULL;
    }
    return p + 1;
bad:
    json_fail(r, JSON_MALFORMED, p, error);
    return NULL;
}

static size_t put_utf8(uint32_t c, char *to) {
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 63));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 63));
        to[2] = (char)(0x80 | (c & 63));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

static char simple_escape(char c) {
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c; /* " \ / */
    }
}

size_t json_unescape(struct bytes text, char *to) {
    const char *p = text.at, *end = text.at + text.len;
    char *out = to;
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash != NULL ? slash : end) - p);
        memcpy(out, p, plain);
        out += plain;
        p += plain;
        if (slash == NULL)
            break;
        size_t n = escape_length(p);
        if (n == 2)
            *out++ = simple_escape(p[1]);
        else if (n == 6)
            out += put_utf8((uint32_t)code_unit(p + 2), out);
        else
            out += put_utf8(0x10000 + ((uint32_t)code_unit(p + 2) - 0xd800) * 0x400 +
                                ((uint32_t)code_unit(p + 8) - 0xdc00),
                            out);
        p += n;
    }
    return (size_t)(out - to);
}

#include "http1.h"

#include <endian.h>

#include "http1_private.h"

enum { LEADING_CRLF_MAX = 2 };

#define TN    (CLASS_TOKEN | CLASS_NAME)
#define TNP   (TN | CLASS_PATH)
#define ALNUM (TNP | CLASS_HOST)
const uint8_t http1_class[256] = {
    ['!'] = TNP,
    ['#'] = TN,
    ['$'] = TNP,
    ['%'] = TN,
    ['&' ... '\''] = TNP,
    ['(' ... ')'] = CLASS_PATH,
    ['*' ... '+'] = TNP,
    [','] = CLASS_PATH,
    ['-' ... '.'] = ALNUM,
    ['/'] = CLASS_PATH,
    ['0' ... '9'] = ALNUM | CLASS_HEX,
    [':' ... ';'] = CLASS_PATH,
    ['='] = CLASS_PATH,
    ['@'] = CLASS_PATH,
    ['A' ... 'F'] = ALNUM | CLASS_HEX,
    ['G' ... 'Z'] = ALNUM,
    ['^'] = TN,
    ['_'] = CLASS_TOKEN | CLASS_PATH | CLASS_HOST,
    ['`'] = TN,
    ['a' ... 'f'] = ALNUM | CLASS_HEX,
    ['g' ... 'z'] = ALNUM,
    ['|'] = TN,
    ['~'] = TNP,
};
#undef TN
#undef TNP
#undef ALNUM

bool http1_all(struct bytes s, unsigned class) {
    for (size_t i = 0; i < s.len; i++)
        if (!http1_is(s.at[i], class))
            return false;
    return s.len > 0;
}

bool http1_is_guarded(struct bytes name) {
    static const char *const names[] = {
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Content-Type",
        "Content-Encoding",
        "Content-Range",
        "Inference-Header-Content-Length",
        "Connection",
        "Trailer",
        "Expect",
        "Authorization",
        "X-API-Key",
        "Cookie",
        "Forwarded",
        "X-Forwarded-For",
        "Traceparent",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (bytes_is_nocase(name, names[i]))
            return true;
    return false;
}

enum http1_status http1_refuse(struct http1_head *head, unsigned status, const char *reason) {
    head->status = status;
    head->reason = reason;
    return HTTP1_BAD;
}

bool http1_split_request_line(struct bytes line, struct request_line *out) {
    struct bytes rest = line;
    out->method = bytes_cut(&rest, ' ');
    out->target = bytes_cut(&rest, ' ');
    out->version = rest;
    return out->method.len > 0 && out->target.len > 0 && bytes_starts(rest, "HTTP/");
}

/* The first control byte or tab of [at, end); end: there is none.  Eight bytes at a time: a byte
 * is below 0x20 if subtracting 0x20 borrows into its clear top bit, and DEL if xor 0x7f makes it
 * zero.  A borrow can only spoil bytes behind the first hit. */
static const char *next_control(const char *at, const char *end) {
    const uint64_t ones = 0x0101010101010101u;
    for (; end - at >= 8; at += 8) {
        uint64_t w;
        memcpy(&w, at, sizeof(w));
        w = le64toh(w);
        uint64_t del = w ^ (ones * 0x7f);
        uint64_t hit = (((w - ones * 0x20) & ~w) | ((del - ones) & ~del)) & (ones * 0x80);
        if (hit != 0)
            return at + (__builtin_ctzll(hit) >> 3);
    }
    while (at < end && !http1_is_control(*at) && *at != '\t')
        at++;
    return at;
}

/* Where the search for the end of a head stands.  It lives in the caller's one word, so that a
 * call costs what its new bytes cost, however they were cut. */
struct scan {
    uint16_t at;   /* bytes looked at */
    uint16_t line; /* where the current line starts */
    uint16_t skip; /* leading empty lines */
    uint8_t lines; /* complete lines: the first, then headers */
    bool request;
};
_Static_assert(sizeof(struct scan) <= sizeof(size_t), "a scan must fit the caller's word");
_Static_assert(HEAD_BYTES_MAX + 2 * LEADING_CRLF_MAX <= UINT16_MAX, "an offset must fit 16 bits");
_Static_assert(HEADERS_MAX + 2 <= UINT8_MAX, "a line count must fit 8 bits");

/* Reports the first fault in the order of bytes, so that the verdict is the same however the
 * bytes were cut: each test below depends only on bytes up to the one it rejects. */
static enum http1_status fault(const struct scan *s, struct http1_head *head, unsigned status,
                               const char *reason) {
    return http1_refuse(head, s->request ? status : 502, reason);
}

static size_t line_max(const struct scan *s) {
    return s->lines == 0 ? HEAD_LINE_MAX : HEADER_BYTES_MAX;
}

static enum http1_status over_limit(const struct scan *s, struct http1_head *head) {
    if (s->lines == 0)
        return fault(s, head, 414, "a first line over 4 KiB");
    if ((size_t)(s->at - s->line) > line_max(s))
        return fault(s, head, 431, "a header over 8 KiB");
    return fault(s, head, 431, "a head over 16 KiB");
}

/* [line, end) is a complete line and not the last. */
static enum http1_status end_of_line(struct scan *s, struct bytes in, size_t end,
                                     struct http1_head *head) {
    struct request_line unused;
    struct bytes line = bytes_of(in.at + s->line, end - s->line);
    if (line.len == 0) { /* before the first line, or the caller would have stopped */
        if (!s->request || s->skip == 2 * LEADING_CRLF_MAX)
            return fault(s, head, 400, "an empty line where a message starts");
        s->skip += 2;
    } else if (s->lines == 0 && s->request && !http1_split_request_line(line, &unused)) {
        return fault(s, head, 400, "a malformed request line");
    } else if (++s->lines > HEADERS_MAX + 1) {
        return fault(s, head, 431, "over 64 headers");
    }
    s->at = s->line = (uint16_t)(end + 2);
    return HTTP1_MORE;
}

/* One step: to the end of the line, to a fault, or to the end of the bytes (s->at == in.len, or
 * one before it behind a CR). */
static enum http1_status scan_line(struct scan *s, struct bytes in, struct http1_head *head) {
    size_t head_end = s->skip + HEAD_BYTES_MAX;
    size_t line_end = s->line + line_max(s) + 1;
    size_t bound = line_end < head_end ? line_end : head_end;
    size_t end = in.len < bound ? in.len : bound;
    if (s->lines > 0 && s->at == s->line && (in.at[s->at] == ' ' || in.at[s->at] == '\t'))
        return fault(s, head, 400, "a folded header");
    s->at = (uint16_t)(next_control(in.at + s->at, in.at + end) - in.at);
    if (s->at == end)
        return end == bound ? over_limit(s, head) : HTTP1_MORE;
    if (in.at[s->at] == '\t' && s->lines > 0) {
        s->at++;
        return HTTP1_MORE;
    }
    if (in.at[s->at] != '\r')
        return fault(s, head, 400, "a control byte in the head");
    if ((size_t)s->at + 1 >= head_end)
        return over_limit(s, head);
    if ((size_t)s->at + 1 == in.len)
        return HTTP1_MORE;
    if (in.at[s->at + 1] != '\n')
        return fault(s, head, 400, "a CR without LF");
    return s->at == s->line && s->lines > 0 ? HTTP1_DONE : end_of_line(s, in, s->at, head);
}

enum http1_status http1_find_head(struct bytes in, bool request, size_t *scanned, size_t *skip,
                                  size_t *head_len, struct http1_head *head) {
    struct scan s;
    enum http1_status status = HTTP1_MORE;
    memcpy(&s, scanned, sizeof(s));
    s.request = request;
    while (status == HTTP1_MORE && s.at < in.len) {
        uint16_t before = s.at;
        status = scan_line(&s, in, head);
        if (s.at == before && status == HTTP1_MORE)
            break; /* a CR is the last byte */
    }
    memcpy(scanned, &s, sizeof(s));
    *skip = s.skip;
    *head_len = status == HTTP1_DONE ? (size_t)s.at + 2 - s.skip : 0;
    return status;
}

const char *http1_reason(unsigned status) {
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {100, "Continue"},
        {200, "OK"},
        {202, "Accepted"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {411, "Length Required"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "Unknown";
}

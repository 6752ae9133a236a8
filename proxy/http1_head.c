#include <llhttp.h>

#include "http1_private.h"

/* Both kinds of head are read by a list of checks, each of which may refuse.  Framing is decided
 * here, with our statuses and reasons; llhttp then reads the same bytes and must come to the same
 * framing, so that a message is let in only if two independent parsers agree where it ends. */

struct seen {
    struct bytes value; /* of the last */
    unsigned count;
};

struct reading {
    struct http1_head *head;
    struct arena *arena;
    struct bytes text, rest; /* all of it, and what is still unread */
    struct request_line line;
    uint64_t max_body;
    bool request, http10, close, keep_alive;
    struct seen host, length, coding;
};

typedef enum http1_status check_fn(struct reading *);

static enum http1_status refuse(struct reading *r, unsigned status, const char *reason) {
    return http1_refuse(r->head, r->request ? status : 502, reason);
}

/* Cuts the next line, without its CRLF, off r->rest. */
static bool take_line(struct reading *r, struct bytes *line) {
    const char *cr = r->rest.len > 0 ? memchr(r->rest.at, '\r', r->rest.len) : NULL;
    if (cr == NULL || cr + 1 == r->rest.at + r->rest.len || cr[1] != '\n')
        return false;
    *line = bytes_of(r->rest.at, (size_t)(cr - r->rest.at));
    r->rest = bytes_skip(r->rest, line->len + 2);
    return true;
}

static enum http1_status check_method(struct reading *r) {
    struct bytes m = r->line.method;
    if (!http1_all(m, CLASS_TOKEN))
        return refuse(r, 400, "a malformed method");
    for (size_t i = 0; i < m.len; i++)
        if (m.at[i] >= 'a' && m.at[i] <= 'z')
            return refuse(r, 400, "a method in lower case");
    if (!bytes_is(m, "GET") && !bytes_is(m, "HEAD") && !bytes_is(m, "POST"))
        return refuse(r, 405, "a method other than GET, HEAD, POST");
    r->head->message.method = m;
    r->head->head_only = m.len == 4 && m.at[0] == 'H';
    return HTTP1_DONE;
}

/* Whether it reads HTTP/digits.digits, as a version we do not speak would. */
static bool is_some_version(struct bytes version) {
    struct bytes rest = bytes_skip(version, sizeof("HTTP/") - 1);
    uint64_t number;
    struct bytes major = bytes_cut(&rest, '.');
    return bytes_to_u64(major, UINT64_MAX, &number) && bytes_to_u64(rest, UINT64_MAX, &number);
}

static enum http1_status check_version(struct reading *r) {
    r->http10 = bytes_is(r->line.version, "HTTP/1.0");
    if (r->http10 || bytes_is(r->line.version, "HTTP/1.1"))
        return HTTP1_DONE;
    if (is_some_version(r->line.version))
        return refuse(r, 505, "a version other than HTTP/1.1 and HTTP/1.0");
    return refuse(r, 400, "a malformed version");
}

static enum http1_status read_request_line(struct reading *r) {
    struct bytes line;
    if (!take_line(r, &line) || !http1_split_request_line(line, &r->line))
        return refuse(r, 400, "a malformed request line");
    enum http1_status status = check_method(r);
    if (status == HTTP1_DONE)
        status = check_version(r);
    if (status == HTTP1_DONE)
        status = http1_target(r->arena, r->line.target, r->head);
    return status;
}

/* "HTTP/1.1 200 OK"; some servers leave out the reason and the space before it. */
static enum http1_status read_status_line(struct reading *r) {
    struct bytes line;
    uint64_t status;
    if (!take_line(r, &line) || line.len < sizeof("HTTP/1.1 200") - 1)
        return refuse(r, 502, "a malformed status line");
    r->http10 = bytes_starts(line, "HTTP/1.0 ");
    if (!r->http10 && !bytes_starts(line, "HTTP/1.1 "))
        return refuse(r, 502, "a malformed status line");
    if (!bytes_to_u64(bytes_of(line.at + 9, 3), 599, &status) || status < 100)
        return refuse(r, 502, "a status that is not 100 to 599");
    if (line.len > 12 && line.at[12] != ' ')
        return refuse(r, 502, "a malformed status line");
    r->head->message.status = (unsigned)status;
    return HTTP1_DONE;
}

static enum http1_status read_connection(struct reading *r, struct bytes value) {
    while (value.at != NULL) {
        struct bytes option = bytes_trim(bytes_cut(&value, ','));
        if (bytes_is_nocase(option, "close"))
            r->close = true;
        else if (bytes_is_nocase(option, "keep-alive"))
            r->keep_alive = true;
        else if (option.len > 0 && !http1_all(option, CLASS_TOKEN))
            return refuse(r, 400, "a malformed Connection header");
        else if (r->request && http1_is_guarded(option))
            return refuse(r, 400, "a Connection header that names what it must not");
    }
    return HTTP1_DONE;
}

static enum http1_status read_expect(struct reading *r, struct bytes value) {
    if (!r->request)
        return HTTP1_DONE;
    if (!bytes_is_nocase(value, "100-continue"))
        return refuse(r, 417, "an expectation other than 100-continue");
    r->head->expect_continue = !r->http10;
    return HTTP1_DONE;
}

static void note(struct seen *seen, struct bytes value) {
    seen->value = value;
    seen->count++;
}

static enum http1_status note_header(struct reading *r, const struct header *h) {
    if (bytes_is_nocase(h->name, "Host"))
        note(&r->host, h->value);
    else if (bytes_is_nocase(h->name, "Content-Length"))
        note(&r->length, h->value);
    else if (bytes_is_nocase(h->name, "Transfer-Encoding"))
        note(&r->coding, h->value);
    else if (bytes_is_nocase(h->name, "Connection"))
        return read_connection(r, h->value);
    else if (bytes_is_nocase(h->name, "Expect"))
        return read_expect(r, h->value);
    return HTTP1_DONE;
}

static enum http1_status read_header(struct reading *r, struct bytes line) {
    struct message *m = &r->head->message;
    struct bytes value = line;
    struct bytes name = bytes_cut(&value, ':');
    if (value.at == NULL)
        return refuse(r, 400, "a header without a colon");
    if (!http1_all(name, r->request ? CLASS_NAME : CLASS_TOKEN))
        return refuse(r, 400, "a malformed header name");
    if (m->header_count == HEADERS_MAX)
        return refuse(r, 431, "over 64 headers");
    struct header *h = &r->head->headers[m->header_count++];
    *h = (struct header){name, bytes_trim(value)};
    return note_header(r, h);
}

static enum http1_status read_headers(struct reading *r) {
    struct bytes line;
    enum http1_status status = HTTP1_DONE;
    do {
        if (!take_line(r, &line))
            return refuse(r, 400, "a head without an end");
        if (line.len > 0)
            status = read_header(r, line);
    } while (line.len > 0 && status == HTTP1_DONE);
    if (status == HTTP1_DONE && r->rest.len > 0)
        return refuse(r, 400, "bytes behind a head");
    r->head->keep_alive = !r->close && (!r->http10 || r->keep_alive);
    return status;
}

/* [hex, colons, dots] */
static bool is_ipv6_literal(struct bytes host) {
    if (host.len < 4 || host.at[0] != '[' || host.at[host.len - 1] != ']')
        return false;
    for (size_t i = 1; i + 1 < host.len; i++)
        if (!http1_is(host.at[i], CLASS_HEX) && host.at[i] != ':' && host.at[i] != '.')
            return false;
    return true;
}

static bool is_authority(struct bytes s) {
    const char *end = s.len > 0 && s.at[0] == '[' ? memchr(s.at, ']', s.len) : NULL;
    size_t literal = end != NULL ? (size_t)(end + 1 - s.at) : 0;
    struct bytes rest = bytes_skip(s, literal);
    struct bytes host = bytes_cut(&rest, ':');
    uint64_t port;
    if (rest.at != NULL && !bytes_to_u64(rest, UINT16_MAX, &port))
        return false;
    if (literal > 0)
        return host.len == 0 && is_ipv6_literal(bytes_of(s.at, literal));
    return http1_all(host, CLASS_HOST);
}

static enum http1_status check_host(struct reading *r) {
    if (r->host.count != 1)
        return refuse(r, 400, r->host.count == 0 ? "no Host header" : "two Host headers");
    if (!is_authority(r->host.value))
        return refuse(r, 400, "a malformed Host header");
    return HTTP1_DONE;
}

/* The status a Transfer-Encoding earns; 0: it is `chunked`.  A list in which chunked is not last,
 * or stands twice, cannot be framed (400); a coding we merely do not know is 501. */
static unsigned coding_status(struct bytes value) {
    struct bytes rest = value, last = {NULL, 0};
    unsigned chunked = 0, count = 0;
    while (rest.at != NULL) {
        last = bytes_trim(bytes_cut(&rest, ','));
        if (!http1_all(last, CLASS_TOKEN) || bytes_is_nocase(last, "identity"))
            return 400;
        chunked += bytes_is_nocase(last, "chunked");
        count++;
    }
    if (chunked > 1 || (chunked == 1 && !bytes_is_nocase(last, "chunked")))
        return 400;
    return chunked == 1 && count == 1 ? 0 : 501;
}

static enum http1_status check_coding(struct reading *r) {
    if (r->coding.count == 0)
        return HTTP1_DONE;
    if (r->coding.count > 1)
        return refuse(r, 400, "two Transfer-Encoding headers");
    if (r->http10)
        return refuse(r, 400, "Transfer-Encoding in HTTP/1.0");
    unsigned status = coding_status(r->coding.value);
    if (status != 0)
        return refuse(r, status, "a Transfer-Encoding other than chunked");
    if (r->length.count > 0)
        return refuse(r, 400, "Transfer-Encoding with Content-Length");
    r->head->framing = BODY_CHUNKED;
    return HTTP1_DONE;
}

static enum http1_status check_length(struct reading *r) {
    uint64_t length;
    if (r->length.count == 0)
        return HTTP1_DONE;
    if (r->length.count > 1)
        return refuse(r, 400, "two Content-Length headers");
    if (!bytes_to_u64(r->length.value, UINT64_MAX, &length))
        return refuse(r, 400, "a malformed Content-Length");
    if (length > r->max_body)
        return refuse(r, 413, "a body over the limit");
    r->head->content_length = length;
    r->head->framing = length > 0 ? BODY_LENGTH : BODY_NONE;
    return HTTP1_DONE;
}

/* An answer's body must have an end we can tell, and none where the status allows none. */
static enum http1_status check_answer_body(struct reading *r) {
    unsigned status = r->head->message.status;
    if (status == 101)
        return refuse(r, 502, "a switch of protocols nobody asked for");
    if (status < 200 || status == 204 || status == 304) {
        if (r->head->framing != BODY_NONE)
            return refuse(r, 502, "a body where the status allows none");
    } else if (r->head->head_only) {
        r->head->framing = BODY_NONE;
    } else if (r->length.count == 0 && r->coding.count == 0) {
        return refuse(r, 502, "an answer whose end cannot be told");
    }
    return HTTP1_DONE;
}

static int stop(llhttp_t *parser) {
    (void)parser;
    return HPE_PAUSED;
}

static enum http1_status check_agreement(struct reading *r) {
    static const llhttp_settings_t settings = {.on_headers_complete = stop};
    llhttp_t parser;
    llhttp_init(&parser, r->request ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    llhttp_errno_t error = llhttp_execute(&parser, r->text.at, r->text.len);
    if (error != HPE_PAUSED || llhttp_get_error_pos(&parser) != r->text.at + r->text.len)
        return refuse(r, 400, "a malformed head");
    bool chunked = (parser.flags & F_CHUNKED) != 0;
    uint64_t length = (parser.flags & F_CONTENT_LENGTH) != 0 ? parser.content_length : 0;
    if ((parser.http_minor == 0) != r->http10 || chunked != (r->coding.count > 0) ||
        length != r->head->content_length)
        return refuse(r, 400, "ambiguous framing");
    return HTTP1_DONE;
}

static enum http1_status run(check_fn *const *checks, struct reading *r) {
    enum http1_status status = HTTP1_DONE;
    struct http1_head *head = r->head;
    head->message = (struct message){.headers = head->headers};
    head->query = bytes_of(NULL, 0);
    head->framing = BODY_NONE;
    head->content_length = 0;
    head->keep_alive = head->expect_continue = false;
    head->status = 0;
    head->reason = NULL;
    for (; *checks != NULL && status == HTTP1_DONE; checks++)
        status = (*checks)(r);
    return status;
}

enum http1_status http1_request_head(struct arena *arena, struct bytes text, uint64_t max_body,
                                     struct http1_head *head) {
    static check_fn *const checks[] = {
        read_request_line, read_headers,    check_host, check_coding,
        check_length,      check_agreement, NULL,
    };
    struct reading r = {
        .head = head,
        .arena = arena,
        .text = text,
        .rest = text,
        .max_body = max_body,
        .request = true,
    };
    head->head_only = false;
    enum http1_status status = run(checks, &r);
    head->expect_continue = head->expect_continue && head->framing != BODY_NONE;
    return status;
}

enum http1_status http1_answer_head(struct arena *arena, struct bytes text, struct bytes method,
                                    uint64_t max_answer, struct http1_head *head) {
    static check_fn *const checks[] = {
        read_status_line,  read_headers,    check_coding, check_length,
        check_answer_body, check_agreement, NULL,
    };
    head->head_only = bytes_is(method, "HEAD");
    struct reading r = {
        .head = head,
        .arena = arena,
        .text = text,
        .rest = text,
        .max_body = head->head_only ? UINT64_MAX : max_answer,
    };
    return run(checks, &r);
}

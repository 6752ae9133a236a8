#include "http1_private.h"

/* Raw bytes of a path or query: pchar, '/', well-formed escapes; in a query '?' too. */
static bool raw_is_clean(struct bytes s, bool query, size_t *escapes) {
    *escapes = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (http1_is(s.at[i], CLASS_PATH) || (query && s.at[i] == '?'))
            continue;
        if (s.at[i] != '%' || s.len - i < 3 || http1_hex(s.at[i + 1]) < 0 ||
            http1_hex(s.at[i + 2]) < 0)
            return false;
        ++*escapes;
        i += 2;
    }
    return true;
}

/* Undoes each escape once.  An escape may stand only for a byte that needed none, and not for a
 * '/': so the decoded path reads the same to everyone, however often they decode, and can be
 * written into a request line as it is. */
static bool decode(struct bytes raw, char *out, size_t *len) {
    size_t n = 0;
    for (size_t i = 0; i < raw.len; i++) {
        char c = raw.at[i];
        if (c == '%') {
            c = (char)(http1_hex(raw.at[i + 1]) * 16 + http1_hex(raw.at[i + 2]));
            if (!http1_is(c, CLASS_PATH) || c == '/')
                return false;
            i += 2;
        }
        out[n++] = c;
    }
    *len = n;
    return true;
}

/* No ".", no "..", and no empty segment but the last. */
static bool segments_are_plain(struct bytes path) {
    struct bytes rest = bytes_skip(path, 1);
    while (rest.at != NULL) {
        struct bytes segment = bytes_cut(&rest, '/');
        if (segment.len == 0 && rest.at != NULL)
            return false;
        if (bytes_is(segment, ".") || bytes_is(segment, ".."))
            return false;
    }
    return true;
}

enum http1_status http1_target(struct arena *arena, struct bytes target, struct http1_head *head) {
    struct bytes query = target;
    struct bytes path = bytes_cut(&query, '?');
    size_t escapes, ignored;
    if (path.len == 0 || path.at[0] != '/')
        return http1_refuse(head, 400, "a target that is not a path");
    if (!raw_is_clean(path, false, &escapes) || !raw_is_clean(query, true, &ignored))
        return http1_refuse(head, 400, "a byte or an escape that no path may have");
    if (escapes > 0) {
        char *decoded = arena_alloc(arena, path.len);
        if (decoded == NULL)
            return http1_refuse(head, 503, "out of memory");
        if (!decode(path, decoded, &path.len))
            return http1_refuse(head, 400, "an escape that hides a delimiter");
        path.at = decoded;
    }
    if (!segments_are_plain(path))
        return http1_refuse(head, 400, "a path with . or .. or // in it");
    head->message.path = path;
    head->query = query;
    return HTTP1_DONE;
}

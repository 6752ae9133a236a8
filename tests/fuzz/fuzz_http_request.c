/* Requests of one connection.  Whatever the bytes: how they are cut changes nothing, a refusal
 * has a status and a reason, and an accepted head has one framing, one Host, and a plain path. */
#include <stdlib.h>

#include "../unit/http1_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds)
        abort();
}

static void check_accepted(const struct http1_head *head) {
    const struct message *m = &head->message;
    struct bytes path = m->path, segment;
    unsigned lengths = 0, codings = 0, hosts = 0;
    for (uint32_t i = 0; i < m->header_count; i++) {
        lengths += bytes_is_nocase(m->headers[i].name, "Content-Length");
        codings += bytes_is_nocase(m->headers[i].name, "Transfer-Encoding");
        hosts += bytes_is_nocase(m->headers[i].name, "Host");
    }
    check(lengths + codings <= 1 && hosts == 1);
    check((head->framing == BODY_CHUNKED) == (codings == 1));
    check((head->framing == BODY_LENGTH) == (head->content_length > 0));
    check(path.len > 0 && path.at[0] == '/');
    for (size_t i = 0; i < path.len; i++)
        check(path.at[i] > ' ' && path.at[i] < 0x7f && strchr("%\\?#", path.at[i]) == NULL);
    path = bytes_skip(path, 1);
    while (path.at != NULL) {
        segment = bytes_cut(&path, '/');
        check(!bytes_is(segment, ".") && !bytes_is(segment, ".."));
        check(segment.len > 0 || path.at == NULL);
    }
}

static void play(struct harness *h, struct bytes text, size_t first, size_t step) {
    harness_open(h, true, "");
    h->accepted = check_accepted;
    harness_play(h, text, first, step);
    check((h->status == 0) == (h->reason == NULL));
    harness_close(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness whole, cut;
    if (size < 3 || size > KIB(64))
        return 0;
    struct bytes text = bytes_of(data + 3, size - 3);
    play(&whole, text, text.len, 1);
    play(&cut, text, (size_t)data[0] << 8 | data[1], (size_t)data[2] + 1);
    check(whole.status == cut.status && whole.messages == cut.messages);
    check(whole.digest == cut.digest && whole.have_head == cut.have_head);
    check(whole.status == 0 || strcmp(whole.reason, cut.reason) == 0);
    return 0;
}

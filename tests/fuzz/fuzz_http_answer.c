/* An upstream's answers.  Whatever the bytes: how they are cut changes nothing, and an accepted
 * head has one framing whose end can be told, and none where its status allows no body. */
#include <stdlib.h>

#include "../unit/http1_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds) {
    if (!holds)
        abort();
}

static void check_accepted(const struct http1_head *head) {
    const struct message *m = &head->message;
    bool bodiless = head->head_only || m->status < 200 || m->status == 204 || m->status == 304;
    unsigned lengths = 0, codings = 0;
    for (uint32_t i = 0; i < m->header_count; i++) {
        lengths += bytes_is_nocase(m->headers[i].name, "Content-Length");
        codings += bytes_is_nocase(m->headers[i].name, "Transfer-Encoding");
    }
    check(m->status >= 100 && m->status <= 599 && m->status != 101);
    check(lengths + codings <= 1);
    check(bodiless ? head->framing == BODY_NONE : lengths + codings == 1);
    check(head->framing != BODY_CHUNKED || codings == 1);
    check(head->framing != BODY_LENGTH || lengths == 1);
    check(head->framing != BODY_TO_EOF);
}

static void play(struct harness *h, const char *method, struct bytes text, size_t first,
                 size_t step) {
    harness_open(h, false, method);
    h->accepted = check_accepted;
    harness_play(h, text, first, step);
    harness_close(h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct harness whole, cut;
    if (size < 3 || size > KIB(64))
        return 0;
    const char *method = (data[0] & 0x80) != 0 ? "HEAD" : "POST";
    struct bytes text = bytes_of(data + 3, size - 3);
    play(&whole, method, text, text.len, 1);
    play(&cut, method, text, (size_t)(data[0] & 0x7f) << 8 | data[1], (size_t)data[2] + 1);
    check(whole.status == cut.status && whole.messages == cut.messages);
    check(whole.digest == cut.digest && whole.have_head == cut.have_head);
    check(whole.status == 0 || strcmp(whole.reason, cut.reason) == 0);
    return 0;
}

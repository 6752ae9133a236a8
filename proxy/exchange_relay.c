/* exchange_relay.c - bodies that pass unread, and the two headers that say what they are. */
#include "exchange.h"

#define BINARY_HEADER "Inference-Header-Content-Length"

enum codec_status exchange_relay(struct arena *a, const struct message *in, struct outgoing *out) {
    struct bytes length;
    struct bytes *body = arena_new_array(a, struct bytes, 1);
    struct header *binary = arena_new_array(a, struct header, 1);
    if (body == NULL || binary == NULL)
        return CODEC_NO_MEMORY;
    *body = in->body;
    *out = (struct outgoing){
        .path = in->path, .pieces = body, .piece_count = 1, .body_len = in->body.len};
    if (!message_header(in, "Content-Type", &out->content_type) ||
        out->content_type.len > RELAYED_HEADER_MAX)
        out->content_type = bytes_of(NULL, 0); /* none is passed as none */
    if (message_header(in, BINARY_HEADER, &length) && length.len <= RELAYED_HEADER_MAX) {
        *binary = (struct header){BYTES_LITERAL(BINARY_HEADER), length};
        out->headers = binary;
        out->header_count = 1;
    }
    return CODEC_OK;
}

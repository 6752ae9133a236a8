/* identity_address.c - whoever asks, known by the address: what is left when nothing is shown. */
#include "front.h"
#include "identity.h"

struct bytes identity_client_address(struct peer_name *peer, const struct config *config,
                                     const struct message *head) {
    char text[IP_TEXT_MAX] = "";
    struct ip who = {{0}};
    if (!forwarded_client(&config->clients.forwarded, head, peer->local ? NULL : &peer->ip, &who))
        return front_pseudonym(&peer->own, config);
    ip_text(&who, text);
    if (strcmp(text, peer->forwarded.text) != 0) {
        memcpy(peer->forwarded.text, text, sizeof(text));
        peer->forwarded.made_under = 0;
    }
    return front_pseudonym(&peer->forwarded, config);
}

enum identity_status identity_address(const struct identity_request *r, struct client *out,
                                      struct identity_refusal *why) {
    (void)why;
    *out = (struct client){.pseudonym = r->address, .key = r->address};
    return IDENTITY_PROVEN;
}

#include "front.h"

struct bytes front_pseudonym(struct peer_name *peer, const struct config *config) {
    if (peer->made_under != config->serial) {
        config_pseudonym(config, "address", bytes_str(peer->text), peer->pseudonym);
        peer->made_under = config->serial;
    }
    return bytes_str(peer->pseudonym);
}

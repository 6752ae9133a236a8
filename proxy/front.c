#include "front.h"

struct bytes front_pseudonym(struct address_name *n, const struct config *config) {
    if (n->made_under != config->serial) {
        config_pseudonym(config, "address", bytes_str(n->text), n->pseudonym);
        n->made_under = config->serial;
    }
    return bytes_str(n->pseudonym);
}

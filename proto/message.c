#include "message.h"

bool message_header(const struct message *m, const char *name, struct bytes *out) {
    uint32_t found = 0;
    *out = bytes_of(NULL, 0);
    for (uint32_t i = 0; i < m->header_count; i++) {
        if (!bytes_is_nocase(m->headers[i].name, name))
            continue;
        *out = m->headers[i].value;
        found++;
    }
    return found == 1;
}

bool message_has(const struct message *m, const char *name) {
    for (uint32_t i = 0; i < m->header_count; i++)
        if (bytes_is_nocase(m->headers[i].name, name))
            return true;
    return false;
}

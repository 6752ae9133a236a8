/* A policy, and behind a line "%%" the key list.  Either it is a configuration, and prints as one
 * that reads back to the same, or there are errors, each beginning with file:line:column. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../proxy/base/limits.h"
#include "../../proxy/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes keys;

static const char *load(const char *path, bool secret, struct buf *out, char why[CONFIG_WHY_MAX]) {
    (void)why;
    if (strpbrk(path, ":!") != NULL) /* So that FILE of an error ends at its first colon. */
        return "No such file or directory";
    if (out != NULL)
        buf_add_bytes(out, secret ? BYTES_LITERAL("0123456789abcdef") : keys);
    return NULL;
}

static const char *resolve(const char *host, const char *port, struct sockaddr_storage *at,
                           socklen_t *len) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, host, &four.sin_addr) != 1)
        return "Name or service not known";
    memcpy(at, &four, *len = sizeof(four));
    return NULL;
}

static const struct config_io io = {.load = load, .resolve = resolve};

static void must(bool holds, const char *what, struct bytes text) {
    if (!holds) {
        fprintf(stderr, "%s:\n%.*s\n", what, (int)text.len, text.at);
        abort();
    }
}

/* "/p/FILE:LINE:COL: error: ", an indented line below it, or the count at the end. */
static void check_errors(struct bytes all) {
    struct bytes text = all, line;
    unsigned heads = 0, total = 0;
    must(all.len > 0, "no configuration and no error", all);
    while (text.len > 0) {
        char head[160];
        unsigned at = 0, column = 0, used = 0;
        line = bytes_cut(&text, '\n');
        if (bytes_starts(line, "    "))
            continue;
        snprintf(head, sizeof(head), "%.*s", (int)line.len, line.at);
        if (sscanf(head, "/p/%*[^:]:%u:%u: error: %n", &at, &column, &used) == 2 && used > 0)
            heads++;
        else
            must(sscanf(head, "%u error", &total) == 1 && text.len == 0, "not an error", all);
        must(used == 0 || (at > 0 && column > 0), "an error nowhere", all);
    }
    must(total >= heads && (total == heads || heads == CONFIG_ERRORS_MAX), "miscounted", all);
}

static struct config *read_text(struct bytes text, struct buf *errors) {
    buf_init(errors, MIB(4));
    return config_read_text(text, "/p/policy.yaml", &io, errors);
}

static void check_print(struct config *c) {
    struct buf first, second, errors;
    buf_init(&first, MIB(16));
    config_print(c, &first);
    struct config *again = read_text(buf_bytes(&first), &errors);
    must(again != NULL, "what is printed does not read back", buf_bytes(&errors));
    buf_init(&second, MIB(16));
    config_print(again, &second);
    must(bytes_eq(buf_bytes(&first), buf_bytes(&second)), "it reads differently",
         buf_bytes(&second));
    buf_free(&first);
    buf_clear(&second);
    (void)config_explain(again, BYTES_LITERAL("192.0.2.1"), BYTES_LITERAL("digits"), &second);
    buf_free(&second);
    buf_free(&errors);
    config_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bytes text = bytes_of(data, size);
    const char *cut = size > 0 ? memmem(data, size, "%%\n", 3) : NULL;
    struct buf errors;
    keys = cut != NULL ? bytes_skip(text, (size_t)(cut - text.at) + 3) : BYTES_LITERAL("keys: []");
    text.len = cut != NULL ? (size_t)(cut - text.at) : size;
    struct config *c = read_text(text, &errors);
    must(c == NULL || errors.len == 0, "a configuration and errors", buf_bytes(&errors));
    if (c != NULL)
        check_print(c);
    else
        check_errors(buf_bytes(&errors));
    config_unref(c);
    buf_free(&errors);
    return 0;
}

#include "cli_ledger.h"

#include <stdio.h>

#include "base/limits.h"
#include "config_private.h"
#include "ledger.h"

static bool read_key(const char *path, unsigned char out[SHA256_BYTES]) {
    char why[CONFIG_WHY_MAX];
    struct buf secret;
    buf_init(&secret, KIB(8));
    const char *wrong = config_system_io.load(path, true, &secret, why);
    size_t len = secret.len;
    if (len > 0 && secret.at[len - 1] == '\n')
        len--;
    if (wrong != NULL)
        fprintf(stderr, "cannot use '%s': %s\n", path, wrong);
    else
        ledger_key(bytes_of(secret.at, len), out);
    if (secret.at != NULL)
        crypto_wipe(secret.at, secret.room);
    buf_free(&secret);
    return wrong == NULL;
}

static void print_report(const char *path, const struct ledger_report *r) {
    printf("%s: OK, %llu lines, %llu rows, epsilon %.12g, rho %.12g\n", path,
           (unsigned long long)r->lines, (unsigned long long)r->rows, r->epsilon, r->rho);
    if (r->lines == 0)
        return;
    printf("numbers %llu to %llu\n", (unsigned long long)r->first, (unsigned long long)r->last);
    printf("%s %s\n", r->first == 1 ? "begins the chain after" : "goes on from", r->from);
    printf("ends with %s\n", r->to);
    printf("that lines are missing behind the last shows only by comparing its hash with one kept "
           "elsewhere\n");
}

bool cli_ledger_verify(const char *path, const char *key_file) {
    unsigned char key[SHA256_BYTES];
    struct ledger_report r;
    if (key_file != NULL && !read_key(key_file, key))
        return false;
    if (!ledger_verify(path, key_file != NULL ? key : NULL, &r)) {
        fprintf(stderr, "%s: %s\n", path, r.why);
        return false;
    }
    if (r.bad_line > 0) {
        printf("%s:%llu: BROKEN: %s\n", path, (unsigned long long)r.bad_line, r.why);
        if (r.bad_line == 1)
            printf("    hint: %s\n", key_file == NULL ? "was it written with a key? --key FILE"
                                                      : "was it written with this key?");
        return false;
    }
    print_report(path, &r);
    return true;
}

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "cli_keys.h"
#include "cli_ledger.h"
#include "config.h"
#include "diagnostics.h"
#include "gate.h"

enum { EXIT_DONE = 0, EXIT_NO = 1, EXIT_USAGE = 2 };

/* What the options said; a NULL was not given. */
struct args {
    const char *file, *client, *model, *id, *kind, *tier, *not_after, *key;
    bool new;
    int (*run)(const char *config_path);
};

struct command {
    const char *name;
    const char *usage; /* behind the name */
    const char *needs; /* letters of the options it must have */
    const char *takes; /* letters of those it may have as well */
    int (*go)(const struct args *);
    const char *says;
};

static void print(struct buf *b, FILE *to) {
    if (b->len > 0)
        fwrite(b->at, 1, b->len, to);
    buf_free(b);
}

/* NULL: the errors were printed. */
static struct config *read_file(const char *path) {
    struct buf errors;
    buf_init(&errors, MIB(1));
    struct config *c = config_read(path, &errors);
    print(&errors, stderr);
    return c;
}

static int go_run(const struct args *a) {
    return a->run(a->file);
}

static int go_check(const struct args *a) {
    struct config *c = read_file(a->file);
    if (c == NULL)
        return EXIT_NO;
    bool usable = gate_prepare(c);
    if (usable)
        printf("%s: no errors; policy version %s\n", a->file, c->sha256);
    config_unref(c);
    return usable ? EXIT_DONE : EXIT_NO;
}

static int go_explain(const struct args *a) {
    struct buf text;
    struct config *c = read_file(a->file);
    if (c == NULL)
        return EXIT_NO;
    buf_init(&text, MIB(1));
    bool known = config_explain(c, bytes_str(a->client), bytes_str(a->model), &text);
    print(&text, known ? stdout : stderr);
    config_unref(c);
    return known ? EXIT_DONE : EXIT_NO;
}

static int print_text(void (*write)(struct buf *)) {
    struct buf text;
    buf_init(&text, MIB(1));
    write(&text);
    bool ok = !text.failed;
    print(&text, stdout);
    return ok ? EXIT_DONE : EXIT_NO;
}

static int go_schema(const struct args *a) {
    (void)a;
    return print_text(config_schema);
}

static int go_reference(const struct args *a) {
    (void)a;
    return print_text(config_reference);
}

static int go_hash_key(const struct args *a) {
    return cli_hash_key(a->id, a->tier, a->not_after, a->new) ? EXIT_DONE : EXIT_NO;
}

static int go_pseudonym(const struct args *a) {
    struct config *c = read_file(a->file);
    bool ok = c != NULL && cli_pseudonym(c, a->kind, a->id);
    config_unref(c);
    return ok ? EXIT_DONE : EXIT_NO;
}

static int go_version(const struct args *a) {
    (void)a;
    printf("querygate %s\n", QG_VERSION);
    return EXIT_DONE;
}

static int go_ledger(const struct args *a) {
    return cli_ledger_verify(a->file, a->key) ? EXIT_DONE : EXIT_NO;
}

static int go_help(const struct args *a);

/* Options: c file, C client, M model, i id, k kind, t tier, n not-after, N new, K key. */
static const struct command commands[] = {
    {"run", "-c FILE", "c", "", go_run, "serve, until SIGTERM"},
    {"check", "FILE", "c", "", go_check, "report every error in the file"},
    {"explain", "FILE --client ID|ADDRESS --model NAME", "cCM", "", go_explain,
     "say what this client gets from this model"},
    {"schema", "", "", "", go_schema, "print the JSON Schema of the file"},
    {"reference", "", "", "", go_reference, "print the documentation of every option"},
    {"hash-key", "--id ID [--tier T] [--not-after YYYY-MM-DD] [--new]", "i", "tnN", go_hash_key,
     "hash the API key on standard input, or a new one, for keys.yaml"},
    {"pseudonym", "-c FILE --kind key|mtls|jwt|address --id ID", "cik", "", go_pseudonym,
     "print the name a client has in logs"},
    {"ledger", "verify FILE [--key FILE]", "c", "K", go_ledger,
     "check the chain of a log of privacy budgets"},
    {"version", "", "", "", go_version, "print the version"},
    {"help", "", "", "", go_help, "print this"},
};
enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

static int go_help(const struct args *a) {
    (void)a;
    printf("querygate lets out of inference servers what a policy allows.\n\n");
    for (int i = 0; i < COMMAND_COUNT; i++)
        printf("  querygate %s%s%s\n        %s\n", commands[i].name,
               *commands[i].usage != '\0' ? " " : "", commands[i].usage, commands[i].says);
    return EXIT_DONE;
}

static int usage(const struct command *c) {
    fprintf(stderr, "usage: querygate %s%s%s\n", c->name, *c->usage != '\0' ? " " : "", c->usage);
    return EXIT_USAGE;
}

static int unknown_command(const char *name) {
    const char *names[COMMAND_COUNT + 1] = {NULL};
    struct arena *arena = arena_new(KIB(64));
    struct diagnostics *d = arena != NULL ? arena_new_array(arena, struct diagnostics, 1) : NULL;
    for (int i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    fprintf(stderr, "querygate: unknown command '%s'\n", name);
    if (d != NULL) {
        diagnostics_init(d, arena);
        const char *hint = diagnostics_hint(d, bytes_str(name), names);
        fprintf(stderr, "    hint: %s\n", hint != NULL ? hint : "querygate help");
    }
    arena_free(arena);
    return EXIT_USAGE;
}

/* Where the option of that letter goes; NULL: no option with a value. */
static const char **slot(struct args *a, int letter) {
    switch (letter) {
    case 'c':
        return &a->file;
    case 'C':
        return &a->client;
    case 'M':
        return &a->model;
    case 'i':
        return &a->id;
    case 'k':
        return &a->kind;
    case 't':
        return &a->tier;
    case 'n':
        return &a->not_after;
    case 'K':
        return &a->key;
    default:
        return NULL;
    }
}

/* The letter of "--model" or "-c"; 0: no such option. */
static int letter_of(struct bytes word) {
    static const struct {
        const char *name;
        int letter;
    } names[] = {{"-c", 'c'},    {"--config", 'c'}, {"--client", 'C'}, {"--model", 'M'},
                 {"--id", 'i'},  {"--kind", 'k'},   {"--tier", 't'},   {"--not-after", 'n'},
                 {"--new", 'N'}, {"--key", 'K'}};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (bytes_is(word, names[i].name))
            return names[i].letter;
    return 0;
}

/* "--name value", "--name=value", "-c value", or the file alone.  False: not for this command.
 * By hand, because getopt.h has a struct option too. */
static bool read_args(const struct command *c, int argc, char **argv, struct args *a) {
    for (int i = 0; i < argc; i++) {
        struct bytes value = bytes_str(argv[i]), word = bytes_cut(&value, '=');
        bool dash = argv[i][0] == '-', takes_file = strchr(c->needs, 'c') != NULL;
        int letter = dash ? letter_of(word) : takes_file && a->file == NULL ? 'c' : 0;
        if (letter == 0 || (strchr(c->needs, letter) == NULL && strchr(c->takes, letter) == NULL))
            return false;
        if (letter == 'N' && value.at == NULL)
            a->new = true;
        else if (letter == 'N')
            return false;
        else if (!dash)
            a->file = argv[i];
        else if (value.at != NULL)
            *slot(a, letter) = value.at;
        else if (++i < argc)
            *slot(a, letter) = argv[i];
        else
            return false;
    }
    for (const char *need = c->needs; *need != '\0'; need++)
        if (*slot(a, *need) == NULL)
            return false;
    return true;
}

int cli_main(int argc, char **argv, int (*run)(const char *config_path)) {
    struct args a = {.run = run};
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        name = "version";
    int from = 2;
    if (strcmp(name, "ledger") == 0 && argc > 2 && strcmp(argv[2], "verify") == 0)
        from = 3;
    else if (strcmp(name, "ledger") == 0)
        argc = 2; /* a usage message */
    for (int i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, commands[i].name) == 0)
            return read_args(&commands[i], argc - from, argv + from, &a) ? commands[i].go(&a)
                                                                         : usage(&commands[i]);
    return unknown_command(name);
}

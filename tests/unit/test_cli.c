#include "../../proxy/cli.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/querygate-cli-XXXXXX";
static char out[65536], err[65536];

static const char policy_text[] =
    "listeners: [{name: rest, address: \"127.0.0.1:8080\"}]\n"
    "clients:\n"
    "  identify: [api_key]\n"
    "  api_keys: {file: keys.yaml}\n"
    "  pseudonym_key: {file: p.key}\n"
    "upstreams: {u: {protocol: open-inference, http: [http://127.0.0.1:1]}}\n"
    "models: [{match: m, upstream: u, policy: p, outputs: {o: scores}}]\n"
    "policies: {p: {filters: [top_k: ]}}\n";

static void write_file(const char *name, const char *text, mode_t mode) {
    char path[200];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void read_back(FILE *f, char *to, size_t size) {
    rewind(f);
    to[fread(to, 1, size - 1, f)] = '\0';
    fclose(f);
}

static int fake_run(const char *path) {
    printf("ran %s\n", path);
    return 7;
}

/* Runs the command line (words split at spaces) in a child, in the folder; its exit status. */
static int cli(const char *line, const char *input) {
    char copy[500], *argv[20] = {NULL}, *save = NULL;
    int argc = 0, status = 0;
    FILE *in = tmpfile(), *to_out = tmpfile(), *to_err = tmpfile();
    assert_true(in != NULL && to_out != NULL && to_err != NULL);
    fputs(input, in);
    rewind(in);
    snprintf(copy, sizeof(copy), "querygate %s", line);
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
        argv[argc++] = w;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fileno(in), 0);
        dup2(fileno(to_out), 1);
        dup2(fileno(to_err), 2);
        if (chdir(folder) != 0)
            _exit(99);
        status = cli_main(argc, argv, fake_run);
        fflush(NULL);
        _exit(status);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    fclose(in);
    read_back(to_out, out, sizeof(out));
    read_back(to_err, err, sizeof(err));
    return WEXITSTATUS(status);
}

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL)
        return 1;
    write_file("good.yaml", policy_text, 0644);
    write_file("bad.yaml", "listners: []\n", 0644);
    write_file("keys.yaml", "keys:\n", 0644);
    write_file("p.key", "0123456789abcdef\n", 0600);
    if (cli("hash-key --id alice", "alice-has-a-long-key\n") != 0)
        return 1;
    char keys[600];
    snprintf(keys, sizeof(keys), "keys:\n%.500s", out);
    write_file("keys.yaml", keys, 0644);
    return 0;
}

static int tear_down(void **state) {
    static const char *const names[] = {"good.yaml", "bad.yaml", "keys.yaml", "p.key", "open.yaml"};
    char path[200];
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void test_command_lines(void **state) {
    static const struct {
        const char *line;
        int status;
        const char *out, *err; /* that it must hold; NULL: nothing at all */
    } rows[] = {
        {"", 0, "querygate check FILE", NULL},
        {"help", 0, "querygate hash-key --id ID", NULL},
        {"--help", 0, "querygate run -c FILE", NULL},
        {"version", 0, "querygate " QG_VERSION "\n", NULL},
        {"--version", 0, "querygate " QG_VERSION "\n", NULL},
        {"version x", 2, NULL, "usage: querygate version\n"},
        {"chek good.yaml", 2, NULL, "unknown command 'chek'\n    hint: did you mean 'check'?"},
        {"frobnicate", 2, NULL, "hint: one of: run, check, explain"},
        {"check", 2, NULL, "usage: querygate check FILE\n"},
        {"check good.yaml extra", 2, NULL, "usage: querygate check FILE\n"},
        {"check --model x good.yaml", 2, NULL, "usage: querygate check FILE\n"},
        {"check --new good.yaml", 2, NULL, "usage: querygate check"},
        {"check -c", 2, NULL, "usage: querygate check"},
        {"check --nonsense good.yaml", 2, NULL, "usage: querygate check"},
        {"check good.yaml", 0, "good.yaml: no errors; policy version ", NULL},
        {"check -c good.yaml", 0, "no errors", NULL},
        {"check --config=good.yaml", 0, "no errors", NULL},
        {"check bad.yaml", 1, NULL,
         "bad.yaml:1:1: error: unknown option 'listners'\n    listners: []\n"},
        {"check missing.yaml", 1, NULL,
         "missing.yaml:1:1: error: cannot read the file: No such file"},
        {"check .", 1, NULL, ".:1:1: error: cannot read the file: it is a directory"},
        {"run -c good.yaml", 7, "ran good.yaml\n", NULL},
        {"run", 2, NULL, "usage: querygate run -c FILE\n"},
        {"schema", 0, "\"$schema\"", NULL},
        {"reference", 0, "# Policy reference", NULL},
        {"explain good.yaml --client alice --model m", 0, "policy  p: the model's own", NULL},
        {"explain good.yaml --client=alice --model=m", 0, "client  alice", NULL},
        {"explain good.yaml --client alice", 2, NULL, "usage: querygate explain"},
        {"explain good.yaml --client alcie --model m", 1, NULL, "did you mean 'alice'?"},
        {"explain bad.yaml --client alice --model m", 1, NULL, "unknown option 'listners'"},
        {"pseudonym -c good.yaml --kind key --id alice", 0, "k1:7e59d1724cf25a6b\n", NULL},
        {"pseudonym -c good.yaml --kind address --id 192.0.2.1", 0, "k1:", NULL},
        {"pseudonym -c good.yaml --kind address --id x", 1, NULL, "--id is not an address"},
        {"pseudonym -c good.yaml --kind mtls --id x", 0, "k1:", NULL},
        {"pseudonym -c good.yaml --kind jwt --id x", 0, "k1:", NULL},
        {"pseudonym -c good.yaml --kind name --id x", 1, NULL,
         "--kind is key, mtls, jwt or address"},
        {"pseudonym -c good.yaml --kind key", 2, NULL, "usage: querygate pseudonym"},
        {"hash-key", 2, NULL, "usage: querygate hash-key --id ID"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int status = cli(rows[i].line, "");
        const char *says = rows[i].out != NULL ? rows[i].out : "", *cry = rows[i].err;
        if (status != rows[i].status || (cry == NULL && *err != '\0') ||
            (rows[i].out == NULL && *out != '\0') || strstr(out, says) == NULL ||
            (cry != NULL && strstr(err, cry) == NULL))
            fail_msg("'%s' exits %d and says\n%s%s", rows[i].line, status, out, err);
    }
}

static void test_hash_key(void **state) {
    /* printf %s KEY | sha256sum */
    static const struct {
        const char *line, *input;
        int status;
        const char *out;
    } rows[] = {
        {"hash-key --id alice", "alice-has-a-long-key\n", 0,
         "  - {id: \"alice\", sha256: "
         "ab1a601f799f1f005a19a63bd7752cf2071238fb88c13cea67cd301f6d0283a6}\n"},
        {"hash-key --id alice", "alice-has-a-long-key", 0,
         "  - {id: \"alice\", sha256: "
         "ab1a601f799f1f005a19a63bd7752cf2071238fb88c13cea67cd301f6d0283a6}\n"},
        {"hash-key --id alice", "alice-has-a-long-key\r\n", 0,
         "  - {id: \"alice\", sha256: "
         "ab1a601f799f1f005a19a63bd7752cf2071238fb88c13cea67cd301f6d0283a6}\n"},
        {"hash-key --id alice --tier gold --not-after 2027-01-01", "alice-has-a-long-key\n", 0,
         "  - {id: \"alice\", sha256: "
         "ab1a601f799f1f005a19a63bd7752cf2071238fb88c13cea67cd301f6d0283a6, tier: \"gold\", "
         "not_after: 2027-01-01}\n"},
        {"hash-key --id alice", "alice-has-a-long-key\n\n", 1, ""},
        {"hash-key --id alice", "0123456789abcde\n", 1, ""},
        {"hash-key --id alice", "0123456789abcdef \n", 1, ""},
        {"hash-key --id alice", "0123456789abcdef\xc3\xa9\n", 1, ""},
        {"hash-key --id alice", "", 1, ""},
        {"hash-key --id=", "alice-has-a-long-key\n", 1, ""},
        {"hash-key --id alice --not-after 2027-1-1", "alice-has-a-long-key\n", 1, ""},
        {"hash-key --id alice --not-after 2027-01-01x", "alice-has-a-long-key\n", 1, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int status = cli(rows[i].line, rows[i].input);
        if (status != rows[i].status || strcmp(out, rows[i].out) != 0 ||
            (*err == '\0') != (status == 0))
            fail_msg("row %zu exits %d and says\n%s%s", i, status, out, err);
    }
}

static void test_key_lengths(void **state) {
    char key[API_KEY_BYTES_MAX + 4];
    (void)state;
    for (size_t len = API_KEY_BYTES_MAX - 1; len <= API_KEY_BYTES_MAX + 2; len++) {
        memset(key, 'k', len);
        key[len] = '\n';
        key[len + 1] = '\0';
        assert_int_equal(cli("hash-key --id alice", key), len <= API_KEY_BYTES_MAX ? 0 : 1);
    }
}

static void test_new_keys(void **state) {
    char key[100] = "", first[100] = "", entry[300];
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(cli("hash-key --id alice --new", ""), 0);
        assert_int_equal(sscanf(err, "the key, shown this once: %99s", key), 1);
        assert_int_equal(strlen(key), 43);
        assert_int_equal(
            strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 43);
        assert_null(strstr(out, key));
        assert_string_not_equal(key, first);
        snprintf(first, sizeof(first), "%s", key);
    }
    /* The entry is that of the key. */
    snprintf(entry, sizeof(entry), "%.299s", out);
    assert_int_equal(cli("hash-key --id alice", key), 0);
    assert_string_equal(out, entry);
}

static void test_pseudonyms_need_a_key_that_stays(void **state) {
    char text[sizeof(policy_text)];
    (void)state;
    const char *line = strstr(policy_text, "  pseudonym_key");
    snprintf(text, sizeof(text), "%.*s%s", (int)(line - policy_text), policy_text,
             strchr(line, '\n') + 1);
    write_file("open.yaml", text, 0644);
    assert_int_equal(cli("pseudonym -c open.yaml --kind key --id alice", ""), 1);
    assert_non_null(strstr(err, "pseudonyms change with every start"));
}

/* The real file system: modes, folders, missing files. */
static void test_secrets_others_may_read(void **state) {
    char expected[300], pipe[200];
    (void)state;
    write_file("p.key", "0123456789abcdef\n", 0640);
    assert_int_equal(cli("check good.yaml", ""), 1);
    snprintf(expected, sizeof(expected),
             "good.yaml:5:25: error: cannot use '%s/p.key': it is a secret that others may read "
             "(mode 0640): chmod 600\n",
             folder);
    if (strstr(err, expected) == NULL)
        fail_msg("%s is not in\n%s", expected, err);
    write_file("p.key", "0123456789abcdef\n", 0400);
    assert_int_equal(cli("check good.yaml", ""), 0);
    /* A pipe nobody writes to is not waited for. */
    snprintf(pipe, sizeof(pipe), "%s/p.key", folder);
    assert_int_equal(unlink(pipe), 0);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    assert_int_equal(cli("check good.yaml", ""), 1);
    assert_non_null(strstr(err, "a secret must be a plain file"));
    assert_int_equal(unlink(pipe), 0);
    write_file("p.key", "0123456789abcdef\n", 0600);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_command_lines),
        cmocka_unit_test(test_hash_key),
        cmocka_unit_test(test_key_lengths),
        cmocka_unit_test(test_new_keys),
        cmocka_unit_test(test_pseudonyms_need_a_key_that_stays),
        cmocka_unit_test(test_secrets_others_may_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}

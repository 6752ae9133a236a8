/* redis_server.h - a real redis-server on a socket of its own, and blocking calls to it: for tests
 * of the scripts we send. */
#ifndef QG_TEST_REDIS_SERVER_H
#define QG_TEST_REDIS_SERVER_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../proxy/base/limits.h"
#include "../../proxy/redis.h"

/* The greatest there is, in a reply. */
#define GREATEST      INT64_C(9007199254740991)
#define GREATEST_TEXT "9007199254740991"

static struct {
    char folder[64], path[96];
    pid_t pid;
    FILE *in, *out;
    bool there;
} server;

static bool connect_server(void) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", server.path);
    for (int i = 0; i < 2000; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
            server.in = fdopen(fd, "r");
            server.out = fdopen(dup(fd), "w");
            return true;
        }
        close(fd);
        if (waitpid(server.pid, NULL, WNOHANG) == server.pid)
            return false;
        usleep(5000);
    }
    return false;
}

static int start_server(void **unused) {
    (void)unused;
    snprintf(server.folder, sizeof(server.folder), "/tmp/test_redis.XXXXXX");
    assert_non_null(mkdtemp(server.folder));
    snprintf(server.path, sizeof(server.path), "%s/socket", server.folder);
    if ((server.pid = fork()) == 0) {
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server.path, "--save",
               "", "--dir", server.folder, "--logfile", "/dev/null", (char *)NULL);
        _exit(127);
    }
    server.there = connect_server();
    return 0;
}

static int stop_server(void **unused) {
    (void)unused;
    if (server.there) {
        fclose(server.in);
        fclose(server.out);
        kill(server.pid, SIGTERM);
        waitpid(server.pid, NULL, 0);
    }
    unlink(server.path);
    rmdir(server.folder);
    return 0;
}

static struct redis_value values[REDIS_REPLY_ITEMS_MAX];
static char texts[4096];

static void read_value(struct redis_value *v) {
    char line[512];
    assert_non_null(fgets(line, sizeof(line), server.in));
    size_t len = (size_t)strtoull(line + 1, NULL, 10);
    *v = (struct redis_value){.type = REDIS_TEXT};
    if (line[0] == ':') {
        *v = (struct redis_value){.type = REDIS_INTEGER, .integer = strtoll(line + 1, NULL, 10)};
    } else if (line[0] == '$' && line[1] == '-') {
        v->type = REDIS_NIL;
    } else if (line[0] == '$') {
        assert_true(len + 2 < sizeof(texts));
        assert_int_equal(fread(texts, 1, len + 2, server.in), len + 2);
        v->text = bytes_of(texts, len);
    } else {
        snprintf(texts, sizeof(texts), "%s", line + 1);
        v->text = bytes_of(texts, strcspn(texts, "\r"));
    }
}

/* Sends argv and reads the reply. */
static enum redis_result server_call(int argc, const struct bytes *argv,
                                     struct redis_reply *reply) {
    fprintf(server.out, "*%d\r\n", argc);
    for (int i = 0; i < argc; i++) {
        fprintf(server.out, "$%zu\r\n", argv[i].len);
        fwrite(argv[i].at, 1, argv[i].len, server.out);
        fwrite("\r\n", 1, 2, server.out);
    }
    fflush(server.out);
    int kind = fgetc(server.in);
    ungetc(kind, server.in);
    *reply = (struct redis_reply){.count = 1, .values = values};
    if (kind == '*') {
        char line[64];
        assert_non_null(fgets(line, sizeof(line), server.in));
        reply->array = true;
        reply->count = (uint32_t)strtoul(line + 1, NULL, 10);
    }
    for (uint32_t i = 0; i < reply->count; i++)
        read_value(&values[i]);
    return kind == '-' ? REDIS_ERROR : REDIS_OK;
}

#endif

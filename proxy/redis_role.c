/* redis_role.c - what a link says before it is used, and to whom it goes when it is lost. */
#include "config_private.h"
#include "redis_private.h"

/* -CODE text */
bool redis_code_is(struct bytes error, const char *code) {
    return bytes_is(bytes_cut(&error, ' '), code);
}

bool redis_leaves(struct bytes error) {
    static const char *const codes[] = {"READONLY", "LOADING", "NOAUTH", "MASTERDOWN"};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (redis_code_is(error, codes[i]))
            return true;
    return false;
}

static struct bytes text_of(const struct redis_reply *reply) {
    bool text = !reply->array && reply->values[0].type == REDIS_TEXT;
    return text ? reply->values[0].text : bytes_of(NULL, 0);
}

/* The password is read each time, so that a rotated one is used from the next connection on. */
static int ask_auth(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    const struct store_conf *conf = l->redis->conf;
    char text[CONFIG_WHY_MAX];
    int argc = 0;
    if (conf->password_file.len == 0)
        return 0;
    if (config_system_io.load(conf->password_file.at, true, &l->secret, text) != NULL) {
        *why = "its password file cannot be read, or others may read it";
        return -1;
    }
    struct bytes password = buf_bytes(&l->secret);
    if (password.len > 0 && password.at[password.len - 1] == '\n')
        password.len--;
    argv[argc++] = BYTES_LITERAL("AUTH");
    if (conf->user.len > 0)
        argv[argc++] = conf->user;
    argv[argc++] = password;
    return argc;
}

static const char *hear_auth(struct redis_link *l, const struct redis_reply *reply, bool error) {
    (void)l;
    return !error && bytes_is(text_of(reply), "OK") ? NULL : "it refuses the password";
}

/* Sentinels often have no password: then the answer is an error, and the question still good. */
static const char *hear_anything(struct redis_link *l, const struct redis_reply *reply,
                                 bool error) {
    (void)l, (void)reply, (void)error;
    return NULL;
}

static int ask_select(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)why;
    if (l->redis->conf->database == 0)
        return 0;
    buf_add_u64(&l->secret, l->redis->conf->database);
    argv[0] = BYTES_LITERAL("SELECT");
    argv[1] = buf_bytes(&l->secret);
    return 2;
}

static const char *hear_select(struct redis_link *l, const struct redis_reply *reply, bool error) {
    (void)l;
    return !error && bytes_is(text_of(reply), "OK") ? NULL : "it refuses the database";
}

static int ask_name(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)l, (void)why;
    argv[0] = BYTES_LITERAL("CLIENT");
    argv[1] = BYTES_LITERAL("SETNAME");
    argv[2] = BYTES_LITERAL("querygate");
    return 3;
}

static int ask_role(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)l, (void)why;
    argv[0] = BYTES_LITERAL("ROLE");
    return 1;
}

static const char *hear_role(struct redis_link *l, const struct redis_reply *reply, bool error) {
    (void)l;
    if (error)
        return "it does not tell its role";
    bool master = reply->array && reply->count > 0 && reply->values[0].type == REDIS_TEXT &&
                  bytes_is(reply->values[0].text, "master");
    return master ? NULL : "it is not the master";
}

/* A server that accepts connections may still be stopped, or loading. */
static int ask_ping(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)l, (void)why;
    argv[0] = BYTES_LITERAL("PING");
    return 1;
}

static const char *hear_ping(struct redis_link *l, const struct redis_reply *reply, bool error) {
    (void)l;
    struct bytes text = text_of(reply);
    if (error ? redis_code_is(text, "NOPERM") : bytes_is(text, "PONG"))
        return NULL;
    if (redis_code_is(text, "LOADING"))
        return "it is loading its data";
    if (redis_code_is(text, "NOAUTH"))
        return "it wants a password";
    return "it answers PING with something else";
}

static int ask_master(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)why;
    argv[0] = BYTES_LITERAL("SENTINEL");
    argv[1] = BYTES_LITERAL("MASTER");
    argv[2] = l->redis->conf->master;
    return 3;
}

static const char *hear_master(struct redis_link *l, const struct redis_reply *reply, bool error) {
    return error ? "it knows no master of the store's name" : redis_sentinel_hear(l, reply);
}

static int ask_map(struct redis_link *l, struct bytes argv[REDIS_ARGS_MAX], const char **why) {
    (void)l, (void)why;
    argv[0] = BYTES_LITERAL("CLUSTER");
    argv[1] = BYTES_LITERAL("SLOTS");
    return 2;
}

static const char *hear_map(struct redis_link *l, const struct redis_reply *reply, bool error) {
    return error ? "it does not tell who has which slot" : redis_map_hear(l, reply);
}

static const struct redis_step server_steps[] = {{ask_auth, hear_auth},
                                                 {ask_select, hear_select},
                                                 {ask_name, hear_anything},
                                                 {ask_ping, hear_ping}};
static const struct redis_step master_steps[] = {{ask_auth, hear_auth},
                                                 {ask_select, hear_select},
                                                 {ask_name, hear_anything},
                                                 {ask_ping, hear_ping},
                                                 {ask_role, hear_role}};
static const struct redis_step member_steps[] = {
    {ask_auth, hear_auth}, {ask_name, hear_anything}, {ask_ping, hear_ping}};
static const struct redis_step sentinel_steps[] = {{ask_auth, hear_anything},
                                                   {ask_master, hear_master}};
static const struct redis_step map_steps[] = {{ask_auth, hear_auth}, {ask_map, hear_map}};

static void server_dial(struct redis_link *l) {
    redis_link_dial(l, l->node);
}

static void server_ready(struct redis_link *l) {
    l->attempts = 0;
    redis_say_found(l->redis, l->node);
}

#define STEPS(s) .steps = (s), .step_count = sizeof(s) / sizeof((s)[0])

const struct redis_role redis_role_server = {STEPS(server_steps), .dial = server_dial,
                                             .ready = server_ready, .lost = redis_link_retry};
const struct redis_role redis_role_master = {STEPS(master_steps), .dial = server_dial,
                                             .ready = redis_master_ready,
                                             .lost = redis_master_lost};
const struct redis_role redis_role_member = {STEPS(member_steps), .dial = server_dial,
                                             .ready = server_ready, .lost = redis_member_lost};
const struct redis_role redis_role_sentinel = {STEPS(sentinel_steps), .dial = redis_sentinel_dial,
                                               .ready = redis_sentinel_ready,
                                               .lost = redis_sentinel_lost};
const struct redis_role redis_role_map = {STEPS(map_steps), .dial = redis_map_dial,
                                          .ready = redis_map_ready, .lost = redis_link_retry};

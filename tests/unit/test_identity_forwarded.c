/* Who is the client, by what trusted proxies say: tables of header lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../proxy/forwarded.c"
#include "../../proxy/ip.c"

#define LINES_MAX 4

struct chain {
    const char *peer;             /* NULL: a local socket */
    const char *lines[LINES_MAX]; /* values of the header, in order */
    const char *client;           /* NULL: the peer */
};

/* Trusted: 10.0.0.0/8, 192.0.2.7, 2001:db8:1::/48, local sockets. */
static const struct chain x_for[] = {
    {"10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
    {NULL, {"203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {NULL}, NULL},
    {"198.51.100.1", {"203.0.113.9"}, NULL},
    {"11.0.0.1", {"203.0.113.9"}, NULL},
    {"192.0.2.7", {"203.0.113.9"}, "203.0.113.9"},
    {"192.0.2.6", {"203.0.113.9"}, NULL},
    {"192.0.2.8", {"203.0.113.9"}, NULL},
    {"::ffff:10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
    {"2001:db8:1:ffff::1", {"203.0.113.9"}, "203.0.113.9"},
    {"2001:db8:2::1", {"203.0.113.9"}, NULL},
    /* What the client itself wrote stands to the left, and is never reached. */
    {"10.0.0.1", {"1.2.3.4, 203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"10.0.0.5, 203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"garbage, 203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"\", 203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"1.2.3.4, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
    {"10.0.0.1", {"203.0.113.9,10.9.9.9\t, 10.0.0.2"}, "203.0.113.9"},
    {"10.0.0.1", {"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
    /* Lines combine in order. */
    {"10.0.0.1", {"1.2.3.4", "203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"203.0.113.9", "10.0.0.3", "10.0.0.2"}, "203.0.113.9"},
    {"10.0.0.1", {"203.0.113.9", ""}, NULL},
    /* Not an address: the proxy that passed it on. */
    {"10.0.0.1", {"unknown"}, NULL},
    {"10.0.0.1", {"_hidden"}, NULL},
    {"10.0.0.1", {""}, NULL},
    {"10.0.0.1", {","}, NULL},
    {"10.0.0.1", {"203.0.113.9,"}, NULL},
    {"10.0.0.1", {"203.0.113.9, unknown, 10.0.0.2"}, "10.0.0.2"},
    {"10.0.0.1", {"203.0.113.9 10.0.0.2"}, NULL},
    {"10.0.0.1", {"203.0.113"}, NULL},
    {"10.0.0.1", {"203.0.113.09"}, NULL},
    {"10.0.0.1", {"0xcb.0.113.9"}, NULL},
    {"10.0.0.1", {"3405803785"}, NULL},
    {"10.0.0.1", {"203.0.113.256"}, NULL},
    {"10.0.0.1", {"203.0.113.9/32"}, NULL},
    {"10.0.0.1", {"\"203.0.113.9\""}, NULL},
    {"10.0.0.1", {"a.example"}, NULL},
    {"10.0.0.1", {"fe80::1%eth0"}, NULL},
    {"10.0.0.1", {"203.0.113.9:"}, NULL},
    {"10.0.0.1", {"203.0.113.9:x"}, NULL},
    {"10.0.0.1", {"203.0.113.9:65536"}, NULL},
    {"10.0.0.1", {"203.0.113.9:1:2"}, NULL},
    {"10.0.0.1", {"[203.0.113.9]"}, NULL},
    {"10.0.0.1", {"[2001:db8::1"}, NULL},
    {"10.0.0.1", {"2001:db8::1]"}, NULL},
    {"10.0.0.1", {"[2001:db8::1]x:1"}, NULL},
    {"10.0.0.1", {"[2001:db8::1]x"}, NULL},
    {"10.0.0.1", {"[]"}, NULL},
    {"10.0.0.1", {"["}, NULL},
    {"10.0.0.1", {"[2001:db8::1]:"}, NULL},
    {"10.0.0.1", {"1111:2222:3333:4444:5555:6666:7777:8888:9999"}, NULL},
    {"10.0.0.1", {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd"}, NULL},
    /* Ports, brackets, IPv6. */
    {"10.0.0.1", {"203.0.113.9:443"}, "203.0.113.9"},
    {"10.0.0.1", {"2001:db8::1"}, "2001:db8::/64"},
    {"10.0.0.1", {"[2001:db8::1]"}, "2001:db8::/64"},
    {"10.0.0.1", {"[2001:db8::1]:443"}, "2001:db8::/64"},
    {"10.0.0.1", {"2001:DB8:0:0:ffff::1"}, "2001:db8::/64"},
    {"10.0.0.1", {"2001:db8:0:1::1"}, "2001:db8:0:1::/64"},
    {"10.0.0.1", {"::ffff:203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"[::ffff:203.0.113.9]:1"}, "203.0.113.9"},
    {"10.0.0.1", {"1.2.3.4, ::ffff:10.0.0.2"}, "1.2.3.4"},
    {"10.0.0.1", {"203.0.113.9, [2001:db8:1::5]:1"}, "203.0.113.9"},
};

static const struct chain rfc7239[] = {
    {"10.0.0.1", {"for=203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"For=203.0.113.9;proto=https;by=10.0.0.1"}, "203.0.113.9"},
    {"10.0.0.1", {"proto=https ; for=\"203.0.113.9:443\""}, "203.0.113.9"},
    {"10.0.0.1", {"for=\"[2001:db8::1]:443\""}, "2001:db8::/64"},
    {"10.0.0.1", {"for=\"[2001:db8::1]\""}, "2001:db8::/64"},
    {"10.0.0.1", {"for=1.2.3.4, for=203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", {"for=1.2.3.4", "for=203.0.113.9, for=10.0.0.2"}, "203.0.113.9"},
    {"10.0.0.1", {"for=\"1.2.3.4, for=203.0.113.9"}, "203.0.113.9"},
    {"198.51.100.1", {"for=203.0.113.9"}, NULL},
    /* Not one for=ADDRESS among pairs. */
    {"10.0.0.1", {"203.0.113.9"}, NULL},
    {"10.0.0.1", {"for=unknown"}, NULL},
    {"10.0.0.1", {"for=_hidden"}, NULL},
    {"10.0.0.1", {"for=\"_gazonk\""}, NULL},
    {"10.0.0.1", {"for="}, NULL},
    {"10.0.0.1", {"for=\"\""}, NULL},
    {"10.0.0.1", {"by=203.0.113.9"}, NULL},
    {"10.0.0.1", {"for=203.0.113.9;for=1.2.3.4"}, NULL},
    {"10.0.0.1", {"for=203.0.113.9;"}, NULL},
    {"10.0.0.1", {"for=203.0.113.9;x"}, NULL},
    {"10.0.0.1", {"for =203.0.113.9"}, NULL},
    {"10.0.0.1", {"for=203.0.113.9:443"}, NULL},
    {"10.0.0.1", {"for=2001:db8::1"}, NULL},
    {"10.0.0.1", {"for=\"2001:db8::1\""}, NULL},
    {"10.0.0.1", {"for=[2001:db8::1]"}, NULL},
    {"10.0.0.1", {"for=\"[2001:db8::1]:_port\""}, NULL},
    {"10.0.0.1", {"for=\"203.0.113.9"}, NULL},
    {"10.0.0.1", {"for=203.0.113.9\""}, NULL},
    {"10.0.0.1", {"for=\"203.0.\\113.9\""}, NULL},
    /* A client's words within a proxy's quoted string are no entry. */
    {"10.0.0.1", {"for=203.0.113.9;host=\"x, for=1.2.3.4\""}, NULL},
    {"10.0.0.1", {"for=203.0.113.9;host=\"x, for=1.2.3.4;y=\""}, NULL},
    {"10.0.0.1", {"for=203.0.113.9;host=\"x, for=1.2.3.4;y=\\\"\""}, NULL},
};

static struct forwarded_conf conf_for(int header, struct ip_net nets[3]) {
    assert_null(ip_net_parse(BYTES_LITERAL("10.0.0.0/8"), &nets[0]));
    assert_null(ip_net_parse(BYTES_LITERAL("192.0.2.7"), &nets[1]));
    assert_null(ip_net_parse(BYTES_LITERAL("2001:db8:1::/48"), &nets[2]));
    return (struct forwarded_conf){
        .header = header, .trusted = nets, .trusted_count = 3, .trust_local = true};
}

static bool fits(const struct forwarded_conf *conf, const struct chain *c) {
    static const char *const names[] = {"", "x-FORWARDED-for", "forwarded"};
    struct header headers[2 * LINES_MAX];
    struct message head = {.headers = headers};
    struct ip peer, out;
    char text[IP_TEXT_MAX];
    for (int i = 0; i < LINES_MAX && c->lines[i] != NULL; i++) {
        headers[head.header_count++] =
            (struct header){bytes_str(names[conf->header]), bytes_str(c->lines[i])};
        headers[head.header_count++] =
            (struct header){bytes_str(names[3 - conf->header]),
                            bytes_str(conf->header == 1 ? "for=9.9.9.9" : "9.9.9.9")};
    }
    if (c->peer != NULL)
        assert_true(ip_parse(bytes_str(c->peer), &peer));
    if (!forwarded_client(conf, &head, c->peer != NULL ? &peer : NULL, &out))
        return c->client == NULL;
    ip_text(&out, text);
    return c->client != NULL && strcmp(text, c->client) == 0;
}

static void check(int header, const struct chain *rows, size_t count) {
    struct ip_net nets[3];
    struct forwarded_conf conf = conf_for(header, nets);
    unsigned wrong = 0;
    for (size_t i = 0; i < count; i++)
        if (!fits(&conf, &rows[i])) {
            print_error("row %zu: %s | %s\n", i, rows[i].peer, rows[i].lines[0]);
            wrong++;
        }
    assert_int_equal(wrong, 0);
}

static void test_x_forwarded_for(void **state) {
    (void)state;
    check(FORWARDED_X_FOR, x_for, sizeof(x_for) / sizeof(x_for[0]));
}

static void test_forwarded(void **state) {
    (void)state;
    check(FORWARDED_RFC7239, rfc7239, sizeof(rfc7239) / sizeof(rfc7239[0]));
}

static void test_local_peers_only_when_trusted(void **state) {
    struct ip_net nets[3];
    struct forwarded_conf conf = conf_for(FORWARDED_X_FOR, nets);
    (void)state;
    conf.trust_local = false;
    assert_true(fits(&conf, &(struct chain){NULL, {"203.0.113.9"}, NULL}));
    conf.header = FORWARDED_NONE;
    struct header h = {BYTES_LITERAL("X-Forwarded-For"), BYTES_LITERAL("203.0.113.9")};
    struct message head = {.headers = &h, .header_count = 1};
    struct ip peer, out;
    assert_true(ip_parse(BYTES_LITERAL("10.0.0.1"), &peer));
    assert_false(forwarded_client(&conf, &head, &peer, &out));
}

/* Of a long chain of trusted hops only so many are walked. */
static void test_long_chains(void **state) {
    struct ip_net nets[3];
    struct forwarded_conf conf = conf_for(FORWARDED_X_FOR, nets);
    char text[1024] = "203.0.113.9", expected[20];
    (void)state;
    for (unsigned hops = 1; hops <= FORWARDED_HOPS_MAX + 2; hops++) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, ", 10.0.1.%u", FORWARDED_HOPS_MAX + 3 - hops);
        /* The leftmost that is reached: the client, or the FORWARDED_HOPS_MAX-th hop. */
        unsigned last = FORWARDED_HOPS_MAX + 3 - hops + FORWARDED_HOPS_MAX - 1;
        snprintf(expected, sizeof(expected), "10.0.1.%u", last);
        assert_true(fits(
            &conf, &(struct chain){
                       "10.0.0.1", {text}, hops < FORWARDED_HOPS_MAX ? "203.0.113.9" : expected}));
    }
}

static void test_networks(void **state) {
    static const struct {
        const char *net, *in, *out;
    } rows[] = {
        {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
        {"10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"},
        {"192.0.2.128/25", "192.0.2.128", "192.0.2.127"},
        {"192.0.2.1/32", "192.0.2.1", "192.0.2.0"},
        {"::1", "::1", "::2"},
        {"2001:db8::/33", "2001:db8:7fff::", "2001:db8:8000::"},
        {"2001:db8::/127", "2001:db8::1", "2001:db8::2"},
        {"fe80::/10", "febf::1", "fec0::1"},
    };
    static const char *const bad[] = {
        "",       "10.0.0.0/33", "::/129",      "10.0.0.1/8", "10.0.0.0/", "10.0.0.0/x",
        "10.0.0", "10.0.0.0/-1", "10.0.0.0/8/", "a/8",        "::1/127",   "2001:db8::1/64"};
    struct ip_net net;
    struct ip a;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_null(ip_net_parse(bytes_str(rows[i].net), &net));
        assert_true(ip_parse(bytes_str(rows[i].in), &a) && ip_in(&a, &net));
        assert_true(ip_parse(bytes_str(rows[i].out), &a) && !ip_in(&a, &net));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_non_null(ip_net_parse(bytes_str(bad[i]), &net));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_x_forwarded_for),
        cmocka_unit_test(test_forwarded),
        cmocka_unit_test(test_local_peers_only_when_trusted),
        cmocka_unit_test(test_long_chains),
        cmocka_unit_test(test_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

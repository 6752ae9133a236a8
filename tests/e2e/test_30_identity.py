"""Who asks: the policy's order, keys that rotate under load, addresses that proxies pass on."""
import hashlib
import json
import os
import secrets
import signal
import threading

import load
from harness import query, read_answer, run, wait_for

BODY = json.dumps(query()).encode()
HEAD = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
CLIENTS = 16


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def pseudonyms(gate, kind, ident):
    code, out, err = run("pseudonym", "-c", gate.path("policy.yaml"), "--kind", kind, "--id", ident)
    assert code == 0, err
    return out.split()


def logged(gate, **headers):
    """The line of one query with these headers."""
    before = len(gate.log_lines())
    status = gate.infer(headers=headers, key=False)[0]
    wait_for(lambda: len(gate.log_lines()) > before, "it is in the log")
    line = gate.log_lines()[-1]
    assert line["status"] == status
    return line


def with_clients(make_gate, urls, clients, **parts):
    """A gate whose section `clients` ends with these lines."""
    gate = make_gate(urls, start=False, **parts)
    write = gate.write_policy

    def write_policy(**changed):
        write(**changed)
        text = open(gate.path("policy.yaml")).read()
        gate.write("policy.yaml", text.replace("upstreams:\n", clients + "upstreams:\n", 1))

    gate.write_policy = write_policy
    gate.write_policy()
    return gate.start()


def put_keys(gate, entries, extra=""):
    """Replaces the list in one step: the gate may read it at any moment."""
    lines = "".join("  - {id: %s, sha256: %s}\n" % (i, sha256(k)) for i, k in entries)
    gate.write("keys.new", extra + "keys:\n" + lines)
    os.rename(gate.path("keys.new"), gate.path("keys.yaml"))


def reload(gate):
    """Until the gate has read it."""
    before = gate.metric("config_reloads_total")
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_reloads_total") > before, "the reload was seen")


# API keys.

def test_keys_rotate_under_load(make_gate, upstream):
    """Four workers, connections that stay: while the old key ends and the new one begins no query
    of either is lost."""
    gate = make_gate(upstream.url, workers=4)
    old, new, other = gate.key, secrets.token_hex(16), secrets.token_hex(16)
    put_keys(gate, [("alice", old), ("bob", other)])
    reload(gate)
    phase, stop = {"key": old}, threading.Event()
    seen, lock = [], threading.Lock()

    def client(number):
        with gate.connect() as s:
            while not stop.is_set():
                key = other if number % 4 == 0 else phase["key"]
                s.sendall(load.post(key, BODY))
                answer = read_answer(s)
                with lock:
                    seen.append(answer[0])

    threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)]
    for t in threads:
        t.start()

    def more(n):
        start = len(seen)
        wait_for(lambda: len(seen) > start + n, "queries go on")

    more(100)
    for _ in range(3):
        put_keys(gate, [("alice", old), ("alice", new), ("bob", other)])
        reload(gate)
        wait_for(lambda: gate.infer(headers={"X-API-Key": new}, key=False)[0] == 200, "the new key")
        more(300)
        phase["key"] = new
        more(300)
        put_keys(gate, [("alice", new), ("bob", other)])
        reload(gate)
        more(300)
        old, new = new, secrets.token_hex(16)
    stop.set()
    for t in threads:
        t.join()
    assert set(seen) == {200}
    assert gate.metric("access_log_dropped_total") == 0


def test_a_revoked_key_ends_on_every_worker(make_gate, upstream):
    gate = make_gate(upstream.url, workers=4)
    good = secrets.token_hex(16)
    put_keys(gate, [("alice", gate.key), ("bob", good)])
    reload(gate)
    kept = {key: [gate.connect() for _ in range(24)] for key in (gate.key, good)}

    def statuses(key):
        for s in kept[key]:
            s.sendall(load.post(key, BODY))
        return {read_answer(s)[0] for s in kept[key]}

    def is_known(key):
        return gate.infer(headers={"X-API-Key": key}, key=False)[0] == 200

    assert statuses(gate.key) == statuses(good) == {200}
    put_keys(gate, [("bob", good)])
    reload(gate)
    # Each connection is of some worker, and a new one of any: as many in a row ask them all.
    wait_for(lambda: not any(is_known(gate.key) for _ in range(24)), "new connections are refused")
    assert statuses(gate.key) == {401}
    assert statuses(good) == {200}
    for s in kept[gate.key] + kept[good]:
        s.close()


def test_two_keys_of_one_client_share_its_budget(make_gate, upstream):
    gate = make_gate(upstream.url, policy="filters: [{rate_limit: {queries: 1/h, burst: 4}}]")
    second = secrets.token_hex(16)
    put_keys(gate, [("alice", gate.key), ("alice", second)])
    reload(gate)
    got = [gate.infer(headers={"X-API-Key": k}, key=False)[0] for k in [gate.key, second] * 3]
    assert got == [200] * 4 + [429] * 2


def test_the_log_says_what_is_wrong_with_a_key(make_gate, upstream):
    gate = make_gate(upstream.url, workers=1)
    ended = secrets.token_hex(16)
    gate.write("keys.yaml", "keys:\n  - {id: alice, sha256: %s, not_after: 2020-01-01}\n"
               % sha256(ended))
    reload(gate)
    for key, reason in ((ended, "key: ended"), (ended + "x", "key: unknown")):
        assert gate.infer(headers={"X-API-Key": key}, key=False)[1] == {"error": "unknown API key"}
        assert logged(gate, **{"X-API-Key": key})["reason"] == reason


def test_groups_choose_the_policy(make_gate, upstream):
    gate = make_gate(upstream.url, model=", tiers: {gold: gold}",
                     more="  gold: {filters: []}\n")
    put = "  - {id: alice, sha256: %s, group: lab}\n" % sha256(gate.key)
    gate.write("keys.yaml", "groups: {lab: {tier: gold}}\nkeys:\n" + put)
    reload(gate)
    line = logged(gate, **{"X-API-Key": gate.key})
    assert (line["tier"], line["policy"]) == ("gold", "gold")
    gate.write("keys.yaml", "groups: {lab: {}}\nkeys:\n" + put)
    reload(gate)
    wait_for(lambda: logged(gate, **{"X-API-Key": gate.key})["policy"] == "main", "it changed")
    gate.write("keys.yaml", "groups: {lab: {not_after: 2020-01-01}}\nkeys:\n" + put)
    reload(gate)
    wait_for(lambda: logged(gate, **{"X-API-Key": gate.key})["status"] == 401, "it ended")


def test_what_a_body_says_of_its_user_is_ignored(make_gate, upstream):
    gate = make_gate(upstream.url, policy="filters: [{rate_limit: {queries: 1/h, burst: 3}}]")
    bodies = [query(parameters={"user": "u%d" % i}) for i in range(6)]
    assert [gate.infer(body)[0] for body in bodies] == [200] * 3 + [429] * 3
    assert gate.infer(headers={"X-User": "u9", "From": "u9@corp.example"})[0] == 429


def test_a_credential_that_does_not_hold_is_never_taken_for_none(make_gate, upstream):
    gate = make_gate(upstream.url, anonymous="allow")
    assert gate.infer(key=False)[0] == 200 and gate.infer()[0] == 200
    for key in ("x" * 32, "", gate.key + "x", gate.key[:-1]):
        status, body = gate.infer(headers={"X-API-Key": key}, key=False)
        assert (key, status, body["error"]) == (key, 401, "unknown API key")
    with gate.connect() as s:
        twice = load.post(gate.key, BODY).replace(b"X-API-Key:", b"x-api-key: y\r\nX-API-Key:", 1)
        assert twice.lower().count(b"x-api-key") == 2
        s.sendall(twice)
        assert read_answer(s)[0] == 401


# Addresses.

FORWARDED = "  trusted_proxies: [127.0.0.0/8, 10.0.0.0/8]\n  forwarded: {header: %s}\n"


def test_forwarded_addresses(make_gate, upstream):
    gate = with_clients(make_gate, upstream.url, FORWARDED % "X-Forwarded-For", anonymous="allow",
                        policy="filters: [{rate_limit: {queries: 1/h, burst: 2}}]")

    def client(*values, name="X-Forwarded-For"):
        with gate.connect() as s:
            before = len(gate.log_lines())
            lines = "".join("%s: %s\r\n" % (name, v) for v in values)
            s.sendall(HEAD + lines.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            read_answer(s)
            wait_for(lambda: len(gate.log_lines()) > before, "it is in the log")
            return gate.log_lines()[-1]["client"]

    def name(address):
        return pseudonyms(gate, "address", address)[0]

    own, other = name("127.0.0.1"), name("203.0.113.1")
    assert client() == client("unknown") == client("203.0.113.1", name="Forwarded") == own
    assert client("203.0.113.1") == client("1.1.1.1", "203.0.113.1:99, 10.0.0.1") == other
    assert client("203.0.113.1, x, 10.0.0.1") == name("10.0.0.1")
    assert client("[2001:db8::1:2:3:4]:1") == client("2001:db8::5") == name("2001:db8::")
    # Each has a budget of its own, which three of them have used up.
    assert gate.infer(headers={"X-Forwarded-For": "203.0.113.1"}, key=False)[0] == 429
    assert gate.infer(headers={"X-Forwarded-For": "203.0.113.2"}, key=False)[0] == 200
    assert b"orwarded" not in upstream.received and b"203.0.113" not in upstream.received
    assert "203.0.113" not in open(gate.log).read()


def test_one_connection_of_a_proxy_carries_many_clients(make_gate, upstream):
    gate = with_clients(make_gate, upstream.url, FORWARDED % "Forwarded", anonymous="allow",
                        policy="filters: [{rate_limit: {queries: 1/h, burst: 1}}]")
    with gate.connect() as s:
        def ask(i):
            s.sendall(HEAD + b"Forwarded: for=203.0.113.%d\r\n" % i
                      + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
            return read_answer(s)[0]

        assert [ask(i) for i in (1, 2, 3, 1, 2, 4, 3, 5)] == [200] * 3 + [429] * 2 + [200, 429, 200]


def test_an_untrusted_peer_is_not_believed(make_gate, upstream):
    lines = "  trusted_proxies: [10.0.0.0/8]\n  forwarded: {header: X-Forwarded-For}\n"
    gate = with_clients(make_gate, upstream.url, lines, anonymous="allow")
    line = logged(gate, **{"X-Forwarded-For": "203.0.113.1"})
    assert [line["client"]] == pseudonyms(gate, "address", "127.0.0.1")


# Pseudonyms.

def test_both_names_of_a_client_while_the_pseudonym_key_changes(make_gate, upstream):
    gate = make_gate(upstream.url)
    first = pseudonyms(gate, "key", "alice")
    assert logged(gate, **{"X-API-Key": gate.key})["client"] == first[0] and len(first) == 1
    os.rename(gate.path("pseudonym.key"), gate.path("old.key"))
    gate.write("pseudonym.key", secrets.token_hex(32))
    text = open(gate.path("policy.yaml")).read()
    gate.write("policy.yaml", text.replace(
        "{file: pseudonym.key}",
        "{file: pseudonym.key, version: 2, previous: {file: old.key, version: 1}}"))
    both = pseudonyms(gate, "key", "alice")
    assert both[0].startswith("k2:") and both[1:] == first
    reload(gate)
    wait_for(lambda: logged(gate, **{"X-API-Key": gate.key})["client"] == both[0], "the new name")

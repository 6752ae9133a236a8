"""Limits shared through Redis: two gates and one count, exact and leased; what happens while Redis
does not answer, and after; what is kept there and how much it weighs."""
import contextlib
import http.client
import json
import socket
import threading

import pytest

import harness
from harness import wait_for
from redis_servers import redis_cluster, redis_server, redis_with_tls, redis_with_user, sentinels  # noqa: F401

MODES = pytest.mark.parametrize("exact", ["true", "false"], ids=["exact", "leased"])
PROBE = "q{probe______}"


def rule(burst=20, rate="1/h", **more):
    options = "".join(", %s: %s" % option for option in more.items())
    return "filters: [{rate_limit: {requests: %s, burst: %d%s}}]" % (rate, burst, options)


def buckets(server):
    """The keys of buckets: those that the gate asks a lost store with are none."""
    return [k for k in server.call("KEYS", "q{*}") if k not in (PROBE, PROBE.encode())]


def store(url, **more):
    """Patient, so that a busy machine makes no failures; BRISK where failures are the matter."""
    options = {"timeout": "2s", **more}
    return "store: {url: \"%s\"%s}" % (url, "".join(", %s: %s" % option for option in options.items()))


BRISK = {"timeout": "50ms"}


def is_up(gate):
    return gate.metric("store_up") == 1


def with_redis(make, upstream, url, policy, **more):
    """A gate that counts in Redis already."""
    gate = make(upstream.url, policy=policy, more=store(url, **more))
    wait_for(lambda: is_up(gate), "the gate has its store")
    return gate


def share_key(first, second):
    """The same client and the same pseudonyms at both."""
    for name in ("keys.yaml", "pseudonym.key"):
        with open(first.path(name)) as f:
            second.write(name, f.read())
    second.key = first.key


def two_gates(make_gate, upstream, url, policy, **more):
    gates = [make_gate(upstream.url, start=False, policy=policy, more=store(url, **more)) for _ in range(2)]
    share_key(*gates)
    for gate in gates:
        gate.start()
        wait_for(lambda: is_up(gate), "the gate has its store")
    return gates


def statuses(gate, count):
    return [gate.infer()[0] for _ in range(count)]


@MODES
def test_two_gates_share_one_count(make_gate, upstream, redis_server, exact):  # noqa: F811
    gates = two_gates(make_gate, upstream, redis_server.url, rule(exact=exact))
    got = [gate.infer()[0] for _ in range(20) for gate in gates]
    assert got.count(200) == 20 and got.count(429) == 20, got
    assert [g.metric("store_fallback_local_total") for g in gates] == [0, 0]
    status, headers, body = gates[0].request("POST", "/v2/models/m/infer", json.dumps(harness.query()))
    assert status == 429 and 0 < int(headers["Retry-After"]) <= 3600


@MODES
def test_a_batch_costs_its_rows(make_gate, upstream, redis_server, exact):  # noqa: F811
    policy = "filters: [{rate_limit: {queries: 1/h, burst: 20, exact: %s}}]" % exact
    gate = with_redis(make_gate, upstream, redis_server.url, policy)
    upstream.answer = lambda request: harness.http_answer(
        harness.answer_body(json.loads(request[1])["inputs"][0]["shape"][0]))
    assert [gate.infer(harness.query(rows))[0] for rows in (21, 15, 6, 5, 1)] == [429, 200, 429, 200, 429]


def test_leases_spare_round_trips(make_gate, upstream, redis_server):  # noqa: F811
    gate = with_redis(make_gate, upstream, redis_server.url, rule(4000, "10000/s"))
    assert set(statuses(gate, 100)) == {200}
    before = int(redis_server.info("total_commands_processed"))
    assert set(statuses(gate, 400)) == {200}
    # A script counts as itself and the commands it calls.
    assert int(redis_server.info("total_commands_processed")) - before < 400


def test_what_a_lease_holds_goes_back(make_gate, upstream, redis_server):  # noqa: F811
    gates = two_gates(make_gate, upstream, redis_server.url, rule(40))
    assert statuses(gates[0], 10) == [200] * 10

    def rest():
        """The other gate gets all that is left, once the first has given back."""
        return gates[1].infer()[0]

    admitted = 10
    while admitted < 40:
        wait_for(lambda: rest() == 200, "the leased tokens came back: %d" % admitted)
        admitted += 1
    assert statuses(gates[1], 3) == [429] * 3


def test_what_a_lease_holds_goes_back_at_the_end(make_gate, upstream, redis_server):  # noqa: F811
    """A gate that is stopped in order costs the client nothing."""
    gates = two_gates(make_gate, upstream, redis_server.url, rule(400))
    assert statuses(gates[0], 100) == [200] * 100
    assert all(is_up(gates[0]) for _ in range(5))  # by then what it asked for last has come
    gates[0].stop()
    assert statuses(gates[1], 300) == [200] * 300


def test_other_kinds_of_servers(make_gate, upstream, redis_with_user, tmp_path):  # noqa: F811
    gate = make_gate(upstream.url, start=False, policy=rule(3), more=store(
        redis_with_user.url, user="gate", password="redis.password"))
    gate.write("redis.password", "correct-horse\n")
    gate.start()
    assert statuses(gate, 4) == [200, 200, 200, 429]
    assert "correct-horse" not in gate.admin_get("/config")[1] + gate.stderr()


def test_tls(make_gate, upstream, redis_with_tls):  # noqa: F811
    gate = make_gate(upstream.url, start=False, policy=rule(3), more=store(
        redis_with_tls.url, password="redis.password", tls="{ca: %s}" % redis_with_tls.ca))
    gate.write("redis.password", "correct-horse\n")
    gate.start()
    wait_for(lambda: is_up(gate), "the gate has its store")
    assert statuses(gate, 4) == [200, 200, 200, 429]


def test_a_cluster(make_gate, upstream, redis_cluster):  # noqa: F811
    gate = make_gate(upstream.url, start=False, policy=rule(3), more=store(redis_cluster.url))
    gate.keys += [("client%d" % i, "key-of-client-number-%d" % i, None) for i in range(20)]
    gate.write_policy()
    gate.start()
    wait_for(lambda: is_up(gate), "the gate has its store")
    for _, key, _ in gate.keys[1:]:
        got = [gate.infer(headers={"X-API-Key": key})[0] for _ in range(4)]
        assert got == [200, 200, 200, 429]
    assert gate.metric("store_fallback_local_total") == 0


# ---- Redis is silent ----

FALLBACK = {"local": ([200] * 4 + [429], "store_fallback_local_total"),
            "closed": ([503] * 5, "store_fallback_closed_total"),
            "open": ([200] * 5, "store_fallback_open_total")}


@pytest.mark.parametrize("mode", FALLBACK)
@pytest.mark.parametrize("where", ["rule", "store"])
def test_on_failure(make_gate, upstream, redis_server, mode, where):  # noqa: F811
    expected, metric = FALLBACK[mode]
    policy = rule(12, on_failure=mode) if where == "rule" else rule(12)
    more = dict(on_failure="open" if mode != "open" else "closed") if where == "rule" else dict(on_failure=mode)
    gate = make_gate(upstream.url, policy=policy, workers=1,
                     more=store(redis_server.url, expected_gates=3, **BRISK, **more))
    wait_for(lambda: is_up(gate), "the gate has its store")
    redis_server.pause()
    try:
        wait_for(lambda: not is_up(gate), "the gate has lost its store")
        assert statuses(gate, 5) == expected
        assert gate.metric(metric) == 5
        status, headers, _ = gate.request("POST", "/v2/models/m/infer", json.dumps(harness.query()))
        if mode == "closed":
            assert status == 503 and headers["Retry-After"] == "1"
        assert gate.stderr().count("store: The shared store does not answer") == 1
    finally:
        redis_server.resume()
    wait_for(lambda: is_up(gate), "the gate has its store again")
    assert gate.stderr().count("store: The shared store answers again") == 1


def test_a_redis_that_was_never_there(make_gate, upstream):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gate = make_gate(upstream.url, policy=rule(2), more=store("redis://127.0.0.1:%d" % port))
    wait_for(lambda: "does not answer" in gate.stderr(), "the gate says so")
    assert not is_up(gate)
    assert statuses(gate, 3) == [200, 200, 429]


def test_what_was_admitted_meanwhile_is_charged(make_gate, upstream, redis_server):  # noqa: F811
    gate = make_gate(upstream.url, policy=rule(20, exact="true"), more=store(redis_server.url, **BRISK))
    wait_for(lambda: is_up(gate), "the gate has its store")
    redis_server.kill()
    wait_for(lambda: not is_up(gate), "the gate has lost its store")
    assert statuses(gate, 15) == [200] * 15
    redis_server.start()  # empty
    wait_for(lambda: is_up(gate), "the gate has its store again")
    wait_for(lambda: buckets(redis_server), "what was admitted is charged")
    assert statuses(gate, 6) == [200] * 5 + [429]


def test_redis_forgets(make_gate, upstream, redis_server):  # noqa: F811
    """FLUSHALL and a lost script: one more burst, and no error."""
    gate = with_redis(make_gate, upstream, redis_server.url, rule(5, exact="true"))
    assert statuses(gate, 6) == [200] * 5 + [429]
    redis_server.call("FLUSHALL")
    redis_server.call("SCRIPT", "FLUSH")
    assert statuses(gate, 6) == [200] * 5 + [429]
    assert gate.metric("store_failures_total") == 0


def test_clients_leave_while_a_decision_waits(make_gate, upstream, redis_server):  # noqa: F811
    gate = make_gate(upstream.url, policy=rule(1000, "1000/s", exact="true"),
                     more=store(redis_server.url))
    wait_for(lambda: is_up(gate), "the gate has its store")
    body = json.dumps(harness.query()).encode()
    head = ("POST /v2/models/m/infer HTTP/1.1\r\nHost: x\r\nX-API-Key: %s\r\nContent-Type: application/json\r\n"
            "Content-Length: %d\r\n\r\n" % (gate.key, len(body))).encode()
    for _ in range(3):
        redis_server.pause()
        try:
            sockets = [gate.connect() for _ in range(20)]
            for s in sockets:
                s.sendall(head + body)
            before = gate.metric("client_aborts_total")
            for s in sockets:
                s.close()
            wait_for(lambda: gate.metric("client_aborts_total") >= before + 20, "the clients are gone")
        finally:
            redis_server.resume()
    wait_for(lambda: is_up(gate), "the gate has its store")
    assert gate.infer()[0] == 200


def ask_in_vain(gate):
    with contextlib.suppress(OSError, http.client.HTTPException):
        gate.infer()


def test_stopping_while_decisions_wait(make_gate, upstream, redis_server):  # noqa: F811
    gate = make_gate(upstream.url, policy=rule(1000, "1000/s", on_failure="closed"), limits="drain_timeout: 1s",
                     more=store(redis_server.url, timeout="10s"))
    wait_for(lambda: is_up(gate), "the gate has its store")
    redis_server.pause()
    try:
        for _ in range(5):
            threading.Thread(target=ask_in_vain, args=(gate,), daemon=True).start()
        wait_for(lambda: gate.metric("connections") >= 5, "they wait")
        gate.stop()
    finally:
        redis_server.resume()


# ---- What is kept ----

def test_keys_hold_no_names_and_weigh_little(make_gate, upstream, redis_server):  # noqa: F811
    """10^5 clients by a script of the gate's own: what one client's key is, 10^5 times."""
    gate = with_redis(make_gate, upstream, redis_server.url, rule(20))
    assert gate.infer()[0] == 200
    keys = buckets(redis_server)
    assert len(keys) == 1 and len(keys[0]) == 14
    value, expires = redis_server.call("GET", keys[0]), int(redis_server.call("PTTL", keys[0]))
    assert 3.5e6 < expires <= 3.6e6 + 10 and int(value) < 1000
    assert int(redis_server.call("MEMORY", "USAGE", keys[0])) <= 120
    assert redis_server.call("OBJECT", "ENCODING", keys[0]) in (b"int", "int")

    before, count = int(redis_server.info("used_memory")), 100000
    script = ("for i = 1, ARGV[1] do redis.call('SET', string.format('q{%011d}', i), i % 1000, "
              "'PX', 3600000 + i) end")
    redis_server.call("EVAL", script, "0", str(count))
    each = (int(redis_server.info("used_memory")) - before) / count
    assert each <= 120, each
    for name in ("alice", gate.key, "127.0.0.1"):
        for key in keys:
            assert name.encode() not in (key if isinstance(key, bytes) else key.encode())


def test_a_change_of_the_store_needs_a_restart(make_gate, upstream, redis_server):  # noqa: F811
    gate = with_redis(make_gate, upstream, redis_server.url, rule(20))
    gate.reload(more=store(redis_server.url, timeout="6ms"))
    wait_for(lambda: "a change of 'store' needs a restart" in gate.stderr(), "it is said")
    gate.reload(more=store(redis_server.url), policy=rule(20, on_failure="open"))
    assert gate.metric("config_reloads_total", result="ok") == 1


def test_reloads_and_the_store(make_gate, upstream, redis_with_user, tmp_path):  # noqa: F811
    """The store outlives the policy that it was opened with, also while Redis is away, and then gets
    in again with the password that is in the file by then."""
    server = redis_with_user
    secret = tmp_path / "password"
    secret.write_text("correct-horse\n")
    secret.chmod(0o600)

    def policy(burst):
        return rule(burst, "1000/s", on_failure="closed")

    gate = with_redis(make_gate, upstream, "redis://%s/3" % server.address, policy(50), user="gate",
                      password=str(secret))
    for burst in (60, 70):
        gate.reload(policy=policy(burst))
        assert gate.infer()[0] == 200
    server.kill()
    wait_for(lambda: not is_up(gate), "it is lost")
    secret.write_text("wrong-horse\n")
    for burst in (80, 90):
        gate.reload(policy=policy(burst))
        assert gate.infer()[0] == 503
    server.start()
    wait_for(lambda: "it refuses the password" in gate.stderr(), "the password was changed")
    gate.reload(policy=policy(100))
    assert gate.infer()[0] == 503
    secret.write_text("correct-horse\n")
    wait_for(lambda: is_up(gate), "it is found")
    gate.reload(policy=policy(110))
    assert gate.infer()[0] == 200
    assert "horse" not in gate.stderr()


def test_explain_tells_the_bound(make_gate, upstream, redis_server):  # noqa: F811
    gate = make_gate(upstream.url, start=False, policy=rule(40, on_failure="closed"), more=store(redis_server.url))
    code, out, _ = harness.run("explain", gate.path("policy.yaml"), "--client", "alice", "--model", "m")
    assert code == 0
    assert "rate x time + 40 + n x 10" in out
    assert "while the store does not answer, queries are refused with 503" in out

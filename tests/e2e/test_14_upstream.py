"""Upstreams: connections are reused, calls go where they are served, a sick server is left alone
until it is well, and nothing it says in anger reaches a client."""
import concurrent.futures
import gzip
import json
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from harness import (Upstream, answer_body, free_ports, http_answer, query, read_from, sends_and_closes,
                     wait_for)

OPEN = dict(workers=1, anonymous="allow")
MARK = "tell-tale"
UNREACHABLE = {"error": "the model server could not be reached or broke off its answer"}
NOBODY = {"error": "no model server can take the query now"}


def ask(gate):
    """(status, headers, object)"""
    status, headers, body = gate.request("POST", "/v2/models/m/infer", json.dumps(query()), key=False)
    return status, headers, json.loads(body)


def statuses(gate, count):
    return [ask(gate)[0] for _ in range(count)]


def in_parallel(gate, count):
    pool = concurrent.futures.ThreadPoolExecutor(count)
    return [pool.submit(ask, gate) for _ in range(count)]


class Held:
    """An answer that waits for release()."""

    def __init__(self):
        self.gate, self.waiting = threading.Event(), 0

    def __call__(self, request):
        self.waiting += 1
        assert self.gate.wait(20)
        return http_answer()

    def release(self):
        self.gate.set()


def serve_at(port, answer=None):
    """An upstream that comes up on a port that was given before."""
    u = Upstream(answer)
    u.listener.close()
    u.listener = socket.create_server(("127.0.0.1", port), backlog=256)
    threading.Thread(target=u.accept, daemon=True).start()
    return u


def nowhere():
    """Where nobody listens: (URL, port)."""
    port, = free_ports(1)
    return "http://127.0.0.1:%d" % port, port


@pytest.fixture
def black_hole():
    """The URL of one that never completes a connection: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fill = []
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        fill.append(s)
    yield "http://127.0.0.1:%d" % listener.getsockname()[1]
    for s in [listener, *fill]:
        s.close()


# Connections.

def test_connection_is_reused(make_gate, upstream):
    gate = make_gate(upstream.url, **OPEN)
    assert statuses(gate, 20) == [200] * 20
    assert upstream.connections == 1


def test_as_many_connections_as_calls_at_one_time(make_gate):
    held = Held()
    upstream = Upstream(held)
    gate = make_gate(upstream.url, **OPEN)
    calls = in_parallel(gate, 8)
    wait_for(lambda: held.waiting == 8, "all are asked")
    held.release()
    assert [c.result()[0] for c in calls] == [200] * 8
    assert statuses(gate, 8) == [200] * 8
    assert upstream.connections == 8


@pytest.mark.parametrize("answer", [
    http_answer(headers=["Connection: close"]), http_answer().replace(b"HTTP/1.1", b"HTTP/1.0", 1)])
def test_connection_is_not_reused_when_the_server_says_so(make_gate, answer):
    upstream = Upstream(lambda request: answer)
    gate = make_gate(upstream.url, **OPEN)
    assert statuses(gate, 3) == [200] * 3
    assert upstream.connections == 3


def test_connection_closed_while_idle_costs_no_client_an_error(make_gate):
    upstream = Upstream(lambda request: sends_and_closes(http_answer()))
    gate = make_gate(upstream.url, **OPEN)
    for n in range(1, 6):
        assert ask(gate)[0] == 200
        wait_for(lambda: not upstream.open, "the server has closed")
        assert upstream.connections == n


def stop(pid):
    """A signal is only sent when kill returns: every thread has to be seen stopped."""
    os.kill(pid, signal.SIGSTOP)
    tasks = Path(f"/proc/{pid}/task")
    wait_for(lambda: all((t / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                         for t in tasks.iterdir()), "every thread has stopped")


@pytest.mark.parametrize("late", [b"", http_answer(b'{"stolen": 1}'), b"x"])
@pytest.mark.parametrize("idle", [0, 0.05])
def test_what_an_idle_connection_says_is_seen_before_it_is_reused(make_gate, late, idle):
    """The query and the server's end, or its unasked bytes, reach the gate at the same time."""
    sockets = []

    def answer(request):
        def play(s):
            sockets.append(s)
            s.sendall(http_answer())
        return play

    upstream = Upstream(answer)
    gate = make_gate(upstream.url, **OPEN)
    body = json.dumps(query()).encode()
    post = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    with gate.connect() as s:
        f = s.makefile("rb")
        s.sendall(post + body)
        good, end = read_from(f), time.monotonic() + idle
        wait_for(lambda: time.monotonic() >= end, "the connection has been idle")
        stop(gate.process.pid)
        s.sendall(post + body)
        if late:
            sockets[0].sendall(late)
        else:
            sockets[0].shutdown(socket.SHUT_WR)
        gate.process.send_signal(signal.SIGCONT)
        assert read_from(f) == good and good[0] == 200
    assert upstream.connections == 2


def test_query_that_was_sent_is_not_sent_again(make_gate):
    """It may have been served: on a new connection as on a reused one."""
    answers = [ConnectionError, http_answer(), ConnectionError]
    upstream = Upstream(lambda request: answers[len(upstream.requests) - 1])
    gate = make_gate(upstream.url, **OPEN)
    assert ask(gate)[::2] == (502, UNREACHABLE)
    assert ask(gate)[0] == 200
    assert ask(gate)[::2] == (502, UNREACHABLE)
    assert len(upstream.requests) == 3
    assert gate.metric("upstream_calls_total", result="retry") == 0


def resets(data):
    """These bytes, then a reset."""
    def play(s):
        s.sendall(data)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raise ConnectionError
    return play


@pytest.mark.parametrize("said", [
    b"", b"HTTP/1.1 200 OK\r\n", http_answer()[:-5], b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"])
def test_answer_that_is_reset_is_502(make_gate, said):
    upstream = Upstream(lambda request: resets(said))
    gate = make_gate(upstream.url, **OPEN)
    assert ask(gate)[::2] == (502, UNREACHABLE)
    assert len(upstream.requests) == 1


def says_and_waits(data):
    """These bytes; then it takes what still comes until the gate hangs up."""
    def play(s):
        s.sendall(data)
        while s.recv(1 << 20):
            pass
        raise ConnectionError
    return play


@pytest.mark.parametrize("end", [says_and_waits, sends_and_closes])
def test_early_refusal_is_understood(make_gate, end):
    """A server that answers before it has the body, and wants no more of it."""
    class Curt(Upstream):
        def read(self, s):
            head = s.recv(1000)
            return (head.decode("latin-1"), b"") if head else None

    upstream = Curt(lambda request: end(http_answer(
        b"", "413 Too Large", ["Connection: close"])))
    gate = make_gate(upstream.url, policy="bodies: relay, filters: []", **OPEN)
    for n in range(1, 6):
        status, _, body = gate.request("POST", "/v2/models/m/infer", b"a" * (6 << 20), key=False)
        assert (status, json.loads(body)) == (400, {"error": "the model server refused the query"})
        assert upstream.connections == n


# Endpoints.

def test_calls_are_spread(make_gate):
    upstreams = [Upstream() for _ in range(3)]
    gate = make_gate([u.url for u in upstreams], **OPEN)
    assert statuses(gate, 30) == [200] * 30
    assert all(len(u.requests) >= 5 for u in upstreams)


def test_calls_go_where_the_fewest_wait(make_gate):
    held = Held()
    slow, quick = Upstream(held), Upstream()
    gate = make_gate([slow.url, quick.url], **OPEN)
    calls = []
    while held.waiting == 0:
        calls += in_parallel(gate, 1)
        wait_for(lambda: held.waiting or calls[-1].done(), "the call is with one of them")
    before = len(quick.requests)
    assert statuses(gate, 10) == [200] * 10
    assert len(quick.requests) == before + 10 and held.waiting == 1
    held.release()
    assert [c.result()[0] for c in calls] == [200] * len(calls)


def test_endpoint_that_is_down_costs_no_client_an_error(make_gate):
    upstream = Upstream()
    gate = make_gate([nowhere()[0], upstream.url, nowhere()[0]], **OPEN)
    assert statuses(gate, 20) == [200] * 20
    assert gate.metric("upstream_endpoints_up") == 1
    assert 2 <= gate.metric("upstream_calls_total", result="retry") <= 6


def test_endpoint_that_goes_down_costs_no_client_an_error(make_gate):
    upstreams = [Upstream(), Upstream()]
    gate = make_gate([u.url for u in upstreams], **OPEN)
    assert statuses(gate, 6) == [200] * 6
    upstreams[0].close()
    wait_for(lambda: not upstreams[0].open, "it is gone")
    assert statuses(gate, 20) == [200] * 20


def test_endpoint_that_does_not_answer_to_connect_costs_no_client_an_error(make_gate, black_hole):
    upstream = Upstream()
    gate = make_gate([black_hole, upstream.url], upstream=", connect_timeout: 100ms", **OPEN)
    assert statuses(gate, 12) == [200] * 12
    assert gate.metric("upstream_endpoints_up") == 1


def test_no_connection_in_time_is_504(make_gate, black_hole):
    gate = make_gate(black_hole, upstream=", connect_timeout: 200ms", **OPEN)
    start = time.monotonic()
    assert ask(gate)[0] == 504
    assert 0.15 < time.monotonic() - start < 5
    assert gate.metric("upstream_calls_total", result="timeout") == 1


def test_the_whole_timeout_bounds_connecting(make_gate, black_hole):
    gate = make_gate(black_hole, upstream=", connect_timeout: 60s, timeout: 300ms", **OPEN)
    start = time.monotonic()
    assert ask(gate)[0] == 504
    assert time.monotonic() - start < 5


# The breaker: three connections in a row that fail, or half of 20 calls; 5 s later one call tries.

def test_refused_connections_open_the_breaker_until_a_call_gets_through(make_gate):
    url, port = nowhere()
    gate = make_gate(url, **OPEN)
    assert ask(gate)[::2] == (502, UNREACHABLE)
    for _ in range(3):
        status, headers, said = ask(gate)
        assert (status, said) == (503, NOBODY) and headers["Retry-After"] == "1"
    assert gate.metric("upstream_endpoints_up") == 0
    assert gate.metric("upstream_calls_total", result="busy") == 3
    upstream = serve_at(port)
    wait_for(lambda: ask(gate)[0] == 200, "it is asked again")
    assert statuses(gate, 5) == [200] * 5
    assert gate.metric("upstream_endpoints_up") == 1 and len(upstream.requests) == 6


def test_failed_calls_open_the_breaker_and_one_call_tries(make_gate):
    held = Held()
    sick = [True]
    upstream = Upstream(lambda request: ConnectionError if sick[0] else held(request))
    gate = make_gate(upstream.url, **OPEN)
    assert statuses(gate, 20) == [502] * 20
    assert statuses(gate, 5) == [503] * 5 and len(upstream.requests) == 20
    sick[0] = False
    calls = []
    while held.waiting == 0:
        calls += in_parallel(gate, 1)
        wait_for(lambda: held.waiting or calls[-1].done(), "the call was decided")
    assert statuses(gate, 5) == [503] * 5 and held.waiting == 1
    held.release()
    assert calls[-1].result()[0] == 200
    assert statuses(gate, 5) == [200] * 5


def test_breaker_stays_closed_for_errors_that_a_query_may_have_caused(make_gate):
    upstream = Upstream(lambda request: http_answer(b"{}", "500 Oops"))
    gate = make_gate(upstream.url, **OPEN)
    assert statuses(gate, 40) == [502] * 40
    assert len(upstream.requests) == 40


# Health checks.

class Patient(Upstream):
    """Says whether it is ready; serves in any case."""
    ready = True

    def __init__(self):
        super().__init__(self.say)

    def say(self, request):
        if request[0].startswith("GET /ready "):
            return http_answer(b"", "200 OK" if self.ready else "503 No")
        return http_answer()

    @property
    def asked(self):
        return sum(head.startswith("POST") for head, _ in self.requests)


HEALTH = ", health: {path: /ready, interval: 100ms}"


def up(gate):
    return gate.metric("upstream_endpoints_up")


def test_unready_endpoint_is_left_alone_until_it_is_ready(make_gate):
    upstreams = [Patient(), Patient()]
    gate = make_gate([u.url for u in upstreams], upstream=HEALTH, **OPEN)
    assert statuses(gate, 4) == [200] * 4
    upstreams[0].ready = False
    wait_for(lambda: up(gate) == 1, "one is down")
    before = upstreams[0].asked
    assert statuses(gate, 10) == [200] * 10 and upstreams[0].asked == before
    upstreams[1].ready = False
    wait_for(lambda: up(gate) == 0, "both are down")
    status, headers, said = ask(gate)
    assert (status, said) == (503, NOBODY) and headers["Retry-After"] == "1"
    for u in upstreams:
        u.ready = True
    wait_for(lambda: up(gate) == 2, "both are up")
    assert statuses(gate, 10) == [200] * 10 and upstreams[0].asked > before


def test_one_failed_check_does_not_take_an_endpoint_down(make_gate):
    checks = []

    def answer(request):
        if request[0].startswith("POST"):
            return http_answer()
        checks.append(1)
        return http_answer(b"", "200 OK" if len(checks) % 2 else "503 No")

    gate = make_gate(Upstream(answer).url, upstream=HEALTH, **OPEN)
    while len(checks) < 12:
        assert ask(gate)[0] == 200


def test_health_check_finds_a_server_that_is_gone(make_gate):
    url, port = nowhere()
    gate = make_gate(url, upstream=HEALTH, **OPEN)
    wait_for(lambda: up(gate) == 0, "it is down")
    assert ask(gate)[0] == 503
    serve_at(port, lambda request: http_answer())
    wait_for(lambda: up(gate) == 1, "it is up")
    assert ask(gate)[0] == 200


# Bounds.

def test_calls_over_max_pending_are_refused_at_once(make_gate):
    held = Held()
    upstream = Upstream(held)
    gate = make_gate(upstream.url, upstream=", max_pending: 2", **OPEN)
    calls = in_parallel(gate, 2)
    wait_for(lambda: held.waiting == 2, "two are asked")
    status, headers, said = ask(gate)
    assert (status, said) == (503, NOBODY) and headers["Retry-After"] == "1"
    held.release()
    assert [c.result()[0] for c in calls] == [200] * 2
    assert ask(gate)[0] == 200


# What it says.

@pytest.mark.parametrize("said, status, reason, again", [
    (400, 400, "the model server refused the query", None),
    (401, 400, "the model server refused the query", None),
    (404, 404, "the model server does not know this model or version", None),
    (413, 400, "the model server refused the query", None),
    (422, 400, "the model server refused the query", None),
    (429, 503, "the model server is not ready", "1"),
    (500, 502, "the model server failed", None), (501, 502, "the model server failed", None),
    (502, 502, "the model server failed", None), (503, 503, "the model server is not ready", "1"),
    (504, 502, "the model server failed", None), (201, 502, "the model server failed", None),
    (206, 502, "the model server failed", None), (302, 502, "the model server failed", None)])
@pytest.mark.parametrize("relay", [False, True])
def test_error_is_told_by_its_class_alone(make_gate, said, status, reason, again, relay):
    """Exception texts and echoes stay behind, and out of the log."""
    body = json.dumps({"error": MARK, "outputs": [MARK]}).encode()
    upstream = Upstream(lambda request: http_answer(body, "%d %s" % (said, MARK), [
        "X-Error: " + MARK, "WWW-Authenticate: " + MARK, "Location: /" + MARK, "Retry-After: 99"]))
    gate = make_gate(upstream.url, **OPEN,
                     **(dict(policy="bodies: relay, filters: []") if relay else {}))
    got, headers, obj = ask(gate)
    assert (got, obj) == (status, {"error": reason}) and headers.get("Retry-After") == again
    assert MARK not in str(headers)
    wait_for(gate.log_lines, "the line is written")
    with open(gate.log) as log:
        assert MARK not in log.read() + gate.stderr()


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
def test_compressed_answer_is_read(make_gate, coding):
    body = gzip.compress(answer_body())
    upstream = Upstream(lambda request: http_answer(body, headers=["Content-Encoding: " + coding]))
    gate = make_gate(upstream.url, **OPEN)
    status, headers, said = ask(gate)
    assert status == 200 and said["outputs"][0]["data"] == [0, 1, 0, 0]
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize("body, codings", [
    (gzip.compress(answer_body())[:-3], ["gzip"]), (answer_body(), ["gzip"]),
    (gzip.compress(answer_body()) + b"x", ["gzip"]), (gzip.compress(answer_body()), ["br"]),
    (gzip.compress(answer_body()), ["gzip", "gzip"]), (gzip.compress(answer_body()), ["gzip, gzip"]),
    (gzip.compress(bytes(1 << 26)), ["gzip"])])
def test_compressed_answer_that_cannot_be_read_is_502(make_gate, body, codings):
    upstream = Upstream(lambda request: http_answer(
        body, headers=["Content-Encoding: " + c for c in codings]))
    gate = make_gate(upstream.url, **OPEN)
    status, _, said = ask(gate)
    assert status == 502
    assert said == {"error": "the model server's answer could not be understood"}

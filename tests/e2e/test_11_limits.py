"""Limits: just under and exactly at each is let in, one more is refused with the stated status;
and what connections cost is bounded."""
import gzip
import http.client
import json
import resource
import time
import zlib

import pytest

from harness import SANITIZED, Upstream, http_answer, query, read_from, wait_for

RELAY = dict(workers=1, anonymous="allow", policy="bodies: relay, filters: []")
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
LIVE = b"GET /v2/health/live%s HTTP/1.1\r\nHost: a\r\n%s\r\n"
MAX_BODY, MAX_ANSWER = 100000, 200000


@pytest.fixture(scope="module")
def echo():
    """Answers with the body it was sent."""
    u = Upstream(lambda request: http_answer(request[1]), remember=False)
    yield u
    u.close()


@pytest.fixture(scope="module")
def relay(make_shared_gate, echo):
    limits = "max_body: %d, max_answer: %d" % (MAX_BODY, MAX_ANSWER)
    return make_shared_gate(echo.url, limits=limits, **RELAY)


@pytest.fixture(scope="module")
def decode(make_shared_gate):
    u = Upstream()
    yield make_shared_gate(u.url, workers=1, anonymous="allow")
    u.close()


def status_of(gate, data):
    with gate.connect() as s:
        s.sendall(data)
        return read_from(s.makefile("rb"))[0]


def around(limit):
    return limit - 1, limit, limit + 1


# Heads.

def line_of(n):
    bare = len(b"GET /v2/health/live HTTP/1.1")
    return LIVE % (b"?" + b"a" * (n - bare - 1), b"")


def header_of(n):
    return LIVE % (b"", b"A: " + b"a" * (n - 3) + b"\r\n")


def head_of(n):
    """No line of it is over its own limit."""
    rest = b"A: " + b"a" * 6000 + b"\r\nB: " + b"b" * 6000 + b"\r\nC: %s\r\n"
    return LIVE % (b"", rest % (b"c" * (n - len(LIVE % (b"", rest % b"")))))


def headers_of(n):
    return LIVE % (b"", b"A: a\r\n" * (n - 1))


@pytest.mark.parametrize("make, limit, status", [
    (line_of, 4096, 414), (header_of, 8192, 431), (head_of, 16384, 431), (headers_of, 64, 431)])
def test_head(relay, make, limit, status):
    assert [status_of(relay, make(n)) for n in around(limit)] == [200, 200, status]


def test_head_may_be_preceded_by_two_empty_lines(relay):
    live = LIVE % (b"", b"")
    assert [status_of(relay, b"\r\n" * n + live) for n in around(2)] == [200, 200, 400]


# Bodies.

def with_length(n):
    return INFER + b"Content-Length: %d\r\n\r\n" % n + b"a" * n


def in_chunks(n, size=30000):
    parts = [b"%x\r\n%s\r\n" % (k, b"a" * k) for k in [size] * (n // size) + [n % size] if k > 0]
    return INFER + b"Transfer-Encoding: chunked\r\n\r\n" + b"".join(parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("make", [with_length, in_chunks])
def test_body(relay, make):
    assert [status_of(relay, make(n)) for n in around(MAX_BODY)] == [200, 200, 413]


def test_body_over_the_limit_is_refused_by_its_head(relay):
    """Not a byte of it is waited for."""
    assert status_of(relay, INFER + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1)) == 413
    chunk = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (MAX_BODY + 1)
    assert status_of(relay, INFER + chunk) == 413


def post_coded(gate, body, coding="gzip"):
    status, _, answer = gate.request("POST", "/v2/models/m/infer", body,
                                     {"Content-Encoding": coding}, key=False)
    return status, answer


def text_of(n):
    """Bytes that shrink to about half."""
    return b"".join(b"%08x" % (i * 2654435761 % 2**32) for i in range(n // 8 + 1))[:n]


@pytest.mark.parametrize("coding, code", [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_decompressed_body(relay, coding, code):
    for n in around(MAX_BODY):
        status, answer = post_coded(relay, code(text_of(n)), coding)
        assert status == (200 if n <= MAX_BODY else 413)
        assert status != 200 or answer == text_of(n)


def test_decompressed_body_may_be_20_times_the_coded_and_64_kib(relay):
    def bound(n):
        return 20 * len(gzip.compress(bytes(n))) + 65536

    most = max(n for n in range(65536, 70000) if n <= bound(n))
    assert most > 65536 and most + 1 > bound(most + 1)
    assert post_coded(relay, gzip.compress(bytes(most))) == (200, bytes(most))
    assert post_coded(relay, gzip.compress(bytes(most + 1)))[0] == 413
    assert post_coded(relay, gzip.compress(bytes(1 << 26)))[0] == 413


def test_broken_and_unknown_codings(relay):
    good = gzip.compress(b"{}")
    assert post_coded(relay, good) == (200, b"{}")
    assert post_coded(relay, b"{}", "identity") == (200, b"{}")
    for bad in (good[:-1], good + b"x", b"x" + good, b"", good[:10]):
        assert post_coded(relay, bad)[0] == 400
    for coding in ("br", "zstd", "gzip, gzip", "", "compress"):
        assert post_coded(relay, good, coding)[0] == 415
    twice = b"Content-Encoding: gzip\r\n" * 2 + b"Content-Length: %d\r\n\r\n" % len(good) + good
    assert status_of(relay, INFER + twice) == 415


def test_compressed_bodies_can_be_refused(make_gate, echo):
    gate = make_gate(echo.url, limits="compressed_bodies: false", **RELAY)
    assert post_coded(gate, gzip.compress(b"{}"))[0] == 415
    assert post_coded(gate, b"{}", "identity") == (200, b"{}")


# Answers.

def answer_in_chunks(n):
    head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % n
    return head.encode() + b"a" * n + b"\r\n0\r\n\r\n"


def answer_in_gzip(n):
    return http_answer(gzip.compress(text_of(n)), headers=["Content-Encoding: gzip"])


@pytest.mark.parametrize("make", [lambda n: http_answer(b"a" * n), answer_in_chunks, answer_in_gzip])
def test_answer(make_gate, make):
    upstream = Upstream(lambda request: make(int(request[1])))
    gate = make_gate(upstream.url, limits="max_answer: %d" % MAX_ANSWER, **RELAY)
    for n in around(MAX_ANSWER):
        status, _, body = gate.request("POST", "/v2/models/m/infer", b"%d" % n, key=False)
        assert (status, len(body)) == (200, n) if n <= MAX_ANSWER else (status == 502, len(body) < 99)


# Queries.

def nested(depth):
    """Three levels stand around the data's own."""
    data = [0.5]
    for _ in range(depth - 4):
        data = [data]
    return data, depth - 3


def deep(n):
    data, rank = nested(n)
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1] * rank, "data": data}]}


def dims(n):
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1] * n, "data": [1]}]}


def tensors(n):
    return {"inputs": [{"name": "x%d" % i, "datatype": "FP32", "shape": [1], "data": [1]}
                       for i in range(n)]}


def string(n):
    return {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": ["a" * n]}]}


def keys(n):
    return query(parameters={"k%d" % i: 1 for i in range(n)})


def number(n):
    return json.dumps(query(values=[7])).replace("[7]", "[0.%s]" % ("1" * (n - 2)))


@pytest.mark.parametrize("make, limit, status", [
    (deep, 16, 400), (dims, 16, 400), (tensors, 64, 413), (string, 65536, 400), (keys, 256, 400),
    (number, 64, 400), (lambda n: query(id="i" * n), 256, 400)])
def test_query(decode, make, limit, status):
    got = []
    for n in around(limit):
        q = make(n)
        text = q if isinstance(q, str) else json.dumps(q)
        got.append(decode.request("POST", "/v2/models/m/infer", text, key=False)[0])
    assert got == [200, 200, status]


def test_model_name(decode):
    assert [decode.infer(model="m" * n)[0] for n in around(128)] == [200, 200, 404]


# Connections.

def is_open(sock):
    """Whether the gate answers on it; False: it was closed at once."""
    try:
        sock.sendall(LIVE % (b"", b""))
        answer = read_from(sock.makefile("rb"))
        return answer is not None and answer[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize("limits", ["connections: 8", "connections_per_address: 8"])
def test_connections(make_gate, echo, limits):
    """At the limit the gate still tells its operators how it is."""
    gate = make_gate(echo.url, limits=limits, **{**RELAY, "workers": 2})
    held = [gate.connect() for _ in range(8)]
    assert [is_open(s) for s in held] == [True] * 8
    refused = [gate.connect() for _ in range(4)]
    assert [is_open(s) for s in refused] == [False] * 4
    assert gate.metric("connections_refused_total") == 4
    assert gate.admin_get("/readyz")[0] == 200
    held.pop().close()
    wait_for(lambda: gate.metric("connections") == 7, "one has gone")
    held.append(gate.connect())
    assert is_open(held[-1])
    for s in held + refused:
        s.close()


def test_out_of_descriptors(make_gate, echo):
    """The gate sends away whom it cannot hold, does not spin, and is well when they are gone."""
    gate = make_gate(echo.url, **{**RELAY, "workers": 2})
    resource.prlimit(gate.process.pid, resource.RLIMIT_NOFILE, (64, 64))
    crowd = [gate.connect() for _ in range(200)]
    wait_for(lambda: sum(map(is_closed, crowd)) > 20, "some were sent away")
    before, end = gate.cpu(), time.monotonic() + 1.5
    wait_for(lambda: time.monotonic() > end, "time passes")
    assert gate.cpu() - before < 0.3
    for s in crowd:
        s.close()
    wait_for(lambda: is_well(gate), "the gate answers again")
    assert gate.metric("accept_pauses_total") > 0


def is_closed(sock):
    """Whether the gate has closed it."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def is_well(gate):
    try:
        return gate.request("GET", "/v2/health/live", key=False)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


# Memory.

@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is its own")
def test_an_idle_connection_is_small(make_gate, echo):
    count = 2000
    gate = make_gate(echo.url, limits="connections_per_address: 4000", **RELAY)

    def open_one():
        """Two requests at once: the second, a large one, has to wait in a buffer."""
        s = gate.connect()
        s.sendall(with_length(10) + with_length(25000))
        f = s.makefile("rb")
        assert [read_from(f)[0], read_from(f)[0]] == [200, 200]
        return s

    crowd = [open_one() for _ in range(100)]
    before = gate.resident()
    crowd += [open_one() for _ in range(count)]
    each = (gate.resident() - before) / count
    print("an idle connection holds %.2f KiB" % (each / 1024))
    assert each < 6 * 1024
    for s in crowd:
        s.close()


def test_memory_stays_flat(make_gate, echo):
    """As large after the second half of many requests of all sizes as after the first."""
    gate = make_gate(echo.url, **RELAY)
    sizes = [2, 10, 300, 1000, 5000, 20000, 64, 130000, 500, 700]
    batch = b"".join(with_length(n) for n in sizes)
    rounds = 100 if SANITIZED else 1000

    def half():
        with gate.connect() as s:
            f = s.makefile("rb")
            for _ in range(rounds):
                s.sendall(batch)
                assert [len(read_from(f)[2]) for _ in sizes] == sizes
        return gate.resident()

    first, second = half(), half()
    print("resident: %.1f MiB, then %.1f MiB" % (first / 2**20, second / 2**20))
    assert SANITIZED or second < first * 1.1 + 4 * 2**20

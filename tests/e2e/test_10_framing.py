"""Framing: a malformed request is refused with the stated status before an upstream sees a byte of
it, however its bytes are cut; a malformed answer is a 502, and its connection is not used again."""
import concurrent.futures
import json
import re

import pytest

from harness import Upstream, http_answer, read_from, read_to_end, sends_and_closes, wait_for
from http1_corpus import CORPUS

OPEN = dict(workers=1, anonymous="allow", policy="bodies: relay, filters: []")
# The corpus asks for a path that this protocol does not have; the nearest that it has.
CASES = [(n, data.replace(b"/v2/health ", b"/v2/health/live "), status) for n, data, status in CORPUS]
REFUSED = [case for case in CASES if case[2] != 200]
GOOD = [case for case in CASES if case[2] == 200]
BROKE_OFF = "the model server could not be reached or broke off its answer"


def post(path="/v2/models/m/infer", body=b"{}", more=b""):
    return b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%s\r\n%s" % (
        path.encode(), len(body), more, body)


def send_cut(sock, data, step):
    """Sends in pieces; the gate may end the connection before the last one."""
    try:
        for at in range(0, len(data), step):
            sock.sendall(data[at:at + step])
    except OSError:
        pass


def pieces(data):
    """How a request is cut: whole, and at every byte (large ones at every 997th)."""
    return [len(data), 1 if len(data) < 4096 else 997]


def refusal(gate, data, step):
    """(status, whether there was one answer of the fixed shape and the connection ended)"""
    with gate.connect() as s:
        send_cut(s, data, step)
        answers = read_to_end(s)
    (status, headers, body), *more = answers
    fixed = list(json.loads(body)) == ["error"] and headers["connection"] == "close"
    return status, fixed and not more


@pytest.fixture(scope="module")
def upstream_of_module():
    u = Upstream(lambda request: http_answer(request[1]))
    yield u
    u.close()


@pytest.fixture(scope="module")
def gate_of_module(make_shared_gate, upstream_of_module):
    return make_shared_gate(upstream_of_module.url, **OPEN)


def test_corpus_is_refused(gate_of_module, upstream_of_module):
    wrong = []

    def check(case):
        number, data, status = case
        for step in pieces(data):
            got = refusal(gate_of_module, data, step)
            if got != (status, True):
                wrong.append((number, step, status, got))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(check, REFUSED))
    assert len(REFUSED) == 89 and not wrong
    assert upstream_of_module.received == b"" and upstream_of_module.connections == 0


def forwarded(request):
    """(request line, headers) of what an upstream was sent."""
    line, *rest = request[0].split("\r\n")
    return line, {k.lower(): v for k, v in (h.split(": ", 1) for h in rest)}


@pytest.mark.parametrize("number, data, status", GOOD)
def test_good_one_is_forwarded_in_one_form(make_gate, number, data, status):
    """No Upgrade, no chunk extension, no hop-by-hop header, and a length if there is a body."""
    upstream = Upstream()
    gate = make_gate(upstream.url, **OPEN)
    for step in pieces(data):
        with gate.connect() as s:
            send_cut(s, data, step)
            assert read_from(s.makefile("rb"))[0] == 200
    is_post = data.startswith(b"POST")
    line = "POST /v2/models/m/infer HTTP/1.1" if is_post else "GET /v2/health/live HTTP/1.1"
    headers = {"host": "127.0.0.1:%d" % upstream.port, **({"content-length": "2"} if is_post else {})}
    assert [forwarded(r) for r in upstream.requests] == [(line, headers)] * 2
    assert [body for _, body in upstream.requests] == [b"{}" if is_post else b""] * 2


def test_nothing_behind_a_refusal_is_read(make_gate, upstream):
    gate = make_gate(upstream.url, **OPEN)
    bad = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}"
    with gate.connect() as s:
        s.sendall(post() + bad + post("/v2/models/m3/infer"))
        assert [status for status, _, _ in read_to_end(s)] == [200, 400]
    assert [head.split()[1] for head, _ in upstream.requests] == ["/v2/models/m/infer"]


@pytest.mark.parametrize("count, size", [(200, 2), (2000, 100), (40, 60000)])
def test_pipelined_requests_are_answered_in_order(gate_of_module, count, size):
    bodies = [b"%d" % i + b" " * size for i in range(count)]
    with gate_of_module.connect() as s, concurrent.futures.ThreadPoolExecutor(1) as pool:
        sent = pool.submit(s.sendall, b"".join(post(body=b) for b in bodies))
        f = s.makefile("rb")
        assert [read_from(f)[2] for _ in bodies] == bodies
        sent.result()


def test_pipelined_local_answers_keep_their_place(gate_of_module):
    """Some are answered by the gate at once, some by the upstream."""
    unknown = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
    with gate_of_module.connect() as s:
        s.sendall((post() + unknown) * 50)
        f = s.makefile("rb")
        assert [read_from(f)[0] for _ in range(100)] == [200, 404] * 50


OK = b"HTTP/1.1 200 OK\r\n"
TYPE = b"Content-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
BODY = http_answer()[-20:]
ODD_ANSWERS = {
    "two-lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two-different-lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "list-of-lengths": OK + b"Content-Length: 2, 2\r\n\r\n{}",
    "plus-length": OK + b"Content-Length: +2\r\n\r\n{}",
    "minus-length": OK + b"Content-Length: -2\r\n\r\n{}",
    "hex-length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "empty-length": OK + b"Content-Length: \r\n\r\n{}",
    "huge-length": OK + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "length-and-chunked": OK + b"Content-Length: 2\r\n" + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked-and-length": OK + CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked-in-1.0": b"HTTP/1.0 200 OK\r\n" + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked-and-gzip": OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "gzip-chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "two-codings": OK + CHUNKED + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": OK + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    "second-answer": http_answer(b"{}") + http_answer(b'{"stolen": 1}'),
    "bytes-behind": http_answer(b"{}") + b"x",
    "bytes-behind-chunks": OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\nx",
    "interim-flood": b"HTTP/1.1 100 Continue\r\n\r\n" * 9 + http_answer(b"{}"),
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
    "interim-with-body": b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n{}" + http_answer(b"{}"),
    "204-with-body": b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}",
    "304-with-body": b"HTTP/1.1 304 Not Modified\r\n" + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n",
    "large-head": OK + (b"A: " + b"a" * 4000 + b"\r\n") * 5 + b"Content-Length: 2\r\n\r\n{}",
    "large-header": OK + b"A: " + b"a" * 9000 + b"\r\nContent-Length: 2\r\n\r\n{}",
    "many-headers": OK + b"A: a\r\n" * 65 + b"Content-Length: 2\r\n\r\n{}",
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
    "bare-lf-in-header": OK + b"A: a\nContent-Length: 2\r\n\r\n{}",
    "bare-cr": OK + b"A: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "nul": OK + b"A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "folded": OK + b"A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "no-colon": OK + b"nocolon\r\nContent-Length: 2\r\n\r\n{}",
    "space-in-name": OK + b"Content-Length : 2\r\n\r\n{}",
    "no-http": b"hello\r\n\r\n",
    "http-2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status-of-words": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\n{}",
    "status-999": b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\n{}",
    "bad-chunk": OK + CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n",
    "chunk-too-long": OK + CHUNKED + b"\r\n2\r\n{}}\r\n0\r\n\r\n",
    "framing-trailer": OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\nContent-Length: 2\r\n\r\n",
    "nothing": sends_and_closes(b""),
    "half-a-head": sends_and_closes(OK + b"Content-"),
    "short-body": sends_and_closes(OK + b"Content-Length: 3\r\n\r\n{}"),
    "short-chunk": sends_and_closes(OK + CHUNKED + b"\r\n3\r\n{}"),
    "no-last-chunk": sends_and_closes(OK + CHUNKED + b"\r\n2\r\n{}\r\n"),
    "no-end-of-chunks": sends_and_closes(OK + CHUNKED + b"\r\n2\r\n{}\r\n0\r\n"),
    "until-closed": sends_and_closes(OK + TYPE + b"\r\n{}"),
}
GOOD_ANSWERS = {
    "plain": OK + b"Content-Length: 2\r\n\r\n{}",
    "no-reason": b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    "chunks": OK + CHUNKED + b"\r\n1;a=b\r\n{\r\n1\r\n}\r\n0\r\nA: b\r\n\r\n",
    "interims": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 8 + OK + b"Content-Length: 2\r\n\r\n{}",
    "then-closed": sends_and_closes(OK + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"),
    "1.0": sends_and_closes(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
}


def model_of(request):
    return re.match(r"POST /v2/models/m-([^/]*)/infer ", request[0])[1]


@pytest.fixture(scope="module")
def odd_upstream():
    """Answers as the model's name says."""
    script = {**ODD_ANSWERS, **GOOD_ANSWERS}
    u = Upstream(lambda request: script[model_of(request)])
    yield u
    u.close()


@pytest.fixture(scope="module")
def odd_gate(make_shared_gate, odd_upstream):
    return make_shared_gate(odd_upstream.url, **OPEN)


def ask(gate, name):
    return gate.request("POST", "/v2/models/m-%s/infer" % name, b"{}", key=False)


@pytest.mark.parametrize("name", ODD_ANSWERS)
def test_odd_answer_is_502_and_its_connection_ends(odd_gate, odd_upstream, name):
    ask(odd_gate, "plain")
    before = odd_upstream.connections
    status, _, body = ask(odd_gate, name)
    assert (status, json.loads(body)) == (502, {"error": BROKE_OFF})
    assert odd_upstream.connections == before
    # Two good ones to each odd one, so that the breaker stays closed.
    for _ in range(2):
        assert ask(odd_gate, "plain")[::2] == (200, b"{}")
    assert odd_upstream.connections == before + 1


@pytest.mark.parametrize("name", GOOD_ANSWERS)
def test_good_answer_passes(odd_gate, name):
    assert ask(odd_gate, name)[::2] == (200, b"{}")


@pytest.mark.parametrize("name", [n for n, a in GOOD_ANSWERS.items() if not callable(a)])
def test_good_answer_passes_cut_at_every_byte(make_gate, name):
    def byte_by_byte(request):
        def play(s):
            for b in GOOD_ANSWERS[name]:
                s.sendall(bytes([b]))
        return play

    upstream = Upstream(byte_by_byte)
    gate = make_gate(upstream.url, **OPEN)
    for _ in range(2):
        assert ask(gate, name)[::2] == (200, b"{}")
    assert upstream.connections == 1


def test_unasked_bytes_on_an_idle_connection_end_it(make_gate):
    """What comes while nothing is asked is nobody's answer."""
    sockets = []

    def answer(request):
        def play(s):
            sockets.append(s)
            s.sendall(http_answer(b"{}"))
        return play

    upstream = Upstream(answer)
    gate = make_gate(upstream.url, **OPEN)
    assert ask(gate, "a")[::2] == (200, b"{}")
    sockets[0].sendall(http_answer(b'{"stolen": 1}'))
    wait_for(lambda: not upstream.open, "the connection has ended")
    assert ask(gate, "b")[::2] == (200, b"{}")
    assert upstream.connections == 2

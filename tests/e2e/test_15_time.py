"""Time: whoever is too slow is cut, whoever is patient gets every byte, and whoever goes away leaves
nothing behind."""
import hashlib
import json
import os
import socket
import threading
import time

import pytest

from harness import Upstream, http_answer, read_from, read_to_end, wait_for

RELAY = dict(workers=1, anonymous="allow", policy="bodies: relay, filters: []")
SHORT = "head_timeout: 300ms, body_timeout: 300ms, idle_timeout: 600ms, send_timeout: 500ms"
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
WHOLE = INFER + b"Content-Length: 2\r\n\r\n{}"
MIB = 1 << 20


@pytest.fixture
def echo():
    u = Upstream(lambda request: http_answer(request[1]))
    yield u
    u.close()


@pytest.fixture
def hasty(make_gate, echo):
    return make_gate(echo.url, limits=SHORT, **RELAY)


def trickle(sock, data, pause=0.05):
    """Sends byte by byte until the gate says something; then everything it says."""
    sock.settimeout(pause)
    end = time.monotonic() + 25
    for b in data:
        assert time.monotonic() < end, "nothing was said"
        try:
            sock.sendall(bytes([b]))
            sock.recv(1, socket.MSG_PEEK)
            break
        except TimeoutError:
            continue
        except OSError:
            break
    sock.settimeout(20)
    return read_to_end(sock)


def is_too_slow(answers):
    (status, headers, body), *more = answers
    return not more and (status, headers["connection"]) == (408, "close") and b"too slowly" in body


# Deadlines.

@pytest.mark.parametrize("start", [
    b"P", b"POST /v2", INFER, INFER + b"Content-Length: 10\r\n\r\n{", INFER + b"Content-Length: 10\r\n\r\n",
    INFER + b"Transfer-Encoding: chunked\r\n\r\n", INFER + b"Transfer-Encoding: chunked\r\n\r\na\r\n{}"])
def test_request_that_stops_is_408(hasty, echo, start):
    with hasty.connect() as s:
        s.sendall(start)
        assert is_too_slow(read_to_end(s))
    with hasty.connect() as s:
        s.sendall(WHOLE + start)
        f = s.makefile("rb")
        assert read_from(f)[0] == 200
        assert is_too_slow([read_from(f)]) and read_from(f) is None
    assert len(echo.requests) == 1
    assert hasty.metric("client_timeouts_total") == 2


def test_head_that_trickles_is_408(hasty):
    """Its deadline counts from the first byte: more bytes do not move it."""
    with hasty.connect() as s:
        assert is_too_slow(trickle(s, INFER + b"A: " + b"a" * 4000))


def test_body_that_trickles_is_408(make_gate, echo):
    """No pause of it is too long, but all of it is: the upstream's timeout."""
    gate = make_gate(echo.url, limits="body_timeout: 5s", upstream=", timeout: 700ms", **RELAY)
    with gate.connect() as s:
        s.sendall(INFER + b"Content-Length: 4000\r\n\r\n")
        assert is_too_slow(trickle(s, b"a" * 4000))
    assert echo.requests == []


def test_body_under_the_least_rate_is_408(make_gate, echo):
    """1 KiB/s over 10 s."""
    gate = make_gate(echo.url, upstream=", timeout: 60s", **RELAY)
    start = time.monotonic()
    with gate.connect() as s:
        s.sendall(INFER + b"Content-Length: 4000\r\n\r\n")
        assert is_too_slow(trickle(s, b"a" * 4000))
    assert 9 < time.monotonic() - start < 19
    assert echo.requests == []


def test_refused_client_that_stays_is_closed(make_gate, echo):
    """The gate waits for it to have read the answer, but not long."""
    gate = make_gate(echo.url, **RELAY)
    with gate.connect() as s:
        s.sendall(b"nonsense\r\n")
        wait_for(lambda: gate.metric("malformed_requests_total") == 1, "it was refused")
        wait_for(lambda: gate.metric("connections") == 0, "it was closed")
        assert [status for status, _, _ in read_to_end(s)] == [400]


@pytest.mark.parametrize("first", [b"", b"\r\n", WHOLE])
def test_idle_connection_is_closed_in_silence(hasty, first):
    with hasty.connect() as s:
        s.sendall(first)
        assert [status for status, _, _ in read_to_end(s)] == ([200] if first == WHOLE else [])


def test_answer_that_does_not_come_is_504(make_gate):
    upstream = Upstream(lambda request: None)
    gate = make_gate(upstream.url, upstream=", timeout: 300ms", **RELAY)
    status, _, body = gate.request("POST", "/v2/models/m/infer", b"{}", key=False)
    assert (status, json.loads(body)) == (
        504, {"error": "the model server did not answer in time"})
    wait_for(lambda: not upstream.open, "its connection is closed")
    assert gate.metric("upstream_calls_total", result="timeout") == 1


def test_answer_that_trickles_is_504(make_gate):
    def slowly(request):
        def play(s):
            for b in http_answer(b"a" * 1000):
                s.sendall(bytes([b]))
                time.sleep(0.02)
        return play

    upstream = Upstream(slowly)
    gate = make_gate(upstream.url, upstream=", timeout: 300ms", **RELAY)
    assert gate.request("POST", "/v2/models/m/infer", b"{}", key=False)[0] == 504
    wait_for(lambda: not upstream.open, "its connection is closed")


# Readers.

def connect_small(gate, size=4096):
    """A connection with small buffers, so that the gate has to wait for its reader."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    s.settimeout(20)
    s.connect(("127.0.0.1", gate.port))
    return s


def test_reader_that_takes_nothing_is_cut(make_gate):
    upstream = Upstream(lambda request: http_answer(b"a" * (16 * MIB)))
    gate = make_gate(upstream.url, limits=SHORT, **RELAY)
    with connect_small(gate) as s:
        s.sendall(WHOLE)
        wait_for(lambda: upstream.requests, "the query was asked")
        wait_for(lambda: gate.metric("connections") == 0, "the gate has closed")
        got = 0
        with pytest.raises(OSError):
            while (n := len(s.recv(MIB))) > 0:
                got += n
            raise ConnectionError
        assert got < 16 * MIB
    assert gate.metric("client_timeouts_total") == 1


def test_patient_reader_gets_every_byte(make_gate):
    """8 MiB both ways through small buffers at both ends."""
    upstream = Upstream(lambda request: http_answer(request[1]))
    for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        upstream.listener.setsockopt(socket.SOL_SOCKET, name, 49152)
    gate = make_gate(upstream.url, **RELAY)
    body = os.urandom(8 * MIB)
    with connect_small(gate, 49152) as s:
        sender = threading.Thread(target=s.sendall, daemon=True, args=[
            INFER + b"Content-Length: %d\r\n\r\n" % len(body) + body])
        sender.start()
        with s.makefile("rb", buffering=1000) as f:
            status, _, got = read_from(f)
    assert status == 200 and len(got) == len(body)
    assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest()
    assert hashlib.sha256(upstream.requests[0][1]).digest() == hashlib.sha256(body).digest()


# Clients that go away.

def until_gone(request):
    """An upstream that waits until the gate hangs up."""
    def play(s):
        s.settimeout(20)
        s.recv(1)
        raise ConnectionError
    return play


PHASES = {
    "nothing": b"",
    "head": INFER,
    "body": INFER + b"Content-Length: 1000000\r\n\r\n" + b"a" * 500000,
    "chunk": INFER + b"Transfer-Encoding: chunked\r\n\r\nf4240\r\n" + b"a" * 500000,
    "waiting": b"POST /v2/models/m-wait/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    "sending": b"POST /v2/models/m-large/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}",
    "pipelined": WHOLE * 20,
}


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("phase", PHASES)
def test_client_that_goes_away_leaves_nothing(make_gate, phase, how):
    def answer(request):
        if "m-wait" in request[0]:
            return until_gone(request)
        return http_answer(b"a" * (16 * MIB) if "m-large" in request[0] else b"{}")

    upstream = Upstream(answer)
    gate = make_gate(upstream.url, limits="send_timeout: 2s", **RELAY)
    with connect_small(gate) as s:
        s.sendall(PHASES[phase])
        if phase in ("waiting", "sending"):
            wait_for(lambda: upstream.requests, "the query was asked")
        else:
            wait_for(lambda: gate.metric("connections") == 1, "the gate has the connection")
        if how == "half-close":
            s.shutdown(socket.SHUT_WR)
            wait_for(lambda: gate.metric("connections") == 0, "the connection is gone")
        elif how == "reset":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_for(lambda: gate.metric("connections") == 0, "the connection is gone")
    if phase == "waiting":
        wait_for(lambda: not upstream.open, "the upstream was told", patience=1)
        assert gate.metric("client_aborts_total") == 1
    assert gate.request("POST", "/v2/models/m/infer", b"{}", key=False)[::2] == (200, b"{}")

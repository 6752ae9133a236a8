"""HTTP as clients see it: methods, keep-alive, 100-continue, the shape of refusals; and which
headers pass, in either direction: none that is not said here."""
import json

import pytest

from harness import SCORES, Upstream, answer_body, http_answer, query, read_from, read_to_end

INFER = "/v2/models/m/infer"
METADATA = json.dumps({
    "name": "m", "versions": ["1"], "platform": "secret",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4]}]}).encode()
LEAKY = ["Server: secret/1.0", "ce-id: secret", "ce-source: io.seldon.secret", "Set-Cookie: secret=1",
         "X-Inference-Time: 17", "X-Request-Id: secret", "Date: Thu, 01 Jan 1970 00:00:00 GMT",
         "ETag: \"secret\"", "Location: http://secret/", "Content-Language: en", "Via: secret",
         "Access-Control-Allow-Origin: *", "Cache-Control: no-store", "Transfer-Type: secret"]


def serve(request):
    line = request[0].split("\r\n")[0]
    if line.startswith("POST"):
        return http_answer(headers=LEAKY)
    return http_answer(METADATA if "/ready" not in line else b"", headers=LEAKY)


@pytest.fixture(scope="module")
def upstream():
    u = Upstream(serve)
    yield u
    u.close()


@pytest.fixture(scope="module")
def gate(make_shared_gate, upstream):
    return make_shared_gate(upstream.url, workers=1)


@pytest.fixture(autouse=True)
def forget(upstream):
    upstream.requests.clear()


def lines(gate, first, *headers, version="1.1"):
    return "\r\n".join(["%s HTTP/%s" % (first, version), "Host: a", "X-API-Key: " + gate.key,
                        *headers, "", ""]).encode()


def post(gate, *headers, version="1.1", body=None):
    body = json.dumps(query()).encode() if body is None else body
    return lines(gate, "POST " + INFER, "Content-Length: %d" % len(body), *headers,
                 version=version) + body


def talk(gate, data):
    """All answers until the gate closes."""
    with gate.connect() as s:
        s.sendall(data)
        return read_to_end(s)


def raw(gate, data):
    """Every byte until the gate closes."""
    with gate.connect() as s:
        s.sendall(data)
        return b"".join(iter(lambda: s.recv(65536), b""))


def sent(upstream):
    """(request line, {header: value}, body) of the last request."""
    head, body = upstream.requests[-1]
    line, *rest = head.split("\r\n")
    return line, {k.lower(): v for k, v in (h.split(": ", 1) for h in rest)}, body


# Methods.

@pytest.mark.parametrize("path", ["/v2", "/v2/models/m", "/v2/health/live", "/v2/health/ready",
                                  "/v2/models/m/ready"])
def test_head_is_get_without_the_body(gate, upstream, path):
    status, headers, body = gate.request("GET", path)
    assert status == 200
    _, head_headers, head_body = gate.request("HEAD", path)
    assert dict(head_headers) == dict(headers) and head_body == b""
    assert int(headers["Content-Length"]) == len(body)
    assert [r[0].split(" ")[0] for r in upstream.requests] == ["GET", "GET"]


def test_head_leaves_the_connection_in_step(gate):
    """Refusals have no body either."""
    heads = [lines(gate, "HEAD /v2/models/m"), lines(gate, "HEAD /nowhere"),
             lines(gate, "HEAD " + INFER), lines(gate, "GET /v2", "Connection: close")]
    parts = raw(gate, b"".join(heads)).split(b"\r\n\r\n")
    assert [p.split()[1] for p in parts[:4]] == [b"200", b"404", b"403", b"200"]
    assert all(p.startswith(b"HTTP/1.1 ") for p in parts[:4]) and parts[4].startswith(b"{")


def test_get_with_a_body_is_read_to_its_end(gate, upstream):
    get = lines(gate, "GET /v2/models/m", "Content-Length: 5") + b"hello"
    chunked = lines(gate, "GET /v2/models/m", "Transfer-Encoding: chunked") + b"2\r\nhi\r\n0\r\n\r\n"
    answers = talk(gate, get + chunked + lines(gate, "GET /v2/models/m", "Connection: close"))
    assert [status for status, _, _ in answers] == [200] * 3
    assert all("content-length" not in r[0].lower() and r[1] == b"" for r in upstream.requests)


@pytest.mark.parametrize("first, status", [
    ("GET " + INFER, 403), ("POST /v2/models/m", 403), ("POST /v2/repository/index", 403),
    ("GET /v2/models/m/stats", 403), ("GET /metrics", 403), ("GET /nowhere", 404), ("GET /", 404),
    ("POST /v2/models/unknown/infer", 404), ("GET /v2/models/unknown", 404),
    ("PUT " + INFER, 405), ("DELETE /v2", 405), ("OPTIONS /v2", 405), ("TRACE /v2", 405),
    ("PATCH " + INFER, 405), ("CONNECT a:80", 405)])
def test_refusal(gate, upstream, first, status):
    """One JSON object with a reason; the upstream hears nothing."""
    (got, headers, body), = talk(gate, lines(gate, first, "Connection: close"))
    assert got == status and headers["content-type"] == "application/json"
    refusal = json.loads(body)
    assert list(refusal) == ["error"] and isinstance(refusal["error"], str) and refusal["error"]
    assert set(headers) == {"content-type", "content-length", "connection"}
    assert upstream.requests == []


# Who asks.

@pytest.mark.parametrize("keys", [[], ["X-API-Key: wrong"], ["X-API-Key: "],
                                  ["X-API-Key: wrong", "X-API-Key: wronger"],
                                  ["Authorization: Bearer x"], ["X-API-Key: " + "a" * 5000]])
def test_unknown_client_is_401(gate, upstream, keys):
    """Before its body is read, and whatever it asks for."""
    for first in ("POST " + INFER, "GET /v2", "GET /nowhere", "GET /metrics"):
        request = "\r\n".join([first + " HTTP/1.1", "Host: a", *keys, "Content-Length: 100",
                               "Expect: 100-continue", "", ""])
        (status, headers, body), = talk(gate, request.encode())
        assert status == 401 and headers["connection"] == "close"
        assert headers["www-authenticate"] == 'ApiKey header="X-API-Key"'
        assert list(json.loads(body)) == ["error"] and b"wrong" not in body
    assert upstream.requests == []


# 100-continue.

def test_continue_comes_when_the_body_is_wanted(gate):
    body = json.dumps(query()).encode()
    with gate.connect() as s:
        s.sendall(lines(gate, "POST " + INFER, "Content-Length: %d" % len(body), "Expect: 100-continue"))
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(body)
        assert read_from(s.makefile("rb"))[0] == 200


@pytest.mark.parametrize("first, headers, status", [
    ("POST /nowhere", ["Content-Length: 100"], 404), ("POST /v2/models/m", ["Content-Length: 100"], 403),
    ("POST " + INFER, ["Content-Length: 100000000"], 413), ("GET /v2", ["Content-Length: 0"], 200)])
def test_continue_does_not_come_when_it_is_not(gate, first, headers, status):
    request = lines(gate, first, *headers, "Expect: 100-continue", "Connection: close")
    assert raw(gate, request).startswith(b"HTTP/1.1 %d " % status)


def test_continue_is_not_said_to_who_has_sent_the_body_or_speaks_1_0(gate):
    for version in ("1.1", "1.0"):
        request = post(gate, "Expect: 100-continue", "Connection: close", version=version)
        assert raw(gate, request).startswith(b"HTTP/1.1 200 ")


def test_two_requests_that_wait_to_be_told(gate):
    body = json.dumps(query()).encode()
    with gate.connect() as s:
        f = s.makefile("rb")
        for _ in range(2):
            s.sendall(lines(gate, "POST " + INFER, "Content-Length: %d" % len(body),
                            "Expect: 100-continue"))
            assert f.readline() + f.readline() == b"HTTP/1.1 100 Continue\r\n\r\n"
            s.sendall(body)
            assert read_from(f)[0] == 200


# Connections.

@pytest.mark.parametrize("version, headers, stays", [
    ("1.1", [], True), ("1.1", ["Connection: close"], False), ("1.1", ["Connection: CLOSE"], False),
    ("1.1", ["Connection: keep-alive"], True), ("1.1", ["Connection: foo, close"], False),
    ("1.1", ["Connection: keep-alive, close"], False), ("1.0", [], False)])
def test_connection_stays_or_ends(gate, version, headers, stays):
    with gate.connect() as s:
        s.sendall(post(gate, *headers, version=version))
        f = s.makefile("rb")
        status, got, _ = read_from(f)
        assert status == 200 and got.get("connection") == (None if stays else "close")
        if stays:
            s.sendall(post(gate))
            assert read_from(f)[0] == 200
        else:
            assert f.read() == b""


def test_refusals_that_read_the_whole_request_keep_the_connection(gate):
    """A bad query and an unknown call cost a client nothing more."""
    answers = talk(gate, post(gate, body=b"{") + lines(gate, "GET /nowhere") + post(gate) +
                   post(gate, "Connection: close"))
    assert [status for status, _, _ in answers] == [400, 404, 200, 200]


def test_refusal_before_the_body_ends_the_connection(gate, upstream):
    """What follows would have to be guessed at."""
    request = lines(gate, "POST /nowhere", "Content-Length: 1000") + post(gate) + b" " * 1000
    assert [status for status, _, _ in talk(gate, request)] == [404]
    assert upstream.requests == []


@pytest.mark.parametrize("chunked_answer", [False, True])
def test_chunks_come_and_go(make_gate, chunked_answer):
    """The upstream gets a length, the client gets a length."""
    body = answer_body()
    chunks = b"".join(b"1\r\n%c\r\n" % b for b in body) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    upstream = Upstream(lambda request: head + chunks if chunked_answer else http_answer(body))
    gate = make_gate(upstream.url, policy="filters: []")
    text = json.dumps(query()).encode()
    request = lines(gate, "POST " + INFER, "Transfer-Encoding: chunked", "Connection: close") + \
        b"".join(b"1\r\n%c\r\n" % b for b in text) + b"0\r\n\r\n"
    (status, headers, got), = talk(gate, request)
    assert status == 200 and "transfer-encoding" not in headers
    assert json.loads(got)["outputs"][0]["data"] == SCORES
    line, sent_headers, sent_body = sent(upstream)
    assert "transfer-encoding" not in sent_headers
    assert int(sent_headers["content-length"]) == len(sent_body)
    assert json.loads(sent_body)["inputs"] == query()["inputs"]


# Headers.

@pytest.mark.parametrize("method, path", [("POST", INFER), ("GET", "/v2"), ("GET", "/v2/models/m"),
                                          ("GET", "/v2/health/live"), ("GET", "/v2/models/m/ready")])
def test_no_header_of_the_upstream_reaches_the_client(gate, method, path):
    status, headers, body = gate.request(method, path,
                                         json.dumps(query()) if method == "POST" else None)
    assert status == 200
    assert set(headers) - {"Content-Type"} == {"Content-Length"}
    assert "secret" not in str(headers).lower()


def test_no_header_of_the_client_reaches_the_upstream(gate, upstream):
    headers = ["Authorization: Bearer secret", "Cookie: a=secret", "Accept-Encoding: gzip",
               "Accept: */*", "User-Agent: secret", "X-Forwarded-For: 1.2.3.4", "Forwarded: for=secret",
               "X-Request-Id: secret", "TE: trailers", "Upgrade: h2c", "Connection: upgrade, x-hop",
               "X-Hop: secret", "Range: bytes=0-1", "If-None-Match: *", "Content-Type: application/json",
               "Proxy-Authorization: secret", "tracestate: a=secret", "baggage: secret",
               "endpoint-load-metrics-format: text"]
    with gate.connect() as s:
        s.sendall(post(gate, *headers))
        assert read_from(s.makefile("rb"))[0] == 200
    line, got, _ = sent(upstream)
    assert line == "POST /v2/models/m/infer HTTP/1.1"
    assert set(got) == {"host", "content-type", "content-length"}
    assert got["host"] == "127.0.0.1:%d" % upstream.port
    assert gate.key not in upstream.requests[-1][0]


GOOD_TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize("trace, passes", [
    (GOOD_TRACE, True), (GOOD_TRACE.upper(), False), (GOOD_TRACE + "-x", False), (GOOD_TRACE[:-1], False),
    (GOOD_TRACE.replace("-", "_"), False), ("00-" + "g" * 32 + GOOD_TRACE[35:], False), ("", False),
    (GOOD_TRACE[:-2] + "0\t", False)])
def test_traceparent_passes_when_it_is_one(gate, upstream, trace, passes):
    for request in (post(gate, "Traceparent: " + trace), lines(gate, "GET /v2", "traceparent: " + trace)):
        with gate.connect() as s:
            s.sendall(request)
            assert read_from(s.makefile("rb"))[0] == 200
        assert sent(upstream)[1].get("traceparent") == (GOOD_TRACE if passes else None)


def test_two_traceparents_are_none(gate, upstream):
    with gate.connect() as s:
        s.sendall(post(gate, "traceparent: " + GOOD_TRACE, "traceparent: " + GOOD_TRACE))
        assert read_from(s.makefile("rb"))[0] == 200
    assert "traceparent" not in sent(upstream)[1]

"""The Open Inference Protocol through the gate: what is let through is exact, in every form; what is
not let through reaches no model server."""
import gzip
import http.client
import json
import zlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

import harness
import oip
from harness import PATIENCE, Upstream, http_answer, read_answer

IMAGES = load_digits().data[:3]
CODINGS = {"identity": lambda b: b, "gzip": gzip.compress, "deflate": zlib.compress}
FORMS = ["json", "binary"]


@pytest.fixture(scope="module")
def digits_gate(make_shared_gate, model_server):
    return make_shared_gate("http://127.0.0.1:%d" % model_server, match="digits",
                            outputs="{probabilities: scores, label: labels}",
                            policy="filters: []")


def post(port, path, headers, body):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        c.request("POST", path, body, headers)
        r = c.getresponse()
        return r.status, r.headers, r.read()
    finally:
        c.close()


def ask_both(gate, model_server, headers, body, coding="identity", path="/v2/models/digits/infer"):
    """The direct answer and the gated one: each (JSON part, tensors, forms)."""
    coded = {} if coding == "identity" else {"Content-Encoding": coding}
    direct = post(model_server, path, headers, body)
    gated = post(gate.port, path, {**gate.headers(), **headers, **coded}, CODINGS[coding](body))
    assert (direct[0], gated[0]) == (200, 200), gated[2]
    return oip.read("outputs", *direct[1:]), oip.read("outputs", *gated[1:])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("out", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_an_unfiltered_answer_is_the_direct_one(digits_gate, model_server, form, out, coding):
    for datatype in ("FP64", "FP32", "UINT8"):
        headers, body = oip.write("inputs", [oip.tensor("x", datatype, IMAGES)], form == "binary",
                                  id="a1", outputs=oip.wanted(["probabilities", "label"],
                                                              out == "binary"))
        direct, gated = ask_both(digits_gate, model_server, headers, body, coding)
        assert gated[1] == direct[1]
        assert gated[2] == {out}
        assert gated[0]["id"] == "a1"


@pytest.mark.parametrize("form", FORMS)
def test_binary_data_output_asks_for_all_outputs_in_binary(digits_gate, model_server, form):
    headers, body = oip.write("inputs", [oip.tensor("x", "FP64", IMAGES)], form == "binary",
                              parameters={"binary_data_output": True})
    direct, gated = ask_both(digits_gate, model_server, headers, body)
    assert gated[1] == direct[1] and gated[2] == direct[2] == {"binary"}


@pytest.mark.parametrize("out", FORMS)
@pytest.mark.parametrize("k", [1, 3, 10])
def test_classification(digits_gate, model_server, out, k):
    headers, body = oip.write("inputs", [oip.tensor("x", "FP64", IMAGES)], False,
                              outputs=oip.wanted(["probabilities"], out == "binary", k))
    direct, gated = ask_both(digits_gate, model_server, headers, body)
    assert gated[1] == direct[1] and gated[2] == {out}
    assert gated[1]["probabilities"].shape == (3, k)
    assert gated[1]["probabilities"].values()[0].endswith(":0:digit-0")


def test_a_version_in_the_path(digits_gate, model_server):
    headers, body = oip.write("inputs", [oip.tensor("x", "FP64", IMAGES)], False)
    direct, gated = ask_both(digits_gate, model_server, headers, body,
                             path="/v2/models/digits/versions/1/infer")
    assert gated[1] == direct[1]
    assert digits_gate.request("POST", "/v2/models/digits/versions/2/infer", body)[0] == 404


def test_metadata_names_declared_outputs_only(make_gate, model_server):
    gate = make_gate("http://127.0.0.1:%d" % model_server, match="digits", outputs="{label: labels}")
    for path in ("/v2/models/digits", "/v2/models/digits/versions/1"):
        status, _, body = gate.request("GET", path)
        assert status == 200
        assert json.loads(body) == {
            "name": "digits", "platform": "",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 64]}],
            "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1]}]}
    assert json.loads(gate.request("GET", "/v2/models/digits/ready")[2]) == {
        "name": "digits", "ready": True}
    server = json.loads(gate.request("GET", "/v2")[2])
    assert server == {"name": "querygate", "version": "",
                      "extensions": ["classification", "binary_tensor_data"]}


@pytest.mark.parametrize("path", ["/v2/health/live", "/v2/health/ready"])
@pytest.mark.parametrize("body", [b"", b'{"live":true}', b"OK\n"])
def test_health_bodies_are_not_touched(make_gate, upstream, path, body):
    upstream.answer = lambda request: http_answer(body)
    gate = make_gate(upstream.url)
    status, _, seen = gate.request("GET", path)
    assert (status, seen) == (200, body)
    assert gate.request("HEAD", path)[0] == 200


# ---- However the bytes are cut ----

def cuts(body):
    """The same request, cut at every so many bytes, and as chunks."""
    head = ("POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\n"
            "Inference-Header-Content-Length: %d\r\n")
    length = "Content-Length: %d\r\n\r\n" % len(body)
    chunked = "Transfer-Encoding: chunked\r\n\r\n"
    for at in range(0, len(body) + 150, 41 if harness.SANITIZED else 7):
        yield "length, cut at %d" % at, head + length, body, at
    for size in (1, 7, 1000):
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in
                          (body[i:i + size] for i in range(0, len(body), size)))
        for at in (0, 1, 200, 301):
            yield "chunks of %d" % size, head + chunked, chunks + b"0\r\n\r\n", at


def test_every_cut_of_the_same_bytes_gets_the_same_answer(make_gate, upstream):
    gate = make_gate(upstream.url, policy="filters: []")
    headers, body = oip.write("inputs", [oip.tensor("x", "FP32", np.arange(64).reshape(4, 16) / 7)],
                              True, id="a1")
    answers, asked = set(), set()
    with gate.connect() as s:
        for what, head, rest, at in cuts(body):
            data = (head % (gate.key, int(headers[oip.LENGTH]))).encode() + rest
            s.sendall(data[:at])
            s.sendall(data[at:])
            status, head, answer = read_answer(s)
            assert status == 200, what
            answers.add((tuple(sorted(head.items())), answer))
            asked.add(upstream.requests[-1])
    assert len(answers) == 1 and len(asked) == 1


# ---- Tensors of every datatype ----

def spread(datatype):
    """Values to the limits of the datatype, zeros of both signs and the least steps included."""
    if datatype.startswith("FP"):
        limits = np.finfo(oip.NUMPY[datatype])
        return [0.0, -0.0, 0.1, -1 / 3, float(limits.max), float(limits.min), float(limits.tiny),
                float(limits.smallest_subnormal), float(limits.eps), 123456.78 if limits.bits > 16 else 7]
    limits = np.iinfo(oip.NUMPY[datatype])
    return [0, 1, int(limits.max), int(limits.min), int(limits.max) - 1, int(limits.min) + 1, 42, 7, 9, 3]


TENSORS = [oip.tensor("t", d, spread(d), (2, 5)) for d in oip.NUMPY if d != "BOOL"] + [
    oip.tensor("t", "BOOL", [1, 0, 0, 1], (4,)),
    oip.tensor("t", "BYTES", ["", "a\"b\\c\n", "é€\U0001d11e", "x" * 999], (2, 2)),
    oip.Tensor("t", "BF16", (2, 2), b"\x80\x3f\x00\x00\x00\x80\x7f\x7f")]
KINDS = {"BYTES": "text", "BOOL": "labels"}


def echo(form):
    """A server that answers each input as an output, in that form whatever was asked for."""
    def answer(request):
        head, body = request
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        _, tensors, _ = oip.read("inputs", dict(lines), body)
        headers, body = oip.write("outputs", tensors.values(), form == "binary", model_name="m")
        return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])
    return answer


@pytest.fixture(scope="module", params=FORMS)
def echoing(request, make_shared_gate):
    upstream = Upstream(echo(request.param))
    upstream.form = request.param
    gates = {kind: make_shared_gate(upstream.url, outputs="{t: %s}" % kind, policy="filters: []")
             for kind in ("opaque", "value", "labels", "text")}
    yield upstream, gates
    upstream.close()


@pytest.mark.parametrize("sent", TENSORS, ids=lambda t: t.datatype)
@pytest.mark.parametrize("out", FORMS)
@pytest.mark.parametrize("form", FORMS)
def test_every_datatype_stays_exact(echoing, sent, form, out):
    upstream, gates = echoing
    binary_only = sent.datatype in ("FP16", "BF16")
    if binary_only and "json" in (form, upstream.form):
        return  # these have no JSON form
    for kind in ("opaque", KINDS.get(sent.datatype, "value")):
        headers, body = oip.write("inputs", [sent], form == "binary",
                                  outputs=oip.wanted(["t"], out == "binary"))
        status, head, body = gates[kind].request("POST", "/v2/models/m/infer", body, headers)
        if binary_only and out == "json":
            assert status == 502
            continue
        assert status == 200, body
        _, tensors, forms = oip.read("outputs", head, body)
        assert tensors["t"] == sent and forms == {out}


# ---- What is not let through ----

DENIED = """
GET /v2/models              POST /v2/models/m/config        GET /v2/models/m/config
GET /v2/models/m/stats      GET /v2/models/stats            GET /v2/models/m/versions/1/stats
GET /v2/models/m/versions/1/config                          GET /v2/models/m/trace/setting
POST /v2/models/m/trace/setting                             POST /v2/trace/setting
GET /v2/trace/setting       GET /v2/logging                 POST /v2/logging
POST /v2/models/m/generate  POST /v2/models/m/generate_stream
POST /v2/models/m/infer_stream                              POST /v2/models/m/versions/1/generate
POST /v2/models/m/versions/1/generate_stream                POST /v2/models/m/explain
POST /v2/repository/index   POST /v2/repository/models/m/load
POST /v2/repository/models/m/unload                         POST /v2/repository/r/index
POST /v2/repository/r/models/m/load                         GET /v2/systemsharedmemory/status
GET /v2/systemsharedmemory/region/r/status                  POST /v2/systemsharedmemory/region/r/register
POST /v2/systemsharedmemory/region/r/unregister             POST /v2/systemsharedmemory/unregister
GET /v2/cudasharedmemory/status                             POST /v2/cudasharedmemory/region/r/register
POST /v2/cudasharedmemory/unregister                        GET /v2/docs
GET /v2/models/m/docs       GET /docs                       GET /openapi.json
GET /v2/docs/dataplane.json GET /metrics                    GET /ping
POST /invocations           POST /models/m/invoke           GET /models
GET /models/m               POST /v1/models/m:predict       POST /v1/models/m:explain
GET /v1/models              GET /v1/models/m                POST /openai/v1/chat/completions
POST /openai/v1/rerank      POST /v1/timeseries/forecast    GET /version
GET /v2/models/m/infer      PUT /v2/models/m/infer          DELETE /v2/models/m
POST /v2/models/m           POST /v2/models/m/ready         POST /v2/health/live
POST /v2                    OPTIONS /v2/models/m/infer      PATCH /v2/models/m/infer
TRACE /v2/models/m/infer    POST /v2/models/other/infer     GET /v2/models/other
GET /v2/models/other/ready  POST /v2/models/m/infer/more    GET /
"""
TRICKS = """
POST /v2/models/m/INFER       POST /V2/models/m/infer         POST /v2/Models/m/infer
POST /v2/models/m/infer/      POST /v2/models/m//infer        POST //v2/models/m/infer
POST /v2/models/./m/infer     POST /v2/models/x/../m/infer    POST /v2/models/m/infer/..
POST /v2/models/m%2finfer     POST /v2/models/m%2Finfer       POST /v2%2fmodels/m/infer
POST /v2/models/m/inf%00er    POST /v2/models/m/infer%20      POST /v2/models/m/infer%0d%0a
POST /v2/models/%2e%2e/infer  POST /v2/models/m/%2e%2e/m/infer
POST /v2/models/m%252fx/infer POST /v2/models/m/infer;a=b     POST /v2/models/m%zz/infer
POST /v2/models/m%/infer      POST /v2/models/m/infer#x       POST v2/models/m/infer
POST /v2/models/m%c3%a9/infer POST /v2/models/m\\infer        POST /v2/models/M/infer
POST /v2/models/m/Generate    POST /v2/repository/Index       POST /v2/%72epository/index
GET /v2/models/m/stat%73      GET /v2/models/m/STATS          GET /V2/health/live
"""


def calls(table):
    words = table.split()
    return list(zip(words[::2], words[1::2]))


@pytest.fixture(scope="module")
def silent(make_shared_gate):
    upstream = Upstream()
    yield make_shared_gate(upstream.url, match="m"), upstream
    upstream.close()


@pytest.mark.parametrize("method,path", calls(DENIED) + calls(TRICKS))
def test_denied_calls_never_reach_the_model_server(silent, method, path):
    gate, upstream = silent
    with gate.connect() as s:
        s.sendall(("%s %s HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: 2\r\n\r\n{}"
                   % (method, path, gate.key)).encode())
        status, _, body = read_answer(s)
    assert status in (400, 403, 404, 405, 501)
    assert set(json.loads(body)) == {"error"}
    assert upstream.connections == 0


def test_an_escaped_letter_is_read_as_the_letter_it_is(digits_gate):
    """And goes to the model server as that: nothing downstream can read the path in another way."""
    _, body = oip.write("inputs", [oip.tensor("x", "FP64", IMAGES)], False)
    assert digits_gate.request("POST", "/v2/models/%64igits/infer", body)[0] == 200


def test_only_the_canonical_path_is_forwarded(make_gate, upstream):
    gate = make_gate(upstream.url)
    body = json.dumps(harness.query())
    assert gate.request("POST", "/v2/models/%6D/%69nfer?debug=1", body)[0] == 200
    assert gate.request("POST", "/v2/models/m/versions/%37/infer", body)[0] == 200
    assert [head.split("\r\n")[0] for head, _ in upstream.requests] == [
        "POST /v2/models/m/infer HTTP/1.1", "POST /v2/models/m/versions/7/infer HTTP/1.1"]

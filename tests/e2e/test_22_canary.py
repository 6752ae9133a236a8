"""What the policy hides leaves nowhere: a known score stands in every place of the model server's
answers, and is looked for in everything that clients and operators get to see.  The same for keys,
payloads and addresses in all that the gate writes."""
import gzip
import json

import pytest

import harness
import oip
from canary import MARK, traces
from harness import Upstream

TEXT = "score %r" % MARK
NESTED = {"a": MARK, "b": [MARK, {"c": TEXT}]}
HEADERS = ["X-Score: %r" % MARK, "Server: s/%r" % MARK, 'ETag: "%r"' % MARK, "ce-id: %r" % MARK,
           "x-inference-time: %r" % MARK, "Server-Timing: model;dur=%r" % MARK,
           "endpoint-load-metrics: TEXT score=%r" % MARK, "Set-Cookie: s=%r" % MARK,
           "Location: /%r" % MARK, "Via: 1.1 %r" % MARK, "Warning: 199 - \"%r\"" % MARK]
ENCODINGS = [("json", "FP32"), ("json", "FP64"), ("binary", "FP16"), ("binary", "FP32"), ("binary", "FP64")]


def outputs(datatype, classification):
    """Declared and undeclared ones; scores are classes 1, 0, 3, 2 in this order."""
    scores = [0.05, MARK, 0.01, 0.02]
    declared = oip.tensor("scores", datatype, scores, (1, 4))
    if classification:
        ranking = sorted(((v, i) for i, v in enumerate(scores)), reverse=True)[:classification]
        declared = oip.tensor("scores", "BYTES", ["%f:%d:class-%d" % (v, i, i) for v, i in ranking],
                              (1, classification))
    return [declared, oip.tensor("label", "INT64", [1], (1,)),
            oip.tensor("hidden", datatype, [MARK] * 3, (1, 3)),
            oip.tensor("text", "BYTES", [TEXT, repr(MARK)], (1, 2)),
            oip.tensor(repr(MARK), "FP64", [MARK], (1,))]


def everywhere(form, datatype, classification=0):
    """(the length headers, the body) of an answer with the canary wherever one can stand"""
    extra = dict(id=repr(MARK), model_name=TEXT, model_version=repr(MARK), parameters=NESTED,
                 score=MARK, debug=NESTED, usage=[MARK])
    headers, body = oip.write("outputs", outputs(datatype, classification), form == "binary", **extra)
    length = int(headers.get(oip.LENGTH, len(body)))
    message, tail = json.loads(body[:length]), body[length:]
    for o in message["outputs"]:
        o["parameters"] = {**o.get("parameters", {}), "confidence": MARK, "content_type": repr(MARK),
                           "stats": NESTED}
        o.update(score=MARK, extra=NESTED)
    head = json.dumps(message).encode()
    return (["%s: %d" % (oip.LENGTH, len(head))] if tail else []), head + tail


def http(body, headers, status="200 %r" % MARK, coding=None):
    """In chunks, with the canary in the status line, headers, chunk extensions and trailers."""
    if coding == "gzip":
        body, headers = gzip.compress(body), [*headers, "Content-Encoding: gzip"]
    head = ["HTTP/1.1 " + status, "Content-Type: application/json; score=%r" % MARK,
            "Transfer-Encoding: chunked", *headers, *HEADERS]
    chunks = b"%x;score=%r\r\n%s\r\n0\r\nX-Score: %r\r\n\r\n" % (len(body), MARK, body, MARK)
    return "\r\n".join([*head, "", ""]).encode() + chunks


class Bed:
    """A gate under each policy, and their server, whose answers are set by `encoding`."""

    def __init__(self, make_gate):
        self.upstream = Upstream(self.answer)
        self.encoding, self.coding = ENCODINGS[0], None
        self.hide = make_gate(self.upstream.url, policy="filters: [{top_k: {k: 1, scores: hide}}]")
        self.keep = make_gate(self.upstream.url, policy="filters: [{top_k: {k: 1, scores: keep}}]")

    def answer(self, request):
        asked = b'"classification":' in request[1]
        headers, body = everywhere(*self.encoding, 2 if asked else 0)
        return http(body, headers, coding=self.coding)


@pytest.fixture(scope="module")
def bed(make_shared_gate):
    bed = Bed(make_shared_gate)
    yield bed
    bed.upstream.close()


def ask(gate, form, out, classification=0, named=True):
    """Everything the client receives, as bytes; and the status."""
    more = {"outputs": [*oip.wanted(["scores"], out == "binary", classification),
                        *oip.wanted(["label"], out == "binary")]} if named else {
            "parameters": {"binary_data_output": out == "binary"}}
    headers, body = oip.write("inputs", [oip.tensor("x", "FP32", [1, 2, 3, 4], (1, 4))],
                              form == "binary", id="mine", **more)
    status, head, answer = gate.request("POST", "/v2/models/m/infer", body, headers)
    return status, str(head).encode() + answer


@pytest.mark.parametrize("form,datatype", ENCODINGS)
def test_the_search_finds_it_in_the_direct_answer(form, datatype):
    """The tests below can fail: in each encoding, also when nothing else of the answer were there."""
    _, body = everywhere(form, datatype)
    assert traces(body)
    declared = outputs(datatype, 0)[0]
    assert traces(declared.raw if form == "binary" else json.dumps(declared.values()).encode())
    for header in HEADERS:
        assert traces(header.encode())
    for digits in range(4, 17):
        assert traces(b"[%.*f]" % (digits, MARK)) and traces(b"%.*e," % (digits, MARK))
    assert not traces(b'{"data":[0,1,0.73],"id":"0.7317"}')


@pytest.mark.parametrize("out", ["json", "binary"])
@pytest.mark.parametrize("classification", [0, 2])
@pytest.mark.parametrize("form,datatype", ENCODINGS)
def test_the_search_finds_it_where_scores_are_kept(bed, form, datatype, classification, out):
    if datatype == "FP16" and out == "json" and not classification:
        return  # has no JSON form
    bed.encoding = (form, datatype)
    status, seen = ask(bed.keep, "json", out, classification)
    assert status == 200 and traces(seen)


@pytest.mark.parametrize("coding", [None, "gzip"])
@pytest.mark.parametrize("out", ["json", "binary"])
@pytest.mark.parametrize("classification", [0, 1, 2])
@pytest.mark.parametrize("form,datatype", ENCODINGS)
def test_no_answer_shows_a_hidden_score(bed, form, datatype, classification, out, coding):
    bed.encoding, bed.coding = (form, datatype), coding
    for sent in ("json", "binary"):
        for named in ([True, False] if not classification else [True]):
            status, seen = ask(bed.hide, sent, out, classification, named)
            no_form = datatype == "FP16" and out == "json" and not classification
            assert status == (502 if no_form or classification == 1 else 200), seen
            assert traces(seen) == []
            assert status != 200 or b'"mine"' in seen


@pytest.mark.parametrize("status", ["400 Bad", "404 None", "422 No", "429 Many", "500 Oops", "502 Bad",
                                    "503 Busy", "206 Part", "301 Moved", "299 Odd"])
def test_no_error_shows_a_hidden_score(bed, make_gate, status):
    upstream = Upstream(lambda request: http(json.dumps({"error": TEXT, "detail": NESTED}).encode(),
                                             [], status + " %r" % MARK))
    gate = make_gate(upstream.url)
    for out in ("json", "binary"):
        code, seen = ask(gate, "json", out)
        assert code >= 400 and traces(seen) == []
    for path in ("/v2", "/v2/models/m", "/v2/models/m/ready", "/v2/health/live", "/v2/health/ready"):
        code, head, body = gate.request("GET", path)
        assert code >= 400 and traces(str(head).encode() + body) == []
    upstream.close()


METADATA = {
    "name": TEXT, "platform": TEXT, "version": repr(MARK), "versions": [repr(MARK)], "ready": True,
    "extensions": [repr(MARK), "statistics"], "parameters": NESTED, "score": MARK,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "parameters": NESTED, "labels": [TEXT]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 4], "extra": NESTED},
                {"name": repr(MARK), "datatype": "FP64", "shape": [1], "tags": {"score": MARK}}]}


def test_no_metadata_shows_a_hidden_score(make_gate):
    upstream = Upstream(lambda request: http(json.dumps(METADATA).encode(), []))
    gate = make_gate(upstream.url)
    for path in ("/v2", "/v2/models/m", "/v2/models/m/versions/1", "/v2/models/m/ready"):
        status, head, body = gate.request("GET", path)
        assert status == 200 and traces(str(head).encode() + body) == []
        assert gate.request("HEAD", path)[0] == 200
    upstream.close()


def written(gate):
    """All that the gate says to operators; the gate is stopped."""
    pages = [gate.admin_get(p) for p in ("/metrics", "/config", "/healthz", "/readyz")]
    assert [status for status, _ in pages] == [200] * 4
    gate.stop()
    with open(gate.log, "rb") as f:
        return "\n".join(body for _, body in pages).encode() + gate.stderr().encode() + f.read()


def test_no_log_and_no_page_shows_a_score(make_gate):
    bed = Bed(make_gate)
    for bed.encoding in ENCODINGS:
        for gate in (bed.hide, bed.keep):
            for out in ("json", "binary"):
                ask(gate, "json", out)
                ask(gate, "binary", out, 2)
    bed.upstream.answer = lambda request: http(b'{"error":"%s"}' % TEXT.encode(), [], "500 " + TEXT)
    ask(bed.hide, "json", "json")
    bed.upstream.answer = lambda request: harness.http_answer(b'{"outputs":[%r,' % MARK)
    ask(bed.hide, "json", "json")
    for gate in (bed.hide, bed.keep):
        wrote = written(gate)
        assert wrote.count(b'"call":"infer"') >= 20
        assert traces(wrote) == []
    bed.upstream.close()


# ---- What clients bring ----

KEY, WRONG_KEY = "canary-key-0123456789", "canary-wrong-9876543210"
OWN_ADDRESS = "127.99.77.55"
SECRETS = ["canary", "4095", "0123456789", "9876543210", OWN_ADDRESS, "99.77.55"]


def send(gate, path, body, *headers):
    with harness.socket.create_connection(("127.0.0.1", gate.port), timeout=harness.PATIENCE,
                                          source_address=(OWN_ADDRESS, 0)) as s:
        lines = ["POST %s HTTP/1.1" % path, "Host: canary.example", "Content-Length: %d" % len(body),
                 "User-Agent: canary", "X-Forwarded-For: 10.99.77.55", "Cookie: canary=1",
                 "Referer: http://canary/", "Authorization: Bearer canary", *headers]
        s.sendall("\r\n".join(lines + ["", ""]).encode() + body)
        return harness.read_answer(s)


def test_no_log_and_no_page_shows_a_key_a_payload_or_an_address(make_gate, upstream):
    gate = make_gate(upstream.url, start=False, anonymous="allow", limits="max_body: 4KiB")
    gate.key, gate.keys = KEY, [("canary-id", KEY, None)]
    gate.write_policy()
    gate.start()
    key = "X-API-Key: " + KEY
    good = json.dumps(harness.query(values=[4095.4095] * 4, id="canary-id-of-query",
                                    parameters={"canary": "canary"})).encode()
    strings = json.dumps({"inputs": [{"name": "canary", "datatype": "BYTES", "shape": [1],
                                      "data": ["canary"]}]}).encode()
    infer = "/v2/models/m/infer"
    asked = [
        (200, infer, good, key), (200, infer, good), (200, infer, strings, key),
        (401, infer, good, "X-API-Key: " + WRONG_KEY),
        (404, "/v2/models/canary/infer", good, key), (403, "/v2/models/m/generate", good, key),
        (404, "/canary", good), (400, infer, good[:-9], key),
        (400, infer, good.replace(b"4095.4095", b"4095x"), key),
        (403, infer, json.dumps(harness.query(outputs=["canary"])).encode(), key),
        (413, infer, good + b" " * 5000, key), (415, infer, good, key, "Content-Encoding: canary"),
        (400, infer, good, "X-API-Key: canary\x01" + KEY), (400, infer + "?canary=\x7f", good),
        (401, infer, good, key, key), (200, infer + "?canary=1", good, key)]
    for want, path, body, *headers in asked:
        status, _, answer = send(gate, path, body, *headers)
        assert status == want, (path, answer)
    name, address = (harness.run("pseudonym", "-c", gate.path("policy.yaml"), *whose)[1] for whose in (
        ("--kind", "key", "--id", "canary-id"), ("--kind", "address", "--id", OWN_ADDRESS)))
    wrote = written(gate).decode()
    assert wrote.count('"client":"%s"' % name.strip()) >= 8
    assert wrote.count('"client":"%s"' % address.strip()) >= 2
    for secret in SECRETS:
        assert secret not in wrote, secret

"""Bodies that are wrong: refused with the place, before the model server hears of them.  Answers that
are wrong: never passed on.

Names like T-5.6 are rows of the list of hostile bodies that the gate is built against; documents
that are no JSON come from tests/unit/json_documents.h."""
import ast
import gzip
import json
import os
import re
import zlib

import numpy as np
import pytest

import harness
import oip
from harness import Upstream, http_answer

X = '{"name":"x","datatype":"FP32","shape":[1,3],"data":[1,2,3]}'


def tensor(datatype, shape, data):
    return '{"inputs":[{"name":"x","datatype":"%s","shape":%s,"data":%s}]}' % (datatype, shape, data)


def floats(data, datatype="FP32"):
    return tensor(datatype, "[1]", "[%s]" % data)


def inputs(text):
    return '{"inputs":[%s]}' % text


NESTED = '{"a":%s,"inputs":[' + X + ']}'
LONE = '["\\ud800"]'
JSON_ROWS = [
    # T-5.1: depth.  The limit is 16; one more, and more than any stack holds.
    ("T-5.1", NESTED % ("[" * 16 + "]" * 16), 400, r"deep \(byte \d+\)"),
    ("T-5.1", NESTED % ("[" * 10**5 + "]" * 10**5), 400, r"deep \(byte \d+\)"),
    ("T-5.1", "[" * 10**7, 400, r"byte \d+"),
    ("T-5.1", '{"a":' * 10**5, 400, r"deep \(byte \d+\)"),
    ("T-5.1", tensor("FP32", "[1]", "[" * 10**6), 400, r"^inputs\[0\]\.data: .*byte \d+"),
    # T-5.2: numbers that JSON does not have, or that the datatype does not hold.
    *[("T-5.2", floats(n, d), 400, r"^inputs\[0\]\.data: .*\(byte \d+\)")
      for n in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "0x1", "01", ".5", "1.", "+1", "1e")
      for d in ("FP32", "FP64")],
    ("T-5.2", floats("3.5e38"), 400, r"^inputs\[0\]\.data"),
    ("T-5.2", floats("1", "FP16"), 400, r"^inputs\[0\]\.data: FP16 has no JSON form"),
    ("T-5.2", floats("1", "BF16"), 400, r"^inputs\[0\]\.data: BF16 has no JSON form"),
    # T-5.3: keys.
    ("T-5.3", '{"inputs":[%s],"inputs":[%s]}' % (X, X), 400, r"duplicate key \(byte \d+\)"),
    ("T-5.3", '{"inputs":[%s],"\\u0069nputs":[%s]}' % (X, X), 400, "duplicate key"),
    ("T-5.3", '{"a":1,"\\u0061":2,"inputs":[%s]}' % X, 400, "duplicate key"),
    ("T-5.3", '{"inputs":[%s],"Inputs":[%s]}' % (X, X), 400, "^inputs: spelt in other letter case"),
    ("T-5.3", '{"INPUTS":[%s]}' % X, 400, "^inputs: spelt"),
    ("T-5.3", inputs(X[:-1] + ',"DATA":[4,5,6]}'), 400, r"^inputs\[0\]\.data: spelt"),
    ("T-5.3", inputs(X[:-1] + ',"data":[4,5,6]}'), 400, r"inputs\[0\].*duplicate key"),
    ("T-5.3", inputs(X + "," + X), 400, r"^inputs\[1\]: has the name of inputs\[0\]"),
    # T-5.4: text.
    ("T-5.4", tensor("BYTES", "[1]", LONE), 400, r"^inputs\[0\]\.data"),
    ("T-5.4", '{"id":%s,"inputs":[%s]}' % (LONE[1:-1], X), 400, r"^id: .*byte \d+"),
    ("T-5.4", b'{"id":"\xc0\xaf","inputs":[' + X.encode() + b"]}", 400, r"^id: .*byte \d+"),
    ("T-5.4", b'{"id":"a\0b","inputs":[' + X.encode() + b"]}", 400, r"^id: .*byte \d+"),
    ("T-5.4", b"\xef\xbb\xbf" + inputs(X).encode(), 400, r"\(byte 0\)"),
    ("T-5.4", inputs(X) + "x", 400, r"byte \d+"),
    ("T-5.4", inputs(X) + inputs(X), 400, r"byte \d+"),
    ("T-5.4", inputs(X) + "\0", 400, r"byte \d+"),
    ("T-5.4", '{/* */"inputs":[%s]}' % X, 400, r"byte \d+"),
    ("T-5.4", '{"inputs":[%s]}//' % X, 400, r"byte \d+"),
    ("T-5.4", '{"inputs":[%s,]}' % X, 400, r"byte \d+"),
    ("T-5.4", '{"inputs":[%s],}' % X, 400, r"byte \d+"),
    ("T-5.4", "", 400, r"byte 0"),
    # T-5.6: shapes.
    ("T-5.6", tensor("FP32", "[2,3]", "[1,2,3,4,5]"), 400, r"^inputs\[0\]\.data: 5 values where .* 6"),
    ("T-5.6", tensor("FP32", "[2,3]", "[1,2,3,4,5,6,7]"), 400, r"^inputs\[0\]\.data"),
    ("T-5.6", tensor("FP32", "[2,3]", "[[1,2],[3,4],[5,6]]"), 400, r"^inputs\[0\]\.data"),
    ("T-5.6", tensor("FP32", "[-1,3]", "[1,2,3]"), 400, r"^inputs\[0\]\.shape"),
    ("T-5.6", tensor("FP32", "[0]", "[]"), 400, r"^inputs\[0\]\.shape: a dimension is 0"),
    ("T-5.6", tensor("FP32", "[]", "[1,2]"), 400, r"^inputs\[0\]\.data"),
    ("T-5.6", tensor("FP32", str([1] * 65), "[1]"), 400, r"^inputs\[0\]\.shape: more than 16"),
    ("T-5.6", tensor("FP32", "[1.0,3]", "[1,2,3]"), 400, r"^inputs\[0\]\.shape"),
    ("T-5.6", tensor("FP32", "[1e0,3]", "[1,2,3]"), 400, r"^inputs\[0\]\.shape"),
    ("T-5.6", tensor("FP32", "[4294967296,4294967296]", "[]"), 400, r"^inputs\[0\]\.shape: .*overflow"),
    ("T-5.6", tensor("FP32", "[3037000500,3037000500]", "[1]"), 400, r"^inputs\[0\]\.data"),
    # 3 * 2^64 / 3 wraps to 3 elements, 2^62 x 4 bytes to none.
    ("T-5.6", tensor("FP32", "[3,6148914691236517206]", "[1,2]"), 400, r"^inputs\[0\]\.shape: .*overflow"),
    ("T-5.6", tensor("FP32", "[4611686018427387904]", "[]"), 400, r"^inputs\[0\]\.data"),
    ("T-5.6", tensor("FP32", "[18446744073709551617]", "[1]"), 400, r"^inputs\[0\]\.shape"),
    # T-5.8: datatypes.
    ("T-5.8", floats('"1"'), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("true"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("null"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("2", "BOOL"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("300", "INT8"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("-1", "UINT8"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("18446744073709551616", "UINT64"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("9223372036854775808", "INT64"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("-9223372036854775809", "INT64"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("1.0", "INT64"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("1", "BYTES"), 400, r"^inputs\[0\]\.data"),
    ("T-5.8", floats("1", "FP128"), 400, r"^inputs\[0\]\.datatype: no such datatype"),
]


def sized(datatype, shape, *sizes, more=""):
    """A request whose inputs say binary_data_size."""
    return inputs(",".join(
        '{"name":"x%d","datatype":"%s","shape":%s%s,"parameters":{"binary_data_size":%s}}'
        % (i, datatype, shape, more, size) for i, size in enumerate(sizes)))


SIZE = r"^inputs\[0\]\.parameters\.binary_data_size: "
LENGTH = "^Inference-Header-Content-Length: "
FOUR = b"\0\0\x80\x3f"
# (JSON part, what the header says of its length, the binary part, the message)
BINARY_ROWS = [
    (inputs(X), ["0"], b"", "raw binary bodies are not let through"),
    (inputs(X), ["9999"], b"", LENGTH + "is over the length of the body"),
    (inputs(X), ["-1"], b"", LENGTH + "expected 1 to 9 digits"),
    (inputs(X), ["+72"], b"", LENGTH + "expected"),
    (inputs(X), ["72abc"], b"", LENGTH + "expected"),
    (inputs(X), ["1234567890"], b"", LENGTH + "expected"),
    (inputs(X), [""], b"", LENGTH + "expected"),
    (sized("FP32", "[1]", 4), ["=", "="], FOUR, "more than one header Inference-Header"),
    (sized("FP32", "[1]", 4), [], FOUR, SIZE + "is over what is left"),
    (sized("FP32", "[1]", 4), ["="], FOUR[:3], SIZE + "is over what is left"),
    (sized("FP32", "[1]", 4), ["="], FOUR + b"\0", "1 bytes behind the last binary tensor"),
    (sized("FP32", "[1]", 4, 4), ["="], FOUR, r"^inputs\[1\]\.parameters\.binary_data_size: is over"),
    (sized("FP32", "[1]", 8, 4), ["="], FOUR * 2, r"^inputs\[0\]\.data: 8 bytes for 1 elements of 4"),
    (sized("FP32", "[2]", 8, 8), ["="], FOUR * 2, r"^inputs\[1\]"),
    (sized("FP32", "[1]", 3), ["="], FOUR[:3], r"^inputs\[0\]\.data: 3 bytes for 1 elements of 4"),
    (sized("FP32", "[4611686018427387905]", 4), ["="], FOUR, r"^inputs\[0\]\.data: 4 bytes for"),
    (sized("FP32", "[1]", 18446744073709551615), ["="], FOUR, SIZE),
    (sized("FP32", "[1]", -4), ["="], FOUR, r"^inputs\[0\]\.binary_data_size"),
    (sized("FP32", "[1]", "4.0"), ["="], FOUR, r"^inputs\[0\]\.binary_data_size"),
    (sized("FP32", "[1]", 4, more=',"data":[1]'), ["="], FOUR, r"^inputs\[0\]: has both data and"),
    (sized("BYTES", "[1]", 5), ["="], b"\x02\0\0\0a", r"^inputs\[0\]\.data: the lengths inside"),
    (sized("BYTES", "[1]", 5), ["="], b"\0\0\0\0a", r"^inputs\[0\]\.data: the lengths inside"),
    (sized("BYTES", "[2]", 8), ["="], b"\xff\xff\xff\xff\0\0\0\0", r"^inputs\[0\]\.data: the lengths"),
    (sized("BOOL", "[2]", 2), ["="], b"\x01\x02", r"^inputs\[0\]\.data: a BOOL"),
    (sized("FP32", "[1]", 4), ["="], b"\0\0\xc0\x7f", r"^inputs\[0\]\.data: a value is not finite"),
    (sized("FP64", "[1]", 8), ["="], b"\0\0\0\0\0\0\xf0\xff", r"^inputs\[0\]\.data: a value is not"),
    (sized("FP16", "[2]", 4), ["="], b"\0\x3c\0\x7c", r"^inputs\[0\]\.data: a value is not finite"),
]

GOOD = inputs(X).encode()
RANDOM = json.dumps({"a": os.urandom(1000).hex()}).encode()


def zeros(count):
    return b'{"a":"' + b"0" * count + b'",' + GOOD[1:]


def raw_deflate(data):
    c = zlib.compressobj(wbits=-15)
    return c.compress(data) + c.flush()


# (what, Content-Encoding, body, status, message)
CODED_ROWS = [
    ("bomb", "gzip", gzip.compress(zeros(4 << 20)), 413, "too large when decompressed"),
    ("bomb", "deflate", zlib.compress(zeros(4 << 20)), 413, "too large when decompressed"),
    ("bomb over max_body", "gzip", gzip.compress(b"0" * (40 << 20)), 413, "too large"),
    ("truncated", "gzip", gzip.compress(RANDOM)[:-12], 400, "compressed body is broken"),
    ("no trailer", "gzip", gzip.compress(GOOD)[:-8], 400, "compressed body is broken"),
    ("wrong CRC", "gzip", gzip.compress(GOOD)[:-8] + b"\0" * 4 + gzip.compress(GOOD)[-4:], 400, "broken"),
    ("wrong length", "gzip", gzip.compress(GOOD)[:-4] + b"\0" * 4, 400, "broken"),
    ("wrong Adler", "deflate", zlib.compress(GOOD)[:-4] + b"\0" * 4, 400, "broken"),
    ("truncated", "deflate", zlib.compress(RANDOM)[:-9], 400, "broken"),
    ("raw deflate", "deflate", raw_deflate(GOOD), 400, "broken"),
    ("ten members", "gzip", gzip.compress(GOOD) * 10, 400, "broken"),
    ("bytes behind", "gzip", gzip.compress(GOOD) + b"x", 400, "broken"),
    ("not coded", "gzip", GOOD, 400, "broken"),
    ("empty", "gzip", b"", 400, "broken"),
    ("the other", "deflate", gzip.compress(GOOD), 400, "broken"),
    ("stacked", "gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415, "content codings other than"),
    ("stacked", "deflate,gzip", gzip.compress(zlib.compress(GOOD)), 415, "content codings other than"),
    ("unknown", "br", GOOD, 415, "content codings other than"),
    ("unknown", "zstd", b"\x28\xb5\x2f\xfd" + GOOD, 415, "content codings other than"),
    ("unknown", "compress", GOOD, 415, "content codings other than"),
    ("odd", "gzip;q=1", gzip.compress(GOOD), 415, "content codings other than"),
]


@pytest.fixture(scope="module")
def silent(make_shared_gate):
    upstream = Upstream()
    yield make_shared_gate(upstream.url, limits="max_body: 16MiB"), upstream
    upstream.close()


def refused(silent, body, status, says, headers=()):
    """The gate refuses; nothing has reached the model server."""
    gate, upstream = silent
    body = body.encode() if isinstance(body, str) else body
    with gate.connect() as s:
        lines = ["POST /v2/models/m/infer HTTP/1.1", "Host: a", "X-API-Key: " + gate.key,
                 "Content-Length: %d" % len(body), *headers]
        s.sendall("\r\n".join(lines + ["", ""]).encode())
        s.sendall(body)
        seen, _, answer = harness.read_answer(s)
    message = json.loads(answer)
    assert seen == status and set(message) == {"error"}, answer
    assert re.search(says, message["error"]), message["error"]
    assert upstream.connections == 0
    assert not re.search(r"0000|xxxx", message["error"])


@pytest.mark.parametrize("row,body,status,says", JSON_ROWS,
                         ids=["%s-%d" % (r[0], i) for i, r in enumerate(JSON_ROWS)])
def test_json(silent, row, body, status, says):
    refused(silent, body, status, says)


@pytest.mark.parametrize("text,lengths,binary,says", BINARY_ROWS, ids=range(len(BINARY_ROWS)))
def test_binary(silent, text, lengths, binary, says):
    headers = [oip.LENGTH + ": " + n.replace("=", str(len(text))) for n in lengths]
    refused(silent, text.encode() + binary, 400, says, headers)


@pytest.mark.parametrize("what,coding,body,status,says", CODED_ROWS,
                         ids=["%s-%s" % r[:2] for r in CODED_ROWS])
def test_codings(silent, what, coding, body, status, says):
    refused(silent, body, status, says, ["Content-Encoding: " + coding])


def test_two_content_encodings(silent):
    refused(silent, gzip.compress(GOOD), 415, "more than one content coding",
            ["Content-Encoding: gzip", "Content-Encoding: gzip"])


def json_documents():
    """(text, is it JSON) of tests/unit/json_documents.h"""
    path = os.path.join(harness.ROOT, "tests/unit/json_documents.h")
    with open(path, encoding="ascii") as f:
        rows = re.findall(r'\{TEXT\(((?:\s*"(?:[^"\\]|\\.)*")+)\),\s*(0|JSON_\w+)\}', f.read())
    assert len(rows) > 100
    for literals, want in rows:
        parts = re.findall(r'"(?:[^"\\]|\\.)*"', literals)
        yield b"".join(ast.literal_eval("b" + p) for p in parts), want == "0"


def test_json_documents_inside_a_request(make_gate, upstream):
    """T-5.5: each stands as the value of a key that the gate does not know."""
    gate = make_gate(upstream.url)
    for text, good in json_documents():
        if good and b"[" * 16 in text:
            continue  # as deep as may be by itself
        body = b'{"a":' + text + b"," + GOOD[1:]
        status, _, answer = gate.request("POST", "/v2/models/m/infer", body)
        assert status == (200 if good else 400), (text, answer)
    # The key itself is not passed on.
    assert all(b'"a"' not in sent for _, sent in upstream.requests)


# ---- Answers ----

def test_an_error_text_is_replaced_and_not_logged(make_gate, upstream):
    """T-5.12"""
    gate = make_gate(upstream.url)
    body = json.dumps(harness.query(values=[0.125, 4095.5, 3, 7])).encode()
    for status, want in (("400 Bad", 400), ("422 No", 400), ("500 Oops", 502), ("404 None", 404),
                         ("503 Busy", 503), ("429 Many", 503), ("302 Found", 502), ("204 Empty", 502)):
        def answer(request, status=status):
            text = json.dumps({"error": "ValueError near 4095.5", "traceback": request[1].decode()})
            return http_answer(b"" if status[:3] == "204" else text.encode(), status)
        upstream.answer = answer
        seen, headers, text = gate.request("POST", "/v2/models/m/infer", body)
        assert seen == want
        assert set(json.loads(text)) == {"error"} and "model server" in json.loads(text)["error"]
        assert not re.search(rb"4095|Value|trace", text + str(headers).encode())
    gate.stop()
    assert not re.search("4095|ValueError|traceback", gate.stderr() + open(gate.log).read())


TINY = 5e-324
NAN, INF = float("nan"), float("inf")
ANSWERS = {
    "NaN": [0.1, NAN, 0.6, 0.3], "all NaN": [NAN] * 4, "Inf": [0.1, INF, 0.2, 0.3],
    "-Inf": [0.1, -INF, 0.2, 0.3], "-0": [-0.0, -0.0, -0.0, -0.0], "subnormal": [TINY, 0, 0, TINY * 2],
    "out of range": [-3.0, 17.0, 1e300, 5.0], "negative": [-0.1, -0.2, -0.3, -0.4],
}
POLICIES = {
    "hide": "filters: [{top_k: {k: 1}}]", "keep": "filters: [{top_k: {k: 2, scores: keep}}]",
    "round": "filters: [{round: {digits: 3}}]",
    "both": "filters: [{top_k: {k: 2, scores: keep}}, {round: {digits: 3}}]", "none": "filters: []"}


@pytest.fixture(scope="module")
def shaped(make_shared_gate):
    """(gates by policy, their upstream)"""
    upstream = Upstream()
    yield {name: make_shared_gate(upstream.url, policy=policy, outputs="{scores: scores}")
           for name, policy in POLICIES.items()}, upstream
    upstream.close()


def finite_or_refused(gate, out, policy, classification=0):
    _, body = oip.write("inputs", [oip.tensor("x", "FP32", [1, 2, 3], (1, 3))], False,
                        outputs=oip.wanted(["scores"], out == "binary", classification))
    status, headers, answer = gate.request("POST", "/v2/models/m/infer", body)
    if status in (502, 503):
        assert set(json.loads(answer)) == {"error"}
        return None
    assert status == 200
    _, tensors, _ = oip.read("outputs", headers, answer)
    values = tensors["scores"].values()
    if policy != "none" and tensors["scores"].datatype != "BYTES":
        assert np.isfinite(values).all()
        assert not np.signbit([v for v in values if v == 0]).any()
    return values


@pytest.mark.parametrize("out", ["json", "binary"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scores", ANSWERS.values(), ids=ANSWERS)
def test_no_score_is_released_that_is_no_number(shaped, scores, policy, out):
    """T-5.11, from a server that answers in binary: JSON has no such numbers to begin with."""
    gates, upstream = shaped
    for datatype in ("FP64", "FP32"):
        headers, body = oip.write("outputs", [oip.tensor("scores", datatype, scores, (1, 4))], True)
        upstream.answer = lambda request: http_answer(
            body, headers=["%s: %s" % kv for kv in headers.items()])
        values = finite_or_refused(gates[policy], out, policy)
        if policy == "hide" and values is not None:
            held = [v for v in oip.unpack(datatype, oip.pack(datatype, scores))]
            best = max((v for v in held if v == v), default=None)
            want = [0] * 4
            if best is not None:
                want[held.index(best)] = 1
            assert values == want
        if policy == "none" and out == "json" and not np.isfinite(oip.unpack(
                datatype, oip.pack(datatype, scores))).all():
            assert values is None


BAD_ANSWERS = {
    "empty": b"", "not JSON": b"<html>", "no outputs": b'{"model_name":"m"}', "an array": b"[]",
    "NaN": b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,2],"data":[NaN,1]}]}',
    "1e999": b'{"outputs":[{"name":"scores","datatype":"FP64","shape":[1,2],"data":[1e999,1]}]}',
    "no data": b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,2]}]}',
    "empty data": b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,2],"data":[]}]}',
    "0 classes": b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1,0],"data":[]}]}',
    "strings": b'{"outputs":[{"name":"scores","datatype":"BYTES","shape":[1],"data":["0.9"]}]}',
    "twice": b'{"outputs":[{"name":"scores","datatype":"FP32","shape":[1],"data":[1]},'
             b'{"name":"scores","datatype":"FP32","shape":[1],"data":[2]}]}',
    "two docs": harness.answer_body() * 2, "cut": harness.answer_body()[:-3],
    "depth": b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b',"outputs":[]}',
}


@pytest.mark.parametrize("body", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_an_answer_that_is_none_is_502(shaped, body):
    gates, upstream = shaped
    upstream.answer = lambda request: http_answer(body)
    for gate in gates.values():
        assert gate.infer() == (502, {"error": "the model server's answer could not be understood"})


@pytest.mark.parametrize("out", ["json", "binary"])
def test_a_million_classes(shaped, out):
    gates, upstream = shaped
    count = 10**5 if harness.SANITIZED else 10**6
    scores = np.random.default_rng(5).random((1, count))
    headers, body = oip.write("outputs", [oip.tensor("scores", "FP64", scores)], True)
    upstream.answer = lambda request: http_answer(
        body, headers=["%s: %s" % kv for kv in headers.items()])
    values = finite_or_refused(gates["hide"], out, "hide")
    assert sum(values) == 1 and values[scores.argmax()] == 1
    values = np.array(finite_or_refused(gates["both"], out, "both"))
    assert np.count_nonzero(values) == 2 and set(np.nonzero(values)[0]) == set(scores[0].argsort()[-2:])

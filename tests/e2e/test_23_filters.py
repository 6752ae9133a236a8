"""What each filter does to queries and answers, through the real binary."""
import datetime
import hashlib
import json
import secrets
from fractions import Fraction

import numpy as np
import pytest

import harness
import oip
from harness import Upstream, http_answer, read_answer

# ---- Shaping answers: top_k and round ----


def score(request):
    """A model whose scores are its input and whose label is the best class, in the form asked for."""
    head, body = request
    lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
    message, tensors, _ = oip.read("inputs", dict(lines), body)
    x = tensors["x"]
    rows, cols = x.shape
    values = np.array(x.values()).reshape(x.shape)
    answers, binary = [], False
    for w in message["outputs"]:
        binary = w.get("parameters", {}).get("binary_data", False)
        k = w.get("parameters", {}).get("classification")
        if w["name"] == "label":
            answers.append(oip.tensor("label", "INT64", np.nan_to_num(values, nan=-9).argmax(axis=1)))
        elif k:
            best = np.argsort(-values, axis=1, kind="stable")[:, :min(k, cols)]
            strings = ["%f:%d:class-%d" % (v[i], i, i) for v, b in zip(values, best) for i in b]
            answers.append(oip.tensor(w["name"], "BYTES", strings, best.shape))
        else:
            answers.append(oip.Tensor(w["name"], x.datatype, x.shape, x.raw))
    headers, body = oip.write("outputs", answers, binary)
    return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])


def top(k, scores):
    def shape(row):
        best = sorted(range(len(row)), key=lambda i: (-row[i], i))[:k]
        low = scores == "keep" and any(row[i] < 0 for i in best)
        return [(1 if scores == "hide" else row[i]) if i in best else -32768 if low else 0
                for i in range(len(row))]
    return shape


def grid(digits):
    return lambda row: [float(round(Fraction(v), digits)) for v in row]


POLICIES = {
    "hide1": ("[{top_k: {k: 1, scores: hide}}]", [top(1, "hide")]),
    "hide3": ("[{top_k: {k: 3, scores: hide}}]", [top(3, "hide")]),
    "keep1": ("[{top_k: {k: 1, scores: keep}}]", [top(1, "keep")]),
    "keep3": ("[{top_k: {k: 3, scores: keep}}]", [top(3, "keep")]),
    "round2": ("[{round: {digits: 2}}]", [grid(2)]),
    "top-round": ("[{top_k: {k: 3, scores: keep}}, {round: {digits: 1}}]", [top(3, "keep"), grid(1)]),
    "round-top": ("[{round: {digits: 1}}, {top_k: {k: 1, scores: keep}}]", [grid(1), top(1, "keep")]),
}
FORMS = ["json", "binary", "json ranking", "binary ranking"]


class Shapes:
    """One gate; each tier's policy is one of POLICIES, each tier has a key of its own."""

    def __init__(self, make_gate, upstream, **parts):
        self.upstream = upstream
        self.gate = make_gate(
            upstream.url, start=False, policy="filters: []", **parts,
            model=", tiers: {%s}" % ", ".join("%s: %s" % (n, n) for n in POLICIES),
            more="\n".join("  %s: {filters: %s}" % (n, p) for n, (p, _) in POLICIES.items()))
        self.gate.keys += [(n, n + secrets.token_hex(8), n) for n in POLICIES]
        self.key = {name: key for name, key, _ in self.gate.keys}
        self.gate.write_policy()
        self.gate.start()

    def ask(self, policy, form, rows, datatype="FP32", names=("scores", "label")):
        """(status, tensors, JSON data with numbers as they are written, by output)"""
        k = 4 if "ranking" in form else 0
        headers, body = oip.write(
            "inputs", [oip.tensor("x", datatype, np.array(rows))], "binary" in form or datatype == "FP16",
            outputs=[o for n in names
                     for o in oip.wanted([n], "binary" in form, 0 if n == "label" else k)])
        if any(not np.isfinite(v) for row in rows for v in row):
            # No such query passes: the server is told by hand what to answer.
            answer = score((("A\r\n" + "\r\n".join("%s: %s" % kv for kv in headers.items())), body))
            self.upstream.answer = lambda request: answer
            headers, body = oip.write("inputs", [oip.tensor("x", datatype, [0], (1, 1))],
                                      True, outputs=oip.wanted(names, "binary" in form, k))
        else:
            self.upstream.answer = score
        headers["X-API-Key"] = self.key[policy]
        status, head, answer = self.gate.request("POST", "/v2/models/m/infer", body, headers)
        if status != 200:
            return status, None, None
        _, tensors, _ = oip.read("outputs", head, answer)
        message = json.loads(answer[:int(head.get(oip.LENGTH, len(answer)))], parse_float=str)
        return status, tensors, {o["name"]: o.get("data") for o in message["outputs"]}


@pytest.fixture(scope="module")
def shapes(make_shared_gate):
    upstream = Upstream(score)
    yield Shapes(make_shared_gate, upstream)
    upstream.close()


def rows_of_all_sorts():
    random = np.random.default_rng(23)
    rows = random.dirichlet([0.4] * 5, 10).astype("f4").tolist()
    return rows + [[0.2] * 5, [0, 0, 0, 0, 0], [0.5, 0.25, 0.5, 0.25, 0.5], [0.125, 0.375, 0.625, 0.875, 1],
                   [-1, -2, -0.5, -0.5, -3], [1e-7, 1e-8, 0, -1e-9, 0.005], [4, 2.5, 3.5, 0.05, 0.15]]


ROWS = rows_of_all_sorts()


@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
@pytest.mark.parametrize("policy", POLICIES)
def test_scores_are_what_the_definition_says(shapes, policy, datatype):
    form = "binary" if datatype == "FP16" else "json"
    rows = np.array(ROWS, dtype=oip.NUMPY[datatype]).astype(float).tolist()
    status, tensors, _ = shapes.ask(policy, form, rows, datatype)
    want = rows
    for shape in POLICIES[policy][1]:
        want = [shape(row) for row in want]
    assert status == 200
    assert tensors["scores"] == oip.tensor("scores", datatype, np.array(want) + 0.0)
    assert tensors["label"] == oip.tensor("label", "INT64", np.array(rows).argmax(axis=1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_batch_is_its_rows(shapes, policy, form):
    status, batch, texts = shapes.ask(policy, form, ROWS)
    assert status == 200
    singles = [shapes.ask(policy, form, [row]) for row in ROWS]
    for name in ("scores", "label"):
        assert batch[name].raw == b"".join(tensors[name].raw for _, tensors, _ in singles)
        assert batch[name].shape[1:] == singles[0][1][name].shape[1:]
        if "json" in form:
            assert texts[name] == [v for _, _, data in singles for v in data[name]]


@pytest.mark.parametrize("form", FORMS[2:])
def test_rankings_hide_order_and_score(shapes, form):
    row = [0.1, 0.05, 0.6, 0.2, 0.05]
    for policy, scores, want in (("hide3", row, [(1, 0), (1, 2), (1, 3)]),
                                 ("keep3", row, [(0.6, 2), (0.2, 3), (0.1, 0)]),
                                 # 0.55 is above the half as FP64 has it, so the grid makes a tie.
                                 ("round-top", [0.55, 0.6, 0, 0, 0], [(0.6, 0)])):
        _, tensors, _ = shapes.ask(policy, form, [scores], names=["scores"])
        entries = [s.split(":") for s in tensors["scores"].values()]
        assert [(float(value), int(index)) for value, index, _ in entries] == want
        assert all(label == "class-" + index for _, index, label in entries)


@pytest.mark.parametrize("policy,row,want", [
    ("hide1", [np.nan, 0.1, 0.3], [0, 0, 1]), ("hide3", [np.nan, 0.1, 0.3], [0, 1, 1]),
    ("hide1", [np.nan] * 3, [0, 0, 0]), ("hide1", [np.inf, np.nan, -np.inf], [1, 0, 0]),
    ("keep1", [np.nan, 0.25, -1], [0, 0.25, 0]), ("keep1", [np.inf, 0.1, 0.2], None),
    ("keep3", [np.nan] * 3, [0, 0, 0]), ("round2", [np.nan, 0.1, 0.2], None),
    ("round2", [np.inf, 0.1, 0.2], None), ("round-top", [np.nan, 0.1, 0.2], None),
    ("top-round", [np.nan, 0.125, 0.3], [0, 0.1, 0.3])])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "FP16"])
def test_what_is_no_number(shapes, policy, row, want, datatype):
    status, tensors, _ = shapes.ask(policy, "binary", [row], datatype, ["scores"])
    if want is None:
        assert status == 503
    else:
        assert tensors["scores"] == oip.tensor("scores", datatype, want, (1, 3))


def test_logits(make_gate, upstream):
    """0 would beat a negative logit, so what is not kept is far below."""
    shapes = Shapes(make_gate, upstream, outputs="{scores: logits, label: labels}")
    for policy, row, want in (("hide1", [-5, -1, -3], [0, 1, 0]),
                              ("keep1", [-5, -1.5, -3], [-32768, -1.5, -32768]),
                              ("keep1", [5, 1, 3], [5, -32768, -32768]),
                              ("keep1", [-70000, -80000, -90000], [-16384, -32768, -32768])):
        _, tensors, _ = shapes.ask(policy, "binary", [row], names=["scores"])
        assert tensors["scores"].values() == want


@pytest.mark.parametrize("form", ["json", "binary"])
def test_scores_of_eight_bits(shapes, form):
    for policy, datatype, row, want in (
            ("hide1", "INT8", [-128, 127, 127], [0, 1, 0]), ("keep1", "INT8", [-128, 127, 5], [0, 127, 0]),
            ("keep1", "INT8", [-9, -8, -128], [-128, -8, -128]),
            ("keep1", "UINT8", [1, 255, 254], [0, 255, 0]), ("hide3", "UINT8", [9, 9, 9, 9], [1, 1, 1, 0]),
            ("round2", "INT8", [-9, 5, 100], [-9, 5, 100])):
        _, tensors, _ = shapes.ask(policy, form, [row], datatype, ["scores"])
        assert tensors["scores"] == oip.tensor("scores", datatype, want, (1, len(row)))


def test_where_only_the_label_is_declared(make_gate, upstream):
    upstream.answer = lambda request: http_answer()
    gate = make_gate(upstream.url, outputs="{label: labels}")
    status, answer = gate.infer()
    assert status == 200 and [o["name"] for o in answer["outputs"]] == ["label"]
    status, answer = gate.infer(harness.query(outputs=["scores"]))
    assert status == 403 and "'scores' is not released" in answer["error"]
    assert b'"outputs":[{"name":"label"}]' in upstream.requests[0][1]  # the rest is not even asked for


# ---- Limits of queries ----

def test_input_limits(make_gate, upstream):
    gate = make_gate(upstream.url, policy="filters: [{input_limits: {rows: 4, elements: 16, bytes: 64, "
                                          "inputs: {x: {low: 0, high: 0.1}}}}]")
    for rows, width, value, want in ((4, 4, 0.1, 200), (1, 16, 0, 200), (5, 1, 0, 413), (1, 17, 0, 413),
                                     (1, 4, 0.11, 400), (1, 4, -1e-9, 400), (1, 1, 1e30, 400)):
        assert gate.infer(harness.query(rows, [value] * rows * width))[0] == want, (rows, width, value)
    headers, body = oip.write("inputs", [oip.tensor("x", "FP64", [0.0] * 9, (1, 9))], True)
    assert gate.request("POST", "/v2/models/m/infer", body, headers)[0] == 413  # 72 bytes
    assert len(upstream.requests) == 2
    assert gate.metric("filter_verdicts_total", filter="input_limits", verdict="deny") == 6


def infer(gate, key=None, address="127.0.0.1", model="m", rows=1):
    """(status, Retry-After) of one query, with a key or without"""
    body = json.dumps(harness.query(rows)).encode()
    with harness.socket.create_connection(("127.0.0.1", gate.port), timeout=harness.PATIENCE,
                                          source_address=(address, 0)) as s:
        s.sendall(("POST /v2/models/%s/infer HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n" % (
            model, "X-API-Key: %s\r\n" % key if key else "", len(body))).encode() + body)
        status, headers, _ = read_answer(s)
    return status, int(headers["retry-after"]) if "retry-after" in headers else None


@pytest.fixture
def limited(make_gate, upstream):
    """limited(options) is a gate with that rate_limit and a second key, "bob's"."""
    def make(options, **parts):
        gate = make_gate(upstream.url, start=False, policy="filters: [{rate_limit: {%s}}]" % options,
                         match="m*", anonymous="allow", **parts)
        gate.bob = secrets.token_hex(16)
        gate.keys.append(("bob", gate.bob, None))
        gate.write_policy()
        return gate.start()
    return make


def over(answer):
    status, after = answer
    return status == 429 and after is not None and 1 <= after <= 60


def test_a_rate_per_client(limited, upstream):
    gate = limited("requests: 1/min, burst: 3")
    assert [infer(gate, gate.key, rows=9)[0] for _ in range(3)] == [200] * 3  # however many rows
    assert over(infer(gate, gate.key)) and over(infer(gate, gate.key, model="m2"))
    assert infer(gate, gate.bob)[0] == 200
    assert [infer(gate)[0] for _ in range(4)] == [200, 200, 200, 429]  # without a key: the address
    assert infer(gate, address="127.0.0.2")[0] == 200
    assert len(upstream.requests) == 3 + 1 + 3 + 1
    gate.reload()
    assert over(infer(gate, gate.key))  # a new policy is no new burst


def test_a_rate_per_model(limited):
    gate = limited("per: model, requests: 1/min, burst: 2")
    assert infer(gate, gate.key)[0] == infer(gate, gate.bob)[0] == 200
    assert over(infer(gate, gate.key)) and over(infer(gate, gate.bob)) and over(infer(gate))
    assert infer(gate, gate.key, model="m2")[0] == 200


def test_a_rate_per_client_and_model(limited):
    gate = limited("per: client+model, requests: 1/min, burst: 1")
    assert infer(gate, gate.key)[0] == 200 and over(infer(gate, gate.key))
    assert infer(gate, gate.key, model="m2")[0] == infer(gate, gate.bob)[0] == 200


def test_a_rate_per_address(limited):
    gate = limited("per: address, requests: 1/min, burst: 2")
    assert infer(gate, gate.key)[0] == infer(gate, gate.bob)[0] == 200
    assert over(infer(gate, gate.key)) and over(infer(gate))
    assert infer(gate, gate.key, address="127.0.0.2")[0] == 200


def test_a_rate_for_everyone(limited):
    gate = limited("per: everyone, requests: 1/min, burst: 1")
    assert infer(gate, gate.key)[0] == 200
    assert over(infer(gate, gate.bob, model="m2", address="127.0.0.2"))


def test_a_batch_costs_its_rows(limited, upstream):
    gate = limited("queries: 10/min, burst: 10")
    assert infer(gate, gate.key, rows=4)[0] == infer(gate, gate.key, rows=4)[0] == 200
    status, after = infer(gate, gate.key, rows=4)
    assert status == 429 and after in (11, 12)  # two rows more than are left, six seconds each
    assert infer(gate, gate.key, rows=2)[0] == 200
    assert infer(gate, gate.bob, rows=11) == (429, None)  # would never pass
    assert infer(gate, gate.bob, rows=10)[0] == 200
    assert gate.metric("filter_verdicts_total", filter="rate_limit", verdict="deny") == 2


# ---- Who asks ----

def test_tiers_choose_the_policy(shapes):
    shapes.upstream.answer = lambda request: http_answer()
    gate = shapes.gate
    before = len(gate.log_lines())
    for name in POLICIES:
        assert infer(gate, shapes.key[name])[0] == 200
    assert infer(gate, gate.key)[0] == 200
    lines = harness.wait_for(lambda: gate.log_lines()[before:][len(POLICIES):] and gate.log_lines()[before:],
                             "the log is written")
    assert {(line.get("tier"), line["policy"]) for line in lines} == {
        *((name, name) for name in POLICIES), (None, "main")}


def test_keys(make_gate, upstream):
    gate = make_gate(upstream.url, start=False)
    today = datetime.datetime.now(datetime.timezone.utc).date()
    days = {"past": "2020-01-01", "yesterday": today - datetime.timedelta(1), "today": today,
            "tomorrow": today + datetime.timedelta(1)}
    keys = {name: secrets.token_hex(16) for name in days}
    gate.write("keys.yaml", "keys:\n" + "".join(
        "  - {id: %s, sha256: %s, not_after: %s}\n" % (
            name, hashlib.sha256(keys[name].encode()).hexdigest(), day) for name, day in days.items()))
    gate.start()
    assert {name: infer(gate, key)[0] for name, key in keys.items()} == {
        "past": 401, "yesterday": 401, "today": 200, "tomorrow": 200}
    for key in (None, "x" * 32, keys["today"][:-1], keys["today"] + "a", keys["today"].upper(), "a" * 2000):
        assert infer(gate, key)[0] == 401
    assert gate.metric("unauthenticated_total") == 8
    assert len(upstream.requests) == 2
    status, headers, body = gate.request("POST", "/v2/models/m/infer", b"{}", key=False)
    assert headers["WWW-Authenticate"] == 'ApiKey header="X-API-Key"'
    assert json.loads(body) == {"error": "an API key is needed"}


def test_an_unknown_key_is_not_anonymous(make_gate, upstream):
    gate = make_gate(upstream.url, anonymous="allow")
    assert infer(gate)[0] == infer(gate, gate.key)[0] == 200
    assert infer(gate, "x" * 32)[0] == 401


# ---- Observing ----

def whole_answer(gate, headers, body):
    """Every byte of it."""
    with gate.connect() as s:
        lines = ["POST /v2/models/m/infer HTTP/1.1", "Host: a", "X-API-Key: " + gate.key,
                 "Content-Length: %d" % len(body), "Connection: close"]
        s.sendall("\r\n".join([*lines, *("%s: %s" % kv for kv in headers.items()), "", ""]).encode() + body)
        with s.makefile("rb") as f:
            return f.read()


def test_observing_changes_nothing_but_the_books(make_gate, upstream):
    upstream.answer = score
    plain = make_gate(upstream.url, policy="filters: []")
    observing = make_gate(upstream.url, workers=1, policy=(
        "mode: observe, filters: [{input_limits: {rows: 2}}, {rate_limit: {requests: 1/h, burst: 1}}, "
        "{round: {digits: 1}}, {top_k: {}}]"))
    wild = [[0.123456789, 0.5], [1e300, 0.25], [3, 4]]  # too many rows; and round cannot do that
    count = 0
    for form in ("json", "binary"):
        for out in ("json", "binary"):
            for k in (0, 2):
                for rows in (wild, [[0.3, 0.7]]):
                    headers, body = oip.write(
                        "inputs", [oip.tensor("x", "FP64", np.array(rows))], form == "binary",
                        outputs=oip.wanted(["scores"], out == "binary", k if rows is not wild else 0))
                    answer = whole_answer(plain, headers, body)
                    assert answer.startswith(b"HTTP/1.1 200 ")
                    assert whole_answer(observing, headers, body) == answer
                    count += 1
    lines = harness.wait_for(lambda: len(observing.log_lines()) == count and observing.log_lines(), "logged")
    assert {line["mode"] for line in lines} == {"observe"} and {line["status"] for line in lines} == {200}
    assert lines[0]["would_refuse"] == ["input_limits", "round"]
    assert lines[1]["would_refuse"] == ["rate_limit"]
    assert lines[2]["would_refuse"] == ["input_limits", "rate_limit", "round"]
    for name, times in (("input_limits", 8), ("rate_limit", 15), ("round", 8), ("top_k", 0)):
        assert observing.metric("filter_verdicts_total", filter=name, verdict="would_deny") == times
    assert observing.metric("observed_denials_total") == 31
    assert observing.metric("filter_verdicts_total", verdict="deny") == 0

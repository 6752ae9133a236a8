"""Noise through the real binary: sticky across forms, gates and restarts, on its grid, and no more
telling than its epsilon says (the one-run audit of Steinke, Nasr, Jagielski 2023).

Keys are fixed, so every draw is: what holds once holds always."""
import http.client
import json
import math

import numpy as np
import pytest

import oip
from harness import PATIENCE, Upstream, http_answer, query

KEY = "the same key on every gate in this test"
OTHER = "and the one that comes after it, later"
NOISE = "filters: [{noise: {scale: 0.5}}]"
SCORES = "{scores: scores}"


def tell(rows_to_scores):
    """A model server: the scores are what the function makes of the input's rows."""
    def answer(request):
        head, body = request
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        message, tensors, _ = oip.read("inputs", dict(lines), body)
        x = tensors["x"]
        values = np.array(rows_to_scores(np.array(x.values()).reshape(x.shape)), float)
        binary = message["outputs"][0].get("parameters", {}).get("binary_data", False)
        headers, body = oip.write("outputs", [oip.tensor("scores", "FP32", values)], binary)
        return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])
    return Upstream(answer)


@pytest.fixture
def thirds():
    u = tell(lambda rows: [[0.5, 0.25, 0.25]] * len(rows))
    yield u
    u.close()


def keyed(make_gate, upstream, key=KEY, more="noise_key: {file: noise.key}", **parts):
    parts = {"policy": NOISE, "outputs": SCORES, **parts}
    gate = make_gate(upstream.url, start=False, more=more, **parts)
    gate.write("noise.key", key)
    gate.write_policy()
    return gate.start()


def scores(gate, rows=1, values=None, status=200, **more):
    got, answer = gate.infer(query(rows, values, **more))
    assert got == status, answer
    return answer["outputs"][0]["data"] if status == 200 else None


def test_a_thousand_repeats_are_one_answer(make_gate, thirds):
    gate = keyed(make_gate, thirds)
    body, answers = json.dumps(query()), set()
    for _ in range(4):  # connections, so that both workers answer
        c = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE)
        for _ in range(250):
            c.request("POST", "/v2/models/m/infer", body, gate.headers())
            answers.add(c.getresponse().read())
        c.close()
    assert len(answers) == 1
    data = scores(gate)
    assert data != [0.5, 0.25, 0.25] and all(v * 256 == round(v * 256) for v in data)


def test_without_sticky_repeats_average_out(make_gate, thirds):
    """The leak that sticky noise closes: it must show, or the test above proves nothing."""
    gate = keyed(make_gate, thirds, policy="filters: [{noise: {scale: 0.5, sticky: false}}]")
    c = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE)
    seen = []
    for _ in range(400):
        c.request("POST", "/v2/models/m/infer", json.dumps(query()), gate.headers())
        seen.append(json.loads(c.getresponse().read())["outputs"][0]["data"])
    c.close()
    seen = np.array(seen)
    assert len({tuple(s) for s in seen}) > 300
    # The deviation of the mean of 400 is 0.035; a right gate misses this once in 10^8.
    assert np.abs(seen.mean(axis=0) - [0.5, 0.25, 0.25]).max() < 0.035 * 6


def test_gates_restarts_and_forms_agree(make_gate, thirds):
    gate, other = keyed(make_gate, thirds), keyed(make_gate, thirds)
    first = scores(gate)
    assert scores(other) == first
    gate.stop()
    gate.start()
    assert scores(gate) == first
    x = oip.tensor("x", "FP32", np.full((1, 4), 0.5))
    headers, body = oip.write("inputs", [x], True, parameters={"binary_data_output": True})
    status, answered, data = gate.request("POST", "/v2/models/m/infer", body, headers)
    assert status == 200
    assert list(oip.read("outputs", dict(answered), data)[1]["scores"].values()) == first


def test_without_a_key_gates_differ(make_gate, thirds):
    gate = make_gate(thirds.url, policy=NOISE, outputs=SCORES)
    first = scores(gate)
    assert scores(gate) == first
    gate.stop()
    gate.start()
    assert scores(gate) != first


def test_a_new_key_starts_on_its_day(make_gate, thirds):
    plain, after = keyed(make_gate, thirds), keyed(make_gate, thirds, key=OTHER)
    for since, same in ("2999-01-01", plain), ("2001-01-01", after):
        more = "noise_key: {file: noise.key, previous: old.key, since: %s}" % since
        gate = make_gate(thirds.url, start=False, policy=NOISE, outputs=SCORES, more=more)
        gate.write("old.key", KEY)
        gate.write("noise.key", OTHER)
        assert scores(gate.start()) == scores(same)
    assert scores(plain) != scores(after)


def test_a_batch_is_its_rows(make_gate, thirds):
    gate = keyed(make_gate, thirds)
    rows = [[float(r), 2.0, 3.0, 4.0] for r in range(20)]
    batch = scores(gate, 20, sum(rows, []))
    assert len(batch) == 60
    for r, row in enumerate(rows):
        assert scores(gate, 1, row) == batch[3 * r:3 * r + 3]


def test_jitter_within_a_bucket_is_one_question(make_gate, thirds):
    gate = keyed(make_gate, thirds, policy="filters: [{noise: {scale: 0.5, bucket: 0.1}}]")
    rng = np.random.default_rng(1)
    jitter = (1 + rng.uniform(-0.04, 0.04, (500, 4))).ravel().tolist()
    answers = np.array(scores(gate, 500, jitter)).reshape(500, 3)
    assert len(np.unique(answers, axis=0)) == 1
    exact = keyed(make_gate, thirds)
    assert len(np.unique(np.array(scores(exact, 500, jitter)).reshape(500, 3), axis=0)) > 490


def test_what_a_promise_cannot_cover_is_refused(make_gate, thirds):
    gate = keyed(make_gate, thirds, policy="filters: [{noise: {epsilon: 1}}]")
    asked = query(outputs=["scores"])
    asked["outputs"][0]["parameters"] = {"classification": 2}
    assert gate.infer(asked)[0] == 403
    scores(gate)
    logits = keyed(make_gate, thirds, policy="filters: [{noise: {epsilon: 1}}]",
                   outputs="{scores: logits}")
    scores(logits, status=503)


# ---- The audit ----

CANARIES = 4000


def surprise(right, guesses, epsilon):
    """P of so many right guesses or more, were the mechanism epsilon-private: each guess is then
    right with e^epsilon / (1 + e^epsilon) at most."""
    p = math.exp(epsilon) / (1 + math.exp(epsilon))
    logs = [math.lgamma(guesses + 1) - math.lgamma(k + 1) - math.lgamma(guesses - k + 1)
            + k * math.log(p) + (guesses - k) * math.log1p(-p) for k in range(right, guesses + 1)]
    return math.fsum(map(math.exp, logs))


def audit(gate, guesses):
    """(right guesses, guesses) of canaries whose bit is behind the model: the surest ones."""
    bits = np.random.default_rng(5).integers(0, 2, CANARIES)
    answers = []
    for at in range(0, CANARIES, 1000):
        rows = [[float(at + i), float(b), 0.0, 0.0] for i, b in enumerate(bits[at:at + 1000])]
        answers += scores(gate, 1000, sum(rows, []))
    likely = np.array(answers).reshape(CANARIES, 2)
    lean = likely[:, 1] - likely[:, 0]
    surest = np.argsort(-np.abs(lean), kind="stable")[:guesses]
    return int(((lean[surest] > 0) == (bits[surest] == 1)).sum()), guesses


@pytest.fixture
def opposites():
    """The worst case of two classes: all of one, or all of the other."""
    u = tell(lambda rows: np.stack([1 - rows[:, 1], rows[:, 1]], axis=1))
    yield u
    u.close()


@pytest.mark.parametrize("policy", [
    "{noise: {epsilon: %g}}",
    "{noise: {epsilon: %g, range: {low: 0, high: 1}}}",
    "{noise: {mechanism: discrete_gaussian, epsilon: %g, delta: 1e-9}}",
    "{noise: {epsilon: %g}}, {top_k: {}}",
    "{randomize: {epsilon: %g}}",
    "{randomize: {mechanism: permute_and_flip, epsilon: %g}}",
    "{randomize: {mechanism: exponential, epsilon: %g}}"])
def test_an_audit_finds_no_more_than_epsilon(make_gate, opposites, policy):
    """At 95 % confidence: a mechanism that is as telling as it may be fails this with one set of
    canaries in 20, so that where draws change for a good reason, others may be needed."""
    epsilon = 1
    gate = keyed(make_gate, opposites, policy="filters: [%s]" % policy % epsilon)
    guesses = CANARIES if "randomize" in policy else CANARIES // 10
    right, made = audit(gate, guesses)
    assert surprise(right, made, epsilon) > 0.05, "%d of %d" % (right, made)


def test_the_audit_catches_a_broken_mechanism(make_gate, opposites):
    """Noise for an L1 sensitivity of 1, where it is 2: an implementation's likeliest mistake."""
    gate = keyed(make_gate, opposites, policy="filters: [{noise: {scale: 1}}]")
    right, made = audit(gate, 1000)
    assert surprise(right, made, 1) < 0.001
    gate.reload(policy="filters: [{randomize: {epsilon: 1.5}}]")
    right, made = audit(gate, CANARIES)
    assert surprise(right, made, 1) < 0.001

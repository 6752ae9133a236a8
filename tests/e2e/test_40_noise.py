"""Noise through the real binary: sticky across forms, gates and restarts, and on its grid.  That it
is no more telling than its epsilon says is tests/attacks/test_dp_audit.py.

Keys are fixed, so every draw is: what holds once holds always."""
import http.client
import json

import numpy as np
import pytest

import oip
from harness import PATIENCE, Upstream, http_answer, query, run

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


def keyed(make_gate, upstream, key=KEY, more="noise_key: {file: noise.key}", start=True,
          **parts):
    parts = {"policy": NOISE, "outputs": SCORES, **parts}
    gate = make_gate(upstream.url, start=False, more=more, **parts)
    gate.write("noise.key", key)
    gate.write_policy()
    return gate.start() if start else gate


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
                   outputs="{scores: logits}", start=False)
    code, _, err = run("check", logits.path("policy.yaml"))
    assert code == 1 and "logits have no bounds, so 'epsilon' needs a 'range'" in err

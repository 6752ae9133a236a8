"""Masked scores through the real binary: ModelGuard-W held against another solver, its bounds on
the numbers as they are printed, and rank_swap with a pool that deploy/mask-pool.sh asked for."""
import ctypes
import http.client
import json
import os
import subprocess

import numpy as np
import pytest
import scipy.sparse as sparse
from scipy.optimize import linprog

import oip
from harness import PATIENCE, ROOT, Upstream, http_answer, query, run

GUARD = "filters: [{mask: {method: model_guard, distance: 0.3}}]"
SWAP = "filters: [{mask: {method: rank_swap, pool: pool.jsonl%s}}]"
SCORES = "{scores: scores}"
GAP = 1e-4


# ---- The program, beside scipy's linprog ----

class Program(ctypes.Structure):
    _fields_ = [("y", ctypes.POINTER(ctypes.c_double)), ("n", ctypes.c_uint32),
                ("distance", ctypes.c_double), ("gap", ctypes.c_double),
                ("floor", ctypes.c_double)]


@pytest.fixture(scope="module")
def solve(tmp_path_factory):
    library = str(tmp_path_factory.mktemp("mask") / "mask_lp.so")
    subprocess.run(["gcc", "-std=gnu11", "-O2", "-shared", "-fPIC", "-o", library,
                    "filters/mask_lp.c", "proxy/base/require.c", "-lm"], cwd=ROOT, check=True)
    function = ctypes.CDLL(library).mask_lp_solve

    def solve(y, distance, gap, floor):
        x = np.empty(len(y))
        at = [v.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for v in (y, x)]
        function(ctypes.byref(Program(at[0], len(y), distance, gap, floor)), at[1])
        return x
    return solve


def parts(y, distance, gap, floor):
    """One row's program with x = y + up - down: cost, A_ub, b_ub, A_eq, bounds."""
    n = len(y)
    c = np.log(y + 1e-6)
    order = np.hstack([-np.ones((n - 1, 1)), np.eye(n - 1)])  # x_j - x_0
    least = np.eye(1, n)
    rows = np.vstack([np.hstack([order, -order]), np.hstack([-least, least]), np.ones((1, 2 * n))])
    limits = np.concatenate([y[0] - y[1:] - gap, [y[0] - floor, distance]])
    kept = np.concatenate([np.ones(n), -np.ones(n)])[None]
    return np.concatenate([c, -c]), rows, limits, kept, [(0, None)] * n + [(0, v) for v in y]


def best_values(problems):
    """The least value of each; together they are one sparse program with a block for each."""
    blocks = [parts(*p) for p in problems]
    result = linprog(
        np.concatenate([b[0] for b in blocks]), method="highs",
        A_ub=sparse.block_diag([b[1] for b in blocks], "csr"),
        b_ub=np.concatenate([b[2] for b in blocks]),
        A_eq=sparse.block_diag([b[3] for b in blocks], "csr"), b_eq=np.zeros(len(blocks)),
        bounds=[pair for b in blocks for pair in b[4]],
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10})
    assert result.status == 0, result.message
    at, values = 0, []
    for (y, *_), block in zip(problems, blocks):
        moves = result.x[at:at + 2 * len(y)]
        values.append(block[0] @ moves + np.log(y + 1e-6) @ y)
        at += 2 * len(y)
    return values


def make_row(rng, n):
    y = (lambda: rng.dirichlet(np.ones(n)), lambda: rng.dirichlet(np.full(n, 0.1)),
         lambda: np.eye(1, n)[0], lambda: np.ones(n),
         lambda: rng.integers(0, 4, n) + np.eye(1, n)[0],
         lambda: np.round(rng.dirichlet(np.full(n, 0.5)), 2) + 0.01,
         lambda: rng.random(n) * 10.0 ** -rng.integers(0, 12, n))[rng.integers(7)]()
    return np.sort(y / y.sum())[::-1].copy()


def make_problem(rng, n):
    y = make_row(rng, n)
    if rng.random() < 0.3:  # the best of more classes
        y *= 0.05 + 0.95 * rng.random()
    gap = GAP if rng.random() < 0.7 else y.sum() / 4 * rng.random() + 1e-9
    distance = max(2.001 * gap, rng.choice([2e-4, 0.02, 0.1, 0.5, 1, 2, 5, 2 * rng.random()]))
    return y, distance, gap, rng.choice([0, y[-1] * rng.random() + gap])


def assert_best(solve, problems):
    for (y, distance, gap, floor), value in zip(problems, best_values(problems)):
        x = solve(y, distance, gap, floor)
        assert abs(np.log(y + 1e-6) @ x - value) <= 1e-9, (y.tolist(), distance, gap, floor)
        assert x.min() >= 0 and x[0] >= floor and (x[0] - x[1:]).min() >= gap - 1e-14
        assert abs(x.sum() - y.sum()) < 1e-13 and np.abs(x - y).sum() <= distance + 1e-13


def test_no_other_row_within_the_bounds_is_better(solve):
    rng = np.random.default_rng(1)
    for n, batches in ((2, 20), (3, 25), (5, 25), (10, 40)):
        for _ in range(batches):  # of 100: 11000 rows
            assert_best(solve, [make_problem(rng, n) for _ in range(100)])


def test_a_thousand_classes(solve):
    rng = np.random.default_rng(2)
    for _ in range(20):
        assert_best(solve, [make_problem(rng, 1000)])


# ---- The gate ----

def tell(rows, datatype="FP32"):
    """A model server that gives those scores, or as many of them as are asked for."""
    rows = np.array(rows)

    def answer(request):
        head, body = request
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        message, tensors, _ = oip.read("inputs", dict(lines), body)
        which = np.array(tensors["x"].values()).reshape(tensors["x"].shape)[:, 0].astype(int)
        binary = message["outputs"][0].get("parameters", {}).get("binary_data", False)
        headers, body = oip.write("outputs", [oip.tensor("scores", datatype, rows[which])], binary)
        return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])
    return Upstream(answer)


@pytest.fixture
def many():
    rng = np.random.default_rng(3)
    u = tell([make_row(rng, 12)[rng.permutation(12)] for _ in range(200)])
    yield u
    u.close()


def ask(gate, which, status=200):
    got, answer = gate.infer(query(len(which), [float(i) for i in which]))
    assert got == status, answer
    if status != 200:
        return answer
    return np.array(answer["outputs"][0]["data"]).reshape(len(which), -1)


def masked(make_gate, url, policy, pool=None, start=True, **more):
    gate = make_gate(url, start=False, policy=policy, **{"outputs": SCORES, **more})
    if pool is not None:
        gate.write("pool.jsonl", pool)
    return gate.start() if start else gate


def test_printed_scores_keep_class_distance_and_sum(make_gate, many):
    plain = masked(make_gate, many.url, "filters: []")
    gate = masked(make_gate, many.url, GUARD)
    every = range(200)
    y, x = ask(plain, every), ask(gate, every)
    top, rows = y.argmax(axis=1), np.arange(200)
    others = x.copy()
    others[rows, top] = -1
    assert (x[rows, top] - others.max(axis=1) >= GAP).all()
    assert (np.abs(x - y).sum(axis=1) <= 0.3).all()
    assert (np.abs(x - y).sum(axis=1) > 0.2).sum() > 100, "it hardly changes anything"
    assert np.abs(x.sum(axis=1) - y.sum(axis=1)).max() < 2e-7
    for i in (0, 7, 199):  # alone as in a batch, to the bit
        assert ask(gate, [i]).tolist() == [x[i].tolist()]
    request = json.dumps({**query(200, [float(i) for i in every]),
                          "outputs": [{"name": "scores", "parameters": {"binary_data": True}}]})
    status, headers, body = gate.request("POST", "/v2/models/m/infer", request)
    assert status == 200
    length = next(int(v) for k, v in dict(headers).items()
                  if k.lower() == "inference-header-content-length")
    assert np.frombuffer(body[length:], "<f4").tolist() == x.astype("<f4").ravel().tolist()


def test_what_is_no_distribution_does_not_leave(make_gate):
    u = tell([[0.5, 0.9, 0.1], [0.5, 0.25, 0.25]])
    try:
        gate = masked(make_gate, u.url, GUARD)
        assert "0.9" not in json.dumps(ask(gate, [0], 503))
        logits = masked(make_gate, u.url, GUARD, outputs="{scores: logits}", start=False)
        code, _, err = run("check", logits.path("policy.yaml"))
        assert code == 1 and "logits cannot be masked" in err
        ask(masked(make_gate, u.url, SWAP % "", "[0.5,0.5]\n"), [1], 503)  # another model's pool
    finally:
        u.close()


def test_the_classification_extension_is_not_guarded(make_gate, many):
    gate = masked(make_gate, many.url, GUARD)
    outputs = [{"name": "scores", "parameters": {"classification": 3}}]
    assert gate.infer({**query(1, [1.0]), "outputs": outputs})[0] == 403


def pool_text(rng, rows, n=12):
    return "".join(json.dumps(rng.dirichlet(np.ones(n)).tolist()) + "\n" for _ in range(rows))


def sorted_rows(text):
    return {tuple(np.sort(np.array(json.loads(line), "f4"))[::-1]) for line in text.splitlines()}


def test_each_answer_of_the_pool_is_used_once_before_any_comes_again(make_gate, many):
    text = pool_text(np.random.default_rng(4), 60)
    pool = sorted_rows(text)
    gate = masked(make_gate, many.url, SWAP % ", sticky: false", text)
    y = ask(masked(make_gate, many.url, "filters: []"), [5])[0]
    ranks = np.argsort(-y, kind="stable")
    for _ in range(2):
        dealt = []
        for _ in range(60):  # from two workers, which share the pass
            x = ask(gate, [5])[0]
            dealt.append(tuple(x[ranks].astype("f4")))
        assert set(dealt) == pool


def test_sticky_answers_stay_and_show_the_order_only(make_gate, many):
    text = pool_text(np.random.default_rng(5), 500)
    gate = masked(make_gate, many.url, SWAP % "", text)
    every = list(range(200))
    x, y = ask(gate, every), ask(masked(make_gate, many.url, "filters: []"), every)
    pool = sorted_rows(text)
    for a, b in zip(x, y):
        ranks = np.argsort(-b, kind="stable")
        assert tuple(a[ranks].astype("f4")) in pool
    assert len({tuple(np.sort(a)) for a in x}) > 100, "the pool is hardly used"
    for _ in range(3):
        assert ask(gate, every).tolist() == x.tolist()
    assert ask(gate, [9]).tolist() == [x[9].tolist()]


def test_a_pool_asked_of_the_demo_model(make_gate, model_server, tmp_path):
    url = "http://127.0.0.1:%d" % model_server
    script = os.path.join(ROOT, "deploy/mask-pool.sh")
    made = subprocess.run([script, url, "digits", "probabilities", "150", "0", "16"],
                          capture_output=True, text=True, timeout=10 * PATIENCE)
    assert made.returncode == 0, made.stderr
    assert len(made.stdout.splitlines()) == 150
    gate = masked(make_gate, url, SWAP % "", made.stdout, match="digits",
                  outputs="{probabilities: scores}")
    pixels = np.random.default_rng(6).integers(0, 17, (40, 64)).astype(float)
    body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [40, 64],
                        "data": pixels.ravel().tolist()}], "outputs": [{"name": "probabilities"}]}
    c = http.client.HTTPConnection("127.0.0.1", model_server, timeout=PATIENCE)
    c.request("POST", "/v2/models/digits/infer", json.dumps(body))
    direct = np.array(json.loads(c.getresponse().read())["outputs"][0]["data"]).reshape(40, 10)
    c.close()
    status, answer = gate.infer(body, model="digits")
    assert status == 200, answer
    x = np.array(answer["outputs"][0]["data"]).reshape(40, 10)
    assert (x.argmax(axis=1) == direct.argmax(axis=1)).all()
    assert (x.max(axis=1) != direct.max(axis=1)).any()


@pytest.mark.parametrize("arguments, said", [
    (["digits", "nothing", "3", "0", "1"], "does not answer as it should"),
    (["nothing", "probabilities", "3", "0", "1"], "does not answer as it should"),
    (["digits", "probabilities", "3", "1", "1"], "LOW has to be less"),
    (["digits", "probabilities", "x", "0", "1"], "ROWS: expected"),
    (["digits", "probabilities", "3", "0", "1);system(\"id\""], "expected a number"),
])
def test_a_pool_that_cannot_be_made_is_an_error(model_server, arguments, said):
    script = os.path.join(ROOT, "deploy/mask-pool.sh")
    made = subprocess.run([script, "http://127.0.0.1:%d" % model_server, *arguments],
                          capture_output=True, text=True, timeout=PATIENCE)
    assert made.returncode != 0 and said in made.stderr and made.stdout == ""


# ---- The configuration ----

@pytest.mark.parametrize("pool, policy, said", [
    (None, SWAP % "", "mask: cannot use the pool: No such file"),
    ("[0.5,0.5]\n[0.5,0.6]\n", SWAP % "", "row 2: its numbers do not sum to 1"),
    ("", SWAP % "", "it is empty"),
    ("[1,0]\n", SWAP % ", distance: 0.1", "rank_swap bounds no distance"),
    (None, "filters: [{mask: {method: model_guard}}]", "model_guard needs a 'distance'"),
    (None, "filters: [{mask: {method: model_gard}}]", "model_guard"),
    (None, "filters: [{top_k: {}}, {mask: {method: model_guard, distance: 1}}]",
     "put top_k behind it"),
    (None, "filters: [{mask: {method: model_guard, distance: 1}}, {randomize: {epsilon: 1}}]",
     "leave one of the two out"),
    (None, "filters: [{budget: {epsilon: 1}}, {mask: {method: model_guard, distance: 1}}]",
     "mask shows the exact best class and adds no noise"),
    (None, "bodies: relay, filters: [{mask: {method: model_guard, distance: 1}}]",
     "leaves unread"),
])
def test_a_wrong_configuration_is_said(make_gate, many, pool, policy, said):
    gate = masked(make_gate, many.url, policy, pool, start=False)
    status, _, err = run("check", gate.path("policy.yaml"))
    assert status != 0 and said in err and "policy.yaml:" in err


def test_the_pool_is_part_of_the_policys_version(make_gate, many):
    gate = masked(make_gate, many.url, SWAP % "", "[0.75,0.25]\n", start=False)
    versions = set()
    for text in ("[0.75,0.25]\n", "[0.75,0.25]\n", "[0.5,0.5]\n"):
        gate.write("pool.jsonl", text)
        status, out, err = run("check", gate.path("policy.yaml"))
        assert status == 0, err
        versions.add(out)
    assert len(versions) == 2


def test_explain_promises_no_more_than_there_is(make_gate, many):
    for policy, said in ((GUARD, "at most 0.3"), (SWAP % "", "one of 1 answers")):
        gate = masked(make_gate, many.url, policy, "[0.75,0.25]\n", start=False)
        status, out, err = run("explain", gate.path("policy.yaml"), "--client", "alice",
                               "--model", "m")
        assert status == 0, err
        assert said in out and "none of differential privacy" in out
        assert "the best class stays the best" in out

"""Privacy budgets through the real binary: what is paid and what is not, what outlives a crash, two
gates on one Redis, what follows when it is spent, and what `check` and `explain` say."""
import json
import math
import os
import subprocess
import sys
import threading
from http.client import HTTPException

import numpy as np
import pytest

import oip
from harness import BINARY, ROOT, Upstream, http_answer, query, wait_for
from redis_servers import redis_server  # noqa: F401
from test_35_redis_limits import is_up, share_key, store

NOISE = "{noise: {epsilon: 1}}"
KEY = "a key that every gate of these tests has"


def budget(mechanism=NOISE, epsilon=10, before="", **more):
    options = "".join(", %s: %s" % option for option in more.items())
    return "filters: [%s{budget: {epsilon: %g%s}}, %s]" % (before, epsilon, options, mechanism)


@pytest.fixture
def model():
    """Any query gets an answer of its rows; `version` may change."""
    def answer(request):
        head, body = request
        lines = (line.split(": ", 1) for line in head.split("\r\n")[1:])
        message, tensors, _ = oip.read("inputs", dict(lines), body)
        if u.fail:
            return http_answer(b"{}", status="500 Oops")
        rows = tensors["x"].shape[0]
        headers, body = oip.write("outputs", [oip.tensor("scores", "FP32", np.array(
            [[0.5, 0.25, 0.25]] * (rows + u.extra)))], False, model_version=u.version)
        return http_answer(body, headers=["%s: %s" % kv for kv in headers.items()])
    u = Upstream(answer)
    u.version, u.fail, u.extra = "1", False, 0
    yield u
    u.close()


def make(make_gate, upstream, policy, start=True, store=None, more="", **parts):
    gate = make_gate(upstream.url, start=False, policy=policy,
                     **{"outputs": "{scores: scores}", **parts})
    store = store or 'store: {url: "memory:%s"}' % gate.path("state.db")
    gate.parts["more"] = "%s\nnoise_key: {file: noise.key}\n%s" % (store, more)
    gate.write("noise.key", KEY)
    gate.write_policy()
    return gate.start() if start else gate


def ask(gate, number=0.0, rows=1):
    """The status of a query of that question, the next ones after it in further rows."""
    values = sum([[number + r, 1.0, 2.0, 3.0] for r in range(rows)], [])
    return gate.infer(query(rows, values))[0]


def warm(gate, upstream):
    """Until the gate knows the model's version no repeat is free."""
    assert ask(gate, -1.0) == 200


def test_so_many_answers_and_no_more(make_gate, model):
    gate = make(make_gate, model, budget())
    got = [ask(gate, float(i)) for i in range(12)]
    assert got == [200] * 10 + [403] * 2
    assert gate.metric("filter_verdicts_total", filter="budget", verdict="deny") == 2
    assert gate.metric("budget_rows_paid_total") == 10
    assert gate.metric("budget_denials_total") == 2
    assert gate.metric("budget_spent_bucket", policy="main", le="+Inf") == 12
    assert gate.metric("budget_spent_bucket", policy="main", le="0.5") == 5
    lines = wait_for(lambda: len(gate.log_lines()) >= 12 and gate.log_lines(), "the log")
    assert sorted(line["budget_spent"] for line in lines)[:10] == \
        [pytest.approx(i / 10) for i in range(1, 11)]


def test_a_batch_costs_its_rows_or_nothing(make_gate, model):
    gate = make(make_gate, model, budget())
    assert [ask(gate, 100 * i, rows) for i, rows in enumerate((11, 7, 4, 3, 1))] == \
        [403, 200, 403, 200, 403]


def test_repeats_are_free(make_gate, model):
    gate = make(make_gate, model, budget())
    warm(gate, model)
    answers = {json.dumps(gate.infer()[1]["outputs"][0]["data"]) for _ in range(30)}
    assert len(answers) == 1
    assert gate.metric("budget_rows_free_total") == 29
    assert [ask(gate, float(i)) for i in range(9)] == [200] * 8 + [403]
    assert gate.infer()[0] == 200, "what was paid stays paid"
    assert gate.infer(query(2))[0] == 200, "in a batch, too"
    assert ask(gate, 0.0, 9) == 403


def test_repeats_of_fresh_draws_are_not_free(make_gate, model):
    gate = make(make_gate, model, budget("{noise: {epsilon: 1, sticky: false}}"))
    assert [gate.infer()[0] for _ in range(12)] == [200] * 10 + [403] * 2


def test_a_new_version_draws_anew_and_is_paid_for(make_gate, model):
    gate = make(make_gate, model, budget())
    warm(gate, model)
    first = gate.infer()[1]["outputs"][0]["data"]
    model.version = "2"
    assert gate.infer()[0] == 503, "free, and not what was paid for"
    assert gate.infer()[1]["outputs"][0]["data"] != first
    assert gate.metric("budget_rows_paid_total") == 3
    assert gate.infer()[0] == 200
    assert gate.metric("budget_rows_paid_total") == 3
    assert ask(gate, 7.0) == 200
    model.version = "1"
    assert ask(gate, 8.0) == 503, "paid for, and its mark is for an answer of version 2"
    assert gate.metric("budget_rows_paid_total") == 5
    assert gate.infer()[1]["outputs"][0]["data"] == first
    assert ask(gate, 7.0) == 200
    assert gate.metric("budget_rows_paid_total") == 6, "what version 1 has no mark for"


@pytest.mark.parametrize("policy", [
    budget("{noise: {epsilon: 2}}", epsilon=20),
    budget("{noise: {epsilon: 1, after: clip}}"),
    budget("{round: {digits: 0}}, {noise: {epsilon: 1}}"),
    budget("{noise: {epsilon: 1, range: {low: 0, high: 2}}}"),
    "filters: [{round: {digits: 0}}, " + budget().partition("[")[2]])
def test_what_is_drawn_another_way_is_paid_for_and_shares_no_noise(make_gate, model, policy):
    """Were the noise the same, what was done to the scores would be the difference of two answers;
    and what had been paid for was not this."""
    gate = make(make_gate, model, budget())
    warm(gate, model)
    first = gate.infer()[1]["outputs"][0]["data"]
    gate.reload(policy=policy)
    changed = gate.infer()[1]["outputs"][0]["data"]
    assert gate.metric("budget_rows_paid_total") == 3
    assert len({round(a - b, 6) for a, b in zip(changed, first)} - {0.0, 0.5, -0.5, 0.25}) >= 2
    gate.reload(policy=budget(epsilon=9))
    assert gate.infer()[1]["outputs"][0]["data"] == first
    assert gate.metric("budget_rows_paid_total") == 3, "nothing but the limit is another"


def test_a_new_noise_key_draws_anew_and_is_paid_for(make_gate, model):
    gate = make(make_gate, model, budget())
    warm(gate, model)
    first = gate.infer()[1]["outputs"][0]["data"]
    gate.write("noise.key", KEY + " no more")
    gate.reload()
    assert gate.infer()[1]["outputs"][0]["data"] != first
    assert gate.metric("budget_rows_paid_total") == 3


def test_what_answers_may_depend_on_is_part_of_the_question(make_gate, model):
    """A shape, a content type, a whole number that is no double, and what came before."""
    gate = make(make_gate, model, budget())
    warm(gate, model)

    def asked(shape, data, kind="FP32", more=None):
        x = {"name": "x", "datatype": kind, "shape": shape, "data": data, **(more or {})}
        return gate.infer({"inputs": [x]})[0], gate.metric("budget_rows_paid_total")

    assert asked([1, 4], [1, 2, 3, 4]) == (200, 2)
    assert asked([1, 1, 4], [1, 2, 3, 4], "FP64") == (200, 2)
    assert asked([1, 2, 2], [1, 2, 3, 4]) == (200, 3)
    assert asked([1, 4], [1, 2, 3, 4], more={"parameters": {"content_type": "np"}}) == (200, 4)
    assert asked([1, 1], [2 ** 53], "INT64") == (200, 5)
    assert asked([1, 1], [2 ** 53 + 1], "INT64") == (200, 6)
    assert asked([1, 1], [2 ** 53], "UINT64") == (200, 6)
    for extra in ({"sequence_id": 1}, {"sequence_id": "a"}, {"sequence_start": True},
                  {"sequence_end": True}):
        assert gate.infer(query(parameters=extra))[0] == 403
    assert gate.infer(query(parameters={"sequence_id": 0, "priority": 1}))[0] == 200


def test_failures_give_nothing_back(make_gate, model):
    gate = make(make_gate, model, budget())
    model.fail = True
    assert {ask(gate, float(i)) for i in range(4)} == {502}
    model.fail, model.extra = False, 1
    assert ask(gate, 50.0) == 502, "more rows than were paid for"
    model.extra = 0
    assert [ask(gate, 100.0 + i) for i in range(6)] == [200] * 5 + [403]


def test_clients_and_models_have_their_own(make_gate, model):
    gate = make(make_gate, model, budget(epsilon=2), start=False)
    gate.keys.append(("bob", "the-key-of-bob-in-this-test", None))
    gate.write_policy()
    gate.start()
    bob = {"X-API-Key": "the-key-of-bob-in-this-test"}
    for name in ("m", "mm"):
        for headers in ({}, bob):
            got = [gate.infer(query(1, [float(i)] * 4), model=name, headers=headers)[0]
                   for i in range(3)]
            assert got == [200, 200, 403]


def test_accounting_by_rho_pays_for_more(make_gate, model):
    noise = "{noise: {mechanism: discrete_gaussian, epsilon: 0.5, delta: 1e-6}}"
    paid = {}
    for kind in ("zcdp", "renyi"):
        gate = make(make_gate, model, budget(noise, epsilon=4, delta=1e-6, accounting=kind))
        text = explain(gate)
        told = int(text.split("it pays for ")[1].split()[0])
        assert ask(gate, 0.0, told) == 200 and ask(gate, 5000.0) == 403
        paid[kind] = told
    assert paid["zcdp"] > 20 and abs(paid["renyi"] - paid["zcdp"]) <= 0.2 * paid["zcdp"]


# ---- What outlives what ----

def test_a_crash_gives_nothing_back(make_gate, model):
    gate = make(make_gate, model, budget())
    assert [ask(gate, float(i)) for i in range(4)] == [200] * 4
    gate.kill()
    gate.start()
    assert [ask(gate, 100.0 + i) for i in range(4)] == [200] * 4
    gate.stop()
    gate.start()
    assert [ask(gate, 200.0 + i) for i in range(4)] == [200] * 2 + [403] * 2
    gate.reload(policy=budget(epsilon=12, accounting="renyi", delta=1e-6))
    gate.reload(policy=budget(epsilon=11))
    assert [ask(gate, 300.0 + i) for i in range(2)] == [200, 403], "nor does a reload"


def test_kills_at_any_moment_overspend_nothing(make_gate, model):
    gate = make(make_gate, model, budget(epsilon=60), workers=2)
    answered = 0
    for life in range(4):
        done = [0] * 3

        def client(i, first=1000.0 * life):
            try:
                for k in range(8):
                    if ask(gate, first + 100 * i + k) != 200:
                        return
                    done[i] += 1
            except (OSError, ValueError, HTTPException):
                pass
        threads = [threading.Thread(target=client, args=(i,)) for i in range(3)]
        for t in threads:
            t.start()
        wait_for(lambda: sum(done) >= 5 or not any(t.is_alive() for t in threads), "answers", 60)
        gate.kill()
        for t in threads:
            t.join()
        answered += sum(done)
        gate.start()
    while ask(gate, 9e6 + answered) == 200:
        answered += 1
        assert answered <= 60
    assert 30 <= answered <= 60


def two_gates(make_gate, model, url, policy):
    gates = [make(make_gate, model, policy, start=False, store=store(url)) for _ in range(2)]
    share_key(*gates)
    for gate in gates:
        gate.start()
        wait_for(lambda: is_up(gate), "the gate has its store")
    return gates


def test_two_gates_share_one_budget(make_gate, model, redis_server):  # noqa: F811
    gates = two_gates(make_gate, model, redis_server.url, budget(epsilon=20))
    got = [ask(gate, 10.0 * i + k) for i in range(12) for k, gate in enumerate(gates)]
    assert got == [200] * 20 + [403] * 4
    gates[0].infer()
    for gate in gates:
        gate.infer()
    assert sorted(redis_server.call("TTL", k) for k in redis_server.call("KEYS", "q{*}b")) == [-1]


def test_a_repeat_at_the_other_gate_is_free(make_gate, model, redis_server):  # noqa: F811
    gates = two_gates(make_gate, model, redis_server.url, budget(epsilon=20))
    for gate in gates:
        warm(gate, model)
    assert gates[0].infer()[1] == gates[1].infer()[1]
    assert [g.metric("budget_rows_paid_total") for g in gates] == [2, 1]


def test_gates_that_race_and_are_killed_never_overspend(make_gate, model, redis_server):  # noqa: F811
    """Each answer that left was paid: with both gates asked at once, one of them killed and started
    again in the midst of it, no more leave than the budget pays for."""
    gates = two_gates(make_gate, model, redis_server.url, budget(epsilon=60))
    counts, stop = [0] * 6, threading.Event()

    def client(i):
        asked = 0
        while not stop.is_set():
            asked += 1
            try:
                status = ask(gates[i % 2], 1e4 * (i + 1) + asked)
            except (OSError, ValueError, HTTPException):
                continue
            counts[i] += status == 200
            if status == 403:
                return

    threads = [threading.Thread(target=client, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    try:
        for goal in (10, 25):
            wait_for(lambda: sum(counts) >= goal or not any(t.is_alive() for t in threads),
                     "answers came", 60)
            gates[1].kill()
            gates[1].start()
        for t in threads:
            t.join(60)
        assert not any(t.is_alive() for t in threads)
    finally:
        stop.set()
    assert 30 <= sum(counts) <= 60
    assert {ask(gate, 9e6) for gate in gates} == {403}


def test_a_silent_redis_lets_nothing_out(make_gate, model, redis_server):  # noqa: F811
    gate = make(make_gate, model, budget(), store=store(redis_server.url, timeout="50ms"))
    wait_for(lambda: is_up(gate), "the gate has its store")
    assert ask(gate, 1.0) == 200
    redis_server.pause()
    try:
        wait_for(lambda: not is_up(gate), "the gate has lost its store")
        assert ask(gate, 2.0) == 503
        gate.reload(policy=budget(on_failure="open"))
        assert ask(gate, 3.0) == 200
    finally:
        redis_server.resume()


# ---- Windows, and what follows ----

def test_a_window_gives_back(make_gate, model):
    gate = make(make_gate, model, budget(epsilon=2, window="2s"))
    assert [ask(gate, float(i)) for i in range(2)] == [200, 200]
    status, headers, _ = gate.request("POST", "/v2/models/m/infer", json.dumps(query()))
    if status != 200:  # on a machine that stood still for two seconds the window is over
        assert status == 429 and 1 <= int(headers["Retry-After"]) <= 3
    wait_for(lambda: ask(gate, 7.0) == 200, "the window is over")


def test_a_window_in_redis(make_gate, model, redis_server):  # noqa: F811
    gate = make(make_gate, model, budget(epsilon=2, window="2s"), store=store(redis_server.url))
    wait_for(lambda: is_up(gate), "the gate has its store")
    assert [ask(gate, float(i)) for i in range(2)] == [200, 200]
    wait_for(lambda: ask(gate, 7.0) == 200, "the window is over")
    assert all(redis_server.call("TTL", k) >= 0 for k in redis_server.call("KEYS", "q{*}b"))


def test_then_another_policy_applies(make_gate, model):
    gate = make(make_gate, model, budget(epsilon=2, when_spent="poor"), start=False)
    gate.parts["policy"] += "}\n  poor: {filters: [{rate_limit: {requests: 1/h, burst: 2}}, {top_k: {}}]"
    gate.write_policy()
    gate.start()
    data = [gate.infer(query(1, [float(i)] * 4)) for i in range(5)]
    assert [d[0] for d in data] == [200] * 4 + [429]
    assert [d[1]["outputs"][0]["data"] for d in data[2:4]] == [[1, 0, 0]] * 2
    lines = wait_for(lambda: len(gate.log_lines()) == 5 and gate.log_lines(), "the log")
    assert sorted((line["policy"], line.get("switched_from", "")) for line in lines) == \
        [("main", "")] * 2 + [("poor", "main")] * 3
    assert gate.metric("filter_verdicts_total", filter="budget", verdict="switch") == 3


# ---- Contradictions ----

def check(gate):
    r = subprocess.run([BINARY, "check", gate.path("policy.yaml")], capture_output=True, text=True)
    return r.returncode, r.stderr + r.stdout


@pytest.mark.parametrize("policy, says", [
    ("filters: [{budget: {epsilon: 1}}]", "needs a mechanism behind it"),
    ("filters: [{noise: {epsilon: 1}}, {budget: {epsilon: 1}}]", "needs a mechanism behind it"),
    (budget("{noise: {scale: 1}}"), "promises nothing"),
    (budget("{noise: {scale: 1, keep_top1: true}}"), "promises nothing"),
    (budget("{noise: {epsilon: 1, keep_top1: true}}"), "not differentially private"),
    (budget("{noise: {epsilon: 1, bucket: 0.1}}"), "independent draws"),
    (budget("{noise: {epsilon: 2}}", epsilon=1), "more than the whole budget"),
    (budget("{noise: {mechanism: discrete_gaussian, epsilon: 1, delta: 1e-6}}"), "no pure epsilon"),
    (budget(accounting="zcdp"), "give 'delta' too"),
    (budget(delta=1e-6), "leave it out"),
    (budget(window="soon"), "expected never"),
    (budget(on_failure="local"), "on_failure"),
    (budget(when_spent="nowhere"), "unknown policy 'nowhere'"),
    (budget(when_spent="mian"), "did you mean 'main'?"),
    (budget(when_spent="main"), "leads back to this one"),
    (budget("{top_k: {}}, {randomize: {epsilon: 1}}"), "put top_k behind it"),
    ("bodies: relay, " + budget(), "reads bodies"),
    (budget(before="{randomize: {epsilon: 1}}, "), "counts only what stands behind it"),
    (budget(before="{noise: {scale: 1, sticky: false}}, "), "counts only what stands behind it"),
])
def test_contradictions_are_refused(make_gate, model, policy, says):
    code, text = check(make(make_gate, model, policy, start=False))
    assert code == 1 and says in text, text


def in_a_row(count):
    """So many policies, each of which the one before it switches to."""
    names = ["main"] + ["p%d" % i for i in range(1, count)]
    policies = [budget(when_spent=after) for after in names[1:]] + ["filters: [{top_k: {}}]"]
    return policies[0] + "".join("}\n  %s: {%s" % pair for pair in zip(names[1:], policies[1:]))


@pytest.mark.parametrize("policy, says", [
    (budget(when_spent="other") + "}\n  other: {bodies: relay, filters: []", "relays bodies"),
    (budget(when_spent="other") + "}\n  other: {mode: observe, filters: []", "only observes"),
    (budget(when_spent="other") + "}\n  other: {" + budget(when_spent="main"), "leads back"),
    (in_a_row(10), "more than 8 policies"),
    (in_a_row(9), None)])
def test_policies_that_cannot_follow(make_gate, model, policy, says):
    code, text = check(make(make_gate, model, policy, start=False))
    assert (code, says is None or says in text) == (int(says is not None), True), text


def test_observing_refuses_nothing(make_gate, model):
    gate = make(make_gate, model, "mode: observe, " + budget(epsilon=2))
    got = [gate.infer(query(1, [float(i)] * 4)) for i in range(4)]
    assert {(status, tuple(a["outputs"][0]["data"])) for status, a in got} == {(200, (0.5, 0.25, 0.25))}
    assert gate.metric("filter_verdicts_total", filter="budget", verdict="would_deny") == 2
    text = explain(gate)
    assert "no differential privacy in this policy" in text and "charged all the same" in text
    gate.reload(policy=budget(epsilon=2))
    assert ask(gate, 50.0) == 403, "what was charged while observing stays charged"


def test_policies_in_a_row_share_the_account(make_gate, model):
    gate = make(make_gate, model, in_a_row(9).replace("epsilon: 10", "epsilon: 1"))
    got = [gate.infer(query(1, [float(i)] * 4)) for i in range(3)]
    assert [status for status, _ in got] == [200] * 3
    assert [a["outputs"][0]["data"] == [1, 0, 0] for _, a in got] == [False, True, True]
    assert gate.metric("filter_verdicts_total", filter="budget", verdict="switch") == 2 * 8


@pytest.mark.parametrize("parts, says", [
    ({"outputs": "{scores: scores, label: labels}"}, "declared labels would leave exact"),
    ({"outputs": "{scores: scores, label: labels}", "policy": "filters: [%s]" % NOISE},
     "void that promise"),
    ({"outputs": "{label: labels}", "policy": "filters: [%s]" % NOISE}, "noise cannot"),
    ({"outputs": "{label: labels}", "policy": "filters: [{noise: {scale: 1}}]"}, "noise cannot"),
    ({"outputs": "{label: labels}", "policy": "filters: [{randomize: {epsilon: 1}}]"},
     "randomize with 'classes'"),
    ({"outputs": "{scores: scores, more: scores, yet: scores}", "policy": budget(epsilon=2)},
     "all its outputs costs more"),
    ({"store": 'store: {url: "memory:"}'}, "must outlive the process")])
def test_models_and_stores_that_do_not_fit(make_gate, model, parts, says):
    parts = {"policy": budget(), **parts}
    code, text = check(make(make_gate, model, start=False, **parts))
    assert code == 1 and says in text, text


@pytest.mark.parametrize("outputs, policy", [
    ("{scores: scores, label: labels}", "filters: [{noise: {scale: 1}}]"),
    ("{scores: scores, label: labels}", "filters: [{randomize: {epsilon: 1, classes: 3}}]"),
    ("{label: labels}", "filters: [{randomize: {epsilon: 1, classes: 3}}]"),
    ("{label: labels}", "filters: [{top_k: {}}]")])
def test_labels_that_may_leave(make_gate, model, outputs, policy):
    code, text = check(make(make_gate, model, policy, outputs=outputs, start=False))
    assert code == 0, text


# ---- In words, and in numbers ----

def explain(gate):
    r = subprocess.run([BINARY, "explain", gate.path("policy.yaml"), "--client", "alice", "--model", "m"],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def test_explain_says_what_it_comes_to(make_gate, model):
    text = explain(make(make_gate, model, budget(epsilon=20), start=False))
    assert "it pays for 20 different answers" in text
    for n in (1, 10, 20):
        e = float(n)
        tpr = 100 * min(1, math.exp(e) * 0.001, 1 - math.exp(-e) * 0.999)
        advantage = min(1, (math.exp(e) - 1) / (math.exp(e) + 1))
        assert "- %d answer%s: (%g, 0); of any membership attack, true positives at 0.1 %% false " \
            "ones <= %.3g %%, advantage <= %.3g" % (n, "s"[:n > 1], e, tpr, advantage) in text
    assert "not promised" in text and "nothing here counts" not in text


def test_the_accountants_values_are_scipys():
    """What test_accountant.c holds the accountant to is what Python computes, not what C did."""
    script = os.path.join(ROOT, "tests/unit/accountant_values.py")
    with open(script.replace(".py", ".h")) as f:
        committed = f.read().splitlines()
    made = subprocess.run([sys.executable, script], capture_output=True, text=True).stdout.splitlines()
    assert len(made) == len(committed) > 100
    for a, b in zip(made[1:], committed[1:]):
        a, b = (line.rstrip(")").rpartition(", ") for line in (a, b))
        assert a[0] == b[0] and float(a[2]) == pytest.approx(float(b[2]), rel=1e-9, abs=1e-9)

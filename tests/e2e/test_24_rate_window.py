"""Rates are exact over all workers: in no window is more admitted than rate x window + burst, and
what is due is not withheld.

A client sees a request admitted somewhere between sending it and having its answer.  So those that
were sent after a moment A and answered before B were admitted within (A, B): if they are more than
the rule allows for B - A, the rule was broken, whatever the network did."""
import json
import math
import random
import time

import numpy as np

import hammer
import harness
import load
from harness import SANITIZED


def worst_window(admitted, rate, burst):
    """The most that any window holds above what it may: [(sent, received, cost)]"""
    sent, received, cost = (np.array(column) for column in zip(*admitted))
    order = np.argsort(received)
    sent, received, cost = sent[order], received[order], cost[order]
    worst = -math.inf
    for start in sent:
        within = sent >= start
        held = np.cumsum(cost[within]) - (burst + rate * (received[within] - start))
        worst = max(worst, held.max())
    return worst


def check(answers, rate, burst, cost=lambda a: 1):
    """Asserts the bound; answers (admitted, due): due is what the rule owes a client that asks all
    the time, from when it had its first answer to when it last asked."""
    assert {a.status for a in answers} <= {200, 429}
    admitted = [(a.sent, a.received, cost(a)) for a in answers if a.status == 200]
    assert worst_window(admitted, rate, burst) <= 1e-6
    seconds = max(a.sent for a in answers) - min(a.received for a in answers)
    return sum(c for _, _, c in admitted), burst + rate * max(seconds, 0)


def test_the_checker_finds_what_is_over():
    """A counter that starts anew each second admits twice the burst around the turn of one."""
    per_second = [(t, t + 0.001, 1) for second in (0, 1) for t in
                  (second + (0.9 if second == 0 else 0) + i / 1000 for i in range(50))]
    assert worst_window(per_second, 50, 50) > 40
    steady = [(i / 50, i / 50 + 0.001, 1) for i in range(200)]
    assert worst_window(steady, 50, 1) <= 0
    assert worst_window(steady, 49, 1) > 0
    assert worst_window([(t, r, 2) for t, r, _ in steady], 99, 2) > 0


def seconds_from_now(seconds):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


BODIES = [json.dumps(harness.query(rows)).encode() for rows in range(1, 5)]


def test_one_key_on_all_workers(make_gate, upstream):
    """64 connections over 4 workers, batches of one to four rows."""
    # A bucket that takes half a second to fill outlasts the pauses of a busy machine.
    rate, burst = (100, 50) if SANITIZED else (300, 150)
    gate = make_gate(upstream.url, workers=4,
                     policy="filters: [{rate_limit: {queries: %d/s, burst: %d}}]" % (rate, burst))
    random.seed(24)

    def request(_):
        rows = random.randint(1, 4)
        return rows, load.post(gate.key, BODIES[rows - 1])

    answers, ends = load.run(gate.port, 64, request, seconds_from_now(3))
    admitted, due = check(answers, rate, burst, lambda a: a.tag)
    assert not ends
    assert sum(a.tag for a in answers) > 1.5 * due, "the machine was too slow to saturate the rate"
    assert admitted >= 0.99 * due - max(a.tag for a in answers)
    assert gate.metric("queries_total") == sum(a.tag for a in answers)


HOT = (100, 100) if SANITIZED else (300, 100)  # rate and burst of the client that always asks
TIERS = {"gold": (1, 2), "free": (0.5, 1)}
OTHERS = 20_000 if SANITIZED else 100_000
KEY = "key-of-client-%07d"


def write_keys(gate):
    gate.keys += [("hot", KEY % 0, "hot")]
    gate.keys += [("c%d" % i, KEY % i, tier_of(i)) for i in range(1, OTHERS + 1)]
    gate.write_policy()


def tier_of(client):
    return "gold" if client % 2 else "free"


def wrong_decisions(asks, rate, burst):
    """How many of one client's requests [(sent, received, admitted)] a GCRA cannot have decided so,
    whenever within its time each of them was decided.  None if two of them overlap: which of those
    came first is not known."""
    wrong, period, least, most = 0, 1 / rate, -math.inf, -math.inf  # bounds of when debts are paid
    before = -math.inf
    for sent, received, admitted in asks:
        if sent < before:
            return None
        before = received
        may, must = (least - received <= (burst - 1) * period, most - sent <= (burst - 1) * period)
        wrong += not may if admitted else must
        if admitted:
            least, most = max(least, sent) + period, max(most, received) + period
    return wrong


def test_the_checker_of_decisions_finds_wrong_ones():
    def wrong(*asks):
        return wrong_decisions([(t, t + 0.01, yes) for t, yes in asks], 1, 2)

    assert wrong((0, True), (0.1, True), (0.2, False), (1.1, True), (1.2, False)) == 0
    assert wrong((0, True), (0.1, True), (0.2, True)) == 1
    assert wrong((0, False)) == 1
    assert wrong((0, True), (0.1, True), (1.1, False)) == 1
    assert wrong((0, True), (0.1, True), (0.2, False), (0.995, False)) == 0  # one or the other
    assert wrong_decisions([(0, 2, True), (1, 3, True)], 1, 2) is None


def by_client(log):
    """(client, its records in the order they were sent)"""
    log = log[np.lexsort((log["sent"], log["client"]))]
    starts = np.flatnonzero(np.diff(log["client"], prepend=-1))
    for own in np.split(log, starts[1:]):
        yield int(own["client"][0]), own


def test_a_hot_key_and_a_hundred_thousand_others(make_gate, tmp_path):
    with hammer.stub() as port:
        gate = make_gate(
            "http://127.0.0.1:%d" % port, start=False, workers=4, policy="filters: []", match="c*",
            outputs="{probabilities: scores}", model=", tiers: {hot: hot, gold: gold, free: free}",
            more="\n".join("  %s: {filters: [{rate_limit: {requests: %d/min, burst: %d}}]}"
                           % (tier, rate * 60, burst)
                           for tier, (rate, burst) in {**TIERS, "hot": HOT}.items()))
        write_keys(gate)
        gate.start()
        log = hammer.run(tmp_path / "decisions", [gate.port], "X-API-Key: " + KEY.replace("%07d", "@"),
                         k=OTHERS + 1, h=20, r=True, n=OTHERS * 5 // 2, c=64,
                         u="/v2/models/c10/infer")
    assert set(np.unique(log["status"])) == {200, 429}
    judged = wrong = asked = 0
    for client, own in by_client(log):
        if client == 0:
            yes = own[own["status"] == 200]
            seconds = (own["sent"][-1] - own["received"][0]) / 1e9
            assert len(own) > 1.2 * HOT[0] * seconds, "the machine was too slow to saturate the rate"
            assert hammer.worst_excess(yes["sent"], yes["received"], *HOT) <= 1e-6
            assert len(yes) >= 0.99 * (HOT[1] + HOT[0] * seconds) - 1
            continue
        asks = zip(own["sent"] / 1e9, own["received"] / 1e9, own["status"] == 200)
        bad = wrong_decisions(asks, *TIERS[tier_of(client)])
        asked, judged, wrong = asked + 1, judged + (bad is not None), wrong + (bad or 0)
    assert wrong == 0
    assert asked > 0.8 * OTHERS and judged > 0.9 * asked  # 1 - 1/e^2 of them

"""Rates are exact over all workers: in no window is more admitted than rate x window + burst, and
what is due is not withheld.

A client sees a request admitted somewhere between sending it and having its answer.  So those that
were sent after a moment A and answered before B were admitted within (A, B): if they are more than
the rule allows for B - A, the rule was broken, whatever the network did."""
import json
import math
import random
import secrets
import time

import numpy as np

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
    rate, burst = (150, 40) if SANITIZED else (500, 60)
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


TIERS = {"gold": (20, 6), "free": (2, 3)}  # rate and burst


def test_thousands_of_keys_in_two_tiers(make_gate, upstream):
    gate = make_gate(
        upstream.url, start=False, workers=4, policy="filters: []", model=", tiers: {gold: gold, free: free}",
        more="\n".join("  %s: {filters: [{rate_limit: {requests: %d/s, burst: %d}}]}" % (t, *rule)
                       for t, rule in TIERS.items()))
    gate.keys += [("%s-%d" % (t, i), secrets.token_hex(16), t) for i in range(1250) for t in TIERS]
    gate.write_policy()
    gate.start()
    clients = gate.keys[1:]
    random.seed(24)
    popular = random.choices(range(len(clients)), [1 / (i + 1) for i in range(len(clients))], k=1 << 17)
    asked = iter(popular)

    def request(_):
        i = next(asked)
        return i, load.post(clients[i][1], BODIES[0])

    answers, ends = load.run(gate.port, 64, request, seconds_from_now(3))
    assert not ends
    by_client = {}
    for a in answers:
        by_client.setdefault(a.tag, []).append(a)
    admitted = due = 0
    for i, own in by_client.items():
        got, owed = check(own, *TIERS[clients[i][2]])
        if len(own) > 6 * owed:  # only who asks all the time has all that is due
            admitted, due = admitted + got, due + math.floor(owed)
    assert due > 20 and admitted >= 0.99 * due
    assert len(by_client) > (100 if SANITIZED else 500)

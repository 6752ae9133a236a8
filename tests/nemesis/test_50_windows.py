"""Three gates, one Redis: together they admit what one would, in every window, and no less."""
import math
import time

import numpy as np
import pytest

import fleet as rigs
import windows
from harness import SANITIZED, wait_for
from redis_servers import redis_server  # noqa: F401 (a fixture)
from fleet import Rule

CONNECTIONS = 64
PATIENT = 0.5  # the machine is full: what is tested is the count


# The checker itself.

def every_window(sent, received, rate, burst):
    """worst_window's excess, by looking at all of them."""
    worst = -burst
    for start in sent:
        ends = np.sort(received[sent >= start])
        worst = max(worst, (np.arange(1, len(ends) + 1) - rate * (ends - start) - burst).max())
    return worst


def test_the_checker_agrees_with_one_that_tries_all():
    random = np.random.default_rng(50)
    over = 0
    for _ in range(200):
        count = random.integers(1, 200)
        sent = random.random(count) * 3
        received = sent + random.exponential(random.choice([0.001, 0.05, 0.5]), count)
        rate, burst = int(random.integers(1, 100)), int(random.integers(1, 20))
        want = every_window(sent, received, rate, burst)
        got = windows.worst_window(sent, received, rate, burst)
        if want > 0:
            over += 1
            assert abs(got.excess - want) < 1e-9
            within = np.count_nonzero((sent >= got.start) & (received <= got.end))
            assert abs(within - rate * (got.end - got.start) - burst - want) < 1e-9
        else:
            assert got.excess <= 0
    assert 20 < over < 180


def test_the_checker_finds_counters_that_start_anew():
    """Twice the burst around the turn of a second, as fixed windows admit; and its history."""
    at = np.concatenate([np.arange(50) / 1000 + 0.95, np.arange(50) / 1000 + 1.0])
    gates = np.arange(100) % 3
    worst = windows.worst_window(at, at + 0.001, 50, 50)
    assert worst.excess > 40
    told = r"(?s)more than allowed.*gate 2 admitted 33.*-- FLUSH"
    with pytest.raises(AssertionError, match=told):
        windows.assert_bound("rule", at, at + 0.001, gates, 50, 50, [(1.0, "FLUSHALL")])
    steady = np.arange(200) / 50
    windows.assert_bound("rule", steady, steady + 0.001, gates, 50, 1)


def test_an_outage_widens_only_its_own_time():
    at = np.arange(400) / 100
    assert windows.worst_window(at, at + 0.001, 50, 10).excess > 100
    slower = rigs.stretched(at, (0, 5))
    assert windows.worst_window(slower, slower + 0.001, 50, 10).excess <= 0
    late = rigs.stretched(at, (3, 5))
    assert windows.worst_window(late, late + 0.001, 50, 10).excess > 100


# The gates.

def check_clients(rule, decisions, events=()):
    """Asserts the bound of each client; (admitted, due) of those that asked for far more."""
    assert set(decisions.statuses()) <= {200, 429}
    admitted = owed = judged = 0
    for client, own in decisions.by_client():
        got = own.admitted
        windows.assert_bound("client %d" % client, got.sent, got.received, got.gate, rule.rate,
                             rule.bound, events)
        mine = rigs.due(rule, own)
        if len(own) > 2 * mine:
            admitted, owed, judged = admitted + len(got), owed + math.floor(mine), judged + 1
    return admitted, owed, judged


def hammered(rig, rule, url, requests, clients):
    rig.start_gates(url, rule, clients=clients, timeout=PATIENT)
    decisions = rig.run(c=CONNECTIONS, n=requests, k=clients, w=0)
    assert len(decisions) >= requests
    admitted, owed, judged = check_clients(rule, decisions)
    assert rig.fallbacks() == 0
    assert judged > clients / 2, "the machine was too slow to ask for more than is due"
    assert admitted >= 0.99 * owed, (admitted, owed)
    return decisions


@pytest.mark.parametrize("exact, requests", [(True, 600_000), (False, 200_000)])
def test_one_client_hammers(rig, redis_server, exact, requests):  # noqa: F811
    hammered(rig, Rule(1000, 200, exact=exact), redis_server.url,
             20_000 if SANITIZED else requests, 1)


@pytest.mark.parametrize("exact, requests", [(True, 420_000), (False, 200_000)])
def test_many_clients_hammer(rig, redis_server, exact, requests):  # noqa: F811
    clients = 150 if SANITIZED else 1500
    hammered(rig, Rule(1, 8, exact=exact), redis_server.url,
             20_000 if SANITIZED else requests, clients)


@pytest.mark.parametrize("exact", [True, False])
def test_bursts_around_the_turns_of_seconds(rig, redis_server, exact):  # noqa: F811
    """Where counters per second would start anew."""
    rule = Rule(50, 60, exact=exact)
    rig.start_gates(redis_server.url, rule, timeout=PATIENT)
    parts = []
    for _ in range(3):
        wait_for(lambda: 0.93 < time.time() % 1 < 0.97, "a second is about to end")
        parts.append(rig.run(c=CONNECTIONS // 2, s=0.15, w=0))
    whole = rigs.joined(parts)
    check_clients(rule, whole)
    assert all(len(p.admitted) >= min(rule.rate, rule.burst) * 0.9 for p in parts)


def test_hoarded_leases(rig, redis_server):  # noqa: F811
    """Each gate is made to lease while the bucket refills; then all is asked for at once."""
    rule = Rule(200, 80)
    rig.start_gates(redis_server.url, rule, timeout=PATIENT)
    parts = []
    for _ in range(3):
        for _ in range(3):
            parts.append(rig.run(c=4, n=36, w=0))
            rig.let_run(0.4)
        parts.append(rig.run(c=CONNECTIONS // 2, s=0.15, w=0))
    got = rigs.joined(parts).admitted
    windows.assert_bound("hoarded", got.sent, got.received, got.gate, rule.rate, rule.bound)

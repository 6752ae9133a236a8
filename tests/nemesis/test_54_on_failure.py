"""What each rule does while the store is away, how an operator learns of it, and that clients who
leave meanwhile leave nothing behind."""
import contextlib
import json
import os
import re
import socket
import struct
import time

import pytest

import fake_redis
import load
import fleet as rigs
from fake_redis import Meddler
from harness import SANITIZED, read_answer, wait_for
from redis_servers import redis_cluster, redis_server  # noqa: F401 (fixtures)
from fleet import Rule

MODES = {"local": {200, 429}, "closed": {503}, "open": {200}}
WORKERS = 2
NOTICED = 1 + 0.5  # seconds: one, on a busy machine
REQUEST = load.post(rigs.KEY % 0, b"{}", "c10")


def alerts(gate):
    path = gate.path("alerts.jsonl")
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return [json.loads(line) for line in f if line.endswith("\n")]


def store_alerts(gate):
    return [a for a in alerts(gate) if a["rule"]["id"].startswith("store.")]


def store_lines(gate):
    return [line for line in gate.stderr().splitlines() if re.search(r"\bstore\b", line)]


def ask(gate):
    with gate.connect() as s:
        s.sendall(REQUEST)
        return read_answer(s)


def test_each_mode_shows(rig, redis_server):  # noqa: F811
    """Statuses, Retry-After, counters, gauge, one log line and one alert each way."""
    gates = {}
    for mode in MODES:
        rule = Rule(200, 40, on_failure=mode, gates=1)
        gates[mode], = rig.start_gates(redis_server.url, rule, count=1)
    rig.load(w=8)
    rig.let_run(0.3)
    redis_server.pause()
    broken = rig.note("SIGSTOP")
    down = rig.wait_down()
    for g in gates.values():
        wait_for(lambda: store_alerts(g), "there is an alert")
    told = time.monotonic()
    rig.let_run(0.7)
    _, headers, body = ask(gates["closed"])
    redis_server.resume()
    mended = rig.note("SIGCONT")
    up = rig.wait_up()
    for g in gates.values():
        wait_for(lambda: len(store_alerts(g)) == 2, "there is an alert of its return")
    rig.let_run(0.3)
    decisions = rig.finish()

    assert told - broken < NOTICED or SANITIZED
    during, after = decisions.between(down, mended), decisions.between(up + 0.05, up + 0.25)
    for i, (mode, statuses) in enumerate(MODES.items()):
        own = during.where(during.gate == i)
        assert set(own.statuses()) == statuses, mode
        assert set(after.where(after.gate == i).statuses()) <= {200, 429}
        g = gates[mode]
        assert g.metric("store_fallback_%s_total" % mode) >= len(own)
        assert all(g.metric("store_fallback_%s_total" % m) == 0 for m in MODES if m != mode)
        assert g.metric("store_losses_total") == WORKERS
        assert len(store_lines(g)) == 2, g.stderr()
        assert len(store_alerts(g)) == 2
    assert 1 <= int(headers["retry-after"]) <= 5 and b"redis" not in body.lower()


def test_a_flapping_store_does_not_flap_the_state(rig, redis_server):  # noqa: F811
    rule = Rule(200, 40, exact=True, gates=1)
    gate, = rig.start_gates(redis_server.url, rule, count=1)
    rig.load(w=8)
    rig.let_run(0.2)
    for _ in range(10):
        redis_server.pause()
        rig.let_run(0.15)
        redis_server.resume()
        rig.let_run(0.04)  # for fewer answers than it takes to be trusted again
    losses = gate.metric("store_losses_total")
    rig.wait_up()
    decisions = rig.finish()
    assert set(decisions.statuses()) <= {200, 429}
    assert losses <= 2 * WORKERS, losses
    assert len(store_alerts(gate)) <= 4


def test_a_part_of_a_cluster_is_away(rig, redis_cluster):  # noqa: F811
    """What the nodes that are left say does not make the store found, and then lost again."""
    for s in redis_cluster.servers:
        s.call("CONFIG", "SET", "cluster-require-full-coverage", "no")
    rule = Rule(200, 40, exact=True, gates=1)
    gate, = rig.start_gates(redis_cluster.url, rule, count=1, clients=30, timeout=0.5)
    rig.wait_up()
    rig.load(w=4, k=30)
    rig.let_run(0.2)
    redis_cluster.servers[0].kill()
    rig.wait_down()
    rig.let_run(2.5)
    losses, told = gate.metric("store_losses_total"), len(store_alerts(gate))
    redis_cluster.servers[0].start()
    rig.wait_up()
    decisions = rig.finish()
    assert 1 <= losses <= WORKERS and told == 1, (losses, told)
    assert set(decisions.statuses()) <= {200, 429}


# Clients who leave while their decision waits.

CROWD = 20


def leave(sockets):
    """By RST, so that the gate notices at once."""
    for s in sockets:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("exact", [True, False])
def test_clients_leave_while_their_decision_waits(rig, redis_server, mode, exact):  # noqa: F811
    """The reply comes after they went, or the connection breaks, or the deadline passes."""
    rule = Rule(100, 3 if exact else 40, exact=exact, on_failure=mode, gates=1)
    with contextlib.closing(Meddler(redis_server.port)) as between:
        gate, = rig.start_gates("redis://127.0.0.1:%d" % between.port, rule, count=1,
                                timeout=0.4)
        for behaviour, ending in ((fake_redis.late(0.2), lambda: None),
                                  (fake_redis.silent, between.break_all),
                                  (fake_redis.silent, lambda: None)):
            gone = gate.metric("client_aborts_total")

            def crowd_leaves():
                between.misbehave(fake_redis.passes)
                between.break_all()  # on a connection that missed a reply all others come late
                rig.wait_up()
                between.misbehave(behaviour)
                heard = between.commands
                crowd = [gate.connect() for _ in range(CROWD)]
                for s in crowd:
                    s.sendall(REQUEST)
                wait_for(lambda: between.commands > heard + 3, "Redis is asked")
                leave(crowd)
                ending()

            wait_for(lambda: crowd_leaves() or gate.metric("client_aborts_total") > gone,
                     "some left in time", 60)
            between.misbehave(fake_redis.passes)
            between.break_all()
            wait_for(lambda: ask(gate)[0] in (200, 429) and rig.stores_up(), "all is well again")

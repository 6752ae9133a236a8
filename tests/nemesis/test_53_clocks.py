"""Clocks that jump by an hour, on a gate or on Redis: no burst beyond one more, and no stall."""
import os
import struct
import subprocess
import time

import pytest

import fleet as rigs
from harness import SANITIZED, wait_for
from redis_servers import RedisServer
from fleet import Rule

HOUR = 3600
JUMPS = [HOUR, 0, -HOUR, 0]  # to so far from the truth: on, back, back, on
PHASE = 1.0
SLOW = 0.2  # store.timeout


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("clock") / "clock_shift.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clock_shift.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-o", path, source], check=True)
    return path


class Clock:
    """A wall clock that is off by what was set; the monotonic one is not touched."""

    def __init__(self, folder, library):
        self.file = open(os.path.join(str(folder), "clock"), "w+b", buffering=0)
        self.set(0)
        self.env = {"LD_PRELOAD": library, "CLOCK_SHIFT": self.file.name}

    def set(self, seconds):
        os.pwrite(self.file.fileno(), struct.pack("<q", seconds), 0)


def jump_about(rig, clock, rule, check):
    """A phase of load before and after each jump."""
    rig.load(w=8)
    edges = [time.monotonic()]
    rig.let_run(PHASE)
    for offset in JUMPS:
        edges.append(rig.note("the clock is off by %d s" % offset))
        clock.set(offset)
        check(offset)
        rig.let_run(PHASE)
    edges.append(time.monotonic())
    decisions = rig.finish()

    assert set(decisions.statuses()) == {200, 429}
    refill = rule.burst / rule.rate
    for i in range(len(edges) - 1):
        after = edges[i] + refill + 0.2
        got = len(decisions.between(after, edges[i + 1]).admitted)
        assert got >= 0.5 * rule.rate * (edges[i + 1] - after), "it stalls after jump %d" % i
        two = decisions.between(edges[i], edges[min(i + 2, len(edges) - 1)])
        rigs.assert_bounded(rule, two, rig.events, more=rule.burst)
    rigs.assert_bounded(rule, decisions, rig.events, more=len(JUMPS) * rule.burst)
    return decisions


@pytest.mark.parametrize("exact", [True, False])
def test_of_redis(rig, tmp_path, library, monkeypatch, exact):
    clock, rule = Clock(tmp_path, library), Rule(100, 30, exact=exact)
    server = RedisServer(tmp_path)

    def check(offset):
        wait_for(lambda: abs(int(server.call("TIME")[0]) - time.time() - offset) < 60,
                 "Redis' clock jumped")

    try:
        with monkeypatch.context() as m:
            for name, value in clock.env.items():
                m.setenv(name, value)
            server.start()
        rig.start_gates(server.url, rule, timeout=SLOW)
        jump_about(rig, clock, rule, check)
    finally:
        server.kill()


@pytest.mark.skipif(SANITIZED, reason="nothing may be loaded before ASan")
@pytest.mark.parametrize("exact", [True, False])
def test_of_a_gate(rig, tmp_path, library, exact):
    """Those of the others stay."""
    clock, rule = Clock(tmp_path, library), Rule(100, 30, exact=exact)
    with RedisServer(tmp_path) as server:
        jumping, = rig.start_gates(server.url, rule, count=1, env=clock.env, timeout=SLOW)
        rig.start_gates(server.url, rule, count=2, timeout=SLOW)
        decisions = jump_about(rig, clock, rule, lambda offset: None)
        rigs.assert_bounded(rule, decisions, rig.events)  # Redis' clock alone counts
        assert rig.fallbacks() == 0 and jumping.is_ready()

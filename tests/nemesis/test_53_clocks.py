"""Clocks that jump by an hour, on a gate or on Redis: no burst beyond one more, and no stall."""
import glob
import os
import time

import pytest

import rig as rigs
from harness import SANITIZED, wait_for
from redis_servers import RedisServer
from rig import Rule

LIBRARY = (glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") or [None])[0]
JUMPS = ["+1h", "+0", "-1h", "+0"]  # forwards, back, back, forwards
PHASE = 1.2
SLOW = 0.2  # as libfaketime is


class Clock:
    """A wall clock that is off by what was set; the monotonic one is not touched."""

    def __init__(self, folder):
        self.file = os.path.join(str(folder), "clock")
        self.set("+0")
        self.env = {"LD_PRELOAD": LIBRARY, "FAKETIME_TIMESTAMP_FILE": self.file,
                    "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                    "DONT_FAKE_MONOTONIC": "1"}

    def set(self, offset):
        with open(self.file + ".new", "w") as f:
            f.write(offset + "\n")
        os.replace(self.file + ".new", self.file)


def jump_about(rig, clock, rule, check):
    """A phase of load before and after each jump."""
    rig.load(w=8)
    edges = [time.monotonic()]
    rig.let_run(PHASE)
    for offset in JUMPS:
        edges.append(rig.note("the clock jumps to " + offset))
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
        assert got >= 0.7 * rule.rate * (edges[i + 1] - after), "it stalls after jump %d" % i
        two = decisions.between(edges[i], edges[min(i + 2, len(edges) - 1)])
        rigs.assert_bounded(rule, two, rig.events, more=rule.burst)
    rigs.assert_bounded(rule, decisions, rig.events, more=len(JUMPS) * rule.burst)
    return decisions


@pytest.mark.skipif(LIBRARY is None, reason="no libfaketime")
@pytest.mark.parametrize("exact", [True, False])
def test_of_redis(rig, tmp_path, monkeypatch, exact):
    clock, rule = Clock(tmp_path), Rule(100, 30, exact=exact)
    server = RedisServer(tmp_path)
    with monkeypatch.context() as m:
        for name, value in clock.env.items():
            m.setenv(name, value)
        server.start()

    def check(offset):
        hours = {"+1h": 1, "+0": 0, "-1h": -1}[offset]
        wait_for(lambda: abs(int(server.call("TIME")[0]) - time.time() - 3600 * hours) < 60,
                 "Redis' clock jumped")

    try:
        rig.start_gates(server.url, rule, timeout=SLOW)
        jump_about(rig, clock, rule, check)
    finally:
        server.kill()


@pytest.mark.skipif(LIBRARY is None or SANITIZED,
                    reason="no libfaketime, or it may not be loaded before ASan")
@pytest.mark.parametrize("exact", [True, False])
def test_of_a_gate(rig, tmp_path, exact):
    """Those of the others stay."""
    clock, rule = Clock(tmp_path), Rule(100, 30, exact=exact)
    with RedisServer(tmp_path) as server:
        jumping, = rig.start_gates(server.url, rule, count=1, env=clock.env, timeout=SLOW)
        rig.start_gates(server.url, rule, count=2, timeout=SLOW)
        decisions = jump_about(rig, clock, rule, lambda offset: None)
        rigs.assert_bounded(rule, decisions, rig.events)  # Redis' clock alone counts
        assert rig.fallbacks() == 0 and jumping.is_ready()

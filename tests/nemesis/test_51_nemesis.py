"""What happens to the limits when Redis stops, dies, forgets, fails over or moves: decisions stay
prompt, what is admitted stays bounded, and shared counting is back soon after Redis is."""
import time

import pytest

import fleet as rigs
from harness import SANITIZED
from redis_servers import redis_cluster, redis_server, sentinels  # noqa: F401 (fixtures)
from fleet import Rule

RATE, BURST = 200, 40
CALM = 0.6       # seconds of load before, and after, what happens
OUTAGE = 1.0
NOTICED = 1.0
RECOVERY = 1.0   # after Redis' return every gate counts with the others again
NOISE = 0.5      # what a busy machine may add to it
DEFAULT = 0.005  # store.timeout
ATTEMPTS = 3     # of what is timed; what is counted has to hold in each


@pytest.fixture(params=[True, False], ids=["exact", "leased"])
def rule(request):
    return Rule(RATE, BURST, exact=request.param)


class Late(Exception):
    """Something took longer than it should: the machine, perhaps."""


def in_time(scenario):
    for attempt in range(ATTEMPTS):
        try:
            return scenario()
        except Late as e:
            late = e
    raise AssertionError("late %d times in a row: %s" % (ATTEMPTS, late))


def check_prompt(decisions, calm, what, deadline):
    if not rigs.is_prompt(decisions, calm, deadline) and not SANITIZED:
        raise Late("%s: decisions took %s ms (50, 99, 100 %%), in calm %s ms" % (
            what, rigs.quantiles(decisions), rigs.quantiles(calm)))
    assert decisions.took.max() < (rigs.PATIENCE if SANITIZED else 2 * rigs.STUCK), what


def check_alive(rule, decisions, start, end):
    """What is due goes on being admitted, but for a burst's worth of debt."""
    part = decisions.between(start, end)
    want = 0.9 * rule.rate * (end - start) - 2 * rule.burst
    got = len(part.admitted)
    assert got >= want, "%d admitted from %f to %f" % (got, start, end)


def scenario(rig, rule, begin, end, what, bursts=0, goes_down=True, deadline=rigs.DEADLINE,
             parted=0):
    """Load throughout; begin() breaks Redis, end() mends it or waits until it is.  bursts: how many
    times it forgets what was used.  parted: for how long gates may then count apart."""
    rig.load(w=10 if SANITIZED else 4)
    started, alone = time.monotonic(), [rig.fallbacks()]
    rig.let_run(CALM)
    alone.append(rig.fallbacks())
    broken = rig.note(what)
    begin()
    if goes_down:
        down = rig.wait_down()
    rig.let_run_until(broken + OUTAGE)
    mended = rig.note("Redis is back")
    end()
    returned = time.monotonic()
    rig.wait_up()
    up = rig.note("all gates are up")
    rig.let_run(parted)
    shared = rig.note("all gates count together")
    alone.append(rig.fallbacks())
    rig.let_run(CALM)
    ended = time.monotonic()
    alone.append(rig.fallbacks())
    decisions = rig.finish()

    calm, after = alone[1] - alone[0], alone[3] - alone[2]
    assert set(decisions.statuses()) == {200, 429}, decisions.statuses()
    rigs.assert_bounded(rule, decisions, rig.events, (broken, shared),
                        bursts * rule.burst + calm + after)
    rigs.assert_bounded(rule, decisions.between(shared, ended), rig.events, None, after)
    for part in ((started, broken), (broken, mended), (up, ended)):
        check_alive(rule, decisions, *part)
    quiet = decisions.between(started, broken)
    check_prompt(decisions.between(broken, mended), quiet, what, deadline)
    check_prompt(decisions.between(mended, ended), quiet, "after " + what, deadline)
    if goes_down:
        assert alone[2] > alone[1]
        if down - broken > NOTICED + NOISE:
            raise Late("%.3f s until the last gate noticed" % (down - broken))
    if up - returned > RECOVERY + NOISE:
        raise Late("%.3f s from Redis' return to the last gate's" % (up - returned))
    if after > 3 * calm + 0.1 * len(decisions.between(up, ended)):
        raise Late("gates still decide alone")


def test_stopped(rig, rule, redis_server):  # noqa: F811
    rig.start_gates(redis_server.url, rule)
    in_time(lambda: scenario(rig, rule, redis_server.pause, redis_server.resume, "SIGSTOP"))


def test_stopped_with_the_default_deadline(rig, redis_server):  # noqa: F811
    rule = Rule(RATE, BURST, exact=True)
    rig.start_gates(redis_server.url, rule, timeout=DEFAULT)
    in_time(lambda: scenario(rig, rule, redis_server.pause, redis_server.resume, "SIGSTOP",
                             deadline=DEFAULT))


def test_killed_and_back_empty(rig, rule, redis_server):  # noqa: F811
    rig.start_gates(redis_server.url, rule)
    in_time(lambda: scenario(rig, rule, redis_server.kill, redis_server.start, "SIGKILL", 1))


def test_clients_paused(rig, rule, redis_server):  # noqa: F811
    rig.start_gates(redis_server.url, rule)

    def pause():
        redis_server.call("CLIENT", "PAUSE", int(1e3 * OUTAGE), "ALL")

    in_time(lambda: scenario(rig, rule, pause, lambda: None, "CLIENT PAUSE"))


def test_asleep(rig, rule, redis_server):  # noqa: F811
    rig.start_gates(redis_server.url, rule)
    with redis_server.client() as c:
        def sleep():
            c.socket.sendall(b"DEBUG SLEEP %.1f\r\n" % OUTAGE)

        in_time(lambda: scenario(rig, rule, sleep, c.reply, "DEBUG SLEEP"))


def test_flushed(rig, rule, redis_server):  # noqa: F811
    rig.start_gates(redis_server.url, rule)
    in_time(lambda: scenario(rig, rule, lambda: redis_server.call("FLUSHALL"), lambda: None,
                             "FLUSHALL", 1, goes_down=False))


def test_scripts_flushed(rig, rule, redis_server):  # noqa: F811
    """NOSCRIPT: they are sent again, and nothing is lost or counted twice."""
    rig.start_gates(redis_server.url, rule)
    in_time(lambda: scenario(rig, rule, lambda: redis_server.call("SCRIPT", "FLUSH"),
                             lambda: None, "SCRIPT FLUSH", goes_down=False))


def test_connections_killed(rig, rule, redis_server):  # noqa: F811
    """Every tenth of a second: at worst a fallback each, never a stuck or unbounded one."""
    rig.start_gates(redis_server.url, rule)

    def kill():
        for _ in range(10):
            redis_server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            rig.let_run(0.1)

    in_time(lambda: scenario(rig, rule, kill, lambda: None, "CLIENT KILL", goes_down=False))


def test_sentinel_fails_over(rig, sentinels):  # noqa: F811
    """The master dies; what it had not yet told the replica is one more burst at most."""
    rule = Rule(RATE, BURST)
    rig.start_gates(sentinels.url, rule)
    old = sentinels.master()
    scenario(rig, rule, old.kill, lambda: sentinels.wait_for_new_master(old),
             "the master's SIGKILL", 1)


def test_sentinel_is_told_to_fail_over(rig, sentinels):  # noqa: F811
    """The old master takes writes until a Sentinel makes it a replica: gates leave it when they ask
    the Sentinels next, within a second, and until then there are two counts."""
    rule = Rule(RATE, BURST, exact=True)
    rig.start_gates(sentinels.url, rule)
    scenario(rig, rule, sentinels.failover, lambda: None, "SENTINEL FAILOVER", 1, goes_down=False,
             parted=1.5)


def test_cluster_moves_the_slot(rig, rule, redis_cluster):  # noqa: F811
    """ASK while it moves, MOVED afterwards: the count moves with it."""
    rig.start_gates(redis_cluster.url, rule)

    def slot_and_target():
        for s in redis_cluster.servers:
            _, keys = s.call("SCAN", 0, "COUNT", 1000)
            if keys:
                slot = redis_cluster.slot(keys[0])
                return slot, next(t for t in redis_cluster.servers if t is not s)
        raise AssertionError("no key")

    moving = []

    def begin():
        slot, target = slot_and_target()
        moving[:] = [slot, target]
        redis_cluster.begin_move(slot, target)

    in_time(lambda: scenario(rig, rule, begin, lambda: redis_cluster.end_move(*moving),
                             "a slot moves", 0, goes_down=False))


def test_cluster_loses_the_master(rig, redis_cluster):  # noqa: F811
    """Without a replica its slots are nobody's: CLUSTERDOWN, until it is back."""
    rule = Rule(RATE, BURST)
    rig.start_gates(redis_cluster.url, rule)
    rig.run(s=0.2)
    owner = next(s for s in redis_cluster.servers if s.call("DBSIZE"))
    scenario(rig, rule, owner.pause, owner.resume, "the slot's master stops", goes_down=False)

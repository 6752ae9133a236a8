"""A Redis that answers wrongly, in pieces, too late or not at all: the gate keeps deciding, in time
and within its bounds, holds no memory for it, and counts with it again once it is itself."""
import contextlib
import math
import time

import pytest

import fake_redis
import fleet as rigs
from fake_redis import Meddler, numbered, says, says_and_waits
from harness import SANITIZED, wait_for
from redis_servers import RedisServer, redis_server  # noqa: F401 (a fixture)
from fleet import Rule

LIE = 0.5           # seconds that each lasts
LOST_MIN = 0.3      # seconds for which a lost store stays lost
WORKERS = 2
MEMORY = 32 << 20   # what a gate may grow by while it is lied to

ERRORS = {
    "LOADING": b"-LOADING Redis is loading the dataset in memory\r\n",
    "READONLY": b"-READONLY You can't write against a read only replica.\r\n",
    "OOM": b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    "NOAUTH": b"-NOAUTH Authentication required.\r\n",
    "NOPERM": b"-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
    "BUSY": b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL.\r\n",
    "MISCONF": b"-MISCONF Redis is configured to save RDB snapshots, but it can't.\r\n",
    "MASTERDOWN": b"-MASTERDOWN Link with MASTER is down.\r\n",
    "CLUSTERDOWN": b"-CLUSTERDOWN The cluster is down\r\n",
    "MOVED": b"-MOVED 3999 127.0.0.1:1\r\n",
    "ASK": b"-ASK 3999 127.0.0.1:1\r\n",
    "NOSCRIPT": b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    "an empty error": b"-\r\n",
}
LIES = {
    "silence": fake_redis.silent,
    "late": fake_redis.late(0.05),
    "one too many": fake_redis.twice,
    "stuck before the end": fake_redis.stuck_after(3),
    "a status": says(b"+PONG\r\n"),
    "a number": says(b":1\r\n"),
    "nil": says(b"$-1\r\n"),
    "an empty array": says(b"*0\r\n"),
    "no array": says(b"*-1\r\n"),
    "strings": says(b"*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n"),
    "too few": says(b"*1\r\n:1\r\n"),
    "too few and numbered": numbered(b":1"),
    "out of range": numbered(b":7", b":-9223372036854775808", b":-1"),
    "more than was asked for": numbered(b":1", b":41", b":0"),
    "another's number": says(b"*4\r\n:1\r\n:1\r\n:0\r\n:0\r\n"),
    "beyond 64 bits": numbered(b":99999999999999999999", b":0", b":0"),
    "another protocol": says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "nothing but line ends": says(b"\r\n" * 100),
    "a negative length": says(b"$-5\r\n"),
    "a gigabyte": says_and_waits(b"$1073741824\r\n", b"x" * 65536, 256 << 20),
    "a gigabyte of items": says_and_waits(b"*1073741824\r\n", b":1\r\n" * 16384, 64 << 20),
    "deep nesting": says_and_waits(b"*1\r\n" * 100000),
    "an endless line": says_and_waits(b"+", b"a" * 65536, 64 << 20),
}
CASES = {**{"-" + name: says(text) for name, text in ERRORS.items()}, **LIES}


@pytest.fixture(scope="module")
def liar(request, tmp_path_factory, upstream_port):
    """(rig of one gate, what stands between it and its Redis, the rule)"""
    folder = tmp_path_factory.mktemp("lies")
    rule = Rule(200, 40, exact=request.param, gates=1)
    with RedisServer(folder) as server, contextlib.closing(Meddler(server.port)) as between:
        with contextlib.closing(rigs.Rig(folder, upstream_port)) as rig:
            rig.start_gates("redis://127.0.0.1:%d" % between.port, rule, count=1)
            yield rig, between, rule
            rig.stop()


@pytest.fixture
def lied_to(liar):
    rig, between, _ = liar
    between.misbehave(fake_redis.passes)
    rig.wait_up()
    rig.events.clear()
    yield liar
    rig.end_loads()


# The two ways to count see the same replies: leases by those that concern them.
LEASED = ["-OOM", "-MOVED", "silence", "late", "nil", "out of range", "a gigabyte"]


@pytest.mark.parametrize("liar, name", [(True, n) for n in CASES] + [(False, n) for n in LEASED],
                         indirect=["liar"])
def test_lie(lied_to, name):
    rig, between, rule = lied_to
    memory = rig.gates[0].resident()
    rig.load(w=4)
    started = time.monotonic()
    rig.let_run(0.15)
    broken = rig.note("lies: " + name)
    between.misbehave(CASES[name])
    rig.wait_down()
    losses = rig.metric("store_losses_total")
    rig.let_run_until(broken + LIE)
    # A server that answers rightly before it errs is found again, but no sooner than it may be.
    found = WORKERS * math.ceil(LIE / LOST_MIN) if name == "one too many" else 1
    assert rig.metric("store_losses_total") <= losses + found, "the state flaps"
    grown = rig.gates[0].resident() - memory
    mended = rig.note("truth again")
    between.misbehave(fake_redis.passes)
    between.break_all()
    up = rig.wait_up()
    rig.let_run(0.1)
    ended = time.monotonic()
    decisions = rig.finish()

    assert set(decisions.statuses()) <= {200, 429}
    assert grown < MEMORY or SANITIZED
    rigs.assert_bounded(rule, decisions, rig.events, (started, up))
    during = decisions.between(broken, mended)
    assert len(during.admitted) >= 0.8 * rule.rate * (mended - broken) - rule.burst
    assert during.took.max() < (rigs.PATIENCE if SANITIZED else rigs.STUCK), rigs.quantiles(during)
    assert decisions.between(mended, ended).took.max() < (rigs.PATIENCE if SANITIZED else 1)


# Handshakes are lied to as well.
@pytest.mark.parametrize("liar", [True], indirect=True)
@pytest.mark.parametrize("name", ["-NOAUTH", "-LOADING", "-READONLY", "a gigabyte", "silence",
                                  "deep nesting", "another protocol"])
def test_lie_from_the_first_word(lied_to, name):
    rig, between, rule = lied_to
    memory = rig.gates[0].resident()
    between.misbehave(CASES[name], honest=())
    between.break_all()
    decisions = rig.run(s=LIE, w=4)
    rig.wait_down()
    assert rig.gates[0].resident() - memory < MEMORY or SANITIZED
    between.misbehave(fake_redis.passes)
    between.break_all()
    rig.wait_up()
    assert set(decisions.statuses()) <= {200, 429}
    rigs.assert_bounded(rule, decisions, rig.events, (0, 1e9))
    assert len(decisions.admitted) >= 0.8 * rule.rate * LIE - rule.burst


PATIENT = 0.5  # the pieces come from Python, on a busy machine


@pytest.mark.parametrize("exact", [True, False])
def test_replies_torn_at_every_byte_count(rig, redis_server, exact):  # noqa: F811
    """In two pieces at each place in turn, and byte by byte: they are right, and taken as such."""
    rule = Rule(100, 20, exact=exact, gates=1)
    pieces = []
    with contextlib.closing(Meddler(redis_server.port)) as between:
        between.misbehave(fake_redis.torn(pieces), honest=())
        rig.start_gates("redis://127.0.0.1:%d" % between.port, rule, count=1, timeout=PATIENT)
        decisions = rig.run(s=1.5, w=8)
        assert len(set(pieces)) > 10 or not exact
        between.misbehave(fake_redis.byte_by_byte, honest=())
        decisions = rigs.joined([decisions, rig.run(s=1, w=8)])
        assert rig.fallbacks() == 0
        rigs.assert_bounded(rule, decisions)
        assert len(decisions.admitted) >= 0.9 * rule.rate * 2.5


@pytest.mark.parametrize("exact", [True, False])
def test_connections_cut_at_every_byte(rig, redis_server, exact):  # noqa: F811
    rule = Rule(100, 20, exact=exact, gates=1)
    cuts = []
    with contextlib.closing(Meddler(redis_server.port)) as between:
        rig.start_gates("redis://127.0.0.1:%d" % between.port, rule, count=1)
        rig.load(w=10)
        started = time.monotonic()
        between.misbehave(fake_redis.cut_after(cuts))
        wait_for(lambda: len(cuts) >= 16, "a reply was cut everywhere", 60)
        between.misbehave(fake_redis.passes)
        up = rig.wait_up()
        rig.let_run(0.3)
        decisions = rig.finish()
    assert set(decisions.statuses()) <= {200, 429}
    rigs.assert_bounded(rule, decisions, rig.events, (started, up))
    assert decisions.took.max() < (rigs.PATIENCE if SANITIZED else 1)


@pytest.mark.parametrize("exact", [True, False])
def test_a_lost_reply_shifts_no_other(rig, redis_server, exact):  # noqa: F811
    """One client uses up its tokens, others do not: none of them is told what is another's, and the
    connection that lost a reply does not stay in use, a reply behind for ever."""
    rule = Rule(100, 20, exact=exact, gates=1)
    swallowed = []
    with contextlib.closing(Meddler(redis_server.port)) as between:
        between.misbehave(fake_redis.swallows_one(swallowed))
        rig.start_gates("redis://127.0.0.1:%d" % between.port, rule, count=1, clients=20,
                        timeout=PATIENT)
        rig.load(c=8, k=20)
        started = time.monotonic()
        wait_for(lambda: len(swallowed) >= 16, "replies were lost on many connections")
        between.misbehave(fake_redis.passes)
        up = rig.wait_up()

        def calm():
            before = rig.fallbacks()
            rig.let_run(0.3)
            return rig.fallbacks() == before

        wait_for(calm, "no connection is a reply behind")
        decisions = rig.finish()
    for _, mine in decisions.by_client():
        rigs.assert_bounded(rule, mine, rig.events, (started, up))
    assert decisions.took.max() < PATIENT + (rigs.PATIENCE if SANITIZED else 1)

"""The nemesis for as long as one likes: make nemesis SECONDS=1800.

Three gates count with one Redis that is stopped, killed, flushed and paused at random; each round
is checked like those of test_51_nemesis.  A violation is printed with its history."""
import os
import random
import time

import test_51_nemesis as nemesis
from redis_servers import RedisServer
from fleet import Rule

SECONDS = float(os.environ.get("NEMESIS_SECONDS", 60))
SEED = int(os.environ.get("NEMESIS_SEED", time.time_ns() % 1_000_000))


def faults(server):
    return [("SIGSTOP", server.pause, server.resume, 0, True),
            ("SIGKILL", server.kill, server.start, 1, True),
            ("FLUSHALL", lambda: server.call("FLUSHALL"), lambda: None, 1, False),
            ("SCRIPT FLUSH", lambda: server.call("SCRIPT", "FLUSH"), lambda: None, 0, False),
            ("CLIENT PAUSE", lambda: server.call("CLIENT", "PAUSE", 1500, "ALL"), lambda: None, 0,
             True)]


def test_soak(rig, tmp_path):
    print("NEMESIS_SEED=%d" % SEED)
    dice = random.Random(SEED)
    end = time.monotonic() + SECONDS
    rule = Rule(nemesis.RATE, nemesis.BURST, exact=dice.random() < 0.5)
    with RedisServer(tmp_path) as server:
        rig.start_gates(server.url, rule)
        while time.monotonic() < end:
            what, begin, mend, bursts, down = dice.choice(faults(server))
            nemesis.in_time(lambda: nemesis.scenario(rig, rule, begin, mend, what, bursts, down))

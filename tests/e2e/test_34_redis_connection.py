"""proxy/redis.c and real servers, through tests/bench/redis_probe.c: it gets in where it may and
nowhere else, and is back whatever happened to the server."""
import contextlib
import os
import subprocess
import threading

import pytest

from certs import Authority
from hammer import tool
from harness import ERRORS, PATIENCE, wait_for
from redis_servers import (RedisServer, redis_cluster, redis_server,  # noqa: F401
                           redis_with_tls, redis_with_user, sentinels)

GOOD, WRONG, LATE, DOWN, REFUSED = range(1, 6)


class Probe:
    """Sends a command every millisecond; `lines` are its reports."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([tool("bench/redis_probe"), "-s", "600",
                                         *map(str, arguments)], text=True, bufsize=1,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        self.lines, self.words = [], ""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            if line[:1].isdigit():
                self.lines.append([int(w) for w in line.split()])
            else:
                self.words += line

    def sum(self, what):
        return sum(line[what] for line in self.lines)

    def wait_for_more(self, what, count=20):
        """Until so many more commands have had that outcome, from the next report on."""
        seen = len(self.lines) + 1
        wait_for(lambda: sum(line[what] for line in self.lines[seen:]) >= count,
                 "more outcomes of kind %d: %s %s" % (what, self.lines[-5:], self.words))

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)
        assert not ERRORS.search(self.words), self.words


@contextlib.contextmanager
def probe(*arguments):
    p = Probe(*arguments)
    try:
        yield p
    finally:
        p.stop()


def secret(folder, text, mode=0o600):
    path = os.path.join(str(folder), "password")
    with open(path, "w") as f:
        f.write(text + "\n")
    os.chmod(path, mode)
    return path


def stays_out(p, why):
    wait_for(lambda: why in p.words, "it says why: " + p.words)
    p.wait_for_more(REFUSED)
    assert p.sum(GOOD) == 0


def test_user_password_and_database(redis_with_user, tmp_path):  # noqa: F811
    server = redis_with_user
    with probe("-u", "gate", "-p", secret(tmp_path, "correct-horse"), "-d", 7, "server",
               server.address) as p:
        p.wait_for_more(GOOD)
        assert "db7" in server.call("INFO", "keyspace").decode()
        assert b"name=querygate" in server.call("CLIENT", "LIST")
    with probe("server", server.address) as p:
        stays_out(p, "it wants a password")
    path = secret(tmp_path, "wrong-horse")
    with probe("-u", "gate", "-p", path, "server", server.address) as p:
        stays_out(p, "it refuses the password")
        assert "horse" not in p.words
        secret(tmp_path, "correct-horse")
        p.wait_for_more(GOOD)
    with probe("-u", "gate", "-p", secret(tmp_path, "correct-horse", 0o644), "server",
               server.address) as p:
        stays_out(p, "others may read it")


def test_tls(redis_with_tls, tmp_path):  # noqa: F811
    server, password = redis_with_tls, secret(tmp_path, "correct-horse")
    with probe("-c", server.ca, "-p", password, "server", server.address) as p:
        p.wait_for_more(GOOD)
        server.call("CLIENT", "KILL", "TYPE", "normal")
        p.wait_for_more(GOOD)
    with probe("-c", server.ca, "-n", "other.example", "-p", password, "server",
               server.address) as p:
        stays_out(p, "TLS handshake failed")
    other = tmp_path / "other"
    other.mkdir()
    with probe("-c", Authority(other).ca, "-p", password, "server", server.address) as p:
        stays_out(p, "TLS handshake failed")
    with probe("-p", password, "server", server.address) as p:  # plain, to a TLS port
        wait_for(lambda: "trying again" in p.words, "it says that it is not connected")
        assert p.sum(GOOD) == 0


def test_stopped_killed_paused_and_cut_off(redis_server):  # noqa: F811
    server = redis_server
    with probe("server", server.address) as p:
        p.wait_for_more(GOOD)
        server.pause()
        p.wait_for_more(LATE, 1)
        p.wait_for_more(REFUSED)  # after a second of silence it is given up
        server.resume()
        p.wait_for_more(GOOD)
        server.kill()
        p.wait_for_more(REFUSED)
        server.start()
        p.wait_for_more(GOOD)
        server.call("CLIENT", "PAUSE", 300)
        p.wait_for_more(LATE, 1)
        p.wait_for_more(GOOD)
        server.call("CLIENT", "KILL", "TYPE", "normal")
        p.wait_for_more(GOOD)
        assert p.sum(WRONG) == 0


def test_a_replica_is_no_store(redis_server, tmp_path):  # noqa: F811
    server = redis_server
    with RedisServer(tmp_path) as other, probe("server", server.address) as p:
        p.wait_for_more(GOOD)
        server.call("REPLICAOF", "127.0.0.1", other.port)
        p.wait_for_more(WRONG, 1)  # -READONLY, and then it connects anew
        server.call("REPLICAOF", "NO", "ONE")
        p.wait_for_more(GOOD)


def test_out_of_memory_is_an_error_and_passes(redis_server):  # noqa: F811
    server = redis_server
    with probe("server", server.address) as p:
        p.wait_for_more(GOOD)
        server.call("CONFIG", "SET", "maxmemory", "1")
        p.wait_for_more(WRONG)
        server.call("CONFIG", "SET", "maxmemory", "0")
        p.wait_for_more(GOOD)
        assert p.words == ""  # on the same connections


@pytest.mark.parametrize("how", ["ordered", "killed"])
def test_failover(sentinels, how):  # noqa: F811
    names = ",".join(s.address for s in sentinels.sentinels)
    with probe("-m", sentinels.name, "-k", 1, "sentinel", names) as p:
        p.wait_for_more(GOOD)
        old = sentinels.master()
        if how == "ordered":
            new = sentinels.failover()
        else:
            old.kill()
            new = sentinels.wait_for_new_master(old)
        p.wait_for_more(GOOD)
        before = int(new.call("GET", "probe:{0}"))
        wait_for(lambda: int(new.call("GET", "probe:{0}")) > before, "the new master counts")
        if how == "killed":
            old.start()  # It comes back as a master, until the Sentinels tell it otherwise.
            p.wait_for_more(GOOD)


def test_one_sentinel_is_enough(sentinels):  # noqa: F811
    for s in sentinels.sentinels[:2]:
        s.kill()
    names = ",".join(s.address for s in sentinels.sentinels)
    with probe("-m", sentinels.name, "sentinel", names) as p:
        p.wait_for_more(GOOD)
    with probe("-m", "other", "sentinel", names) as p:
        wait_for(lambda: "knows no master" in p.words or p.sum(REFUSED) > 500, "it is refused")
        assert p.sum(GOOD) == 0


def test_slots_move(redis_cluster):  # noqa: F811
    cluster = redis_cluster
    keys = ["probe:{%d}" % i for i in range(20)]
    with probe("-k", len(keys), "-t", 2000000, "cluster", cluster.servers[0].address) as p:
        p.wait_for_more(GOOD)
        for key in keys:
            slot = cluster.slot(key)
            to = next(s for s in cluster.servers if s is not cluster.owner(slot))
            old = cluster.begin_move(slot, to)
            old.call("DEL", key)  # From here on: ASK.
            p.wait_for_more(GOOD, 2)
            cluster.end_move(slot, to)
        p.wait_for_more(GOOD)
        assert sum(s.call("DBSIZE") for s in cluster.servers) == len(keys)
        assert (p.sum(WRONG), p.sum(LATE), p.sum(DOWN)) == (0, 0, 0), p.words


def test_a_node_dies_and_returns(redis_cluster):  # noqa: F811
    cluster = redis_cluster
    with probe("cluster", ",".join(s.address for s in cluster.servers)) as p:
        p.wait_for_more(GOOD)
        for node in cluster.servers:
            node.kill()
            p.wait_for_more(REFUSED, 1)
            node.start()
            wait_for(cluster.is_complete, "the Cluster is whole again", 60)
            p.wait_for_more(GOOD, 100)

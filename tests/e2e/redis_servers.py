"""Real redis-server processes: one alone (plain, with a password, with TLS), a master that
Sentinels watch, a Cluster; each on free loopback ports, in a folder of its own, ended by its pid.

    with RedisServer(folder) as server:       # also: password=, user=, authority=, options=
        server.call("SET", "a", "1")
        server.pause(); server.resume(); server.kill(); server.start()
    with Sentinels(folder) as world:          # world.url, world.master(), world.failover()
    with RedisCluster(folder) as cluster:     # cluster.url, cluster.owner(slot), cluster.move_slot
"""
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading

import pytest

from certs import Authority
from harness import PATIENCE, wait_for
from testbed import free_ports

STARTS = 5  # another process may take a port between its choice and its use
CLUSTER_SLOTS = 16384


class RedisError(Exception):
    """The server said -ERR ..."""


class RedisClient:
    """One connection, one command after the other."""

    def __init__(self, port, context=None, user=None, password=None, timeout=PATIENCE):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.file = self.socket.makefile("rb")
        if password is not None:
            self.call("AUTH", *([user] if user else []), password)

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, *args):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in args]
        self.socket.sendall(b"*%d\r\n" % len(parts) +
                            b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server closed the connection")
        kind, text = line[:1], line[1:-2]
        if kind == b"+":
            return text.decode()
        if kind == b"-":
            raise RedisError(text.decode())
        if kind == b":":
            return int(text)
        if kind == b"$":
            size = int(text)
            return None if size < 0 else self.file.read(size + 2)[:-2]
        items = []
        for _ in range(int(text)):
            try:
                items.append(self.reply())
            except RedisError as e:
                items.append(e)
        return items


class RedisServer:
    """A redis-server (or, with `program`, a Sentinel).  It keeps its port over restarts; `options`
    are further lines of its configuration, in which {port} is its port."""

    def __init__(self, folder, password=None, user=None, authority=None, options=(),
                 program="redis-server"):
        self.folder = tempfile.mkdtemp(prefix="redis-", dir=str(folder))
        self.program, self.user, self.password, self.options = program, user, password, options
        self.context = self.certificate = self.ca = None
        if authority is not None:
            self.ca = authority.ca
            self.certificate = authority.issue()
            self.context = ssl.create_default_context(cafile=authority.ca)
        self.port = self.process = None
        self.paused = False

    def configuration(self):
        common = ["bind 127.0.0.1", "dir " + self.folder, "daemonize no", "protected-mode no",
                  "logfile " + os.path.join(self.folder, "log")]
        if self.certificate:
            common += ["port 0", "tls-port %d" % self.port, "tls-auth-clients no",
                       "tls-cert-file " + self.certificate[0],
                       "tls-key-file " + self.certificate[1], "tls-ca-cert-file " + self.ca]
        else:
            common += ["port %d" % self.port]
        if self.program == "redis-server":
            common += ['save ""', "appendonly no", "enable-debug-command local"]
        if self.user:
            common += ["user default off",
                       "user %s on >%s ~* &* +@all" % (self.user, self.password)]
        elif self.password:
            common += ["requirepass " + self.password]
        own = [o.replace("{port}", str(self.port)) for o in self.options]
        return "\n".join(common + own) + "\n"

    def start(self):
        """Starts it, empty unless a snapshot lies in its folder, and waits until it answers."""
        for _ in range(STARTS):
            fixed = self.port is not None
            if not fixed:
                self.port = free_ports(1)[0]
            path = os.path.join(self.folder, "redis.conf")
            if not (fixed and os.path.exists(path)):  # Sentinel and Cluster keep state in it
                with open(path, "w") as f:
                    f.write(self.configuration())
            self.process = subprocess.Popen([self.program, path], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                wait_for(lambda: self.process.poll() is not None or self.answers(),
                         "%s answers on port %d" % (self.program, self.port))
            except BaseException:
                self.kill()
                raise
            if self.process.poll() is None:
                return self
            self.process = None
            if not fixed:
                self.port = None
        raise AssertionError("%s does not start: %s" % (self.program, self.log()))

    def answers(self):
        try:
            return self.call("PING") == "PONG"
        except (OSError, RedisError, ValueError):
            return False

    def log(self):
        try:
            with open(os.path.join(self.folder, "log"), errors="replace") as f:
                return f.read()[-4000:]
        except FileNotFoundError:
            return ""

    def client(self, timeout=PATIENCE):
        return RedisClient(self.port, self.context, self.user, self.password, timeout)

    def call(self, *args):
        """One command on a connection of its own."""
        with self.client() as c:
            return c.call(*args)

    def info(self, field):
        """The value of a line of INFO everything."""
        for line in self.call("INFO", "everything").decode().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value
        raise AssertionError("INFO has no " + field)

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    @property
    def url(self):
        """Without user and password: those are options of the policy."""
        return "%s://%s" % ("rediss" if self.context else "redis", self.address)

    def pause(self):
        """SIGSTOP: connections stay open, nothing is answered."""
        self.paused = True
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        self.paused = False
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self):
        """SIGKILL; what was not saved is lost.  start() brings it back on the same port."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.paused = False

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()


class Sentinels:
    """A master, a replica, and three Sentinels that watch them under the name `main`."""

    name = "main"

    def __init__(self, folder, down_after_ms=1000, password=None):
        options = ["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"]
        if password:
            options.append("masterauth " + password)
        self.folder, self.password, self.down_after_ms = str(folder), password, down_after_ms
        self.servers = [RedisServer(folder, password=password, options=options) for _ in range(2)]
        self.sentinels = []

    def __enter__(self):
        try:
            first, second = (s.start() for s in self.servers)
            second.call("REPLICAOF", "127.0.0.1", first.port)
            wait_for(lambda: second.info("master_link_status") == "up", "the replica is in step")
            watch = ["sentinel monitor %s 127.0.0.1 %d 2" % (self.name, first.port),
                     "sentinel down-after-milliseconds %s %d" % (self.name, self.down_after_ms),
                     "sentinel failover-timeout %s 5000" % self.name]
            if self.password:
                watch.append("sentinel auth-pass %s %s" % (self.name, self.password))
            for _ in range(3):
                self.sentinels.append(RedisServer(self.folder, options=watch,
                                                  program="redis-sentinel").start())
            wait_for(self.is_complete, "the Sentinels know each other and the replica")
        except BaseException:
            self.close()
            raise
        return self

    def is_complete(self):
        def number(sentinel, field):
            reply = sentinel.call("SENTINEL", "MASTER", self.name)
            return int(dict(zip(reply[::2], reply[1::2]))[field])
        return all(number(s, b"num-other-sentinels") == 2 and number(s, b"num-slaves") == 1
                   for s in self.sentinels)

    def close(self):
        for s in self.sentinels + self.servers:
            s.kill()

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return "redis+sentinel://%s/%s" % (",".join(s.address for s in self.sentinels), self.name)

    def master(self):
        """The server that a Sentinel names now."""
        port = int(self.sentinels[0].call("SENTINEL", "get-master-addr-by-name", self.name)[1])
        return next(s for s in self.servers if s.port == port)

    def replica(self):
        master = self.master()
        return next(s for s in self.servers if s is not master)

    def failover(self):
        """Makes the replica master while the old one lives; the new master."""
        old = self.master()
        wait_for(lambda: self.sentinels[0].call("SENTINEL", "FAILOVER", self.name) == "OK",
                 "a failover begins")
        return self.wait_for_new_master(old)

    def wait_for_new_master(self, old):
        wait_for(lambda: self.master() is not old, "another server is the master", 60)
        new = self.master()
        wait_for(lambda: new.call("ROLE")[0] == b"master", "it knows that it is the master", 60)
        return new


class RedisCluster:
    """Masters without replicas that share the slots evenly."""

    def __init__(self, folder, count=3, **more):
        self.servers = []
        for _ in range(count):
            bus = free_ports(1)[0]
            s = RedisServer(folder, options=["cluster-enabled yes", "cluster-node-timeout 2000",
                                             "cluster-port %d" % bus], **more)
            s.bus = bus
            self.servers.append(s)

    def __enter__(self):
        try:
            count = len(self.servers)
            for i, s in enumerate(self.servers):
                s.start()
                s.id = s.call("CLUSTER", "MYID").decode()
                s.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
                s.call("CLUSTER", "ADDSLOTSRANGE", CLUSTER_SLOTS * i // count,
                       CLUSTER_SLOTS * (i + 1) // count - 1)
            for s in self.servers[1:]:
                s.call("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port, self.servers[0].bus)
            wait_for(self.is_complete, "every node knows every slot", 60)
        except BaseException:
            self.close()
            raise
        return self

    def is_complete(self):
        def field(s, name):
            lines = s.call("CLUSTER", "INFO").decode().split("\r\n")
            return dict(line.split(":") for line in lines if ":" in line)[name]
        return all(field(s, "cluster_state") == "ok" and
                   field(s, "cluster_known_nodes") == str(len(self.servers)) for s in self.servers)

    def close(self):
        for s in self.servers:
            s.kill()

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        kind = "rediss+cluster" if self.servers[0].context else "redis+cluster"
        return "%s://%s" % (kind, ",".join(s.address for s in self.servers))

    def owner(self, slot):
        for first, last, node, *_ in self.servers[0].call("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(s for s in self.servers if s.port == node[1])
        raise AssertionError("slot %d has no owner" % slot)

    def slot(self, key):
        return self.servers[0].call("CLUSTER", "KEYSLOT", key)

    def begin_move(self, slot, to):
        """From here on keys that are not there any more are redirected by ASK.  The old owner."""
        old = self.owner(slot)
        to.call("CLUSTER", "SETSLOT", slot, "IMPORTING", old.id)
        old.call("CLUSTER", "SETSLOT", slot, "MIGRATING", to.id)
        return old

    def end_move(self, slot, to):
        """Moves the keys, then the slot: from here on by MOVED."""
        old = self.owner(slot)
        while keys := old.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
            old.call("MIGRATE", "127.0.0.1", to.port, "", 0, 5000, "KEYS", *keys)
        for s in [to, old] + [s for s in self.servers if s not in (to, old)]:
            s.call("CLUSTER", "SETSLOT", slot, "NODE", to.id)

    def move_slot(self, slot, to):
        self.begin_move(slot, to)
        self.end_move(slot, to)


class FakeRedis:
    """A server that says what the test wants: `script(command, connection)` gives the bytes of the
    reply to a command (a list of byte strings), None ends the connection.  What it hears is kept in
    `heard`."""

    def __init__(self, script):
        self.script, self.heard = script, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c = self.listener.accept()[0]
            except OSError:
                return
            self.connections.append(c)
            threading.Thread(target=self.talk, args=(c,), daemon=True).start()

    def talk(self, connection):
        try:
            with connection, connection.makefile("rb") as file:
                while line := file.readline():
                    command = [file.read(int(file.readline()[1:]) + 2)[:-2]
                               for _ in range(int(line[1:]))]
                    self.heard.append(command)
                    reply = self.script(command, connection)
                    if reply is None:
                        return
                    connection.sendall(reply)
        except (OSError, ValueError):
            pass

    @property
    def url(self):
        return "redis://127.0.0.1:%d" % self.port

    def close(self):
        self.listener.close()
        for c in self.connections:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@pytest.fixture
def redis_server(tmp_path):
    """A plain server, alone."""
    with RedisServer(tmp_path) as s:
        yield s


@pytest.fixture
def redis_with_user(tmp_path):
    """A server that lets in only one ACL user, with a password."""
    with RedisServer(tmp_path, user="gate", password="correct-horse") as s:
        yield s


@pytest.fixture
def redis_with_tls(tmp_path):
    """A server that speaks TLS; its authority is .ca."""
    with RedisServer(tmp_path, authority=Authority(tmp_path), password="correct-horse") as s:
        yield s


@pytest.fixture
def sentinels(tmp_path):
    with Sentinels(tmp_path) as s:
        yield s


@pytest.fixture
def redis_cluster(tmp_path):
    with RedisCluster(tmp_path) as c:
        yield c

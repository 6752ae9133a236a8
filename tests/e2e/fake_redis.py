"""Something between a gate and a real Redis server that meddles with the replies.

Commands pass on to the server, and what becomes of each reply is a `behaviour`: a function of
(link, command's name, reply) that sends what it likes by link.send and may raise Cut to break the
connection.  It can be exchanged at any time.  (A server with no real one behind it is
redis_servers.FakeRedis.)"""
import socket
import threading
import time

HANDSHAKE = {b"AUTH", b"SELECT", b"HELLO", b"CLIENT", b"ROLE", b"INFO", b"PING", b"SCRIPT"}


class Cut(Exception):
    """The connection breaks now."""


class Stream:
    """Values of the Redis protocol, read one by one as the bytes they are."""

    def __init__(self, sock):
        self.file = sock.makefile("rb")

    def value(self):
        """(bytes of one value, its parts when an array of strings)"""
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Cut
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            raw, parts = line, []
            for _ in range(max(int(rest), 0)):
                more, part = self.value()
                raw += more
                parts.append(part)
            return raw, parts
        if kind == b"$" and int(rest) >= 0:
            body = self.file.read(int(rest) + 2)
            return line + body, body[:-2]
        return line, rest


class Link:
    """One connection of a gate."""

    def __init__(self, meddler, sock):
        self.meddler, self.sock = meddler, sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        self.sock.sendall(data)

    def serve(self):
        with socket.create_connection(("127.0.0.1", self.meddler.backend)) as backend, self.sock:
            backend.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            commands, replies = Stream(self.sock), Stream(backend)
            while True:
                raw, parts = commands.value()
                name = bytes(parts[0]).upper()
                if self.meddler.swallows(name):
                    reply = b""
                else:
                    backend.sendall(raw)
                    reply = replies.value()[0]
                self.meddler.behave(self, name, reply)


class Meddler:
    """backend: the port of the real server."""

    def __init__(self, backend):
        self.backend = backend
        self.behaviour, self.swallow, self.honest = passes, False, HANDSHAKE
        self.connections, self.commands = 0, 0
        self.lock = threading.Lock()
        self.links = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def misbehave(self, behaviour, swallow=False, honest=HANDSHAKE):
        """From now on.  swallow: commands do not reach the real server.  honest: commands that it
        still answers rightly."""
        self.behaviour, self.swallow, self.honest = behaviour, swallow, honest

    def swallows(self, name):
        return self.swallow and name not in self.honest

    def behave(self, link, name, reply):
        with self.lock:
            self.commands += 1
        (passes if name in self.honest else self.behaviour)(link, name, reply)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        with self.lock:
            self.connections += 1
            self.links.add(sock)
        try:
            Link(self, sock).serve()
        except (Cut, OSError, ValueError, IndexError):
            pass
        finally:
            with self.lock:
                self.links.discard(sock)
            sock.close()

    def break_all(self):
        with self.lock:
            for sock in self.links:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.break_all()


# Behaviours.

def passes(link, _, reply):
    link.send(reply)


def torn(pieces):
    """Each reply in two writes, torn at 1, 2, ... bytes in turn; `pieces` counts them."""
    def play(link, _, reply):
        at = 1 + len(pieces) % max(len(reply) - 1, 1)
        pieces.append(at)
        link.send(reply[:at])
        time.sleep(0.0005)
        link.send(reply[at:])
    return play


def byte_by_byte(link, _, reply):
    for i in range(len(reply)):
        link.send(reply[i:i + 1])


def cut_after(cuts):
    """The connection breaks after 0, 1, 2, ... bytes of a reply in turn."""
    def play(link, _, reply):
        at = len(cuts) % len(reply)
        cuts.append(at)
        link.send(reply[:at])
        raise Cut
    return play


def stuck_after(count):
    """So many bytes of one reply, and never another."""
    def play(link, _, reply):
        link.send(reply[:count])
        while link.sock.recv(65536):
            pass
        raise Cut
    return play


def late(seconds):
    def play(link, _, reply):
        time.sleep(seconds)
        link.send(reply)
    return play


def says(data):
    """Whatever was asked."""
    def play(link, _, __):
        link.send(data)
    return play


def says_and_waits(data, repeat=b"", total=0):
    """Then repeat, up to total bytes of it; then it reads on and says no more."""
    def play(link, _, __):
        link.send(data)
        for _ in range(total // max(len(repeat), 1)):
            link.send(repeat)
        while link.sock.recv(65536):
            pass
        raise Cut
    return play


def numbered(*values):
    """An array of the number that the gate gave the command, as is right, and these."""
    def play(link, _, reply):
        number = reply.split(b"\r\n")[1] if reply[:1] == b"*" else b":0"
        link.send(b"*%d\r\n" % (1 + len(values)) +
                  b"".join(value + b"\r\n" for value in (number, *values)))
    return play


def swallows_one(swallowed):
    """The third reply of each connection is lost, those behind it are not; `swallowed` holds the
    connections."""
    counts = {}

    def play(link, _, reply):
        counts[link] = counts.get(link, 0) + 1
        if counts[link] == 3:
            swallowed.append(link)
        else:
            link.send(reply)
    return play


def twice(link, _, reply):
    """One reply too many."""
    link.send(reply + reply)


def silent(link, _, __):
    """Reads on and never answers."""

"""Keep-alive connections that each have one request under way at any time, all in one thread."""
import re
import selectors
import socket
import time
from collections import namedtuple

from harness import PATIENCE

# When it was sent at the earliest and answered at the latest, in seconds of time.monotonic().
Answer = namedtuple("Answer", "connection tag sent received status head body")
# how: "idle", "unanswered" (not a byte came) or "cut" (some did); reset: by RST instead of FIN.
End = namedtuple("End", "connection how reset")

LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)")


class Connection:
    def __init__(self, port, number):
        self.number = number
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data, self.tag, self.sent, self.want = b"", None, None, None

    def send(self, tag, data):
        self.tag, self.data, self.want = tag, b"", None
        self.sent = time.monotonic()
        self.socket.sendall(data)

    def read(self):
        """An Answer, an End, or None: not all there yet."""
        try:
            part = self.socket.recv(65536)
        except ConnectionResetError:
            return self.end(True)
        if not part:
            return self.end(False)
        self.data += part
        if self.want is None and (at := self.data.find(b"\r\n\r\n")) >= 0:
            self.want = at + 4 + int(LENGTH.search(self.data)[1])
        if self.want is None or len(self.data) < self.want:
            return None
        assert len(self.data) == self.want, "bytes behind an answer"
        head, _, body = self.data.partition(b"\r\n\r\n")
        answer = Answer(self.number, self.tag, self.sent, time.monotonic(), int(head[9:12]), head, body)
        self.sent, self.data = None, b""
        return answer

    def end(self, reset):
        how = "idle" if self.sent is None else "cut" if self.data else "unanswered"
        return End(self.number, how, reset)


def run(port, connections, request, over):
    """Sends request(connection number) -> (tag, bytes) on each, again as soon as it is answered,
    until over() says so; then waits for what is under way.  ([Answer], [End])"""
    answers, ends = [], []
    selector = selectors.DefaultSelector()
    waiting = 0

    def send(c):
        try:
            c.send(*request(c.number))
            return 1
        except (BrokenPipeError, ConnectionResetError):
            return 1  # the end is read next

    for number in range(connections):
        c = Connection(port, number)
        selector.register(c.socket, selectors.EVENT_READ, c)
        waiting += send(c)
    while waiting > 0:
        events = selector.select(PATIENCE)
        assert events, "%d requests without an answer" % waiting
        for key, _ in events:
            c = key.data
            got = c.read()
            if isinstance(got, End):
                ends.append(got)
                waiting -= got.how != "idle"
                selector.unregister(c.socket)
                c.socket.close()
            elif got:
                answers.append(got)
                waiting -= 1
                if not over():
                    waiting += send(c)
    for key in list(selector.get_map().values()):
        key.data.socket.close()
    selector.close()
    return answers, ends


def post(key, body, model="m"):
    return ("POST /v2/models/%s/infer HTTP/1.1\r\nHost: a\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n"
            % (model, key, len(body))).encode() + body

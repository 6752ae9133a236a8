"""The pieces of an end-to-end test: the real binary, a scripted upstream, raw clients.

Everything binds to loopback on free ports, is waited for by conditions, and ends by pid."""
import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/attacks"))
from testbed import free_ports  # noqa: E402
BINARY = os.environ.get("QUERYGATE_BIN", os.path.join(ROOT, "build/querygate"))
SANITIZED = bool(os.environ.get("QUERYGATE_SANITIZED")) or "/san-" in BINARY
PATIENCE = 20
ERRORS = re.compile(r"(AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|broken promise)")


def wait_for(condition, what, patience=PATIENCE):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("did not come true: " + what)
        time.sleep(0.01)


POLICY = """
workers: {workers}
listeners:
  - {{name: rest, address: 127.0.0.1:{port}, protocol: http{listener}}}
admin: {{address: 127.0.0.1:{admin}}}
log: {{access: {log}}}
limits: {{{limits}}}
clients:
  identify: {identify}
  api_keys: {{file: keys.yaml}}
  anonymous: {anonymous}
  pseudonym_key: {{file: pseudonym.key}}
upstreams:
  up: {{protocol: open-inference, http: [{urls}]{upstream}}}
models:
  - {{match: "{match}", upstream: up, policy: main{model}, outputs: {outputs}}}
policies:
  main: {{{policy}}}
{more}
"""


class Gate:
    """The binary with a policy of its own in a folder of its own."""

    def __init__(self, folder, urls, **parts):
        self.folder = str(folder)
        self.port, self.admin = free_ports(2)
        self.key = secrets.token_hex(16)
        self.log = self.path("access.log")
        self.process = None
        self.parts = dict(workers=2, listener="", log=self.log, limits="", anonymous="deny",
                          upstream="", match="m*", model="", outputs="{scores: scores, label: labels}",
                          policy="filters: [{top_k: {}}]", more="")
        self.parts.update(parts, urls=", ".join(urls), port=self.port, admin=self.admin)
        self.text = parts.get("text")
        self.keys = [("alice", self.key, None)]
        self.write("pseudonym.key", secrets.token_hex(32))
        self.write_policy()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with os.fdopen(os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(text)

    def write_policy(self, **parts):
        """Writes policy and keys; takes effect at start or reload."""
        self.parts.update(parts)
        entries = []
        for name, key, tier in self.keys:
            entry = "{id: %s, sha256: %s" % (name, hashlib.sha256(key.encode()).hexdigest())
            entries.append("  - " + entry + (", tier: %s}" % tier if tier else "}"))
        self.write("keys.yaml", "keys:\n" + "\n".join(entries) + "\n")
        known = "[api_key, address]" if self.parts["anonymous"] == "allow" else "[api_key]"
        self.write("policy.yaml", POLICY.format(identify=known, **self.parts))

    def start(self, wait=True, env=None, prefix=()):
        self.errors = open(self.path("stderr"), "ab")
        self.process = subprocess.Popen([*prefix, BINARY, "run", "-c", self.path("policy.yaml")],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.errors,
                                        env={**os.environ, **(env or {})})
        if wait:
            wait_for(self.is_ready, "the gate is ready: " + self.stderr())
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError("the gate ended: " + self.stderr())
        try:
            return self.admin_get("/readyz")[0] == 200
        except OSError:
            return False

    def stderr(self):
        try:
            with open(self.path("stderr"), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def admin_get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        try:
            c.request("GET", path)
            r = c.getresponse()
            return r.status, r.read().decode()
        finally:
            c.close()

    def metric(self, name, **labels):
        """The value of a metric; the sum of all its series that have these labels."""
        total, seen = 0.0, False
        for line in self.admin_get("/metrics")[1].splitlines():
            m = re.match(r"querygate_(\w+)(?:\{(.*)\})? (\S+)$", line)
            if m and m[1] == name and all('%s="%s"' % kv in (m[2] or "") for kv in labels.items()):
                total, seen = total + float(m[3]), True
        assert seen, "no metric " + name
        return total

    def resident(self):
        """Bytes of memory."""
        with open("/proc/%d/statm" % self.process.pid) as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def cpu(self):
        """Seconds of CPU so far."""
        with open("/proc/%d/stat" % self.process.pid) as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log_lines(self):
        with open(self.log) as f:
            return [json.loads(line) for line in f]

    def reload(self, **parts):
        """Rewrites the policy, sends SIGHUP and waits until the gate has read it."""
        self.write_policy(**parts)
        before = self.metric("config_reloads_total")
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.metric("config_reloads_total") > before, "the reload was seen")

    def stop(self):
        """SIGTERM; asserts a clean end and that no sanitizer complained."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            code = "did not end on SIGTERM"
        self.process = None
        self.errors.close()
        text = self.stderr()
        assert code == 0 and not ERRORS.search(text), "exit %s: %s" % (code, text[-6000:])

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.errors.close()

    # Clients.

    def connect(self, timeout=PATIENCE, tls=None):
        s = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return tls.wrap_socket(s, server_hostname="localhost") if tls else s

    def headers(self, **more):
        return {"X-API-Key": self.key, **more}

    def request(self, method, path, body=None, headers=None, key=True):
        """(status, headers, body)"""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            c.request(method, path, body=body,
                      headers={**(self.headers() if key else {}), **(headers or {})})
            r = c.getresponse()
            return r.status, r.headers, r.read()
        finally:
            c.close()

    def infer(self, body=None, model="m", **kw):
        """(status, object)"""
        status, _, data = self.request("POST", "/v2/models/%s/infer" % model,
                                       json.dumps(body or query()), **kw)
        return status, json.loads(data)


def query(rows=1, values=None, outputs=None, **more):
    data = values if values is not None else [0.5] * (4 * rows)
    q = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [rows, len(data) // rows], "data": data}]}
    if outputs:
        q["outputs"] = [{"name": n} for n in outputs]
    return {**q, **more}


def read_answer(sock):
    """One whole HTTP answer from a socket: (status, headers, body); b"" at a clean end."""
    f = sock.makefile("rb")
    return read_from(f)


def read_from(f):
    line = f.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = {}
    while (line := f.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        headers[name.strip().lower().decode()] = value.strip().decode()
    if status // 100 == 1:
        return read_from(f)
    length = int(headers.get("content-length", 0))
    body = f.read(length)
    assert len(body) == length, "a short answer"
    return status, headers, body


SCORES = [0.05, 0.7, 0.15, 0.1]


def answer_body(rows=1, scores=None, model="m"):
    return json.dumps({"model_name": model, "model_version": "1", "outputs": [
        {"name": "scores", "datatype": "FP32", "shape": [rows, 4], "data": (scores or SCORES) * rows},
        {"name": "label", "datatype": "INT64", "shape": [rows], "data": [1] * rows}]}).encode()


def http_answer(body=None, status="200 OK", headers=()):
    body = answer_body() if body is None else body
    head = ["HTTP/1.1 " + status, "Content-Type: application/json", "Content-Length: %d" % len(body)]
    return "\r\n".join([*head, *headers, "", ""]).encode() + body


class Upstream:
    """A model server that plays a script: `answer(request)` returns the bytes to send, or None to
    say nothing, or an exception class to end the connection, or a function that does with the
    socket what it likes.  Remembers every request, and every byte of their heads; unless told not to.
    """

    def __init__(self, answer=None, tls=None, remember=True):
        self.answer = answer or (lambda request: http_answer())
        self.tls = tls
        self.remember = remember
        self.requests, self.received, self.connections = [], bytearray(), 0
        self.lock = threading.Lock()
        self.open = set()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.url = "%s://127.0.0.1:%d" % ("https" if tls else "http", self.port)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.connections += 1
                self.open.add(s)
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        raw = s
        try:
            if self.tls:
                s = self.tls.wrap_socket(s, server_side=True)
            while (request := self.read(s)) is not None:
                if self.remember:
                    with self.lock:
                        self.requests.append(request)
                reply = self.answer(request)
                if isinstance(reply, type) and issubclass(reply, BaseException):
                    return
                if callable(reply):
                    reply(s)
                elif reply is not None:
                    s.sendall(reply)
        except (OSError, ValueError):
            pass
        finally:
            with self.lock:
                self.open.discard(raw)
            s.close()

    def read(self, s):
        """(head text, body) of the next request; None at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = s.recv(65536)
            if self.remember:
                with self.lock:
                    self.received += part
            if not part:
                return None
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        m = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        length = int(m[1]) if m else 0
        parts, have = [body], len(body)
        while have < length:
            part = s.recv(1 << 20)
            if not part:
                return None
            parts.append(part)
            have += len(part)
        return head.decode("latin-1"), b"".join(parts)

    def close(self):
        self.listener.close()
        with self.lock:
            for s in self.open:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass


def sends_and_closes(data):
    """For Upstream.answer: these bytes, then the end."""
    def play(s):
        s.sendall(data)
        raise ConnectionError
    return play


def read_to_end(sock):
    """Everything until the gate closes, as a list of answers."""
    with sock.makefile("rb") as f:
        answers = []
        while (answer := read_from(f)) is not None:
            answers.append(answer)
        return answers


def run(*args, stdin=None):
    """The binary's command line: (exit code, stdout, stderr)."""
    r = subprocess.run([BINARY, *args], input=stdin, capture_output=True, text=True, timeout=PATIENCE)
    return r.returncode, r.stdout, r.stderr

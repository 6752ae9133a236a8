"""The model server and the gate in front of it, as processes of their own on free loopback ports."""
import http.client
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
POLICY = os.path.join(ROOT, "deploy/demo/policy.yaml.in")
WAIT_SECONDS = 30


class Failed(Exception):
    pass


def free_ports(count):
    """Ports that nobody listens on; all bound at once, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Bed:
    """with Bed(gate) as bed: bed.direct and bed.gated are URLs, bed.key the client's API key.

    The policy is deploy/demo/policy.yaml.in with @NAME@ filled in; `policy` may be other text."""

    def __init__(self, gate, policy=None):
        self.gate = os.path.abspath(gate)
        if policy is None:
            with open(POLICY) as f:
                policy = f.read()
        self.policy = policy
        self.processes = []
        self.folder = tempfile.mkdtemp(prefix="querygate-")
        self.key = secrets.token_hex(16)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        model_port = self.start_model()
        self.write_policy(model_port)
        self.start_gate()
        self.direct = "http://127.0.0.1:%d" % model_port
        self.gated = "http://127.0.0.1:%d" % self.gate_port
        self.admin = "http://127.0.0.1:%d" % self.admin_port

    def spawn(self, name, command, **more):
        """Its errors go to a file: a pipe that nobody reads would stop it one day."""
        with open(self.path(name + ".log"), "wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log,
                                       **more)
        self.processes.append(process)
        return process

    def log(self, name):
        with open(self.path(name + ".log"), errors="replace") as f:
            return f.read()

    def start_model(self):
        server = self.spawn("model", [sys.executable, os.path.join(HERE, "model_server.py")],
                            stdout=subprocess.PIPE)
        ready, _, _ = select.select([server.stdout], [], [], WAIT_SECONDS)
        line = server.stdout.readline() if ready else b""
        if not line.startswith(b"listening on "):
            raise Failed("the model server did not start:\n" + self.log("model"))
        return int(line.split()[-1])

    def write_secret(self, name, text):
        with os.fdopen(os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(text)

    def write_policy(self, model_port):
        self.gate_port, self.admin_port = free_ports(2)
        hashed = subprocess.run([self.gate, "hash-key", "--id", "demo"], input=self.key,
                                capture_output=True, text=True)
        if hashed.returncode != 0:
            raise Failed("hash-key failed: " + hashed.stderr)
        entry = hashed.stdout.strip()
        self.write_secret("keys.yaml", "keys:\n  %s\n" % (
            entry if entry.startswith("-") else "- " + entry))
        self.write_secret("pseudonym.key", secrets.token_hex(32))
        text = self.policy
        for name, value in (("GATE", self.gate_port), ("ADMIN", self.admin_port),
                            ("MODEL", model_port)):
            text = text.replace("@%s@" % name, str(value))
        with open(self.path("policy.yaml"), "w") as f:
            f.write(text)

    def start_gate(self):
        self.spawn("gate", [self.gate, "run", "-c", self.path("policy.yaml")], cwd=self.folder,
                   stdout=subprocess.DEVNULL)
        self.wait(lambda: self.status(self.admin_port, "/readyz") == 200, "the gate is not ready")

    @staticmethod
    def status(port, path):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def wait(self, condition, otherwise):
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            if time.monotonic() > end or self.processes[-1].poll() is not None:
                raise Failed("%s:\n%s" % (otherwise, self.log("gate")))
            time.sleep(0.02)

    def close(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self.processes = []
        shutil.rmtree(self.folder, ignore_errors=True)

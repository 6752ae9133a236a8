"""A new policy, and the end, under load: no query fails, and each is answered under one policy."""
import json
import os
import re
import secrets
import shutil
import signal
import threading
import time

import harness
import load
from harness import SANITIZED, Upstream, http_answer, read_answer, wait_for

CLIENTS = 32
BODY = json.dumps(harness.query(outputs=["scores"])).encode()
# Of the scores 0.05, 0.7, 0.15, 0.1 as FP32 has them.
POLICIES = {"filters: [{top_k: {k: 1}}]": [0, 1, 0, 0],
            "filters: [{round: {digits: 1}}]": [0.1, 0.7, 0.2, 0.1], "filters: []": [0.05, 0.7, 0.15, 0.1]}


def with_clients(make_gate, upstream, **parts):
    """A gate with a key for each connection of a load."""
    gate = make_gate(upstream.url, start=False, **parts)
    gate.keys = [("c%d" % i, secrets.token_hex(16), None) for i in range(CLIENTS)]
    gate.key = gate.keys[0][1]
    gate.write_policy()
    return gate


def asks(gate):
    """For load.run: each connection with its own key."""
    return lambda number: (number, load.post(gate.keys[number][1], BODY))


def version_of(path):
    """The policy version, as the access log has it."""
    code, out, _ = harness.run("check", path)
    assert code == 0
    return re.search(r"policy version (\w+)", out)[1][:16]


def variants(gate):
    """Each policy in a file of its own: (path, version, what it makes of the scores)"""
    for i, (policy, scores) in enumerate(POLICIES.items()):
        gate.write_policy(policy=policy)
        path = gate.path("policy%d.yaml" % i)
        os.rename(gate.path("policy.yaml"), path)
        yield path, version_of(path), scores


def put(gate, path):
    """In one step: the gate may read the file at any moment."""
    shutil.copyfile(path, gate.path("next.yaml"))
    os.rename(gate.path("next.yaml"), gate.path("policy.yaml"))
    gate.process.send_signal(signal.SIGHUP)


def counters(gate):
    page = gate.admin_get("/metrics")[1]
    return {name: float(value) for name, value in
            re.findall(r"^(querygate_\w+_(?:total|count|bucket)\S*) (\S+)$", page, re.M)}


class Reloader(threading.Thread):
    """Puts the policies in force in turn, ten times a second, and sees that no counter goes back."""

    def __init__(self, gate, paths):
        super().__init__()
        self.gate, self.paths, self.over = gate, paths, threading.Event()
        self.count, self.gone_back = 0, []

    def run(self):
        before = counters(self.gate)
        while not self.over.wait(0.1):
            put(self.gate, self.paths[self.count % len(self.paths)])
            self.count += 1
            now = counters(self.gate)
            self.gone_back += [n for n, v in before.items() if now.get(n, -1) < v]
            before = now


def test_ten_reloads_a_second_under_load(make_gate, upstream):
    gate = with_clients(make_gate, upstream, workers=4)
    made = list(variants(gate))
    shutil.copyfile(made[0][0], gate.path("policy.yaml"))
    gate.start()
    reloader = Reloader(gate, [path for path, _, _ in made])
    reloader.start()
    end = time.monotonic() + 6.5
    answers, ends = load.run(gate.port, CLIENTS, asks(gate), lambda: time.monotonic() > end)
    reloader.over.set()
    reloader.join()
    assert ends == [] and {a.status for a in answers} == {200}
    assert reloader.gone_back == []
    assert gate.metric("config_reloads_total", result="failed") == 0
    assert gate.metric("config_reloads_total", result="ok") > (20 if SANITIZED else 40)
    assert gate.metric("access_log_dropped_total") == 0
    assert gate.metric("requests_total", code="2xx") == len(answers)
    names = {gate.keys[i][1]: i for i in range(CLIENTS)}
    assert len(names) == CLIENTS
    gate.stop()
    check_versions(gate, answers, {version: scores for _, version, scores in made})


def check_versions(gate, answers, scores_of):
    """The log's lines of a client come in the order of its answers: each pair must fit."""
    lines, own = {}, {}
    for line in gate.log_lines():
        lines.setdefault(line["client"], []).append(line)
    for a in answers:
        own.setdefault(a.connection, []).append(json.loads(a.body)["outputs"][0]["data"])
    seen = set()
    for number, given in own.items():
        name = harness.run("pseudonym", "-c", gate.path("policy.yaml"), "--kind", "key",
                           "--id", "c%d" % number)[1].strip()
        logged = [line["policy_sha256"] for line in lines.pop(name)]
        assert [scores_of[version] for version in logged] == given
        seen |= set(logged)
    assert lines == {} and seen == set(scores_of)


def test_a_broken_file_changes_nothing(make_gate, upstream):
    gate = make_gate(upstream.url, policy="filters: [{top_k: {k: 1}}]")
    before = gate.admin_get("/config")
    text = open(gate.path("policy.yaml")).read().replace("{k: 1}", "{k: no, q: 2}")
    gate.write("policy.yaml", text)
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_last_reload_successful") == 0, "the reload failed")
    assert gate.metric("config_reloads_total", result="failed") == 1
    assert gate.metric("config_reloads_total", result="ok") == 0
    assert gate.infer()[1]["outputs"][0]["data"] == [0, 1, 0, 0]
    assert gate.admin_get("/config") == before and gate.admin_get("/readyz")[0] == 200
    for wrong in ("no", "q"):
        before_it = text[:text.index(wrong, text.index("{k: no"))].split("\n")
        place = "%s:%d:%d: error: " % (gate.path("policy.yaml"), len(before_it), len(before_it[-1]) + 1)
        assert place in gate.stderr()
    assert "the policy before it stays in force" in gate.stderr()
    gate.reload(policy="filters: []")
    assert gate.metric("config_last_reload_successful") == 1
    assert gate.infer()[1]["outputs"][0]["data"] == [0.05, 0.7, 0.15, 0.1]


def test_keys_come_and_go(make_gate, upstream):
    """Also on a connection that stays: it is the key that counts, each time."""
    gate = make_gate(upstream.url)
    old, new = gate.key, secrets.token_hex(16)

    def status(s, key):
        s.sendall(load.post(key, BODY))
        return read_answer(s)[0]

    def status_alone(key):
        with gate.connect() as s:
            return status(s, key)

    with gate.connect() as s:
        assert (status(s, old), status_alone(new)) == (200, 401)
        gate.keys = [("alice", old, None), ("bob", new, None)]
        gate.reload()
        wait_for(lambda: status_alone(new) == 200, "the new key is good")
        assert status(s, old) == status(s, new) == 200
        gate.keys = [("bob", new, None)]
        gate.reload()
        wait_for(lambda: status(s, old) == 401, "the old key is not")
        assert (status_alone(old), status_alone(new)) == (401, 200)


def test_what_needs_a_restart_is_refused(make_gate, upstream):
    gate = make_gate(upstream.url)
    port, admin = harness.free_ports(2)
    for change, word in (({"port": port}, "listeners"), ({"admin": admin}, "admin"),
                         ({"workers": 3}, "workers")):
        kept = dict(gate.parts)
        failures = gate.metric("config_reloads_total", result="failed")
        gate.write_policy(**change)
        gate.process.send_signal(signal.SIGHUP)
        wait_for(lambda: gate.metric("config_reloads_total", result="failed") == failures + 1, "refused")
        assert "a change of '%s' needs a restart" % word in gate.stderr()
        gate.parts = kept
        assert gate.infer()[0] == 200
    gate.reload()
    assert gate.metric("config_last_reload_successful") == 1


# ---- The end ----

def ended(gate):
    """The exit code; the gate is not checked for it a second time."""
    code = gate.process.wait(harness.PATIENCE)
    gate.process = None
    gate.errors.close()
    assert not harness.ERRORS.search(gate.stderr()), gate.stderr()
    return code


def test_a_stop_under_load_cuts_no_answer(make_gate, upstream):
    gate = with_clients(make_gate, upstream, workers=4)
    gate.start()
    asked = iter(range(1 << 30))

    def request(number):
        if next(asked) == 1500:
            gate.process.send_signal(signal.SIGTERM)
        return asks(gate)(number)

    answers, ends = load.run(gate.port, CLIENTS, request, lambda: False)
    assert ended(gate) == 0
    assert len(answers) >= 1500 - CLIENTS and {a.status for a in answers} == {200}
    assert len(ends) == CLIENTS
    # A query that crossed the end of a connection got a clean end and no byte; no answer was cut.
    assert {(e.how, e.reset) for e in ends} <= {("idle", False), ("unanswered", False)}


class Held:
    """A server that answers when it is told to."""

    def __init__(self):
        self.asked, self.go = threading.Event(), threading.Event()
        self.upstream = Upstream(self.answer)

    def answer(self, request):
        self.asked.set()
        assert self.go.wait(harness.PATIENCE)
        return http_answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go.set()
        self.upstream.close()


def refused_now(gate):
    try:
        gate.connect().close()
        return False
    except ConnectionRefusedError:
        return True


def test_what_is_under_way_is_finished(make_gate):
    with Held() as held:
        gate = make_gate(held.upstream.url)
        with gate.connect() as busy, gate.connect() as idle:
            busy.sendall(load.post(gate.key, BODY))
            assert held.asked.wait(harness.PATIENCE)
            gate.process.send_signal(signal.SIGTERM)
            wait_for(lambda: gate.admin_get("/readyz")[0] == 503, "it says that it is stopping")
            wait_for(lambda: refused_now(gate), "the listeners are closed")
            assert idle.recv(1) == b""
            assert gate.process.poll() is None
            held.go.set()
            status, headers, body = read_answer(busy)
            assert status == 200 and headers["connection"] == "close"
            assert json.loads(body)["outputs"][0]["data"] == [0, 1, 0, 0]
            assert busy.recv(1) == b""
        assert ended(gate) == 0
        assert gate.log_lines()[-1]["status"] == 200


def test_a_second_signal_ends_at_once(make_gate):
    with Held() as held:
        gate = make_gate(held.upstream.url)
        with gate.connect() as busy:
            busy.sendall(load.post(gate.key, BODY))
            assert held.asked.wait(harness.PATIENCE)
            gate.process.send_signal(signal.SIGTERM)
            wait_for(lambda: gate.admin_get("/readyz")[0] == 503, "it says that it is stopping")
            gate.process.send_signal(signal.SIGTERM)
            assert ended(gate) == 0


def test_a_drain_has_an_end(make_gate):
    with Held() as held:
        gate = make_gate(held.upstream.url, limits="drain_timeout: 200ms")
        with gate.connect() as busy:
            busy.sendall(load.post(gate.key, BODY))
            assert held.asked.wait(harness.PATIENCE)
            gate.process.send_signal(signal.SIGTERM)
            assert ended(gate) == 0


def test_admin_on_a_unix_socket(make_gate, upstream):
    gate = make_gate(upstream.url, start=False)
    path = gate.path("admin.sock")
    text = open(gate.path("policy.yaml")).read()
    gate.write("policy.yaml", text.replace("admin: {address: 127.0.0.1:%d}" % gate.admin,
                                           "admin: {address: 'unix:%s'}" % path))
    gate.start(wait=False)

    def get(page):
        with harness.socket.socket(harness.socket.AF_UNIX) as s:
            s.settimeout(harness.PATIENCE)
            s.connect(path)
            s.sendall(b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n" % page)
            return read_answer(s)

    def ready():
        try:
            return get(b"/readyz")[0] == 200
        except OSError:
            assert gate.process.poll() is None, gate.stderr()
            return False

    wait_for(ready, "the socket answers")
    assert b"querygate_build_info" in get(b"/metrics")[2] and get(b"/other")[0] == 404
    assert os.stat(path).st_mode & 0o077 == 0  # nobody else's
    assert gate.infer()[0] == 200
    gate.kill()
    gate.start(wait=False)  # the socket that is left is no hindrance
    wait_for(ready, "it answers again")
    gate.stop()


def test_a_socket_takes_no_file_s_place(make_gate, upstream):
    gate = make_gate(upstream.url, start=False)
    gate.write("kept", "of worth")
    text = open(gate.path("policy.yaml")).read()
    gate.write("policy.yaml", text.replace("127.0.0.1:%d" % gate.admin, "'unix:%s'" % gate.path("kept")))
    gate.start(wait=False, env={"ASAN_OPTIONS": "detect_leaks=0"})  # the process ends as it is
    assert ended(gate) == 1 and "cannot listen on" in gate.stderr()
    assert open(gate.path("kept")).read() == "of worth"

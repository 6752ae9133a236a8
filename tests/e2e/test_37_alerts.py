"""Alerts: what an operator must know reaches the file, once, and nobody waits for it."""
import json
import os
import signal
import subprocess

import harness
from harness import wait_for

SINK = "alerts: {instance: gate-7, sinks: [{file: {path: alerts.jsonl, format: ecs}}]}"


def alerts(gate, name="alerts.jsonl"):
    try:
        with open(gate.path(name)) as f:
            return [json.loads(line) for line in f]
    except FileNotFoundError:
        return []


def fail_reload(gate):
    """A reload that fails is an alert."""
    with open(gate.path("policy.yaml")) as f:
        good = f.read()
    failures = gate.metric("config_reloads_total", result="failed")
    gate.write("policy.yaml", good + "nonsense: true\n")
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_reloads_total", result="failed") > failures, "it failed")
    gate.write("policy.yaml", good)


def test_an_alert_reaches_the_file(make_gate, upstream):
    gate = make_gate(upstream.url, more=SINK)
    fail_reload(gate)
    one = wait_for(lambda: alerts(gate), "the alert")[0]
    assert one["rule"] == {"id": "config.reload"} and one["message"].startswith("A reload failed")
    assert one["observer"]["hostname"] == "gate-7" and one["ecs"]["version"] == "8.17.0"
    assert one["event"]["kind"] == "alert" and one["event"]["sequence"] == 1
    assert one["labels"]["cnt"] == "1" and len(one["labels"]["policy_sha"]) == 16
    assert gate.metric("alerts_total") == 1 and gate.metric("alerts_dropped_total") == 0
    fail_reload(gate)
    wait_for(lambda: len(alerts(gate)) == 2, "the second")
    assert len({a["event"]["id"] for a in alerts(gate)}) == 2


def test_a_file_that_is_renamed(make_gate, upstream):
    gate = make_gate(upstream.url, more=SINK)
    fail_reload(gate)
    wait_for(lambda: len(alerts(gate)) == 1, "the first alert")
    os.rename(gate.path("alerts.jsonl"), gate.path("alerts.1"))
    gate.reload()
    wait_for(lambda: os.path.exists(gate.path("alerts.jsonl")), "a new file")
    fail_reload(gate)
    wait_for(lambda: len(alerts(gate)) == 1, "the second alert")
    assert len(alerts(gate, "alerts.1")) == 1
    assert [a["event"]["sequence"] for a in alerts(gate, "alerts.1") + alerts(gate)] == [1, 2]


def test_sinks_change_with_a_reload(make_gate, upstream):
    gate = make_gate(upstream.url)
    fail_reload(gate)
    assert gate.metric("alerts_total") == 1  # counted without a sink
    gate.reload(more=SINK)
    fail_reload(gate)
    wait_for(lambda: len(alerts(gate)) == 1, "an alert")
    two = SINK.replace("}}]}", "}}, {file: {path: missing/alerts.jsonl}}]}")
    failures = gate.metric("config_reloads_total", result="failed")
    gate.write_policy(more=two)
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_reloads_total", result="failed") > failures, "refused")
    wait_for(lambda: len(alerts(gate)) == 2, "it is an alert in the file that is")
    gate.reload(more="")
    fail_reload(gate)
    assert gate.metric("alerts_total") == 4 and len(alerts(gate)) == 2


def test_a_sink_that_cannot_be_opened_is_no_start(make_gate, upstream):
    gate = make_gate(upstream.url, start=False, more=SINK.replace("alerts.jsonl", "missing/a"))
    gate.start(wait=False, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert gate.process.wait(harness.PATIENCE) == 1
    gate.process = None
    assert "missing/a: No such file or directory" in gate.stderr()


def test_a_pipe(make_gate, upstream):
    """One that nobody reads is no sink, at the start and at a reload, and holds up neither; one
    whose reader reads no more holds up the alerts alone."""
    gate = make_gate(upstream.url, start=False, more=SINK)
    os.mkfifo(gate.path("alerts.jsonl"))
    gate.start(wait=False, env={"ASAN_OPTIONS": "detect_leaks=0"})
    assert gate.process.wait(harness.PATIENCE) == 1
    gate.process = None
    assert "alerts.jsonl: nobody reads this pipe" in gate.stderr()

    reader = os.open(gate.path("alerts.jsonl"), os.O_RDONLY | os.O_NONBLOCK)
    gate.start()
    fail_reload(gate)
    line = wait_for(lambda: read_some(reader), "the alert")
    assert json.loads(line)["rule"]["id"] == "config.reload"
    for _ in range(200):  # more than a pipe holds
        fail_reload(gate)
    assert gate.infer()[0] == 200
    os.close(reader)
    failures = gate.metric("config_reloads_total", result="failed")
    gate.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gate.metric("config_reloads_total", result="failed") > failures, "refused")
    assert gate.infer()[0] == 200


def read_some(descriptor):
    try:
        return os.read(descriptor, 65536)
    except BlockingIOError:
        return b""


def test_errors_of_the_section(make_gate, upstream):
    gate = make_gate(upstream.url, start=False)
    for section, why in (
            ("alerts: {sinks: []}", "sinks"),
            ("alerts: {}", "sinks"),
            ("alerts: {sinks: [{}]}", "file"),
            ("alerts: {sinks: [{file: {path: a, format: esc}}]}", "did you mean"),
            ("alerts: {sinks: [{file: {path: a}}, {file: {path: ./a}}]}", None),
            ("alerts: {sinks: [{file: {path: a}}, {file: {path: a}}]}", "is a sink already"),
            ("alerts: {instance: 'a b', sinks: [{file: {path: a}}]}", "a name has at most")):
        gate.write_policy(more=section)
        code, out, err = harness.run("check", gate.path("policy.yaml"))
        if why is None:
            assert code == 0, out + err
        else:
            assert code == 1 and why in out + err, (section, out + err)


def test_a_store_that_cannot_write(make_gate, upstream, tmp_path):
    """Its beginning and its end are an alert each."""
    gate = make_gate(upstream.url, log="off",
                     policy="filters: [{rate_limit: {queries: 60/h, burst: 8, on_failure: open}}]",
                     more=SINK + "\nstore: {url: 'memory:%s'}" % (tmp_path / "state"))

    def limit(size):
        subprocess.run(["prlimit", "--pid", str(gate.process.pid), "--fsize=%s:unlimited" % size],
                       check=True)

    def severities():
        return [a["event"]["severity"] for a in alerts(gate) if a["rule"]["id"] == "store.disk"]

    limit(4096)
    assert all(gate.infer()[0] == 200 for _ in range(20))  # open
    wait_for(lambda: severities() == [8], "the alert")
    limit("unlimited")
    wait_for(lambda: gate.infer()[0] and severities() == [8, 1], "the end of it")

"""tests/tools/hammer.c from a test: many clients ask several gates, and every decision is recorded."""
import contextlib
import os
import subprocess

import numpy as np

from harness import BINARY, PATIENCE

RECORD = np.dtype([("sent", "<u8"), ("received", "<u8"), ("client", "<u4"), ("status", "<u2"),
                   ("gate", "<u2")])
HERE = os.path.dirname(BINARY)


def tool(name):
    """Built beside the release binary, whichever variant of the gate is tested."""
    for folder in (HERE, os.path.dirname(HERE)):
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    raise AssertionError("there is no %s beside %s: make test-tools builds it" % (name, BINARY))


@contextlib.contextmanager
def stub():
    """The port of tests/bench/stub.c, an upstream that keeps up; its model c10 has `probabilities`."""
    with subprocess.Popen([tool("bench/stub")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          text=True) as server:
        try:
            yield int(server.stdout.readline().split()[-1])
        finally:
            server.terminate()


def start(record, ports, header, **options):
    """The process; options are the tool's letters, such as c=64, k=1000, s=10, r=True."""
    words = [word for letter, value in options.items()
             for word in ["-" + letter] + ([] if value is True else [str(value)])]
    gates = ",".join(map(str, ports))
    return subprocess.Popen([tool("tools/hammer"), "-p", gates, "-o", str(record), *words, header],
                            stdin=subprocess.DEVNULL)


def finish(process, record, patience=PATIENCE * 8):
    """What was recorded, once the tool has ended by itself."""
    try:
        assert process.wait(patience) == 0
    finally:
        process.kill()
        process.wait()
    return np.fromfile(record, RECORD)


def run(record, ports, header, **options):
    return finish(start(record, ports, header, **options), record)


def worst_excess(sent, received, rate, burst):
    """The most by which any window holds more than it may, costs being 1: over all pairs of a
    request sent at A and an answer received at B, the requests sent at or after A and answered by B
    less burst + rate x (B - A), in seconds."""
    order = np.argsort(received, kind="stable")
    sent, received = sent[order].astype(np.float64) / 1e9, received[order].astype(np.float64) / 1e9
    worst = -np.inf
    for start in sent:
        ends = received[sent >= start]
        worst = max(worst, (np.arange(1, len(ends) + 1) - burst - rate * (ends - start)).max())
    return worst

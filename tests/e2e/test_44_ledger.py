"""The ledger: a line a charge, a chain over restarts and rotation, and a verifier that finds what was
changed."""
import hashlib
import hmac
import json
import os
import re
import subprocess
import threading

import pytest

from harness import BINARY, wait_for
from test_43_budget import ask, budget, explain, make, model, warm  # noqa: F401

ZEROS = "0" * 64
SECRET = "a secret of at least sixteen bytes"


def ledgered(make_gate, upstream, key=False, start=True, epsilon=100, **more):
    section = "ledger: {file: spend.jsonl%s}" % (", key: ledger.key" if key else "")
    gate = make(make_gate, upstream, budget(epsilon=epsilon, **more), start=False, more=section)
    gate.write("ledger.key", SECRET + "\n")
    return gate.start() if start else gate


def read(gate, name="spend.jsonl", count=None):
    """The lines, once there are so many."""
    path = gate.path(name)

    def lines():
        if not os.path.exists(path):
            return []
        with open(path) as f:
            return f.read().splitlines()
    if count is not None:
        wait_for(lambda: len(lines()) == count, "%d lines in the ledger" % count)
    return lines()


def verify(gate, name="spend.jsonl", key=None):
    command = [BINARY, "ledger", "verify", gate.path(name)] + (["--key", gate.path(key)] if key else [])
    r = subprocess.run(command, capture_output=True, text=True)
    return r.returncode, r.stdout + r.stderr


def digest(line, key=None):
    text = line[:line.rindex(',"hash":"')].encode()
    if key is None:
        return hashlib.sha256(text).hexdigest()
    key = hmac.new(key.encode(), b"querygate ledger", "sha256").digest()
    return hmac.new(key, text, "sha256").hexdigest()


def check_chain(lines, prev=ZEROS, number=1, key=None):
    """Not by the gate's own code."""
    for line in lines:
        said = json.loads(line)
        assert (said["prev"], said["number"]) == (prev, number)
        assert said["hash"] == digest(line, key)
        prev, number = said["hash"], number + 1
    return prev, number


@pytest.mark.parametrize("key", [False, True], ids=["plain", "keyed"])
def test_a_line_a_charge(make_gate, model, key):  # noqa: F811
    gate = ledgered(make_gate, model, key)
    warm(gate, model)
    assert ask(gate, 100.0, 3) == 200
    assert gate.infer()[0] == gate.infer()[0] == 200
    lines = read(gate, count=3)
    check_chain(lines, key=SECRET if key else None)
    said = [json.loads(line) for line in lines]
    assert [s["rows"] for s in said] == [1, 3, 1]
    assert [s["cost"] for s in said] == [1, 3, 1] and [s["total"] for s in said] == [1, 4, 5]
    assert {(s["model"], s["policy"], s["unit"], s["limit"]) for s in said} == \
        {("m", "main", "epsilon", 100)}
    assert all(re.fullmatch(r"k1:[0-9a-f]{16}", s["client"]) for s in said)
    assert "alice" not in "".join(lines) and gate.key not in "".join(lines)
    code, text = verify(gate, key="ledger.key" if key else None)
    assert code == 0 and "OK, 3 lines, 5 rows, epsilon 5, rho 0" in text
    if key:
        code, text = verify(gate)
        assert code == 1 and ":1: BROKEN" in text, "without the key nothing holds"
        assert "--key FILE" in text


def change(line):
    return line.replace('"rows":1', '"rows":2')


@pytest.mark.parametrize("damage, broken", [
    (lambda a: a[:2] + [change(a[2])] + a[3:], 3),
    (lambda a: a[:2] + a[3:], 3),
    (lambda a: a[:2] + [a[3], a[2]] + a[4:], 3),
    (lambda a: a[:2] + [a[1]] + a[2:], 3),
    (lambda a: a[:3] + ["not json"] + a[3:], 4),
    (lambda a: a[:3] + [""] + a[3:], 4),
    (lambda a: a[:3] + ["{" * 10000] + a[3:], 4),
    (lambda a: [a[0].replace('"hash":"', '"hash":"0')] + a[1:], 1)])
def test_damage_is_found(make_gate, model, damage, broken):  # noqa: F811
    gate = ledgered(make_gate, model)
    for i in range(5):
        assert ask(gate, float(i)) == 200
    lines = read(gate, count=5)
    assert verify(gate)[0] == 0
    gate.write("damaged.jsonl", "\n".join(damage(lines)) + "\n")
    code, text = verify(gate, "damaged.jsonl")
    assert code == 1 and ":%d: BROKEN" % broken in text, text


def test_two_ledgers_are_not_one(make_gate, model):  # noqa: F811
    """Nor with the same key, nor half a line, and another key reads nothing."""
    one, two = (ledgered(make_gate, model, key=True) for _ in range(2))
    for gate in (one, two):
        for i in range(4):
            assert ask(gate, float(i)) == 200
    a, b = read(one, count=4), read(two, count=4)
    for lines, broken in ((a[:2] + b[2:], 3), (a + b, 5), (a[:3] + [a[3][:40]], 4)):
        one.write("spliced.jsonl", "\n".join(lines) + "\n")
        code, text = verify(one, "spliced.jsonl", "ledger.key")
        assert code == 1 and ":%d: BROKEN" % broken in text, text
    one.write("cut.jsonl", "\n".join(a))
    code, text = verify(one, "cut.jsonl", "ledger.key")
    assert code == 1 and ":4: BROKEN: it is cut off" in text
    one.write("beheaded.jsonl", "\n".join(a[1:]) + "\n")
    code, text = verify(one, "beheaded.jsonl", "ledger.key")
    assert code == 0 and "goes on from" in text and "numbers 2 to 4" in text
    one.write("other.key", SECRET[::-1])
    assert verify(one, key="other.key")[0] == 1


def test_a_forger_without_the_key(make_gate, model):  # noqa: F811
    """Who can compute SHA-256 can change a line and all behind it, but not where there is a key."""
    gate = ledgered(make_gate, model, key=True)
    for i in range(3):
        assert ask(gate, float(i)) == 200
    forged, prev = [], ZEROS
    for line in read(gate, count=3):
        said = json.loads(change(line))
        text = change(line).replace(said["prev"], prev)
        prev = digest(text)
        forged.append(text[:text.rindex(',"hash":"')] + ',"hash":"%s"}' % prev)
    gate.write("forged.jsonl", "\n".join(forged) + "\n")
    assert verify(gate, "forged.jsonl")[0] == 0
    assert verify(gate, "forged.jsonl", "ledger.key")[0] == 1


def test_the_chain_goes_on(make_gate, model):  # noqa: F811
    gate = ledgered(make_gate, model)
    assert ask(gate, 1.0) == 200
    gate.stop()
    gate.start()
    assert ask(gate, 2.0) == 200
    read(gate, count=2)
    gate.kill()
    with open(gate.path("spend.jsonl"), "a") as f:
        f.write('{"number":3,"time":"20')  # cut off by a crash
    gate.start()
    assert ask(gate, 3.0) == 200
    prev, number = check_chain(read(gate, count=3))
    os.rename(gate.path("spend.jsonl"), gate.path("old.jsonl"))
    gate.reload()
    assert ask(gate, 4.0) == 200
    after = read(gate, count=1)
    check_chain(after, prev, number)
    assert verify(gate, "old.jsonl")[0] == 0
    code, text = verify(gate)
    assert code == 0 and "goes on from " + prev in text
    gate.stop()
    gate.start()
    assert ask(gate, 5.0) == 200
    check_chain(read(gate, count=2), prev, number)


def test_what_is_no_ledger_is_left_alone(make_gate, model):  # noqa: F811
    gate = ledgered(make_gate, model, start=False)
    gate.write("spend.jsonl", "somebody else's file\n")
    gate.start(wait=False)
    assert gate.process.wait(20) == 1
    assert "no line of a ledger" in gate.stderr()
    gate.process = None
    assert read(gate) == ["somebody else's file"]


def test_many_at_once_make_one_chain(make_gate, model):  # noqa: F811
    gate = ledgered(make_gate, model, epsilon=1000)

    def client(i):
        for k in range(40):
            assert ask(gate, 1000.0 * i + k) == 200
    threads = [threading.Thread(target=client, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    check_chain(read(gate, count=160))
    assert verify(gate)[0] == 0
    assert gate.metric("ledger_dropped_total") == 0


def test_usage():
    for words in (["ledger"], ["ledger", "verify"], ["ledger", "look", "x"]):
        r = subprocess.run([BINARY, *words], capture_output=True, text=True)
        assert r.returncode == 2 and "ledger verify FILE" in r.stderr
    r = subprocess.run([BINARY, "ledger", "verify", "/nowhere/at/all"], capture_output=True, text=True)
    assert r.returncode == 1 and "No such file" in r.stderr


def test_explain_says_what_is_spent(make_gate, model):  # noqa: F811
    gate = ledgered(make_gate, model, epsilon=20)
    assert "nothing that the ledger's file knows of" in explain(gate)
    for i in range(3):
        assert ask(gate, float(i)) == 200
    read(gate, count=3)
    assert "- epsilon 3 of 20 at 2" in explain(gate) and "17 left" in explain(gate)

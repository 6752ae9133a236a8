"""Gates that share a store, clients that ask all the time, and what was decided meanwhile."""
import time

import numpy as np

import hammer
import harness
import windows
from harness import PATIENCE, wait_for

# Where counting is tested, store.timeout is so long that a busy machine does not miss it.
DEADLINE = 0.05 if harness.SANITIZED else 0.02
SLACK = 0.005  # what a decision may take beyond it
STUCK = 0.5    # nothing may wait for as long as this, however busy the machine
KEY = "nemesis-key-of-client-%07d"
HEADER = "X-API-Key: nemesis-key-of-client-@"
PATH = "/v2/models/c10/infer"


class Rule:
    """A rate limit and what it may let through."""

    def __init__(self, rate, burst, exact=False, on_failure="local", gates=3):
        self.rate, self.burst, self.exact = rate, burst, exact
        self.on_failure, self.gates = on_failure, gates

    def text(self):
        return "{requests: %d/s, burst: %d, exact: %s, on_failure: %s}" % (
            self.rate, self.burst, str(self.exact).lower(), self.on_failure)

    @property
    def bound(self):
        """The burst that clients of all the gates together may see: leases of up to a quarter of
        it can lie ready at each gate."""
        return self.burst + (0 if self.exact else self.gates * (self.burst // 4))

    @property
    def share(self):
        """The burst of all the gates together while each counts alone."""
        return self.gates * max(1, self.burst // self.gates)


FIELDS = ("sent", "received", "client", "status", "gate")


class Decisions:
    """The record of a load, in seconds of time.monotonic()."""

    def __init__(self, record):
        self.sent = record["sent"] / 1e9
        self.received = record["received"] / 1e9
        self.client, self.status, self.gate = record["client"], record["status"], record["gate"]

    def __len__(self):
        return len(self.sent)

    def where(self, which):
        part = object.__new__(Decisions)
        for name in FIELDS:
            setattr(part, name, getattr(self, name)[which])
        return part

    def between(self, start, end):
        """Sent at or after start and answered by end."""
        return self.where((self.sent >= start) & (self.received <= end))

    @property
    def admitted(self):
        return self.where(self.status == 200)

    @property
    def took(self):
        return self.received - self.sent

    def statuses(self):
        return {int(s): int(n) for s, n in zip(*np.unique(self.status, return_counts=True))}

    def by_client(self):
        """(client, its decisions) of each."""
        order = np.argsort(self.client, kind="stable")
        edges = np.nonzero(np.diff(self.client[order]))[0] + 1
        for part in np.split(order, edges):
            yield int(self.client[part[0]]), self.where(part)


def joined(parts):
    """One Decisions of several."""
    whole = object.__new__(Decisions)
    for name in FIELDS:
        setattr(whole, name, np.concatenate([getattr(p, name) for p in parts]))
    return whole


def due(rule, decisions):
    """What the rule owes a client that asks all the time."""
    return rule.burst + rule.rate * max(decisions.sent.max() - decisions.received.min(), 0)


class Rig:
    def __init__(self, folder, upstream_port):
        self.folder, self.upstream_port = folder, upstream_port
        self.gates, self.loads, self.events = [], [], []

    def start_gates(self, url, rule, count=3, clients=1, timeout=DEADLINE, env=None, **parts):
        """Gates with one pseudonym key and the same rule, of the given clients."""
        more = "store: {url: \"%s\", expected_gates: %d, timeout: %dms}\n" % (
            url, rule.gates, round(1000 * timeout))
        more += "alerts: {sinks: [{file: {path: alerts.jsonl}}]}"
        parts = {"workers": 2, "match": "c10", "outputs": "{probabilities: scores}", "log": "off",
                 "policy": "bodies: relay, filters: [{rate_limit: %s}]" % rule.text(),
                 "more": more, **parts}
        secret = "0123456789abcdef" * 4
        for _ in range(count):
            folder = self.folder / ("gate%d" % len(self.gates))
            folder.mkdir()
            gate = harness.Gate(folder, ["http://127.0.0.1:%d" % self.upstream_port], **parts)
            gate.keys += [("client-%d" % i, KEY % i, None) for i in range(clients)]
            gate.write_policy()
            gate.write("pseudonym.key", secret)
            self.gates.append(gate)
            gate.start(env=env)
        return self.gates[-count:]

    def load(self, **options):
        """Starts clients at all the gates; finish() ends them."""
        record = self.folder / ("record%d" % len(self.loads))
        options = {"c": 4, "w": 4, "u": PATH, **options}
        process = hammer.start(record, [g.port for g in self.gates], HEADER, **options)
        self.loads.append((process, record))
        return process

    def finish(self):
        """Ends the last load: its Decisions, all of which got an answer."""
        process, record = self.loads[-1]
        process.terminate()
        return Decisions(hammer.finish(process, record))

    def run(self, **options):
        """A load that ends by itself."""
        self.load(**options)
        process, record = self.loads[-1]
        return Decisions(hammer.finish(process, record, 120))

    def note(self, what):
        """Something that happens now; its time."""
        now = time.monotonic()
        self.events.append((now, what))
        return now

    def let_run_until(self, when):
        """The load runs on until then."""
        wait_for(lambda: time.monotonic() >= when, "time passes", 600)

    def let_run(self, seconds):
        self.let_run_until(time.monotonic() + seconds)

    def metric(self, name, **labels):
        return sum(g.metric(name, **labels) for g in self.gates)

    def fallbacks(self, mode=None):
        """Decisions that on_failure took."""
        return sum(self.metric("store_fallback_%s_total" % m)
                   for m in ((mode,) if mode else ("local", "closed", "open")))

    def stores_up(self):
        return int(self.metric("store_up"))

    def wait_up(self):
        wait_for(lambda: self.stores_up() == len(self.gates), "every gate has its store")
        return time.monotonic()

    def wait_down(self):
        wait_for(lambda: self.stores_up() == 0, "every gate noticed that its store is away")
        return time.monotonic()

    def end_loads(self):
        for process, _ in self.loads:
            process.kill()
            process.wait()

    def stop(self):
        for g in self.gates:
            g.stop()

    def close(self):
        self.end_loads()
        for g in self.gates:
            g.kill()


def stretched(times, outage):
    """A clock that runs twice as fast while gates may count alone: beside what the others take
    from the store, each admits its share of the rate."""
    start, end = outage
    return times + np.clip(times - start, 0, end - start)


def assert_bounded(rule, decisions, events=(), outage=None, more=0):
    """No window holds more than rate x length + burst (+ leases), and `more`: a burst for each time
    that the store forgot, and what the gates decided alone.  In an outage each of them has its
    share of the rate on top, and once its share of the burst."""
    got = decisions.admitted
    burst = rule.bound + more
    if outage:
        burst += rule.share

    def clock(times):
        return stretched(times, outage) if outage else times

    return windows.assert_bound("%d/s, burst %d" % (rule.rate, rule.burst), got.sent, got.received,
                                got.gate, rule.rate, burst, events, clock)


def is_prompt(decisions, calm, deadline=DEADLINE):
    """Whether decisions take no longer than the deadline and the slack beyond what the machine
    needed while all was well."""
    if len(decisions) == 0:
        return False
    noise = np.quantile(calm.took, 0.99)
    return (np.quantile(decisions.took, 0.99) <= deadline + SLACK + noise and
            decisions.took.max() < STUCK)


def quantiles(decisions):
    return " ".join("%.2f" % (1e3 * q) for q in np.quantile(decisions.took, [0.5, 0.99, 1]))

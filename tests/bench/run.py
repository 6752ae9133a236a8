#!/usr/bin/python3
"""run.py [--build DIR] - querygate beside nginx, HAProxy and nginx+Lua, in front of one stub.

Every proxy has one core and one worker; load and stub have the other core.  What is compared is
CPU time per query (the proxy's on-CPU time over the queries it answered): other work on the machine
moves rates and latencies, but hardly that.  Rounds are interleaved and medians shown.  Latency is
of one connection, less what the stub alone takes.

  full         querygate's whole chain, its rates in memory
  full-lease   the same with its rates in a Redis on loopback, taken in batches (the default there)
  full-exact   the same, asking that Redis for each query

Environment: ROUNDS (3), SECS (2, of the 32-connection run; the one-connection run has half),
CASES ("4/c10 784/c10 784/c1000 150528/c1000 150528bin/c1000": floats in the request / classes in
the answer), SET (proxies to run), PCPU and LCPU (cores of proxy and load, 0 and 1).
"""
import argparse
import array
import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
NGINX = ["nginx", "lua-top1", "lua-gate", "lua-redis"]
FULL = {"full": ("memory:", ""), "full-lease": ("redis://127.0.0.1:%d", ""),
        "full-exact": ("redis://127.0.0.1:%d", ", exact: true")}  # store, option of the rule
PROXIES = ["nginx", "haproxy", "lua-top1", "lua-gate", "lua-redis", "pass"] + list(FULL)
CUTTING = ["lua-top1", "lua-gate", "lua-redis"] + list(FULL)  # those that let out one score
CASES = "4/c10 784/c10 784/c1000 150528/c1000 150528bin/c1000"
CONNECTIONS = 32
WAIT_SECONDS = 15

# The goals, CPU per query: full gate vs nginx, vs lua-redis (the same chain written in Lua; the
# gate's rates are in that Redis too, leased), budget in us; pass vs nginx.
GOALS = {"4/c10": (1.0, 3, 22), "784/c10": (0.6, 5, 45), "784/c1000": (0.55, 7, 75),
         "150528/c1000": (0.35, 5, 6000), "150528bin/c1000": (0.65, None, 600)}
PASS_GOAL = 1.2
P50_GOAL, P99_GOAL = 1.2, 2.0  # added latency vs HAProxy's, bodies up to SMALL floats
SMALL = 784  # also: what Redis is measured on, since its cost does not grow with the body


class Failed(Exception):
    pass


def floats_of(case):
    return int(case.split("/")[0].replace("bin", ""))


def make_body(case):
    """(bytes, length of the JSON part if there is a binary part).  Numbers are written as Python
    clients write float32: 17 digits."""
    count, binary = floats_of(case), case.split("/")[0].endswith("bin")
    source = random.Random(42)
    values = array.array("f", (source.random() for _ in range(count)))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, count]}
    if binary:
        tensor["parameters"] = {"binary_data_size": 4 * count}
    else:
        tensor["data"] = values.tolist()
    head = json.dumps({"id": "b", "inputs": [tensor]}, separators=(",", ":")).encode()
    return (head + values.tobytes(), len(head)) if binary else (head, None)


class Bench:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.folder = tempfile.mkdtemp(prefix="querygate-bench-")
        os.chmod(self.folder, 0o755)  # nginx's worker is another user
        self.rounds = int(os.environ.get("ROUNDS", 3))
        self.seconds = float(os.environ.get("SECS", 2))
        self.cases = os.environ.get("CASES", CASES).split()
        self.proxies = os.environ.get("SET", " ".join(PROXIES)).split()
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core = os.environ.get("PCPU", str(cores[0]))
        self.load_core = os.environ.get("LCPU", str(cores[-1]))
        self.key = secrets.token_hex(16)
        self.started, self.port, self.pid, self.raw = [], {}, {}, {}

    def path(self, name):
        return os.path.join(self.folder, name)

    # --- processes

    def spawn(self, name, core, command, **more):
        with open(self.path(name + ".log"), "ab") as log:
            process = subprocess.Popen(["taskset", "-c", core] + command, cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stderr=log, start_new_session=True,
                                       **({"stdout": log} | more))
        self.started.append(process)
        return process

    def wait_port(self, name, process, log):
        end = time.monotonic() + WAIT_SECONDS
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port[name])) == 0:
                    return
            if time.monotonic() > end or process.poll() is not None:
                with open(self.path(log + ".log"), errors="replace") as f:
                    raise Failed("%s does not listen:\n%s" % (name, f.read()))
            time.sleep(0.02)

    def fill(self, template, to=None, **more):
        with open(os.path.join(HERE, "conf", template + ".in")) as f:
            text = f.read()
        values = {"dir": self.folder, "key": self.key, "conf": os.path.join(HERE, "conf")}
        for name, value in {**values, **self.port, **more}.items():
            text = text.replace("@%s@" % name.upper().replace("-", "_"), str(value))
        with open(self.path(to or template), "w") as f:
            f.write(text)
        return self.path(to or template)

    def start(self):
        stub = self.spawn("stub", self.load_core, [os.path.join(self.build, "bench/stub")],
                          stdout=subprocess.PIPE)
        self.port["stub"] = int(stub.stdout.readline().split()[-1])
        sockets = {name: socket.socket() for name in PROXIES + ["redis"]}
        for name, s in sockets.items():
            s.bind(("127.0.0.1", 0))
            self.port[name] = s.getsockname()[1]
        for s in sockets.values():
            s.close()
        gate = os.path.join(self.build, "querygate")
        self.write_secrets(gate)
        rows = [(["redis"], self.load_core,
                 ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port["redis"]),
                  "--save", "", "--appendonly", "no"]),
                (NGINX, self.proxy_core, ["nginx", "-c", self.fill("nginx.conf")]),
                (["haproxy"], self.proxy_core, ["haproxy", "-db", "-f", self.fill("haproxy.cfg")]),
                (["pass"], self.proxy_core, [gate, "run", "-c", self.fill("pass.yaml")])]
        for name, (store, exact) in FULL.items():
            store = store.replace("%d", str(self.port["redis"]))
            policy = self.fill("full.yaml", name + ".yaml", name=name, store=store, exact=exact,
                               port=self.port[name])
            rows.append(([name], self.proxy_core, [gate, "run", "-c", policy]))
        for names, core, command in rows:
            if set(names) & set(self.proxies + ["redis"]):
                process = self.spawn(names[0], core, command)
                for name in names:
                    self.pid[name] = process.pid
                    self.wait_port(name, process, names[0])

    def write_secrets(self, gate):
        entry = subprocess.run([gate, "hash-key", "--id", "bench"], input=self.key, text=True,
                               check=True, capture_output=True).stdout.strip()
        for name, text in (("keys.yaml", "keys:\n  %s\n" % entry),
                           ("pseudonym.key", secrets.token_hex(32))):
            with os.fdopen(os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write(text)

    def close(self):
        for process in reversed(self.started):
            process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its own session: it and its children
                process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- measuring

    def family(self, pid):
        yield pid
        try:
            for thread in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/children" % (pid, thread)) as f:
                    for child in f.read().split():
                        yield from self.family(int(child))
        except OSError:
            return

    def cpu_ns(self, name):
        total = 0
        for pid in self.family(self.pid[name]) if name in self.pid else ():
            for thread in os.listdir("/proc/%d/task" % pid):
                with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as f:
                    total += int(f.read().split()[0])
        return total

    def rss_kib(self, name):
        most = 0
        for pid in self.family(self.pid[name]) if name in self.pid else ():
            with open("/proc/%d/status" % pid) as f:
                most = max([most] + [int(line.split()[1]) for line in f if line.startswith("VmRSS")])
        return most

    def check(self, case, name, body, json_length):
        """One query by hand: what is measured has to be an answer, and of the right kind."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port[name], timeout=30)
        headers = {"X-API-Key": self.key, "Content-Type": "application/json"}
        if json_length:
            headers["Inference-Header-Content-Length"] = str(json_length)
        connection.request("POST", "/v2/models/%s/infer" % case.split("/")[1], body, headers)
        reply = connection.getresponse()
        text = reply.read()
        connection.close()
        if reply.status != 200:
            raise Failed("%s on %s: HTTP %d %s" % (name, case, reply.status, text[:200]))
        scores = json.loads(text)["outputs"][0]["data"]
        if (sum(v != 0 for v in scores) == 1) != (name in CUTTING):
            raise Failed("%s on %s: not the scores expected: %s" % (name, case, scores[:10]))

    def load(self, case, name, connections, seconds, json_length):
        """One wrk run: (queries, us, p50 us, p99 us, errors, CPU ns, Redis' CPU ns)."""
        env = {**os.environ, "BODY": self.path("body"), "KEY": self.key}
        if json_length:
            env["HEADER_LENGTH"] = str(json_length)
        before = self.cpu_ns(name), self.cpu_ns("redis")
        out = subprocess.run(
            ["taskset", "-c", self.load_core, "wrk", "-t1", "-c%d" % connections,
             "-d%ds" % max(1, round(seconds)), "-s", os.path.join(HERE, "post.lua"),
             "http://127.0.0.1:%d/v2/models/%s/infer" % (self.port[name], case.split("/")[1])],
            env=env, capture_output=True, text=True, check=True).stdout
        cpu = [self.cpu_ns(name) - before[0], self.cpu_ns("redis") - before[1]]
        line = next(row for row in out.splitlines() if row.startswith("WRK "))
        return [int(n) for n in line.split()[1:]] + cpu

    def suits(self, name, case, json_length):
        if name in ("lua-gate", "lua-redis") and json_length:
            return False  # they read JSON only
        return name not in ("full-lease", "full-exact") or floats_of(case) <= SMALL

    def run_case(self, case):
        body, json_length = make_body(case)
        with open(self.path("body"), "wb") as f:
            f.write(body)
        names = ["direct"] + [n for n in self.proxies if self.suits(n, case, json_length)]
        self.port["direct"] = self.port["stub"]
        for name in names:
            self.check(case, name, body, json_length)
        for _ in range(self.rounds):
            for name in names:
                seen = self.raw.setdefault((case, name), [])
                seen.append((self.load(case, name, CONNECTIONS, self.seconds, json_length),
                             self.load(case, name, 1, self.seconds / 2, json_length),
                             self.rss_kib(name)))
        return names

    def median(self, case, name):
        """One row of figures, or None where the proxy was not run."""
        rounds = self.raw.get((case, name))
        if not rounds:
            return None
        middle = statistics.median
        return {"cpu": middle(w[5] / 1000 / max(1, w[0]) for w, _, _ in rounds),
                "redis": middle(w[6] / 1000 / max(1, w[0]) for w, _, _ in rounds),
                "rate": middle(w[0] * 1e6 / w[1] for w, _, _ in rounds),
                "p50": middle(o[2] for _, o, _ in rounds),
                "p99": middle(o[3] for _, o, _ in rounds),
                "rss": max(r for _, _, r in rounds) / 1024,
                "errors": sum(w[4] + o[4] for w, o, _ in rounds)}


def ratio(other, own, field="cpu"):
    """How many times less than the other's; "-" where there is no other."""
    return "%.2f" % (other[field] / own[field]) if other and own and own[field] > 0 else "-"


def print_case(bench, case, names):
    rows = {name: bench.median(case, name) for name in names}
    print("\n%s" % case)
    print("  %-11s %9s %9s %9s %9s %11s %9s %9s %9s %8s %7s" % (
        "", "CPU us", "x nginx", "x haproxy", "x lua", "x lua-redis", "req/s", "+p50 us", "+p99 us",
        "RSS MiB", "errors"))
    for name, r in rows.items():
        if name == "direct":
            print("  %-11s %9s %9s %9s %9s %11s %9.0f %9.0f %9.0f   (in all)" % (
                name, "-", "-", "-", "-", "-", r["rate"], r["p50"], r["p99"]))
            continue
        print("  %-11s %9.1f %9s %9s %9s %11s %9.0f %9.0f %9.0f %8.1f %7d" % (
            name, r["cpu"], ratio(rows.get("nginx"), r), ratio(rows.get("haproxy"), r),
            ratio(rows.get("lua-gate"), r), ratio(rows.get("lua-redis"), r), r["rate"],
            r["p50"] - rows["direct"]["p50"], r["p99"] - rows["direct"]["p99"], r["rss"],
            r["errors"]), flush=True)


def print_stores(bench):
    """What the rate limit costs by where its rates are: the gate's own CPU and latency, and Redis'
    CPU (of the 32-connection run)."""
    print("\n%-17s %-11s %9s %9s %9s %9s %12s" % (
        "rate limit", "", "CPU us", "+p50 us", "+p99 us", "req/s", "Redis' CPU us"))
    for case in bench.cases:
        direct = bench.median(case, "direct")
        for name in FULL:
            r = bench.median(case, name)
            if r and bench.median(case, "full-exact"):
                print("%-17s %-11s %9.1f %9.0f %9.0f %9.0f %12s" % (
                    case, name, r["cpu"], r["p50"] - direct["p50"], r["p99"] - direct["p99"],
                    r["rate"], "-" if name == "full" else "%.1f" % r["redis"]))


def goals(bench, case):
    """(what, reached, goal, whether the goal is met); rows whose peers were not run are left out."""
    rows = {name: bench.median(case, name) for name in ["direct"] + PROXIES}
    full, passing, haproxy = rows["full"], rows["pass"], rows["haproxy"]
    vs_nginx, vs_lua, budget = GOALS.get(case, (None, None, None))

    def at_least(what, other, own, goal):
        if other and own and goal:
            reached = other["cpu"] / own["cpu"]
            yield what, "%.2fx" % reached, ">= %gx" % goal, reached >= goal

    yield from at_least("full vs nginx", rows["nginx"], full, vs_nginx)
    leased = "full-lease" if rows["full-lease"] else "full"
    yield from at_least("%s vs lua-redis" % leased, rows["lua-redis"], rows[leased], vs_lua)
    if full and budget:
        yield "full, budget", "%.1f us" % full["cpu"], "<= %d us" % budget, full["cpu"] <= budget
    yield from at_least("pass vs nginx", rows["nginx"], passing, PASS_GOAL)
    if full and haproxy and floats_of(case) <= SMALL:
        for field, goal in (("p50", P50_GOAL), ("p99", P99_GOAL)):
            own, other = (r[field] - rows["direct"][field] for r in (full, haproxy))
            if other > 0:
                yield ("full, added %s vs haproxy" % field, "%.2fx" % (own / other),
                       "<= %gx" % goal, own <= goal * other)
    for name in ("pass", "full"):
        if rows[name] and rows[name]["errors"]:
            yield name + ", errors", str(rows[name]["errors"]), "0", False


def print_goals(bench):
    print("\n%-17s %-28s %10s %12s" % ("goals", "", "reached", "goal"))
    for case in bench.cases:
        for what, reached, goal, met in goals(bench, case):
            print("%-17s %-28s %10s %12s  %s" % (case, what, reached, goal,
                                                 "PASS" if met else "below"))


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--build", default="build")
    args = options.parse_args()
    bench = Bench(args.build)
    try:
        bench.start()
        print("%d rounds; 32 connections for %g s, then one; x: times less CPU than that proxy"
              % (bench.rounds, bench.seconds))
        for case in bench.cases:
            print_case(bench, case, bench.run_case(case))
        print_stores(bench)
        print_goals(bench)
    except (Failed, subprocess.CalledProcessError) as e:
        print("bench: %s" % e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        bench.close()
    for title, name in (("The JSON scanner alone", "json_bench"),
                        ("Filters alone, a row of 1000 classes", "filter_bench")):
        alone = os.path.join(args.build, "bench", name)
        if os.path.exists(alone):
            print("\n%s:" % title, flush=True)
            subprocess.run([alone], check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())

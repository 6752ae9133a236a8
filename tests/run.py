#!/usr/bin/python3
"""run.py [--build DIR] [PART...] - runs the tests that `make test` has built.

Parts: unit (release, ASan+UBSan, and TSan where there are threads), fuzz (the corpora, ASan),
e2e, nemesis and attacks (the real binary), sanitized (e2e and nemesis again with the ASan binary),
lint.  All by default.
Prints what failed with its output; the last line is `N passed, N failed`.  Exit 0 only if something
ran and nothing failed.
"""
import argparse
import concurrent.futures
import glob
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PYTHON = "/usr/bin/python3"
JOBS = 2
OUTPUT_SHOWN = 12000  # characters of one failure's output

SANITIZER_ENV = {
    "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Results:
    def __init__(self):
        self.lock = threading.Lock()
        self.passed, self.skipped, self.failed = 0, 0, []

    def add(self, passed=0, skipped=0, failed=()):
        with self.lock:
            self.passed += passed
            self.skipped += skipped
            self.failed += failed


def call(command, seconds, env=None):
    """(exit code, output).  A command that overruns is ended with all that it started."""
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, **SANITIZER_ENV, **(env or {})})
        try:
            code = process.wait(seconds)
            late = ""
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
            late = "\nstill running after %d s: killed\n" % seconds
        out.seek(0)
        return code, out.read().decode("utf-8", "replace") + late


def count_tap(name, code, output):
    """cmocka's TAP: (passed, skipped, [(name, output)]).  A plan that was not kept, or an exit code
    that no failed test explains (a crash, a sanitizer's report at exit), is a failure too."""
    planned = sum(int(n) for n in re.findall(r"^1\.\.(\d+)\s*$", output, re.M))
    passed = re.findall(r"^ok \d+ - (.*)$", output, re.M)
    skipped = re.findall(r"^not ok \d+ # SKIP", output, re.M)
    failed = re.findall(r"^not ok \d+ - (.*)$", output, re.M)
    failures = [("%s: %s" % (name, test), output) for test in failed]
    if len(passed) + len(skipped) + len(failed) < max(planned, 1):
        failures.append((name + ": ended before its last test (exit code %d)" % code, output))
    elif code != 0 and not failures:
        failures.append((name + ": exit code %d" % code, output))
    return len(passed), len(skipped), failures


def unit_jobs(build):
    """Each executable that belongs to a test in the tree: leftovers of removed ones are not run."""
    no_aslr = ["setarch", platform.machine(), "-R"]  # GCC 12's TSan cannot live with much of it
    if subprocess.run(no_aslr + ["true"], capture_output=True).returncode != 0:
        no_aslr = []  # a container may forbid it
    for source in sorted(glob.glob(os.path.join(ROOT, "tests/unit/test_*.c"))):
        test = os.path.basename(source)[:-2]
        with open(source) as f:
            threaded = "pthread_create" in f.read()
        variants = [("", [], True), ("san-address-undefined", [], True),
                    ("san-thread", no_aslr, threaded)]
        for variant, wrapper, wanted in variants:
            path = os.path.join(build, variant, "unit", test)
            if wanted:
                yield ("unit/%s%s" % (test, variant and " " + variant), unit, wrapper + [path])


def unit(name, command, results):
    code, output = call(command, 120, {"CMOCKA_MESSAGE_OUTPUT": "TAP"})
    passed, skipped, failed = count_tap(name, code, output)
    results.add(passed, skipped, failed)


def fuzz_jobs(build):
    for source in sorted(glob.glob(os.path.join(ROOT, "tests/fuzz/fuzz_*.c"))):
        target = os.path.basename(source)[:-2]
        corpus = os.path.join("tests/fuzz/corpus", target[len("fuzz_"):])
        yield ("fuzz/" + target, plain,
               [os.path.join(build, "san-address-undefined/fuzz", target), corpus])


def plain(name, command, results):
    """A command that is one test."""
    code, output = call(command, 300)
    if code == 0:
        results.add(passed=1)
    else:
        results.add(failed=[("%s: exit code %d" % (name, code), output)])


def pytest(name, folder, results, env=None, seconds=420):
    if not glob.glob(os.path.join(ROOT, folder, "test_*.py")):
        return
    with tempfile.TemporaryDirectory() as scratch:
        xml = os.path.join(scratch, "junit.xml")
        code, output = call([PYTHON, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short",
                             "--junitxml", xml, folder], seconds, env)
        passed, skipped, failed = count_junit(name, xml, output)
    if code != 0 and not failed:  # includes pytest's 5: nothing was collected
        failed = [("%s: pytest's exit code %d" % (name, code), output)]
    results.add(passed, skipped, failed)


def count_junit(name, path, output):
    passed, skipped, failed = 0, 0, []
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError):
        return 0, 0, [(name + ": pytest did not finish", output)]
    for case in cases:
        bad = [e for e in case if e.tag in ("failure", "error")]
        if bad:
            text = "\n".join(e.text or "" for e in case)
            failed.append(("%s: %s.%s" % (name, case.get("classname"), case.get("name")), text))
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    return passed, skipped, failed


def gate(build, variant):
    return {"QUERYGATE_BIN": os.path.join(build, variant, "querygate"),
            "QUERYGATE_SANITIZED": "1" if variant else ""}


def pytest_jobs(build, parts):
    release = gate(build, "")
    sanitized = gate(build, "san-address-undefined")
    rows = [("lint", "lint", "tests/lint", None), ("e2e", "e2e", "tests/e2e", release),
            ("sanitized", "e2e asan", "tests/e2e", sanitized),
            ("nemesis", "nemesis", "tests/nemesis", release),
            ("sanitized", "nemesis asan", "tests/nemesis", sanitized),
            ("attacks", "attacks", "tests/attacks", release)]
    for part, name, folder, env in rows:
        if part in parts:
            yield name, lambda n, f, r, e=env: pytest(n, f, r, e), folder


def run(jobs, workers, results):
    def timed(job):
        name, runner, what = job
        start, failed = time.monotonic(), len(results.failed)
        try:
            runner(name, what, results)
        except Exception as e:  # a runner that breaks is a failed test, not a lost one
            results.add(failed=[("%s: %s" % (name, e), "")])
        took = time.monotonic() - start
        if took > 5 or len(results.failed) > failed:
            print("%6.1f s  %s" % (took, name), flush=True)

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        list(pool.map(timed, jobs))


def main():
    every = ["unit", "fuzz", "lint", "e2e", "sanitized", "nemesis", "attacks"]
    options = argparse.ArgumentParser()
    options.add_argument("--build", default="build")
    options.add_argument("parts", nargs="*", metavar="PART", help="of: " + " ".join(every))
    args = options.parse_args()
    build = os.path.abspath(args.build)
    parts = args.parts or every
    if set(parts) - set(every):
        options.error("parts are: " + " ".join(every))

    results = Results()
    quick = []
    if "unit" in parts:
        quick += unit_jobs(build)
    if "fuzz" in parts:
        quick += fuzz_jobs(build)
    if "lint" in parts:
        quick.append(("lint/layers", plain, [PYTHON, "tests/lint/layers.py"]))
    run(quick, JOBS, results)
    # These start servers and watch clocks: the two passes over e2e may share the machine, since
    # they wait more than they compute; nothing else runs beside them.
    run(list(pytest_jobs(build, parts)), JOBS, results)

    for name, output in results.failed:
        print("\n=== FAILED %s\n%s" % (name, output[-OUTPUT_SHOWN:]))
    if results.failed:
        print("\n" + "\n".join("FAILED %s" % name for name, _ in results.failed))
    if results.skipped:
        print("%d skipped" % results.skipped)
    print("%d passed, %d failed" % (results.passed, len(results.failed)))
    return 0 if results.passed and not results.failed else 1


if __name__ == "__main__":
    sys.exit(main())

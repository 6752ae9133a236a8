"""The test runner's own test: nothing that went wrong may be counted as passed."""
import importlib.util
import os
import subprocess
import sys

import pytest

RUN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "run.py")
spec = importlib.util.spec_from_file_location("run", RUN)
run = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run)

TAP = [
    # exit code, output, passed, skipped, failed
    (0, "1..2\nok 1 - a\nok 2 - b\n", 2, 0, 0),
    (0, "1..1\nok 1 - a\n1..1\nok 1 - b\n", 2, 0, 0),
    (1, "1..2\nok 1 - a\nnot ok 2 - b\n# x.c:3\n# not ok - tests\n", 1, 0, 1),
    (0, "1..2\nok 1 - a\nnot ok 2 # SKIP b\n", 1, 1, 0),
    (139, "1..2\nok 1 - a\n", 1, 0, 1),                # crashed in its second test
    (1, "1..1\nok 1 - a\nERROR: LeakSanitizer\n", 1, 0, 1),  # reported at exit
    (0, "", 0, 0, 1),                                  # ran nothing
    (127, "", 0, 0, 1),
]


@pytest.mark.parametrize("code,output,passed,skipped,failed", TAP)
def test_tap(code, output, passed, skipped, failed):
    got = run.count_tap("t", code, output)
    assert (got[0], got[1], len(got[2])) == (passed, skipped, failed)


def test_junit(tmp_path):
    xml = tmp_path / "j.xml"
    xml.write_text("<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure>x"
                   "</failure></testcase><testcase name='c'><error>y</error></testcase>"
                   "<testcase name='d'><skipped/></testcase></testsuite></testsuites>")
    passed, skipped, failed = run.count_junit("e2e", str(xml), "")
    assert (passed, skipped, len(failed)) == (1, 1, 2)
    assert len(run.count_junit("e2e", str(tmp_path / "none.xml"), "")[2]) == 1


def test_a_command_that_hangs_is_ended():
    code, output = run.call(["sleep", "60"], 0.2)
    assert code != 0 and "still running" in output


def test_what_was_not_built_fails(tmp_path):
    done = subprocess.run([sys.executable, RUN, "--build", str(tmp_path), "unit"],
                          capture_output=True, text=True)
    last = done.stdout.rstrip("\n").split("\n")[-1]
    assert done.returncode == 1 and last.startswith("0 passed, ") and last != "0 passed, 0 failed"

#!/usr/bin/python3
"""privacy_table.py FILE - writes what is measured through the gate between FILE's two marks.

The binary is QUERYGATE_BIN, build/querygate by default.  Sticky draws are under a fixed key, so
that the same gate and model give the same table of memberships; the audit's are new each time.
"""
import pathlib
import subprocess
import sys
import tempfile

import audit
import averaging
import membership_table
import rig
from claims import CLAIMS, Auditor
from testbed import ROOT

BEGIN, END = "<!-- begin: make privacy-table -->", "<!-- end -->"
CANARIES = 40000
EPSILONS = (1, 4)
CONFIDENCE = 1 - 0.05 / (len(EPSILONS) * len(CLAIMS))  # 95 % that no cell is above the truth


def audits(folder):
    lines = ["| mechanism | " + " | ".join("claimed %g" % e for e in EPSILONS) + " |",
             "|---|" + "---|" * len(EPSILONS)]
    with Auditor(folder, EPSILONS) as auditor:
        for claim in CLAIMS:
            cells = []
            for epsilon in EPSILONS:
                right, guesses = auditor.run(claim, epsilon, CANARIES)
                low = audit.epsilon_bound(right, guesses, claim.delta, CANARIES,
                                          CONFIDENCE)
                cells.append("%.2f (%d of %d)" % (low, right, guesses))
            lines.append("| %s | %s |" % (claim.title, " | ".join(cells)))
    return "\n".join(lines)


def commit():
    said = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True,
                          text=True)
    return said.stdout.strip() or "unknown"


def measure(folder):
    for name in "table", "averaging", "audit":
        (folder / name).mkdir()
    with rig.model_server() as url:
        members = membership_table.table(membership_table.measure(folder / "table", url))
        with averaging.open_gate(folder / "averaging", url) as gate:
            means = averaging.table(averaging.attack(gate, *averaging.target()))
    return "\n\n".join([
        "Measured at commit `%s`." % commit(),
        "### Membership", members, "### Averaging", means,
        "### Audit", audits(folder / "audit")])


def main():
    with open(sys.argv[1]) as f:
        text = f.read()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        sys.exit("%s: there is no %s and %s" % (sys.argv[1], BEGIN, END))
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(pathlib.Path(folder))
    with open(sys.argv[1], "w") as f:
        f.write("%s%s\n\n%s\n\n%s%s" % (before, BEGIN, measured, END, after))


if __name__ == "__main__":
    main()

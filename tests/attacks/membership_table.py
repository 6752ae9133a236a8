"""Membership inference on the demo model behind each mechanism: what the attack still finds, and
what the answers are still worth."""
import json
import math
from dataclasses import dataclass

import numpy as np

import membership
from digits import Digits
from rig import Settings

KEY = "the key that the table in deploy/privacy.md was made with"
DELTA = 1e-6
POOL_ROWS, POOL_SEED = 500, 5


@dataclass(frozen=True)
class Row:
    """epsilon is that of what leaves the gate, None: nothing is claimed.  keeps_top: so it says."""
    title: str
    filters: str
    epsilon: float = None
    delta: float = 0.0
    keeps_top: bool = False


def rows():
    yield Row("`top_k`, 1, hidden", "top_k: {k: 1, scores: hide}", keeps_top=True)
    for digits in 2, 1, 0:
        yield Row("`round`, %d digits" % digits, "round: {digits: %d}" % digits)
    for scale in 0.05, 0.2, 1:
        yield Row("`noise`, scale %g, `keep_top1`" % scale,
                  "noise: {scale: %g, keep_top1: true}" % scale, keeps_top=True)
    for epsilon in 1, 4, 16:
        yield Row("`noise`, Laplace, epsilon %g" % epsilon, "noise: {epsilon: %g}" % epsilon,
                  epsilon)
    for epsilon in 1, 4, 16:
        yield Row("`noise`, Gaussian, epsilon %g" % epsilon,
                  "noise: {mechanism: discrete_gaussian, epsilon: %g, delta: %g}"
                  % (epsilon, DELTA), epsilon, DELTA)
    for epsilon in 1, 4, 8:
        yield Row("`randomize`, response, epsilon %g" % epsilon,
                  "randomize: {epsilon: %g}" % epsilon, epsilon)
    for epsilon in 1, 4, 16:
        yield Row("`randomize`, permute-and-flip, epsilon %g" % epsilon,
                  "randomize: {mechanism: permute_and_flip, epsilon: %g}" % epsilon,
                  epsilon)
    yield Row("`mask`, rank_swap", "mask: {method: rank_swap, pool: pool.jsonl}", keeps_top=True)
    for distance in 0.1, 0.5, 1:
        yield Row("`mask`, model_guard, distance %g" % distance,
                  "mask: {method: model_guard, distance: %g}" % distance, keeps_top=True)


ROWS = list(rows())


def bounds(row, fpr=membership.LOW_FPR):
    """(AUC, true-positive rate at fpr) that no attack on one answer can exceed.  The curve is below
    fpr e^epsilon + delta and, seen from its other end, as far from it."""
    if row is None or row.epsilon is None:
        return 1.0, 1.0
    corner = (1 - row.delta) / (1 + math.exp(row.epsilon))
    return 1 - corner, min(1.0, math.exp(row.epsilon) * fpr + row.delta)


def write_pool(gate_folder, model):
    """The model's answers to random images, as rank_swap wants them."""
    images = np.random.default_rng(POOL_SEED).integers(0, 17, (POOL_ROWS, 64)).astype(float)
    with open(gate_folder / "pool.jsonl", "w") as f:
        for answer in model.predict_proba(images):
            f.write(json.dumps(answer.tolist()) + "\n")


def judge(seen, direct, digits):
    """The attack's numbers on these answers, and what they are worth."""
    learned = membership.learned_attack(seen, digits.truth, digits.member)
    labels = seen.argmax(axis=1)
    gap = membership.gap_attack(labels, digits.truth, digits.member)
    away = np.abs(seen - direct).sum(axis=1)
    return {"auc": learned["auc"], "tpr": learned["tpr"], "gap_auc": gap["auc"],
            "same": float((labels == direct.argmax(axis=1)).mean()),
            "accuracy": float((labels == digits.truth)[~digits.member].mean()),
            "away": float(away.mean()), "away_most": float(away.max())}


def measure(folder, url):
    """{None: the bare model's numbers, row: that of each row}."""
    digits = Digits()
    model = digits.train()
    direct = model.predict_proba(digits.images)
    write_pool(folder, model)
    results = {None: judge(direct, direct, digits)}
    with Settings(folder, url, {row.title: "{%s}" % row.filters for row in ROWS}, model="digits",
                  outputs="{probabilities: scores}", noise_key=KEY) as gate:
        for row in ROWS:
            results[row] = judge(gate.ask(row.title, digits.images), direct, digits)
    return results


HEAD = """| what leaves the gate | AUC | at most | TPR at 1 % FPR | at most | AUC, label only | \
top-1 kept | right on unseen | L1 |
|---|---|---|---|---|---|---|---|---|"""


def line(row, r):
    auc, tpr = bounds(row)
    most = ("-", "-") if auc == 1 else ("%.3f" % auc, "%.1f %%" % (100 * tpr))
    return "| %s | %.3f | %s | %.1f %% | %s | %.3f | %.1f %% | %.1f %% | %.3f |" % (
        row.title if row else "everything: no gate", r["auc"], most[0], 100 * r["tpr"], most[1],
        r["gap_auc"], 100 * r["same"], 100 * r["accuracy"], r["away"])


def table(results):
    return "\n".join([HEAD] + [line(row, r) for row, r in results.items()])

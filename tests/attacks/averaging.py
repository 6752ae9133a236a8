"""The averaging adversary: asks the same thing often, or nearly the same thing, and takes the mean.

Independent noise of n answers is the root of n narrower in their mean, so this is what undoes noise
that is not sticky, not bucketed, or not paid for (reference: Gadotti et al. 2019, on sticky noise).
"""
import numpy as np

from digits import Digits
from rig import BATCH, Settings

EPSILON = 4
PAID = 16  # answers that the budget pays for
JITTER = 1e-4
NOISE = "noise: {epsilon: %g%%s}" % EPSILON
SETTINGS = {
    "sticky": "{%s}" % NOISE % "",
    "fresh": "{%s}" % NOISE % ", sticky: false",
    "bucket": "{%s}" % NOISE % ", bucket: 0.5",
    "budget": "{budget: {epsilon: %g}}, {%s}" % (EPSILON * PAID, NOISE % "")}
WIDTH = np.sqrt(2) * 2 / EPSILON  # the deviation of one answer's number


def open_gate(folder, url, noise_key=None):
    return Settings(folder, url, SETTINGS, model="digits", outputs="{probabilities: scores}",
                    noise_key=noise_key or "the averaging adversary's own gate", durable=True)


def target():
    """A record of which the model is not sure, so that its scores are worth having."""
    digits = Digits()
    scores = digits.train().predict_proba(digits.images)
    unsure = int(np.abs(scores.max(axis=1) - 0.5).argmin())
    return digits.images[unsure], scores[unsure]


def repeats(image, count):
    return np.repeat(image[None], count, axis=0)


def jitters(image, count, seed=1):
    return image + np.random.default_rng(seed).uniform(-JITTER, JITTER, (count, len(image)))


def spend(gate, name, rows, step):
    """Asks for step rows at a time until it is refused: (answers, status of the refusal)."""
    got = []
    for at in range(0, len(rows), step):
        status, _, body = gate.post(name, rows[at:at + step])
        if status != 200:
            return np.concatenate(got), status
        got.append(np.frombuffer(body, "<f8", offset=len(body) - step * 80).reshape(step, 10))
    return np.concatenate(got), 200


def rms(errors):
    return float(np.sqrt((np.asarray(errors) ** 2).mean()))


def gain(answers, truth):
    """What the adversary got: answers, how many of them differ, the error of one, of their mean."""
    return {"answers": len(answers), "distinct": len(np.unique(answers, axis=0)),
            "one": rms(answers[0] - truth), "mean": rms(answers.mean(axis=0) - truth)}


def attack(gate, image, truth, count=10000):
    """{title: gain()} of every averaging that is known here."""
    near = jitters(image, count)
    paid, _ = spend(gate, "budget", near, PAID // 4)
    return {
        "repeats, `sticky: false`": gain(gate.ask("fresh", repeats(image, BATCH)), truth),
        "repeats": gain(gate.ask("sticky", repeats(image, BATCH)), truth),
        "jitter": gain(gate.ask("sticky", near), truth),
        "jitter, `bucket`": gain(gate.ask("bucket", near), truth),
        "jitter, `budget`": gain(paid, truth)}


def table(results):
    lines = ["| adversary | answers | distinct | error of one | of their mean |",
             "|---|---|---|---|---|"]
    lines += ["| %s | %d | %d | %.3f | %.4f |" % (title, r["answers"], r["distinct"], r["one"],
                                                 r["mean"]) for title, r in results.items()]
    return "\n".join(lines)

#!/usr/bin/python3
"""membership.py URL... [--key KEY] - was this record in the training set?

Membership inference on score vectors, as its literature does it: the attacker knows for some
records whether they were trained on, learns what the model's answers look like for either kind,
and then judges records that he knows nothing about.  Shokri et al. 2017 (a learned attack on the
vector), Yeom et al. 2018 (the label-only gap attack), Carlini et al. 2022 (the true-positive rate
at a low false-positive rate is what counts).
"""
import argparse
import http.client
import json
import os
import sys
import urllib.parse

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score, roc_curve

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from digits import Digits  # noqa: E402

BATCH = 32
LOW_FPR = 0.01


class Client:
    """Asks one Open Inference Protocol endpoint, over one connection."""

    def __init__(self, url, key=None, model="digits"):
        self.path = "/v2/models/%s/infer" % model
        self.headers = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {})}
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=30)

    def infer(self, images):
        """{output name: array}."""
        body = json.dumps({"inputs": [{"name": "x", "datatype": "FP64", "shape": list(images.shape),
                                       "data": images.ravel().tolist()}]})
        self.connection.request("POST", self.path, body, self.headers)
        reply = self.connection.getresponse()
        text = reply.read()
        if reply.status != 200:
            raise RuntimeError("HTTP %d: %s" % (reply.status, text[:300].decode("utf-8", "replace")))
        return {o["name"]: np.array(o["data"]).reshape(o["shape"])
                for o in json.loads(text)["outputs"]}

    def ask(self, images):
        """(scores, labels) of all the images."""
        parts = [self.infer(images[i:i + BATCH]) for i in range(0, len(images), BATCH)]
        return (np.concatenate([p["probabilities"] for p in parts]),
                np.concatenate([p["label"] for p in parts]))


def features(scores, truth):
    """What a score vector says, seen by somebody who knows the record's true class."""
    clipped = np.clip(scores, 1e-9, 1)
    top = -np.sort(-scores, axis=1)[:, :3]
    true_score = clipped[np.arange(len(truth)), truth]
    entropy = -(clipped * np.log(clipped)).sum(axis=1)
    return np.column_stack([top, entropy, -np.log(true_score), scores.argmax(axis=1) == truth])


def split(member, seed=3):
    """A half of the records (members and others alike) to learn from; the rest is judged."""
    rng = np.random.default_rng(seed)
    known = np.zeros(len(member), bool)
    for kind in (True, False):
        records = rng.permutation(np.flatnonzero(member == kind))
        known[records[:len(records) // 2]] = True
    return known


def measure(guess, member):
    """AUC, and the true-positive rate at LOW_FPR; between the steps of the curve it is a coin's."""
    fpr, tpr, _ = roc_curve(member, guess)
    return {"auc": roc_auc_score(member, guess), "tpr": float(np.interp(LOW_FPR, fpr, tpr))}


def learned_attack(scores, truth, member):
    seen, known = features(scores, truth), split(member)
    model = GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=1)
    model.fit(seen[known], member[known])
    return measure(model.predict_proba(seen[~known])[:, 1], member[~known])


def gap_attack(labels, truth, member):
    """A record that the model gets right is called a member.  Needs the label only: it is what
    remains for as long as the model is asked for its true top-1."""
    rest = ~split(member)
    return measure((labels == truth)[rest].astype(float), member[rest])


def run(url, key=None, digits=None):
    """The attack's numbers against one URL, and the labels it got."""
    digits = digits or Digits()
    scores, labels = Client(url, key).ask(digits.images)
    learned = learned_attack(scores, digits.truth, digits.member)
    gap = gap_attack(labels, digits.truth, digits.member)
    return {"auc": learned["auc"], "tpr": learned["tpr"], "gap_auc": gap["auc"], "labels": labels,
            "accuracy": float((labels == digits.truth)[~digits.member].mean())}


def table(results):
    """{column title: result of run()} as text; top-1 agreement is with the first column."""
    first = next(iter(results.values()))["labels"]
    rows = [
        ("membership AUC, learned on scores", lambda r: "%.3f" % r["auc"]),
        ("  true positives at 1 % false ones", lambda r: "%.1f %%" % (100 * r["tpr"])),
        ("membership AUC, label only (gap)", lambda r: "%.3f" % r["gap_auc"]),
        ("top-1 agreement", lambda r: "%.1f %%" % (100 * (r["labels"] == first).mean())),
        ("accuracy on unseen records", lambda r: "%.1f %%" % (100 * r["accuracy"])),
    ]
    lines = ["%-36s" % "" + "".join("%12s" % title for title in results)]
    lines += ["%-36s" % title + "".join("%12s" % show(r) for r in results.values())
              for title, show in rows]
    return "\n".join(lines)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("urls", nargs="+", metavar="URL")
    options.add_argument("--key", help="value of X-API-Key")
    args = options.parse_args()
    print(table({urllib.parse.urlsplit(u).netloc[-11:]: run(u, args.key) for u in args.urls}))


if __name__ == "__main__":
    main()

#!/usr/bin/python3
"""demo.py --gate BINARY [--once] - a real model, the gate in front of it, and an attack on both.

Stays up until Ctrl-C so that it can be played with; --once shows everything and ends.
"""
import argparse
import json
import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests/attacks"))
import membership  # noqa: E402
from digits import Digits  # noqa: E402
from testbed import Failed, Bed  # noqa: E402

INTRO = """
model server   %s    scikit-learn digits, open to anybody
querygate      %s    the same model behind deploy/demo/policy.yaml.in
"""

NEXT = """Try it (the request is the unseen image):

  curl -s %(direct)s/v2/models/digits/infer -d @%(request)s
  curl -s -H 'X-API-Key: %(key)s' %(gated)s/v2/models/digits/infer -d @%(request)s
  curl -s -i %(gated)s/v2/models/digits/infer -d @%(request)s          # no key: refused
  curl -s -H 'X-API-Key: %(key)s' %(gated)s/v2/models/digits      # what is let out of the metadata
  curl -s %(admin)s/metrics
  %(gate)s explain %(policy)s --client demo --model digits

Edit %(policy)s (say, scores: keep) and send SIGHUP: kill -HUP %(pid)d
"""


def unseen_twin(digits, seen=0):
    """A record that the model was not trained on, of the same digit as a training record."""
    return next(i for i in range(len(digits.images))
                if not digits.member[i] and digits.truth[i] == digits.truth[seen])


def show_answers(bed, digits):
    """A training record and an unseen one, each asked both ways."""
    seen, unseen = 0, unseen_twin(digits)
    print("Two images of a %d:\n" % digits.truth[seen])
    for what, i in (("in the training set", seen), ("never seen", unseen)):
        for title, url, key in (("direct", bed.direct, None), ("gated", bed.gated, bed.key)):
            answer = membership.Client(url, key).infer(digits.images[i:i + 1])
            print("  %-20s %-7s label %d   probabilities %s" % (
                what, title, answer["label"][0],
                " ".join("%g" % v for v in answer["probabilities"][0])))


def attack(bed, digits):
    print("\nWas a record in the training set?  An attacker who knows the answer for half of the %d "
          "records\nlearns what gives them away, and is measured on the other half:\n"
          % len(digits.images))
    results = {"direct": membership.run(bed.direct, digits=digits),
               "gated": membership.run(bed.gated, bed.key, digits)}
    print(membership.table(results))
    print("\n0.500 is a coin.  The gap attack asks only whether the label is right: no proxy takes "
          "that away\nwhile true labels are given out, only a model that generalises better does.\n")


def say_what_next(bed, digits):
    request = bed.path("request.json")
    with open(request, "w") as f:
        json.dump({"inputs": [{"name": "x", "datatype": "FP64", "shape": [1, 64],
                               "data": digits.images[unseen_twin(digits)].tolist()}]}, f)
    print(NEXT % {"direct": bed.direct, "gated": bed.gated, "admin": bed.admin, "key": bed.key,
                  "request": request, "gate": os.path.relpath(bed.gate),
                  "policy": bed.path("policy.yaml"), "pid": bed.processes[-1].pid})


def stop(_signal, _frame):
    raise KeyboardInterrupt


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--gate", default=os.path.join(ROOT, "build/querygate"))
    options.add_argument("--once", action="store_true")
    args = options.parse_args()
    signal.signal(signal.SIGTERM, stop)  # unwinds, so that the servers end with us
    try:
        with Bed(args.gate) as bed:
            digits = Digits()
            print(INTRO % (bed.direct, bed.gated))
            show_answers(bed, digits)
            attack(bed, digits)
            if not args.once:
                say_what_next(bed, digits)
                print("Ctrl-C ends it.", flush=True)
                signal.pause()
    except KeyboardInterrupt:
        print()
    except (Failed, OSError, RuntimeError) as e:
        print("demo: %s" % e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

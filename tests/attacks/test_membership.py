"""Membership inference against the bare model, and through the gate."""
import os

import pytest

import membership
from digits import Digits
from testbed import ROOT, Bed

GATE = os.environ.get("QUERYGATE_BIN", os.path.join(ROOT, "build/querygate"))


@pytest.fixture(scope="module")
def measured():
    digits = Digits()
    with Bed(GATE) as bed:
        results = {"direct": membership.run(bed.direct, digits=digits),
                   "gated": membership.run(bed.gated, bed.key, digits)}
    print("\n" + membership.table(results))
    return results


def test_the_bare_model_gives_its_training_records_away(measured):
    assert measured["direct"]["auc"] > 0.95
    assert measured["direct"]["tpr"] > 0.5


def test_through_the_gate_scores_say_no_more_than_the_label_does(measured):
    """The gap attack is what no proxy can take away from a model that is asked for its top-1."""
    assert measured["gated"]["auc"] <= measured["gated"]["gap_auc"] + 0.02
    assert measured["gated"]["auc"] < 0.56
    assert measured["gated"]["tpr"] < 0.03


def test_the_answer_is_still_the_models(measured):
    assert (measured["gated"]["labels"] == measured["direct"]["labels"]).all()
    assert measured["gated"]["gap_auc"] == measured["direct"]["gap_auc"]

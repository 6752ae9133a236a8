"""Averaging against the demo model through the gate, and what is left of it."""
import math

import numpy as np
import pytest

import averaging
from averaging import PAID, WIDTH, gain, jitters, repeats, rms, spend


@pytest.fixture(scope="module")
def target():
    return averaging.target()


@pytest.fixture(scope="module")
def gate(tmp_path_factory, digits_url):
    with averaging.open_gate(tmp_path_factory.mktemp("averaging"), digits_url) as g:
        yield g


def test_a_thousand_repeats_are_one_answer(gate, target):
    """One by one over connections, and in batches with other company."""
    image, truth = target
    seen = [gate.ask("sticky", repeats(image, 760))]
    for _ in range(8):
        gate.disconnect()
        seen += [gate.batch("sticky", image[None]) for _ in range(25)]
    rows = np.concatenate([jitters(image, 40), repeats(image, 40)])
    seen.append(gate.ask("sticky", rows)[40:])
    seen = gain(np.concatenate(seen), truth)
    assert (seen["answers"], seen["distinct"]) == (1000, 1)
    assert seen["mean"] == pytest.approx(seen["one"])


def test_without_sticky_a_thousand_repeats_give_the_scores_away(gate, target):
    """The leak: were it not there, the tests beside this one would prove nothing."""
    image, truth = target
    seen = gain(gate.ask("fresh", repeats(image, 1000)), truth)
    assert seen["distinct"] > 990
    assert seen["mean"] < 2.5 * WIDTH / math.sqrt(1000)


def test_jitter_averages_out_what_nobody_counts(gate, target):
    image, truth = target
    seen = gain(gate.ask("sticky", jitters(image, 10000)), truth)
    assert seen["distinct"] > 9900
    assert seen["mean"] < 2.5 * WIDTH / math.sqrt(10000) + 0.01  # the model's own jitter


def test_jitter_within_a_bucket_gains_nothing(gate, target):
    """All ask the same; what differs is the model's own answer, by as little as the grid shows."""
    image, _ = target
    near = jitters(image, 10000)
    seen = gate.ask("bucket", near)
    exact = gate.batch("bucket", image[None])
    assert np.abs(seen - exact).max() < 0.05  # a tenth of what noise moves
    assert rms(seen.mean(axis=0) - exact) < WIDTH / 20


def test_jitter_gains_what_the_budget_paid_for(gate, target):
    image, truth = target
    near = jitters(image, 10000)
    answers, status = spend(gate, "budget", near, 4)
    assert status == 403 and len(answers) == PAID
    for rows in near[PAID:PAID + 4], near[5000:5001], near[:PAID + 1]:
        assert gate.post("budget", rows)[0] == 403
    # The mean of n is the root of n nearer, and no more: ten numbers' mean square is that small by
    # chance in one run of 10^6.
    seen = gain(answers, truth)
    assert seen["distinct"] == PAID
    assert seen["mean"] > 0.15 * WIDTH / math.sqrt(PAID)
    # What was paid for may be had again, and is the same; but for what was asked before the gate
    # had heard the model's version.
    assert (gate.batch("budget", near[4:PAID]) == answers[4:]).all()

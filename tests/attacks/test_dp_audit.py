"""Every claim of differential privacy, audited once through the running gate.

Draws are new in each run.  A mechanism that is as telling as it may be leaves more than epsilon
possible at 95 % in one run of 20; so what is asserted here is that no claim is refuted at ALPHA,
and that one far too bold is.  The bounds at 95 % are in deploy/privacy.md.
"""
import math

import numpy as np
import pytest

import audit
from claims import CLAIMS, Auditor

ALPHA = 1e-6
CANARIES = 8000
CLAIMED = 1
TOO_NARROW = {"half": "noise: {scale: 1}", "quarter": "noise: {scale: 0.5}"}  # an L1 of 2 needs 2


@pytest.fixture(scope="module")
def auditor(tmp_path_factory):
    with Auditor(tmp_path_factory.mktemp("audit"), (CLAIMED,), TOO_NARROW) as a:
        yield a


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.title)
def test_no_claim_is_refuted(auditor, claim):
    right, guesses = auditor.run(claim, CLAIMED, CANARIES)
    p = audit.p_value(right, guesses, CLAIMED, claim.delta, CANARIES)
    assert p > ALPHA, "%d of %d right" % (right, guesses)
    assert right > 0.5 * guesses, "the auditor learns nothing: not this claim is tested"


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.title)
def test_a_bold_claim_is_refuted(auditor, claim):
    right, guesses = auditor.run(claim, claim.bold, CANARIES)
    p = audit.p_value(right, guesses, CLAIMED, claim.delta, CANARIES)
    assert p < ALPHA, "%d of %d right" % (right, guesses)


@pytest.mark.parametrize("name", TOO_NARROW)
def test_noise_that_is_too_narrow_is_caught(auditor, name):
    """An implementation's likeliest mistake: the sensitivity of one class, where two differ."""
    right, guesses = auditor.run(CLAIMS[0], name, CANARIES)
    assert audit.p_value(right, guesses, CLAIMED) < ALPHA, "%d of %d right" % (right, guesses)


# ---- The auditor itself ----

def test_the_bound_is_what_the_binomial_says():
    """Right as often as epsilon 1 allows, times many: the bound closes in on 1 from below."""
    q = math.e / (1 + math.e)
    bounds = [audit.epsilon_bound(int(n * q), n) for n in (100, 10 ** 4, 10 ** 6)]
    assert bounds == sorted(bounds) and bounds[0] > 0.5 and 0.99 < bounds[2] < 1
    assert audit.epsilon_bound(50, 100) == 0
    assert audit.p_value(0, 100, 1) == 1
    assert audit.p_value(100, 100, 1) == pytest.approx(q ** 100)


def test_delta_excuses_what_it_may():
    alone = audit.p_value(800, 1000, 1)
    assert audit.p_value(800, 1000, 1, 1e-9, 1000) == pytest.approx(alone, abs=1e-6)
    assert audit.p_value(800, 1000, 1, 1e-3, 10000) > 10 * alone
    # By the sum that the theorem is: failures i, each at the cost of having come within i.
    q, near, most = 1 / (1 + math.exp(-1)), 0.0, 0.0
    for i in range(1, 801):
        k = 800 - i
        near += math.exp(math.lgamma(1001) - math.lgamma(k + 1) - math.lgamma(1001 - k)
                         + k * math.log(q) + (1000 - k) * math.log1p(-q))
        most = max(most, near / i)
    assert audit.p_value(800, 1000, 1, 1e-3, 1000) == pytest.approx(alone + 2 * most)


def test_the_auditor_guesses_as_well_as_may_be():
    """Laplace noise as numpy has it: what is right of the surest is e^epsilon / (1 + e^epsilon)."""
    rng = np.random.default_rng(1)
    heads, rows = audit.coins(200000)
    seen = audit.two_classes(rows) + rng.laplace(0, 2, (200000, 2))
    right = audit.count(heads, audit.lean_classes_laplace(seen), 50000)
    assert right / 50000 == pytest.approx(math.e / (1 + math.e), abs=0.01)

"""The one-run audit of a privacy claim (Steinke, Nasr, Jagielski: "Privacy Auditing with One (1)
Training Run", 2023): one pass over many canaries instead of many passes over one.

A canary is a coin behind the model: heads, it answers one thing, tails, another, as far apart as
answers may be.  The auditor sees what the gate lets out and guesses the coins that he is surest of.
Behind an epsilon-private mechanism a guess is right with e^epsilon / (1 + e^epsilon) at most, so
too many right guesses refute the claim, and their number bounds epsilon from below.
"""
import math

import numpy as np
from scipy.stats import binom

SEED = 11


def p_value(right, guesses, epsilon, delta=0.0, canaries=None):
    """How likely so many right guesses or more are at most, were the claim true.

    The second term is what delta may add (theorem 5.2 there): each canary fails with 2 delta, and
    i failures cost no more than the chance to have come within i of the number seen."""
    q = 1 / (1 + math.exp(-epsilon))
    chance = float(binom.sf(right - 1, guesses, q))
    if delta > 0 and right > 0:
        with np.errstate(divide="ignore"):  # scipy's, where a probability is below 1e-300
            within = np.cumsum(binom.pmf(np.arange(right - 1, -1, -1), guesses, q))
        chance += 2 * (canaries or guesses) * delta * float(
            (within / np.arange(1, right + 1)).max())
    return min(chance, 1.0)


def epsilon_bound(right, guesses, delta=0.0, canaries=None, confidence=0.95):
    """The least epsilon that so many right guesses leave possible at that confidence."""
    low, high = 0.0, 50.0
    if p_value(right, guesses, low, delta, canaries) > 1 - confidence:
        return 0.0
    for _ in range(50):
        middle = (low + high) / 2
        if p_value(right, guesses, middle, delta, canaries) > 1 - confidence:
            high = middle
        else:
            low = middle
    return low


def coins(canaries, seed=SEED):
    """(coins, rows to ask): no two rows are alike, or they would share a sticky draw."""
    heads = np.random.default_rng(seed).integers(0, 2, canaries)
    return heads, np.column_stack([heads, np.arange(canaries)]).astype(float)


def count(heads, lean, guesses):
    """Right ones among the surest guesses; a lean above 0 is a guess of heads."""
    surest = np.argsort(-np.abs(lean), kind="stable")[:guesses]
    return int(((lean[surest] > 0) == (heads[surest] == 1)).sum())


# What the model answers for coins, and which way an answer leans.  For Laplace noise the likelihood
# ratio is that of the number brought into [low, high]: further out says no more.

def two_classes(rows):
    return np.column_stack([1 - rows[:, 0], rows[:, 0]])


def opposite_vectors(rows):
    return np.where(rows[:, :1] == 1, 1.0, -1.0) * np.full((1, 2), math.sqrt(0.5))


def one_value(rows):
    return rows[:, :1]


def lean_classes(seen):
    return seen[:, 1].astype(float) - seen[:, 0]


def lean_classes_laplace(seen):
    return lean_classes(np.clip(seen, 0, 1))


def lean_vectors_laplace(seen):
    return np.clip(seen, -math.sqrt(0.5), math.sqrt(0.5)).sum(axis=1)


def lean_value_laplace(seen):
    return np.clip(seen[:, 0], 0, 1) - 0.5

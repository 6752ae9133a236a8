"""What is drawn, as a client sees it: how often randomised response keeps the class, that every
number is on the grid, that neighbours can have the same answers, that time tells nothing.

Draws are new in each run; each bound is one that a right gate passes but once in 10^6."""
import json
import math
import time

import numpy as np
import pytest
from scipy.stats import chi2, spearmanr

from rig import Settings, serve

Z = 4.9  # a normal deviation that comes once in 10^6, either side together

# K, epsilon, and the share of answers that keep the model's class.
KEEPING = [(2, 1, 0.73), (2, 2, 0.88), (2, 4, 0.98), (10, 1, 0.23), (10, 2, 0.45), (10, 4, 0.86),
           (100, 1, 0.03), (100, 2, 0.07), (100, 4, 0.36), (100, 6, 0.80), (1000, 8, 0.75)]
FILTERS = {"response %g" % e: "randomize: {epsilon: %g}" % e for e in {e for _, e, _ in KEEPING}}
FILTERS.update({
    "laplace": "noise: {scale: 0.02, sticky: false}",
    "gaussian": "noise: {mechanism: discrete_gaussian, scale: 0.02, sticky: false}",
    "coarse": "noise: {epsilon: 2, grid: 3}",
    "whole": "noise: {scale: 2, grid: 0}",
    "fine": "noise: {epsilon: 0.5, grid: 15}",
    "simplex": "noise: {epsilon: 4, after: simplex}",
    "clip": "noise: {epsilon: 4, after: clip}",
    "fresh": "noise: {epsilon: 1, sticky: false}",
    "sticky": "noise: {epsilon: 1}"})
GRIDS = {"laplace": 8, "gaussian": 8, "coarse": 3, "whole": 0, "fine": 15, "simplex": 8, "clip": 8}


def as_asked(rows):
    """First column: how many classes; second: the best one, or the score of each if fractional."""
    classes = int(rows[0, 0])
    if rows[0, 1] % 1 != 0:
        return np.repeat(rows[:, 1:2], classes, axis=1)
    return np.eye(classes)[rows[:, 1].astype(int)]


@pytest.fixture(scope="module", params=["FP32", "FP64"])
def typed(request, tmp_path_factory):
    upstream = serve(as_asked, datatype=request.param)
    with Settings(tmp_path_factory.mktemp("draws"), upstream.url, FILTERS) as settings:
        yield settings
    upstream.close()


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    upstream = serve(as_asked)
    with Settings(tmp_path_factory.mktemp("draws"), upstream.url, FILTERS) as settings:
        yield settings
    upstream.close()


def questions(count, classes, second):
    """Rows of which no two are alike."""
    return np.column_stack([np.full(count, classes), np.broadcast_to(second, count),
                            np.arange(count)]).astype(float)


# ---- Randomised response ----

@pytest.mark.parametrize("classes,epsilon,table", KEEPING)
def test_the_class_is_kept_as_often_as_the_table_says(gate, classes, epsilon, table):
    count = 2000
    best = np.arange(count) % classes
    seen = gate.ask("response %g" % epsilon, questions(count, classes, best))
    assert (np.sort(seen, axis=1)[:, -2:] == [0, 1]).all() and (seen.sum(axis=1) == 1).all()
    kept = int((seen.argmax(axis=1) == best).sum())
    p = math.exp(epsilon) / (math.exp(epsilon) + classes - 1)
    assert abs(p - table) < 0.006
    assert abs(kept - count * p) < Z * math.sqrt(count * p * (1 - p)) + 1, kept


def test_no_wrong_class_is_likelier_than_another(gate):
    best = np.arange(6000) % 10
    seen = gate.ask("response 1", questions(6000, 10, best)).argmax(axis=1)
    for counts in (np.bincount((seen - best) % 10, minlength=10)[1:],
                   np.bincount(seen[seen != best], minlength=10)):
        statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
        assert statistic < chi2.isf(1e-6, len(counts) - 1), counts


# ---- The grid ----

@pytest.mark.parametrize("name", GRIDS)
def test_every_number_is_on_the_grid(typed, name):
    rows = questions(300, 7, 1 / 3 + np.arange(300) * 1e-5)
    for binary in True, False:
        units = typed.ask(name, rows, binary).astype(float) * 2 ** GRIDS[name]
        assert (units == np.rint(units)).all()
    # One number, one text: digits say nothing that the number does not.
    status, _, body = typed.post(name, rows, binary=False)
    assert status == 200
    (texts,) = json.loads(body, parse_float=str, parse_int=str)["outputs"]
    assert len(set(texts["data"])) == len(set(map(float, texts["data"]))) > 1


# ---- Neighbours ----

def holes(a, b, center, reach, grid=8):
    """Grid points within reach of the center that one sees and the other not, and what is on no
    grid point: a number that only one of two inputs can have gives that one away."""
    points = [np.asarray(x, float).ravel() * 2 ** grid for x in (a, b)]
    off = [float(v) for x in points for v in x[x != np.rint(x)]]
    seen = [set(x.astype(int).tolist()) for x in points]
    window = range(center - reach, center + reach + 1)
    return off + [k for k in window if (k in seen[0]) != (k in seen[1]) or k not in seen[0]]


@pytest.mark.parametrize("name,reach", [("laplace", 15), ("gaussian", 12)])
@pytest.mark.parametrize("apart", [1e-6, 0.0015, 3 / 256])
def test_neighbours_can_have_the_same_answers(gate, name, reach, apart):
    """The rarest point in reach is expected 50 times and more."""
    low, high = (gate.ask(name, questions(4000, 5, 1 / 3 + d)) for d in (0, apart))
    assert holes(low, high, 85, reach) == []


def test_holes_are_seen():
    """Noise added as floating point has them, and so has a grid that moves with its input."""
    rng = np.random.default_rng(1)
    noise = rng.laplace(0, 0.02, (2, 20000))
    assert holes(1 / 3 + noise[0], 1 / 3 + 1e-6 + noise[1], 85, 15)
    noise = np.rint(noise * 256) / 256
    assert holes(85 / 256 + noise[0], 85.25 / 256 + noise[1], 85, 15)
    assert holes(85 / 256 + noise[0], 86 / 256 + noise[1], 85, 15) == []
    even = np.rint(noise * 128) / 128
    assert holes(84 / 256 + even[0], 85 / 256 + even[1], 85, 15)


# ---- Time ----

def deviation(a, b):
    """How many standard deviations the rank correlation is from none.  One of the two is drawn
    independently, so however uneven the other is, and whatever drifts, all orders are as likely."""
    return float(spearmanr(a, b)[0]) * math.sqrt(len(a) - 1)


@pytest.mark.parametrize("name", ["fresh", "sticky"])
def test_time_does_not_tell_the_noise(gate, name):
    count, classes, spent, noise = 1200, 4, [], []
    for row in questions(count, classes, 1 / 3):
        start = time.perf_counter()
        status, headers, body = gate.post(name, row[None])
        spent.append(time.perf_counter() - start)
        assert status == 200
        values = np.frombuffer(body, "<f4", offset=int(headers["Inference-Header-Content-Length"]))
        noise.append(np.abs(values - 64 / 256).sum())  # the sum is made 1
    spent, noise = np.array(spent), np.array(noise)
    assert len(set(noise.tolist())) > 100
    assert abs(deviation(spent, noise)) < Z
    # Did it take longer for more noise, by as much as the time varies anyhow, this would show it.
    low, high = np.percentile(spent, [25, 75])
    assert deviation(spent + (high - low) * noise / noise.std(), noise) > Z

"""The model that the attacks go for, and the records that the attacker is asked about.

scikit-learn's digits (1797 real 8x8 images) and its ExtraTreesClassifier as it comes, trained on
300 of them: a team with little data and no bad intent.  The model is a good one, right on 96 % of
what it never saw.  But every tree of it was grown on every training record, so of those it is
certain, and it says so: the clearest case there is of a score that gives its record away.
"""
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

MEMBERS = 300
SEED = 7


class Digits:
    """images[i] is a record, truth[i] its digit, member[i] whether the model was trained on it."""

    def __init__(self):
        images, truth = load_digits(return_X_y=True)
        order = np.random.default_rng(SEED).permutation(len(images))
        self.images, self.truth = images[order], truth[order]
        self.member = np.arange(len(images)) < MEMBERS

    def train(self):
        model = ExtraTreesClassifier(random_state=SEED)
        return model.fit(self.images[self.member], self.truth[self.member])

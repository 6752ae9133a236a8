"""What the filters claim, and each claim audited through a running gate."""
from dataclasses import dataclass
from typing import Callable

import audit
from rig import Settings, serve

DELTA = 1e-9


@dataclass(frozen=True)
class Claim:
    """filters has %s where epsilon stands; guesses is the part of the canaries that is guessed; a
    gate that gives `bold` while 1 is claimed is far too bold to miss."""
    title: str
    filters: str
    kind: str = "scores"
    lean: Callable = audit.lean_classes
    guesses: float = 1.0
    delta: float = 0.0
    bold: int = 4


# A quarter of Laplace answers are beyond both ends of what was asked, where the claim is tight; a
# Gaussian one has no such place, the further out the more it tells, and
# what is claimed of it is claimed for places where no canary lands: its audit is a weaker one.
CLAIMS = [
    Claim("noise, Laplace", "noise: {epsilon: %s}", lean=audit.lean_classes_laplace, guesses=0.25),
    Claim("noise, Laplace, fresh", "noise: {epsilon: %s, sticky: false}",
          lean=audit.lean_classes_laplace, guesses=0.25),
    Claim("noise, Laplace, range", "noise: {epsilon: %s, range: {low: 0, high: 1}}",
          lean=audit.lean_classes_laplace, guesses=0.25),
    Claim("noise, Laplace, simplex", "noise: {epsilon: %s, after: simplex}", guesses=0.25),
    Claim("noise, Laplace, then top_k", "noise: {epsilon: %s}}, {top_k: {}"),
    Claim("noise, Gaussian",
          "noise: {mechanism: discrete_gaussian, epsilon: %%s, delta: %g}" % DELTA, guesses=0.1,
          delta=DELTA, bold=12),
    Claim("noise, Gaussian, analytic",
          "noise: {mechanism: discrete_gaussian, calibration: analytic, epsilon: %%s, delta: %g}"
          % DELTA, guesses=0.1, delta=DELTA, bold=12),
    Claim("randomize, randomised response", "randomize: {epsilon: %s}"),
    Claim("randomize, permute-and-flip", "randomize: {mechanism: permute_and_flip, epsilon: %s}"),
    Claim("randomize, exponential", "randomize: {mechanism: exponential, epsilon: %s}"),
    Claim("value, Laplace", "value: {epsilon: %s, range: {low: 0, high: 1}}", "value",
          audit.lean_value_laplace, 0.5),
    Claim("embedding, Laplace", "embedding: {norm: 1, epsilon: %s}", "embedding",
          audit.lean_vectors_laplace, 0.25),
]

MODELS = {"scores": audit.two_classes, "value": audit.one_value,
          "embedding": audit.opposite_vectors}


class Auditor:
    """with Auditor(folder, epsilons) as a: a.run(claim, epsilon, canaries).  One gate a kind of
    output, with each claim at each epsilon and at its bold one, and with the `others`."""

    def __init__(self, folder, epsilons, others=None):
        self.upstreams, self.rigs, self.folder = [], {}, folder
        self.settings = {kind: {} for kind in MODELS}
        for claim in CLAIMS:
            for epsilon in (*epsilons, claim.bold):
                self.settings[claim.kind][claim.title, epsilon] = \
                    "{%s}" % claim.filters % epsilon
        self.settings["scores"].update({k: "{%s}" % v for k, v in (others or {}).items()})

    def __enter__(self):
        try:
            for kind, function in MODELS.items():
                (self.folder / kind).mkdir()
                self.upstreams.append(serve(function))
                self.rigs[kind] = Settings(self.folder / kind, self.upstreams[-1].url,
                                           self.settings[kind], outputs="{scores: %s}" % kind)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for rig in self.rigs.values():
            rig.close()
        for upstream in self.upstreams:
            upstream.close()

    def run(self, claim, name, canaries):
        """(right guesses, guesses) for the setting: an epsilon, or a name among the others."""
        heads, rows = audit.coins(canaries)
        key = name if name in self.settings[claim.kind] else (claim.title, name)
        seen = self.rigs[claim.kind].ask(key, rows)
        guesses = int(canaries * claim.guesses)
        return audit.count(heads, claim.lean(seen), guesses), guesses

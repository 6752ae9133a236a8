#!/usr/bin/python3
"""accountant_values.py - prints accountant_values.h: what test_accountant.c expects, by numerical
integration, summation and minimisation, of nothing but the definitions."""
import math

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar


def renyi_sum(p, q, alpha):
    p, q = np.asarray(p, float), np.asarray(q, float)
    logs = alpha * np.log(p) + (1 - alpha) * np.log(q)
    most = logs.max()
    return (most + math.log(math.fsum(np.exp(logs - most)))) / (alpha - 1)


def renyi_integral(log_p, log_q, alpha, points, low, high):
    def logs(x):
        return alpha * log_p(x) + (1 - alpha) * log_q(x)
    most = max(logs(x) for x in np.linspace(low, high, 20001))
    cuts = [low, *points, high]
    total = math.fsum(quad(lambda x: math.exp(logs(x) - most), a, b, epsabs=0, epsrel=1e-12,
                           limit=500)[0] for a, b in zip(cuts, cuts[1:]))
    return (most + math.log(total)) / (alpha - 1)


def gaussian(rho, alpha):
    sigma = math.sqrt(1 / (2 * rho))
    peak = 1 - alpha  # the integrand is a normal density about it, the sensitivity being 1
    return renyi_integral(lambda x: -x * x / (2 * sigma ** 2) - math.log(sigma * math.sqrt(2 * math.pi)),
                          lambda x: -(x - 1) ** 2 / (2 * sigma ** 2)
                          - math.log(sigma * math.sqrt(2 * math.pi)),
                          alpha, [peak], peak - 12 * sigma, peak + 12 * sigma)


def laplace(epsilon, alpha):
    def log_density(x):
        return -epsilon * abs(x) + math.log(epsilon / 2)
    return renyi_integral(log_density, lambda x: log_density(x - 1), alpha, [0, 1],
                          -60 / epsilon, 1 + 60 / epsilon)


def laplace_discrete(epsilon, steps, alpha):
    h = epsilon / steps
    x = np.arange(-int(60 / h), int(60 / h) + steps + 1)
    norm = math.log(math.tanh(h / 2))
    logs = alpha * (norm - h * np.abs(x)) + (1 - alpha) * (norm - h * np.abs(x - steps))
    most = logs.max()
    return (most + math.log(math.fsum(np.exp(logs - most)))) / (alpha - 1)


def response(epsilon, classes, alpha):
    keep = math.exp(epsilon) / (math.exp(epsilon) + classes - 1)
    other = 1 / (math.exp(epsilon) + classes - 1)
    p, q = [other] * classes, [other] * classes
    p[0], q[1] = keep, keep
    return renyi_sum(p, q, alpha)


def zcdp_epsilon(rho, delta):
    def bound(log_order):
        a = 1 + math.exp(log_order)
        return a * rho + math.log1p(-1 / a) - (math.log(delta) + math.log(a)) / (a - 1)
    grid = np.linspace(-12, 18, 3001)
    best = grid[min(range(len(grid)), key=lambda i: bound(grid[i]))]
    found = minimize_scalar(bound, bounds=(best - 0.02, best + 0.02), method="bounded",
                            options={"xatol": 1e-12})
    return max(0.0, found.fun)


def zcdp_rho(epsilon, delta):
    return brentq(lambda rho: zcdp_epsilon(rho, delta) - epsilon, 1e-9, 100, xtol=1e-15, rtol=1e-14)


def rows():
    for alpha in 1.25, 2, 6, 32:
        for rho in 0.005, 0.1, 0.5:
            yield "gaussian", rho, 0, alpha, gaussian(rho, alpha)
        for epsilon in 0.1, 1, 4:
            yield "laplace", epsilon, 0, alpha, laplace(epsilon, alpha)
            for steps in 1, 2, 512:
                yield "laplace_discrete", epsilon, steps, alpha, laplace_discrete(epsilon, steps, alpha)
            for classes in 2, 3, 10, 1000:
                yield "response", epsilon, classes, alpha, response(epsilon, classes, alpha)
    for delta in 1e-3, 1e-6, 1e-12:
        for rho in 0.001, 0.05, 1, 20:
            yield "zcdp_epsilon", rho, 0, delta, zcdp_epsilon(rho, delta)
        for epsilon in 0.5, 1, 8:
            yield "zcdp_rho", epsilon, 0, delta, zcdp_rho(epsilon, delta)


def main():
    print("/* Made by accountant_values.py. */")
    for name, a, b, c, value in rows():
        print("VALUE(%s, %r, %r, %r, %.15g)" % (name, a, b, c, value))


if __name__ == "__main__":
    main()

"""What a rate allows in every window, checked from outside, and the history of a violation.

A client sees a request admitted somewhere between sending it and having its answer.  Those sent
after a moment A and answered before B were admitted within (A, B), whatever the network did: if
they are more than the rule allows for B - A, it was broken.  Nothing else is reported."""
from collections import namedtuple

import numpy as np

Worst = namedtuple("Worst", "excess start end")  # above what the window may hold; <= 0: none is
SHOWN = 12  # admissions at either end of a violation's history


def worst_window(sent, received, rate, burst):
    """The window that holds the most above rate x length + burst, in O(n log n): times in seconds,
    numpy, of admitted requests only."""
    if len(sent) == 0:
        return Worst(-float(burst), 0.0, 0.0)
    order = np.argsort(sent, kind="stable")
    sent, received = sent[order], received[order]
    return max(long_windows(sent, received, rate, burst),
               short_windows(sent, received, rate, burst), key=lambda w: w.excess)


def long_windows(sent, received, rate, burst):
    """Answered by B less sent before A is at most what lies within (A, B), and exactly that where
    no request was under way all the time from A to B."""
    ends = np.sort(received)
    base = np.arange(len(sent)) - rate * sent  # as the window starts with each
    least = np.minimum.accumulate(base)
    by = np.searchsorted(sent, ends, side="right") - 1
    held = np.arange(1, len(ends) + 1) - rate * ends - least[by]
    at = int(np.argmax(held))
    start = int(np.argmin(base[:by[at] + 1]))
    return Worst(float(held[at] - burst), float(sent[start]), float(ends[at]))


def short_windows(sent, received, rate, burst):
    """The windows that a request can outlast, each looked at; only those that hold more than the
    burst can be too full."""
    worst = Worst(-float(burst), 0.0, 0.0)
    longest = (received - sent).max()
    until = np.searchsorted(sent, sent + longest, side="right")
    for i in np.nonzero(until - np.arange(len(sent)) > burst)[0]:
        ends = np.sort(received[i:until[i]])
        held = np.arange(1, len(ends) + 1) - rate * (ends - sent[i]) - burst
        at = int(np.argmax(held))
        if held[at] > worst.excess:
            worst = Worst(float(held[at]), float(sent[i]), float(ends[at]))
    return worst


def history(what, worst, sent, received, gates, events=()):
    """A violation in words: the window, what else happened around it, and who admitted when."""
    within = np.nonzero((sent >= worst.start) & (received <= worst.end))[0]
    within = within[np.argsort(sent[within])]
    lines = ["%s: %d admitted in %.6f s, %.2f more than allowed" % (
        what, len(within), worst.end - worst.start, worst.excess)]
    for gate in np.unique(gates[within]):
        lines.append("  gate %d admitted %d" % (gate, np.count_nonzero(gates[within] == gate)))
    rows = [(at, "-- " + name) for at, name in events
            if worst.start - 1 <= at <= worst.end + 1]
    if len(within) > 2 * SHOWN:
        shown = np.concatenate([within[:SHOWN], within[-SHOWN:]])
        rows.append((sent[within[SHOWN]], "... %d more" % (len(within) - 2 * SHOWN)))
    else:
        shown = within
    took = 1e3 * (received - sent)
    rows += [(sent[i], "gate %d, answered after %.3f ms" % (gates[i], took[i])) for i in shown]
    lines += ["  %+12.6f %s" % (at - worst.start, text) for at, text in sorted(rows)]
    return "\n".join(lines)


def assert_bound(what, sent, received, gates, rate, burst, events=(), clock=lambda times: times):
    """clock: by which the rate is counted; it runs on."""
    worst = worst_window(clock(sent), clock(received), rate, burst)
    if worst.excess > 0:
        worst = worst._replace(start=sent[clock(sent) >= worst.start].min(),
                               end=received[clock(received) <= worst.end].max())
    assert worst.excess <= 1e-6, history(what, worst, sent, received, gates, events)
    return worst

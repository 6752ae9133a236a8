import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402


@pytest.fixture
def upstream():
    u = harness.Upstream()
    yield u
    u.close()


@pytest.fixture
def make_gate(tmp_path):
    """make_gate(urls, **parts of harness.POLICY) starts a gate; all are stopped, and checked, at
    the end."""
    gates = []

    def make(urls, start=True, **parts):
        folder = tmp_path / ("gate%d" % len(gates))
        folder.mkdir()
        g = harness.Gate(folder, [urls] if isinstance(urls, str) else urls, **parts)
        gates.append(g)
        return g.start() if start else g

    yield make
    for g in gates:
        try:
            g.stop()
        finally:
            g.kill()


@pytest.fixture
def gate(make_gate, upstream):
    return make_gate(upstream.url)

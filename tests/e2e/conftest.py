import contextlib
import itertools
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402


@pytest.fixture
def upstream():
    u = harness.Upstream()
    yield u
    u.close()


@contextlib.contextmanager
def gates_in(parent):
    numbers = itertools.count()
    with contextlib.ExitStack() as ends:
        def make(urls, start=True, **parts):
            folder = parent / ("gate%d" % next(numbers))
            folder.mkdir()
            g = harness.Gate(folder, [urls] if isinstance(urls, str) else urls, **parts)
            ends.callback(g.kill)
            ends.callback(g.stop)
            return g.start() if start else g

        yield make


@pytest.fixture
def make_gate(tmp_path):
    """make_gate(urls, **parts of harness.POLICY) starts a gate; all are stopped, and checked, at
    the end."""
    with gates_in(tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_gate(tmp_path_factory):
    """The same, until the file's last test."""
    with gates_in(tmp_path_factory.mktemp("gates")) as make:
        yield make


@pytest.fixture
def gate(make_gate, upstream):
    return make_gate(upstream.url)


@pytest.fixture(scope="session")
def model_server():
    """The port of tests/attacks/model_server.py: the model `digits`, trained and serving."""
    script = os.path.join(harness.ROOT, "tests/attacks/model_server.py")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as server:
        try:
            yield int(server.stdout.readline().split()[-1])
        finally:
            server.terminate()

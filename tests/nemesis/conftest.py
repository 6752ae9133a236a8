import contextlib
import os
import sys

import pytest

E2E = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e")
sys.path.insert(0, E2E)
import hammer  # noqa: E402
import fleet as rigs  # noqa: E402


@pytest.fixture(scope="session")
def upstream_port():
    with hammer.stub() as port:
        yield port


@pytest.fixture
def rig(tmp_path, upstream_port):
    """Gates that share a store, the load on them, and what they decided; checked at the end."""
    with contextlib.closing(rigs.Rig(tmp_path, upstream_port)) as r:
        yield r
        r.stop()

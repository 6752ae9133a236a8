import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig  # noqa: E402


@pytest.fixture(scope="session")
def digits_url():
    with rig.model_server() as url:
        yield url

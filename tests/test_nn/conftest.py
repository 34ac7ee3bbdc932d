"""Both states of the package."""

import pytest


@pytest.fixture(autouse=True)
def both_states(state):
    """Run every test with and without the faster forwards."""

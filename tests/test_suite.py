"""How the suite runs itself."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def shared() -> object:
    """Something that is made once a module."""
    return object()


def test_what_a_module_shares_is_made_in_one_process(shared: object, request: pytest.FixtureRequest) -> None:
    """Where tests are spread over processes, those that share something are kept together; see `conftest.py`."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("the tests are not spread over processes")
    assert request.node.nodeid.endswith("@tests/test_suite.py")

"""Servers that grounds share end with the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contracts.grounds import stop_shared


@pytest.fixture(scope="session", autouse=True)
def _shared_servers() -> Iterator[None]:
    yield
    stop_shared()

"""One browser and one site for everything that is looked at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.pictures import site as sites
from tests.pictures.site import Site
from tests.pictures.studio import Studio


@pytest.fixture(scope="session")
def studio() -> Iterator[Studio]:
    """The browser."""
    opened = Studio()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def site(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The pages of a world in which something of everything is; nothing is served where nobody can look at it."""
    with sites.site(studio, tmp_path_factory.mktemp("site")) as found:
        yield found

"""For a consumer that fetches by itself: nothing is brought to it, and what it holds is known once it says so.

What it fetches is served from what was published (`renewers/distribution`); there is no second copy to swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from renewers.publishers import Material, Publisher
from renewers.publishers.naming import public_files, read_with


def make_pull(settings: Mapping[str, Any]) -> Publisher:
    """The publisher of one consumer, which has no settings. `BadRequest` names those that there are."""
    read_with({}, settings, makes="a consumer that fetches")
    return Pull()


class Pull:
    """A `Publisher` that brings nothing."""

    keeps_secrets = False

    def stage(self, material: Material) -> None:
        """See that it is fit for everybody's eyes."""
        public_files(material)

    def swap(self, material: Material) -> None:
        """Nothing: being able to fetch it is not having it."""
        public_files(material)

"""Which of two versions is the older one, so that a slower writer does not put it over the newer one.

A publication's number is at least the seconds since 1970 (`renewers.distribution.publishing`), and a consumer's version
has such numbers in it. Of versions without them none is older: going back to another certificate is for `delivering`
to decide.
"""

from __future__ import annotations

import re

_HASH = re.compile(r"-[0-9a-f]{12}$")
_NUMBER = re.compile(r"[0-9]{10,16}")


class Overtaken(Exception):
    """Somebody else has written it since we looked. Look again."""


def is_older(version: str, than: str) -> bool:
    """Whether one of its numbers is lower. Versions of other needs, with numbers at other places, are not compared."""
    these, those = _numbers(version), _numbers(than)
    return these.keys() == those.keys() and any(these[place] < those[place] for place in these)


def _numbers(version: str) -> dict[int, int]:
    """By their places, counted from the end."""
    parts = reversed(_HASH.sub("", version).split("-"))
    return {place: int(part) for place, part in enumerate(parts) if _NUMBER.fullmatch(part)}

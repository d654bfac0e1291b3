"""Which of two versions is older: what keeps a slower writer from going back, and nobody from going on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewers.publishers.turns import is_older

NUMBERS = st.integers(1_000_000_000, 9_999_999_999)
HASHES = st.text("0123456789abcdef", min_size=12, max_size=12)
SLUGS = st.from_regex(r"[a-z](-?[a-z0-9]{1,8}){0,4}", fullmatch=True)


@given(slug=SLUGS, low=NUMBERS, step=st.integers(1, 10**6), other=NUMBERS, hashes=st.tuples(HASHES, HASHES))
def test_the_lower_number_is_the_older_one(slug: str, low: int, step: int, other: int, hashes: tuple[str, str]) -> None:
    """Of either stream, whatever the hashes are (twelve digits, too); none is older than itself."""
    old, new = f"{slug}-{low}-{other}-{hashes[0]}", f"{slug}-{low + step}-{other}-{hashes[1]}"
    assert is_older(old, new)
    assert not is_older(new, old)
    assert not is_older(old, old)
    assert is_older(f"{slug}-{other}-{low}-{hashes[0]}", f"{slug}-{other}-{low + step}-{hashes[1]}")


@given(slug=SLUGS, numbers=st.tuples(NUMBERS, NUMBERS), hashes=st.tuples(HASHES, HASHES))
def test_other_needs_are_not_compared(slug: str, numbers: tuple[int, int], hashes: tuple[str, str]) -> None:
    """A consumer that no longer needs lists, or needs them now, is brought what it needs."""
    both, one = f"{slug}-{max(numbers)}-{max(numbers)}-{hashes[0]}", f"{slug}-{min(numbers)}-0-{hashes[1]}"
    assert not is_older(one, both)
    assert not is_older(both, one)
    lists, bundles = f"{slug}-0-{max(numbers)}-{hashes[0]}", f"{slug}-{min(numbers)}-0-{hashes[1]}"
    assert not is_older(bundles, lists)
    assert not is_older(lists, bundles)


@pytest.mark.parametrize(
    ("version", "than"),
    [
        ("edge-4-aaaaaaaaaaaa", "edge-5-bbbbbbbbbbbb"),
        ("edge", "edge-1"),
        ("", "x"),
        ("a-123456789012", "a-223456789012"),
    ],
)
def test_certificates_have_no_order(version: str, than: str) -> None:
    """Going back to one is for `delivering` to decide."""
    assert not is_older(version, than)
    assert not is_older(than, version)

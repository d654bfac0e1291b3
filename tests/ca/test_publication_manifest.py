"""Manifests: one spelling each, every field checked, and nothing that can be read two ways."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import BadRequest
from ca.publication.manifest import LARGEST, Entry, Item, ListEntry, ListKind, Manifest, Previous
from ca.publication.strict import LARGEST_NUMBER
from tests.ca.publishing import DOMAIN, make_manifest, make_world, refusal

HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
NUMBERS = st.integers(0, LARGEST_NUMBER)
WORLD = make_world()
ROOT = Entry("root-1", WORLD.root.der)
ISSUING = Entry("issuing-1", WORLD.issuing.der)
LIST = ListEntry("issuing-1", -1, ListKind.COMPLETE, 7, 1, 2, "a" * 64, 300)
FULL = make_manifest(anchors=[ROOT], authorities=[ISSUING], lists=[LIST, replace(LIST, shard=3, kind=ListKind.SHARD)])


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    version = draw(st.integers(2, LARGEST_NUMBER))
    begin = draw(st.integers(0, LARGEST_NUMBER - 1))
    shards = draw(st.lists(st.integers(-1, 300), max_size=4, unique=True))
    lists = [
        ListEntry(
            draw(NAMES) + str(place),
            shard,
            ListKind.SHARD if shard >= 0 else draw(st.sampled_from([ListKind.COMPLETE, ListKind.DELTA])),
            draw(NUMBERS),
            (update := draw(NUMBERS)),
            draw(st.integers(update, LARGEST_NUMBER)),
            draw(HASHES),
            draw(NUMBERS),
        )
        for place, shard in enumerate(shards)
        if (len(str(place)) + 1) < 128
    ]
    domain = draw(st.from_regex(r"[a-z0-9._-]{1,60}", fullmatch=True))
    return Manifest(
        stream=f"{draw(st.sampled_from(['trust', 'crl']))}:{domain}",
        trust_domain=domain,
        version=version,
        previous=draw(st.none() | st.builds(Previous, st.integers(1, version - 1), HASHES)),
        issued_at=begin,
        expires_at=draw(st.integers(begin + 1, LARGEST_NUMBER)),
        anchors=draw(st.sampled_from([(), (ROOT,)])),
        authorities=draw(st.sampled_from([(), (ISSUING,)])),
        lists=lists,
        items=draw(st.lists(st.builds(Item, NAMES, HASHES, NUMBERS), max_size=3, unique_by=lambda item: item.name)),
    )


@given(st.data())
def test_what_is_written_is_read(data: st.DataObject) -> None:
    """Every manifest comes back as it was, in the same bytes."""
    try:
        manifest = data.draw(manifests())
    except BadRequest:  # a name that grew over its length
        return
    assert Manifest.decode(manifest.encode()) == manifest
    assert Manifest.decode(manifest.encode()).sha256 == manifest.sha256


@given(st.integers(0, len(FULL.encode()) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_says_something_else(place: int, difference: int) -> None:
    """Nothing but the very bytes is read as the same manifest."""
    damaged = bytearray(FULL.encode())
    damaged[place] ^= difference
    try:
        found = Manifest.decode(bytes(damaged))
    except BadRequest as error:
        code = error.code
    else:
        code = "bad-manifest" if found != FULL else "the same"
    assert code == "bad-manifest"


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_noise_is_refused(noise: bytes) -> None:
    assert refusal(Manifest.decode, noise) == "bad-manifest"


def changed(path: str, value: Any) -> bytes:
    """The full manifest with one value exchanged, in canonical JSON; `...` takes it out."""
    found = json.loads(FULL.encode())
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = found
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


FIELDS = {
    "type": "certwright.publication/2",
    "stream": "trusts:example.internal",
    "trust_domain": "Example.internal",
    "version": 1 << 63,
    "previous": {"version": FULL.version, "sha256": "0" * 64},
    "previous.sha256": "0" * 63,
    "previous.version": 0,
    "issued_at": True,
    "expires_at": FULL.issued_at,
    "anchors": {},
    "anchors.0": [],
    "anchors.0.name": "../root",
    "anchors.0.sha256": "0" * 64,
    "anchors.0.certificate": "AA==",
    "authorities.0.name": "root-1",
    "authorities.0.certificate": base64.b64encode(WORLD.issuing.der).decode() + "\n",
    "lists.0.kind": "delta ",
    "lists.0.shard": 0,
    "lists.1.shard": -1,
    "lists.0.number": -1,
    "lists.0.next_update": 0,
    "lists.0.size": 1.0,
    "lists.0.authority": "",
    "items.0.name": "a/b",
    "items.0.sha256": "A" * 64,
    "items.0.size": None,
    "unknown": 1,
    "items.0.unknown": 1,
}


LEFT_OUT = {path: ... for path in FIELDS if "unknown" not in path and not path.endswith(".0")}


CASES = [*FIELDS.items(), *LEFT_OUT.items()]


@pytest.mark.parametrize(("path", "value"), CASES, ids=[f"{number}-{path}" for number, (path, _) in enumerate(CASES)])
def test_every_field_is_checked(path: str, value: Any) -> None:
    assert Manifest.decode(FULL.encode()) == FULL
    assert refusal(Manifest.decode, changed(path, value)) == "bad-manifest"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        FULL.encode() + b"\n",
        FULL.encode()[:-1],
        FULL.encode().replace(b'"items":', b'"items": '),
        FULL.encode().replace(b'"type"', b'"version":1,"type"'),
        FULL.encode().replace(b'"type":"c', b'"type":"\\u0063'),
        FULL.encode().replace(b'"version":100', b'"version":1e2'),
        FULL.encode().replace(b'"version":100', b'"version":NaN'),
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"version":' + b"9" * 10_000 + b"}",
        FULL.encode() + b" " * LARGEST,
        FULL.encode().decode().encode("utf-16"),
    ],
    ids=(
        *(
            "nothing",
            "a list",
            "null",
            "a line more",
            "cut off",
            "a space",
            "doubled",
            "an escape",
            "a power",
            "no number",
        ),
        *("too many lists", "too deep", "too long a number", "too large", "another encoding"),
    ),
)
def test_other_spellings_are_refused(data: bytes) -> None:
    """Cut off, doubled keys, other numbers, white space, too deep, too large."""
    assert refusal(Manifest.decode, data) == "bad-manifest"


def test_what_would_not_be_read_is_not_built() -> None:
    """The publisher is held to the rules of the reader."""
    assert refusal(make_manifest, version=0) == "bad-manifest"
    assert refusal(Entry, "root-1", b"no certificate") == "bad-manifest"
    assert refusal(make_manifest, anchors=[ROOT, ROOT]) == "bad-manifest"
    assert refusal(make_manifest, stream=f"other:{DOMAIN}") == "bad-manifest"
    many = [Item(f"file-{place}", "0" * 64, 1) for place in range(LARGEST // 100)]
    assert refusal(make_manifest(items=many).encode) == "bad-manifest"

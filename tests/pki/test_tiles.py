"""The ledger in static tiles: what strangers may read, what only who reads the ledger, and copies that follow it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from ca.access import Role
from ca.errors import CertwrightError
from ca.ledger import log
from ca.ledger.checkpoint import Head, Verifier, open_head, sign_head
from ca.ledger.merkle import leaf_hash
from ca.ledger.tree import Tree, read_tile_name, tile_name, unpack
from ca.store import Transaction
from pki.client.mirroring import Mirror
from pki.web.app import create_public_app
from tests import peer
from tests.pki.conftest import API, World, problem


def grow(world: World, count: int) -> str:
    """Append entries and number them; returns the newest checkpoint."""

    def unit(tx: Transaction) -> None:
        for place in range(count):
            log.append(tx, "noted", f"note-{place}", "test")

    world.product.installation.store.write(unit)
    world.product.installation.ledger.sequence()
    head = world.product.installation.ledger.head()
    assert head is not None
    return head.checkpoint


@pytest.fixture
def auditor(world: World) -> httpx.Client:
    """A client with an auditor's token."""
    return world.as_(world.token(Role.AUDITOR))


@pytest.mark.parametrize(
    ("number", "width", "name"),
    [
        (0, 256, "000"),
        (67, 8, "067.p/8"),
        (999, 256, "999"),
        (1000, 1, "x001/000.p/1"),
        (1234067, 256, "x001/x234/067"),
    ],
)
def test_tiles_are_named_as_the_format_says(number: int, width: int, name: str) -> None:
    """Groups of three digits; each tile has one name, and nothing else is a name."""
    assert tile_name(number, width) == name
    assert read_tile_name(name) == (number, width)


@pytest.mark.parametrize(
    "name",
    ["", "0", "00", "0000", "x000/001", "x001/x000", "001.p/0", "001.p/256", "001.p/01", "001.p/", "x/../000", "٠٠٠"],
)
def test_another_name_is_no_tile(world: World, name: str) -> None:
    """404, and never a second name for the same tile."""
    with pytest.raises(CertwrightError, match="not the name"):
        read_tile_name(name)
    assert world.nobody.get(f"/ledger/tile/0/{name}").status_code == 404


def test_strangers_follow_the_tree_and_read_no_entry(world: World, auditor: httpx.Client) -> None:
    """Hash tiles come to the signed root for anybody; entries are refused to strangers and requesters."""
    checkpoint = grow(world, 300)
    head = open_head(checkpoint, world.product.installation.ledger.verifier)
    assert world.nobody.get("/ledger/checkpoint").text == checkpoint

    def read(level: int, number: int, width: int) -> bytes:
        answer = world.nobody.get(f"/ledger/tile/{level}/{tile_name(number, width)}").raise_for_status()
        assert answer.headers["cache-control"].startswith("public")
        return answer.content

    tree = Tree(read, head.size, head.root)
    first = tree.tile(0, 0)
    entries = auditor.get("/ledger/tile/entries/000").raise_for_status()
    assert entries.headers["cache-control"] == "private, no-store"
    assert b"".join(map(leaf_hash, unpack(entries.content))) == first
    problem(world.nobody.get("/ledger/tile/entries/000"), 401, "unauthenticated")
    problem(world.as_(world.token(Role.REQUESTER)).get("/ledger/tile/entries/000"), 403, "forbidden")
    for path in ("0/001.p/255", "0/x999/999", "1/000", "2/000.p/1", "64/000", "01/000", "-1/000", "entries/x/000"):
        assert world.nobody.get(f"/ledger/tile/{path}").status_code in (401, 404), path


def test_a_tile_that_lies_is_found_out(world: World) -> None:
    """A tree that was given a signed root believes no tile: each changed hash is refused."""
    head = open_head(grow(world, 600), world.product.installation.ledger.verifier)
    good = {
        (level, number): world.nobody.get(f"/ledger/tile/{level}/{tile_name(number, width)}").content
        for level, number, width in ((0, 0, 256), (0, 1, 256), (0, 2, head.size - 512), (1, 0, 2))
    }
    for key, content in good.items():
        for place in (0, len(content) // 2, len(content) - 1):
            lying = {**good, key: content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]}
            with pytest.raises(CertwrightError, match="not th"):
                Tree(lambda level, number, _w, lying=lying: lying[level, number], head.size, head.root).tile(*key)  # type: ignore[misc]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A directory for a copy."""
    path = tmp_path / "copy"
    path.mkdir()
    return path


def mirror(world: World, client: httpx.Client, directory: Path, *, with_entries: bool = True) -> Mirror:
    """A directory that follows the ledger over HTTP."""
    verifier = Verifier.parse(client.get(f"{API}/ledger/head").json()["verifier"])
    return Mirror(
        directory, verifier, lambda path: client.get(path).raise_for_status().content, with_entries=with_entries
    )


def test_a_mirror_follows_and_somebody_else_reads_it(world: World, auditor: httpx.Client, copied: Path) -> None:
    """From an incomplete tile over complete ones: after each step the reference implementation proves every entry."""
    verifier = str(world.product.installation.ledger.verifier)
    copy = mirror(world, auditor, copied)
    written = []
    for count in (1, 100, 200, 0, 300):
        checkpoint = grow(world, count) if count else (copied / "checkpoint").read_text()
        done = copy.follow(checkpoint)
        written.append(done.files)
        assert (copied / "checkpoint").read_text() == checkpoint
        question = {"verifier": verifier, "head": checkpoint, "mirror": str(copied)}
        asked = peer.run(peer.require("tlog-check"), stdin=json.dumps(question).encode())
        assert asked.stdout == b"ok\n"
    assert written[3] == 0
    assert max(written) <= 8
    assert not (copied / "tile" / "0" / "000.p").exists()


def test_a_mirror_without_entries_holds_no_name(world: World, auditor: httpx.Client, copied: Path) -> None:
    """Hashes alone, for who publishes the tree to strangers; entries can be added later."""
    checkpoint = grow(world, 300)
    mirror(world, auditor, copied, with_entries=False).follow(checkpoint)
    assert not (copied / "tile" / "entries").exists()
    assert (copied / "tile" / "0" / "000").stat().st_size == 256 * 32


def test_a_mirror_refuses_what_does_not_continue_it(world: World, auditor: httpx.Client, copied: Path) -> None:
    """Going back, a fork that our own key signed, somebody else's head: the directory stays as it was."""
    old = grow(world, 10)
    new = grow(world, 10)
    copy = mirror(world, auditor, copied)
    copy.follow(new)
    ledger = world.product.installation.ledger
    head = open_head(new, ledger.verifier)
    forked = Head(head.origin, head.size, bytes(32))
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    for bad in (old, sign_head(forked, ledger._key), new.replace("\n", "\n ", 1), ""):
        with pytest.raises(CertwrightError):
            copy.follow(bad)
    (copied / "checkpoint").write_text(sign_head(Head(head.origin, head.size - 1, bytes(32)), ledger._key))
    with pytest.raises(CertwrightError, match="does not lead"):
        copy.follow(grow(world, 5))
    (copied / "checkpoint").write_text(new)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def test_the_plain_listener_has_hashes_and_no_entries(world: World) -> None:
    """Entries are no part of what is served without TLS, whoever asks."""
    grow(world, 300)
    public = create_public_app(world.product)
    assert len(world.as_(app=public).get("/ledger/tile/0/000").raise_for_status().content) == 256 * 32
    assert world.as_(world.token(Role.ADMIN), public).get("/ledger/tile/entries/000").status_code == 404

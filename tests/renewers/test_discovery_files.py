"""Files of this machine are found, tracked and told apart; what holds nothing for us is said and passed over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12
from sqlalchemy import select
from sqlmodel import SQLModel, col

from ca.access import Caller, Role
from ca.errors import BadRequest, Forbidden
from ca.models import LedgerEntry
from ca.store import Store
from ca.x509.bundle import pem_chain
from renewers.discovery.files import Read, discover_files
from renewers.lifecycle import Lifecycle
from renewers.models import Endpoint, Tracked, Work
from tests import rig
from tests.renewers import tracking
from tests.renewers.listeners import make

ROOT = make(subject="Root", is_ca=True, days=4000)
LEAF = make("api.example", issuer=ROOT)


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """The wired parts, over SQLite."""
    return tracking.make_lifecycle(store)


def rows(lifecycle: Lifecycle, model: type[SQLModel]) -> list[Any]:
    with lifecycle.store.read() as connection:
        return list(connection.execute(select(model)).all())


def results(lifecycle: Lifecycle, root: Path) -> dict[str, Read]:
    return {str(one.path.relative_to(root)): one for one in discover_files(lifecycle, rig.ADMIN, root)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory as they are found."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    key = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (root / "chain.pem").write_bytes(key + pem_chain([LEAF.der, ROOT.der]).encode())
    (root / "sub/alone.der").write_bytes(make("b.example", issuer=ROOT).der)
    two = make("c.example", issuer=ROOT), make("d.example", issuer=ROOT)
    (root / "sub/two.crt").write_text(pem_chain([one.der for one in two]))
    (root / "trust.pem").write_text(pem_chain([ROOT.der]))
    (root / "key.pem").write_bytes(key)
    (root / "broken.crt").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (root / "notes.txt").write_text("nothing")
    sealed = pkcs12.serialize_key_and_certificates(b"n", LEAF.key, LEAF.certificate, None, NoEncryption())
    (root / "bag.p12").write_bytes(sealed)
    return root


def test_every_certificate_gets_the_file_for_a_place(lifecycle: Lifecycle, tree: Path) -> None:
    """Leaves alone or with their chain, several in one file; no look is planned, since other machines look too."""
    told = results(lifecycle, tree)
    assert {name: len(one.places) for name, one in told.items() if one.places} == {
        "chain.pem": 1,
        "sub/alone.der": 1,
        "sub/two.crt": 2,
    }
    assert {row.shown_as for row in rows(lifecycle, Tracked)} == {"api.example", *(f"{c}.example" for c in "bcd")}
    places = {row.place.removeprefix(f"file:{tree}/"): row.findings for row in rows(lifecycle, Endpoint)}
    assert places == dict.fromkeys(("chain.pem", "sub/alone.der", "sub/two.crt", "sub/two.crt#2"), "[]")
    assert rows(lifecycle, Work) == []


def test_what_is_passed_over_is_said(lifecycle: Lifecycle, tree: Path) -> None:
    """Authorities, keys, what is broken, and what needs a passphrase; prose is not worth a word."""
    problems = {name: one.problem for name, one in results(lifecycle, tree).items() if not one.places}
    assert set(problems) == {"trust.pem", "key.pem", "broken.crt", "bag.p12"}
    assert "authorities" in (problems["trust.pem"] or "")
    assert "passphrase" in (problems["bag.p12"] or "")
    assert all(problem and problem.isprintable() for problem in problems.values())


def test_a_file_that_holds_nothing_any_more_is_missed(lifecycle: Lifecycle, tree: Path) -> None:
    """And nothing is forgotten."""
    results(lifecycle, tree)
    (tree / "chain.pem").write_text("")
    results(lifecycle, tree)
    failing = [row.place for row in rows(lifecycle, Endpoint) if row.failing_since is not None]
    assert failing == [f"file:{tree}/chain.pem"]
    assert len(rows(lifecycle, Endpoint)) == 4


def test_the_ledger_says_who_walked_where(lifecycle: Lifecycle, tree: Path) -> None:
    """And what came of it, also where it was ended early."""
    running = discover_files(lifecycle, Caller("local:uid=7", Role.OPERATOR, is_local=True), tree)
    next(running)
    running.close()  # type: ignore[attr-defined]
    results(lifecycle, tree)
    with lifecycle.store.read() as connection:
        bodies = connection.execute(select(col(LedgerEntry.body)).order_by(col(LedgerEntry.id))).scalars()
        told = [entry for body in bodies if (entry := json.loads(body))["action"].startswith("walk")]
    assert [entry["action"] for entry in told] == ["walk-started", "walk-finished"] * 2
    assert told[-1]["subject"] == str(tree)
    assert (told[-1]["certificates"], told[-1]["files"], told[-1]["without"]) == (4, 3, 4)
    assert told[1].get("files", 0) + told[1].get("without", 0) == 1


def test_not_everybody_may_have_files_read(lifecycle: Lifecycle, tree: Path) -> None:
    """The role has to allow it, and nobody has files of this machine read from afar, an admin as little as any."""
    for caller in (rig.REQUESTER, Caller("local:uid=7", Role.AUDITOR, is_local=True)):
        with pytest.raises(Forbidden, match="has the role"):
            discover_files(lifecycle, caller, tree)
    for caller in (rig.OPERATOR, Caller("token:far", Role.ADMIN)):
        with pytest.raises(Forbidden, match="on the machine itself") as refused:
            discover_files(lifecycle, caller, tree)
        assert "certwright track import" in str(refused.value.hint)
    assert rows(lifecycle, Endpoint) == []


@pytest.mark.parametrize("root", ["nowhere", "", ".", "relative", "/..", "{tree}/nowhere", "{tree}/sub/..", "/a\0b"])
def test_what_is_no_plain_path_to_something_is_refused(lifecycle: Lifecycle, tree: Path, root: str) -> None:
    """At once: relative paths, which mean something else to us than to who asks; what climbs; what is not there."""
    with pytest.raises(BadRequest):
        discover_files(lifecycle, rig.ADMIN, Path(root.format(tree=tree)))


def test_a_hostile_tree_costs_nobody_else_anything(lifecycle: Lifecycle, tree: Path) -> None:
    """Loops, links, pipes, devices, odd names: each has its reason or is nothing, and the good ones are tracked."""
    (tree / "loop.pem").symlink_to("loop.pem")
    (tree / "again.pem").symlink_to("chain.pem")
    (tree / "dangling.pem").symlink_to("nowhere")
    (tree / "up").symlink_to("..")
    (tree / "zero.pem").symlink_to("/dev/zero")
    os.mkfifo(tree / "pipe.pem")
    (tree / "empty.pem").touch()
    (tree / "odd\n\u202e.pem").write_bytes(make("odd.example", issuer=ROOT).der)
    Path(os.fsdecode(bytes(tree) + b"/\xff.pem")).write_bytes(make("raw.example", issuer=ROOT).der)
    told = [one for one in discover_files(lifecycle, rig.ADMIN, tree) if one.problem is not None]
    reasons = {one.path.name: one.problem for one in told}
    out = "is a link that leads out of the directory"
    assert {name: reasons[name] for name in ("loop.pem", "up", "zero.pem", "empty.pem")} == {
        "loop.pem": "is a link that leads in a circle",
        **dict.fromkeys(("up", "zero.pem"), out),
        "empty.pem": "there is no certificate in it",
    }
    assert not {"again.pem", "dangling.pem", "pipe.pem"} & set(reasons)
    assert {row.shown_as for row in rows(lifecycle, Tracked)} >= {"odd.example", "raw.example", "api.example"}
    places = [row.place for row in rows(lifecycle, Endpoint)]
    assert len(places) == len(set(places)) == 6
    assert all(place.isascii() and place.isprintable() for place in places)

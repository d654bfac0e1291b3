"""Proofs of the ledger over the API and from the command line, checked where nothing of ours can be reached."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca.access import Role
from ca.ledger.checkpoint import Verifier, open_head
from ca.ledger.proofs import check_consistency
from tests.pki.conftest import API, Warm, World, problem
from tests.pki.test_cli import Cli


@pytest.fixture
def here(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command on an installation, in process."""
    return Cli(warm, "--state", state, directory=tmp_path)


@pytest.fixture
def elsewhere(warm: Warm, tmp_path: Path) -> Cli:
    """The command of somebody who has no installation and no access to ours."""
    return Cli(warm, "--state", tmp_path / "nothing", directory=tmp_path)


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token."""
    return world.as_(world.token(Role.ADMIN))


def test_a_certificate_is_proved_offline(here: Cli, elsewhere: Cli) -> None:
    """From head to proof to check: under a head that was kept before, under a newer one, and never for another."""
    old = here.json("ledger", "head", "--out", "old.txt")
    here.json("cert", "issue", "a.svc.example.internal", "-p", "server", "-o", "a")
    other = here.json("cert", "issue", "b.svc.example.internal", "-p", "server", "-o", "b")
    kept = here.json("ledger", "head", "--out", "kept.txt")
    here.json("cert", "issue", "c.svc.example.internal", "-p", "server", "-o", "c")
    made = here.json("ledger", "prove", "a/cert.pem", "--head", "kept.txt", "--out", "same.json")
    assert made["head"]["size"] == kept["size"]
    verifier = made["verifier"]
    told = elsewhere.json(
        *("ledger", "check", "same.json", "--verifier", verifier, "--head", "kept.txt", "--certificate", "a/cert.pem")
    )
    assert (told["holds"], told["continues"], told["entry"]["names"]) == (
        True,
        kept["size"],
        ["dns:a.svc.example.internal"],
    )
    newer = here.json("ledger", "prove", other["serial"], "--head", "old.txt", "--out", "newer.json")
    assert newer["head"]["size"] > old["size"] == newer["continues"]
    led = ("ledger", "check", "newer.json", "--verifier", verifier, "--head", "old.txt")
    assert "it holds" in elsewhere.run(*led).stderr
    wrong = ("ledger", "check", "newer.json", "--verifier", verifier, "--certificate", "a/cert.pem")
    assert "another certificate" in elsewhere.refused(*wrong)[0]
    asked = ("ledger", "check", "same.json", "--verifier", verifier, "--head", "old.txt")
    assert "does not lead from the head" in elsewhere.refused(*asked)[0]


def test_any_entry_is_proved_by_its_place(here: Cli, elsewhere: Cli) -> None:
    """The verifier key may come from a file; the first entry of all has a proof, one beyond the end has none."""
    made = here.json("ledger", "prove", "entry:0", "--out", "first.json")
    (here.directory / "verifier.txt").write_text(made["verifier"] + "\n")
    told = elsewhere.json("ledger", "check", "first.json", "--verifier", "verifier.txt")
    assert (told["position"], told["certificate_sha256"]) == (0, None)
    assert "no entry 99999" in here.refused("ledger", "prove", "entry:99999", "--out", "x.json")[0]
    assert not (here.directory / "x.json").exists()


def test_a_head_that_the_ledger_never_had_is_found_out(here: Cli) -> None:
    """A head beyond the ledger, one of nobody, and text that is no head: refused when a proof is asked for."""
    here.json("ledger", "head", "--out", "head.txt")
    head = (here.directory / "head.txt").read_text()
    size = head.split("\n")[1]
    (here.directory / "beyond.txt").write_text(head.replace(f"\n{size}\n", f"\n{int(size) + 5}\n"))
    reason, hint = here.refused("ledger", "prove", "entry:0", "--head", "beyond.txt", "--out", "x.json")
    assert "under its newest head" in reason
    assert hint is not None
    ask = ("ledger", "prove", "entry:0", "--out", "x.json", "--head")
    (here.directory / "forged.txt").write_text(head.replace(f"\n{size}\n", f"\n{int(size) - 1}\n"))
    assert "no valid signature" in here.refused(*ask, "forged.txt")[0]
    (here.directory / "none.txt").write_text("hello")
    assert "not a checkpoint" in here.refused(*ask, "none.txt")[0]


def test_two_heads_are_consistent_over_the_api(admin: httpx.Client) -> None:
    """The hashes that are answered lead from the older head to the newer one, and tell nothing else."""
    first = admin.get(f"{API}/ledger/head").json()
    verifier = Verifier.parse(first["verifier"])
    old = open_head(first["checkpoint"], verifier)
    answer = admin.get(f"{API}/ledger/consistency", params={"old": old.size}).raise_for_status().json()
    new = open_head(answer["checkpoint"], verifier)
    proof = [bytes.fromhex(one) for one in answer["proof"]]
    check_consistency(old.size, old.root, new.size, new.root, proof)
    small = admin.get(f"{API}/ledger/consistency", params={"old": 1}).json()
    assert (small["old"], small["new"], len(small["proof"]) > 0) == (1, new.size, True)


def test_questions_that_have_no_answer_are_refused(admin: httpx.Client) -> None:
    """Both or neither of serial and position, a hash without a certificate, sizes the wrong way round."""
    for params in ({}, {"serial": "ab", "position": "1"}, {"position": "1", "sha256": "0" * 64}):
        problem(admin.get(f"{API}/ledger/proof", params=params), 400, "bad-proof")
    problem(admin.get(f"{API}/ledger/proof", params={"serial": "ab"}), 404, "unknown-entry")
    problem(admin.get(f"{API}/ledger/proof", params={"position": "0", "kept": "99999"}), 409, "ledger-went-back")
    problem(admin.get(f"{API}/ledger/consistency", params={"old": "3", "new": "2"}), 400, "bad-proof")
    problem(admin.get(f"{API}/ledger/consistency", params={"old": "99999"}), 409, "ledger-went-back")


def test_a_mirror_is_kept_from_the_command_line(here: Cli) -> None:
    """The first time everything, then what is new; another verifier key than the ledger's is refused."""
    first = here.json("ledger", "mirror", "copy")
    assert (first["before"], first["size"] > 0) == (0, True)
    here.json("cert", "issue", "a.svc.example.internal", "-p", "server", "-o", "a")
    second = here.json("ledger", "mirror", "copy", "--hashes-only")
    assert second["before"] == first["size"] < second["size"]
    assert (here.directory / "copy" / "checkpoint").read_text().split("\n")[1] == str(second["size"])
    other = str(Verifier("other.example/ledger", Ed25519PrivateKey.generate().public_key()))
    assert "no valid signature" in here.refused("ledger", "mirror", "elsewhere", "--verifier", other)[0]

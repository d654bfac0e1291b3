"""http-01 through a document root: whoever owns the web site cannot send our writes elsewhere."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ca import clock
from ca.errors import BadRequest, Misconfigured, NotDelivered
from ca.x509 import names
from renewers.solvers import Challenge
from renewers.solvers.webroot import Webroot

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"


def challenge(name: str = "shop.example", token: str = TOKEN) -> Challenge:
    """A challenge for a name."""
    return Challenge("http-01", names.guess(name), False, token, f"{token}.{'t' * 43}")


def answering(solver: Webroot, asked: Challenge):
    """The solver's context."""
    return solver.answer(asked, deadline=clock.monotonic() + 60)


def folder(root: Path) -> Path:
    """Where the files go."""
    return root / ".well-known" / "acme-challenge"


def test_the_file_can_be_read_by_a_web_server_and_is_all_that_is_there(tmp_path: Path) -> None:
    """Mode 0644, directories 0755, whatever the umask; nothing half written beside it; and it is gone afterwards."""
    before = os.umask(0o077)
    try:
        with answering(Webroot({"*": tmp_path}), challenge()):
            file = folder(tmp_path) / TOKEN
            assert file.read_text() == challenge().authorization
            assert stat.S_IMODE(file.stat().st_mode) == 0o644
            assert stat.S_IMODE(folder(tmp_path).stat().st_mode) == 0o755
            assert stat.S_IMODE(folder(tmp_path).parent.stat().st_mode) == 0o755
            assert [path.name for path in folder(tmp_path).iterdir()] == [TOKEN]
        assert list(folder(tmp_path).iterdir()) == []
    finally:
        os.umask(before)


def test_the_longest_domain_chooses_the_root(tmp_path: Path) -> None:
    """Whole labels alone: `shop.example` serves `a.shop.example` and not `ashop.example`."""
    roots = {key: tmp_path / key.replace("*", "any") for key in ("example", "shop.example", "*")}
    for root in roots.values():
        root.mkdir()
    solver = Webroot(roots)
    for name, key in [
        ("shop.example", "shop.example"),
        ("a.shop.example", "shop.example"),
        ("ashop.example", "example"),
        ("elsewhere.test", "*"),
        ("192.0.2.1", "*"),
    ]:
        with answering(solver, challenge(name)):
            assert {k for k, root in roots.items() if (folder(root) / TOKEN).exists()} == {key}


def test_a_name_without_a_root_is_not_solved(tmp_path: Path) -> None:
    """Deny by default: no `*`, no other names; and an answer for one is an error that says so."""
    solver = Webroot({"shop.example": tmp_path})
    assert not solver.solves(names.guess("other.example"), is_wildcard=False)
    assert not solver.solves(names.guess("192.0.2.1"), is_wildcard=False)
    with pytest.raises(NotDelivered, match="no document root") as failed, answering(solver, challenge("other.example")):
        pytest.fail("it was answered")
    assert failed.value.code == "no-webroot"


@pytest.mark.parametrize("step", [".well-known", ".well-known/acme-challenge"])
def test_a_linked_directory_is_refused(tmp_path: Path, step: str) -> None:
    """The owner of the site makes a link to our own directories: nothing is written behind it."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "acme-challenge").mkdir()
    (root / step).parent.mkdir(parents=True)
    (root / step).symlink_to(elsewhere)
    with pytest.raises(NotDelivered) as failed, answering(Webroot({"*": root}), challenge()):
        pytest.fail("it was answered")
    assert failed.value.code == "not-written"
    assert "without links" in (failed.value.hint or "")
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["acme-challenge"]


def test_a_link_at_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A link in the place of the token: what it points to stays as it is."""
    root, victim = tmp_path / "root", tmp_path / "victim"
    victim.write_text("precious")
    folder(root).mkdir(parents=True)
    (folder(root) / TOKEN).symlink_to(victim)
    with answering(Webroot({"*": root}), challenge()):
        assert not (folder(root) / TOKEN).is_symlink()
    assert victim.read_text() == "precious"
    assert not (folder(root) / TOKEN).exists()


def test_a_directory_that_became_a_link_meanwhile_is_not_followed_on_the_way_out(tmp_path: Path) -> None:
    """Between writing and removing, the owner exchanges the directory: a stranger's file is not removed."""
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / TOKEN).write_text("precious")
    with answering(Webroot({"*": root}), challenge()):
        folder(root).rename(tmp_path / "moved")
        folder(root).symlink_to(elsewhere)
    assert (elsewhere / TOKEN).read_text() == "precious"


@pytest.mark.parametrize(
    "token", ["../../../../tmp/owned-by-a-ca-000", "..", "a/b" * 10, ".htaccess" + "a" * 20, "a" * 200, "\0" * 30]
)
def test_a_token_is_never_a_path(tmp_path: Path, token: str) -> None:
    """lego wrote outside of its folder (CVE-2026-40611)."""
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(BadRequest), answering(Webroot({"*": root}), challenge(token=token)):
        pytest.fail("it was answered")
    assert list(tmp_path.rglob("*")) == [root]


@pytest.mark.parametrize("obstacle", ["missing", "file", "taken"])
def test_what_cannot_be_written_is_not_delivered(tmp_path: Path, obstacle: str) -> None:
    """No root, a file in its place, a directory at the token's: said with the reason, nothing left beside it."""
    root = tmp_path / "root"
    if obstacle == "file":
        root.write_text("")
    elif obstacle == "taken":
        (folder(root) / TOKEN / "inside").mkdir(parents=True)
    with pytest.raises(NotDelivered) as failed, answering(Webroot({"*": root}), challenge()):
        pytest.fail("it was answered")
    assert failed.value.code == "not-written"
    if obstacle == "taken":
        assert [path.name for path in folder(root).iterdir()] == [TOKEN]


def test_settings_are_checked(tmp_path: Path) -> None:
    """A root that depends on where the process was started, a domain that is none."""
    with pytest.raises(Misconfigured, match="not an absolute path"):
        Webroot({"*": Path("relative")})
    with pytest.raises(Misconfigured, match="is not a domain"):
        Webroot({"no domain": tmp_path})

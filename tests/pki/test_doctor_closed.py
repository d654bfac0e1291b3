"""An installation that does not open: the doctor says what is wrong, everything at once, with what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ca.errors import Misconfigured
from ca.models import RevocationList
from pki.doctor.finding import Level
from pki.doctor.opening import is_openable, preliminary, refused
from pki.product import Product
from tests import peer
from tests.ca.world import outside
from tests.conftest import fresh_database
from tests.pki.conftest import Template, certwright, environment

Break = Callable[[Path], Any]


def settings(old: str, new: str) -> Break:
    """Change a line of the settings."""

    def change(state: Path) -> None:
        path = state / "certwright.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def revision(number: str) -> Break:
    """Say that the database is of another version."""

    def change(state: Path) -> None:
        with sqlite3.connect(state / "certwright.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (number,))

    return change


def emptied(state: Path) -> None:
    """All is gone but the directory."""
    shutil.rmtree(state)
    state.mkdir(mode=0o700)


def of_ledger(state: Path) -> Path:
    """The file of the ledger's key."""
    return next((state / "keys").glob("ledger-*.pem"))


BROKEN: dict[str, tuple[Break, str, str, str]] = {
    "no directory": (shutil.rmtree, "state", "there is no directory", "certwright init"),
    "empty": (emptied, "state", "is empty", "certwright init"),
    "no settings": (lambda s: (s / "certwright.toml").unlink(), "state", "interrupted", "put certwright.toml back"),
    "a wrong setting": (settings("[crl]", "[crl]\nshard = 3"), "settings", "crl.shard", "comment above"),
    "no TOML": (settings("[crl]", "[crl"), "settings", "certwright.toml", "double quotes"),
    "no passphrase": (lambda s: (s / "key-passphrase").unlink(), "keys", "passphrase", "CERTWRIGHT_KEY_PASSPHRASE"),
    "open passphrase": (lambda s: (s / "key-passphrase").chmod(0o444), "keys", "others may read", "chmod 0400"),
    "no keys": (lambda s: shutil.rmtree(s / "keys"), "keys", "no directory", "backup restore"),
    "no key": (lambda s: of_ledger(s).unlink(), "keys", "cannot read the key", "backup restore"),
    "another's key": (lambda s: of_ledger(s).write_text("nonsense"), "keys", "damaged", "passphrase comes from"),
    "open keys": (lambda s: (s / "keys").chmod(0o755), "permissions", "others may read", "chmod 0700"),
    "no database": (lambda s: (s / "certwright.db").unlink(), "database", "there is no database", "backup restore"),
    "no SQLite": (lambda s: (s / "certwright.db").write_text("x" * 9000), "database", "not a database", "restore"),
    "a newer version's": (revision("0099"), "database", "0099", "newer version"),
    "PostgreSQL away": (
        settings('\nurl = ""', f'\nurl = "postgresql://u:canary@127.0.0.1:{peer.free_port()}/x"'),
        *("database", "cannot be opened: connection", "start it"),
    ),
    "another kind": (settings('\nurl = ""', '\nurl = "mysql://u:canary@h/x"'), "database", "not supported", "sqlite"),
    "no such token": (settings('store = "software"', 'store = "pkcs11"'), "opening", "names no token", "such as"),
    "no profiles": (lambda s: shutil.rmtree(s / "profiles"), "opening", "profiles", ""),
}


@pytest.mark.parametrize("which", BROKEN)
def test_what_keeps_it_from_being_opened(state: Path, which: str) -> None:
    """The check, the reason and what to do; nothing is made in the place of what is missing."""
    break_it, check, reason, advice = BROKEN[which]
    break_it(state)
    before = sorted(map(str, state.rglob("*"))) if state.exists() else []
    found = preliminary(state)
    if is_openable(found):
        with pytest.raises(Exception) as caught:
            Product.open(state).close()
        found.append(refused(caught.value))  # type: ignore[arg-type]
    else:
        assert (sorted(map(str, state.rglob("*"))) if state.exists() else []) == before
    problem = next(each for each in found if each.level is Level.PROBLEM and each.check == check)
    assert reason in problem.message
    assert problem.advice is not None
    assert advice in problem.advice
    assert "canary" not in str(found)


def test_all_of_it_is_said_at_once(state: Path) -> None:
    """Permissions, keys and the database have nothing to do with each other."""
    (state / "key-passphrase").unlink()
    (state / "certwright.db").unlink()
    (state / "certwright.toml").chmod(0o644)
    found = {each.check for each in preliminary(state) if each.level is Level.PROBLEM}
    assert found == {"keys", "database", "permissions"}


def test_an_older_database_is_left_as_it_is(state: Path) -> None:
    """Opening it would bring it up to date: that is the server's to do, after a backup."""
    revision("0005")(state)
    done = certwright("--state", state, "doctor", "--json")
    found = {each["check"]: each for each in json.loads(done.stdout)["findings"]}
    assert (done.returncode, found["database"]["level"]) == (0, "warning")
    assert "backup" in found["database"]["advice"]
    with sqlite3.connect(state / "certwright.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0005",)]


def test_whoever_has_it_open_without_a_socket_is_named(state: Path) -> None:
    """`serve --only schedule` listens nowhere."""
    with Product.open(state):
        problem = next(each for each in preliminary(state) if each.level is Level.PROBLEM)
    assert f"process {os.getpid()} has" in problem.message
    assert "only schedule" in str(problem.advice)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_told_whose_it_is(template: Template) -> None:
    """What we may not read is not missing. The directory lies where everybody may look for it."""
    state = Path(tempfile.mkdtemp(prefix="certwright-doctor-"))
    shutil.copytree(template.state, state, dirs_exist_ok=True)
    code = "import sys; from pathlib import Path; from pki.doctor.opening import preliminary\n"
    code += "import os; os.setegid(65534); os.seteuid(65534); print(*preliminary(Path(sys.argv[1])), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code, str(state)], capture_output=True, text=True, env=environment(), check=True
    )
    shutil.rmtree(state)
    assert "Permission denied" in done.stdout
    assert "sudo -u '#0' certwright doctor" in done.stdout


def test_a_database_in_postgresql_is_only_read(postgresql: str, state: Path) -> None:
    """An empty one is of an older version: no table is made in it."""
    settings('\nurl = ""', f'\nurl = "{fresh_database(postgresql)}"')(state)
    for _ in range(2):
        found = [each for each in preliminary(state) if each.check == "database"]
        assert [each.level for each in found] == [Level.WARNING]


def test_the_command_says_it_for_people_and_programs(state: Path) -> None:
    """Exit code 1 and no traceback; with --json nothing but JSON."""
    (state / "certwright.db").unlink()
    shown, told = (certwright("--state", state, "doctor", *more) for more in ((), ("--json",)))
    assert (shown.returncode, told.returncode, told.stderr) == (1, 1, "")
    assert "there is no database" in shown.stdout
    assert "database: certwright backup restore" in shown.stderr
    assert {each["level"] for each in json.loads(told.stdout)["findings"]} == {"ok", "problem"}


def test_without_a_server_nothing_that_is_due_is_done(state: Path) -> None:
    """A list that should be made anew stays as it is, and what is wrong with its CA's key is said all the same."""
    with Product.open(state) as product:
        label = product.installation.authorities.get("issuing").key_label
        with outside(product.installation.store) as connection:
            connection.execute(update(RevocationList).values(due_at=0))
    (state / "keys" / f"{label}.pem").unlink()
    done = certwright("--state", state, "doctor", "--json")
    found = json.loads(done.stdout)["findings"]
    wrong = {each["check"]: each["message"] for each in found if each["level"] == "problem"}
    assert "the key of issuing-1 does not work" in wrong["keys"]
    with Product.open(state) as product, product.installation.store.read() as connection:
        assert set(connection.execute(select(RevocationList.due_at)).scalars()) == {0}  # type: ignore[call-overload]


def test_no_command_makes_a_database_in_the_place_of_one_that_is_gone(state: Path) -> None:
    """It would be empty, and whatever was issued unknown."""
    (state / "certwright.db").unlink()
    with pytest.raises(Misconfigured, match="there is no database"):
        Product.open(state)
    assert not (state / "certwright.db").exists()

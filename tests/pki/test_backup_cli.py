"""Backups by command: the key that opens them, made, listed, checked, put back; and the refusals on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ca.errors import StoreUnavailable
from ca.secret import Secret
from ca.store.lease import leased
from pki import backup
from pki.product import Product
from tests.pki.conftest import API, Template, Warm, World
from tests.pki.test_cli import Cli


@pytest.fixture
def state(template: Template, tmp_path: Path) -> Path:
    """A copy of an installation, in a directory of its own."""
    return Path(shutil.copytree(template.state, tmp_path / "state"))


def test_backups_by_command(warm: Warm, state: Path) -> None:
    """From the key to the installation that was put back, as the README says it."""
    home = state.parent
    here = Cli(warm, "--state", state, directory=home)
    assert "recipient" in here.refused("backup", "create")[0]
    (home / "pass").write_text("correct horse battery")
    (home / "pass").chmod(0o600)
    own = ("--key-passphrase-file", "pass")
    recipient = here.run("backup", "key", "--out", "key.pem", *own).stdout.strip()
    settings = state / "certwright.toml"
    text = settings.read_text()
    for name, value in (("to", "../kept"), ("recipient", recipient)):
        assert f'\n{name} = ""\n' in text.partition("[backup]")[2]
        head, found, tail = text.partition("[backup]")
        text = head + found + tail.replace(f'\n{name} = ""\n', f'\n{name} = "{value}"\n', 1)
    settings.write_text(text)
    made = here.json("backup", "create")
    assert here.run("backup", "create").stdout.strip().endswith(".cwbackup")
    listed = here.json("backup", "list")["items"]
    assert made["file"] in [item["file"] for item in listed]
    assert len(listed) == 2
    file = Path(made["file"]).resolve()
    checked = here.json("backup", "verify", file, "--key", "key.pem", *own)
    assert checked["is_whole"]
    assert checked["ledger_size"] == made["ledger_size"]
    assert made["rows"] == checked["rows"]
    restore = ("backup", "restore", file, "--key", "key.pem", *own)
    done = here.json(*restore, "--state", home / "back", "--passphrase-file", state / "key-passphrase")
    assert done["entries"] == made["ledger_size"]
    assert Cli(warm, "--state", home / "back", directory=home).json("ledger", "verify")["is_sound"]
    assert "fork" in here.refused(*restore, "--state", state, "--yes")[0]


def test_it_says_how_far_it_is(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each page of rows, the backup in the last one; one at a time; what breaks off says that it did."""
    recipient = backup.make_key(tmp_path / "key.pem", Secret("correct horse battery"))
    asked = world.product.settings.backup.model_copy(update={"to": str(tmp_path / "kept"), "recipient": recipient})
    monkeypatch.setattr(world.product, "settings", world.product.settings.model_copy(update={"backup": asked}))
    answer = world.local.post(f"{API}/backups", json={})
    *progress, made = map(json.loads, answer.text.splitlines())
    done = [line["done"] for line in progress]
    assert done == sorted(done)
    assert done[-1] == progress[-1]["of"] == made["rows"]
    assert Path(made["file"]).stat().st_size == made["bytes"]
    with leased(world.installation.store, "backup", 60) as held:
        assert held is not None
        (said,) = map(json.loads, world.local.post(f"{API}/backups", json={}).text.splitlines())
    assert said == {"error": "a backup is being made already"}


def test_a_backup_that_breaks_off_says_so(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the last line of the answer: no file is named, none is left, and the next one cleans up behind a crash."""
    home = state.parent
    recipient = backup.make_key(home / "key.pem", Secret("correct horse battery"))
    with Product.open(state) as product:
        asked = product.settings.backup.model_copy(update={"to": "../kept", "recipient": recipient})
        product.settings = product.settings.model_copy(update={"backup": asked})
        (home / "kept").mkdir(mode=0o700)
        crashed = home / "kept" / ".certwright-20260101T000000Z-00ff.cwbackup.part"
        crashed.write_bytes(b"half")

        def breaks(*_: object) -> None:
            raise StoreUnavailable("the database does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(backup.snapshot, "pack", breaks)
            with pytest.raises(StoreUnavailable):
                backup.create(product, "local:test")
        assert not list((home / "kept").iterdir())
        made, _ = backup.create(product, "local:test")
        assert [made.path.name] == [path.name for path in (home / "kept").iterdir()]

"""Backups: whole under load, closed to whoever has not the key, restored without anything going back."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from sqlalchemy import select
from sqlmodel import col

from ca import facts
from ca.backup import packing, sealing
from ca.backup.reading import Taker, read
from ca.errors import BadRequest, CertwrightError, Conflict, Misconfigured
from ca.ledger import log
from ca.ledger.reconcile import audit
from ca.ledger.witness import HEAD_FILE
from ca.models import RevocationList, SignInLink
from ca.secret import Secret
from pki import backup, restoring
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.settings import DATABASE_VARIABLE
from tests.flows import restores
from tests.postgresql import fresh_database

PASSPHRASE = Secret("correct horse battery")


@dataclass(frozen=True)
class Stand:
    """An installation with a backup of it, and the key that opens it."""

    state: Path
    file: Path
    key: X25519PrivateKey
    recipient: str


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    """One for all tests; those that restore do it elsewhere, or into a copy."""
    home = tmp_path_factory.mktemp("backup")
    recipient = backup.make_key(home / "key.pem", PASSPHRASE)
    changes = {"backup.to": '"../backups"', "backup.recipient": f'"{recipient}"', "crl.shards": "2"}
    initialise(home / "state", InitPlan(changes=changes))
    with Product.open(home / "state") as product:
        made, _ = backup.create(product, "local:test")
    return Stand(home / "state", made.path, backup.load_key(home / "key.pem", PASSPHRASE), recipient)


def test_a_backup_is_the_owners_alone_and_says_what_it_holds(stand: Stand) -> None:
    """It is read to its end, its ledger comes to its head, its keys open and belong to their CAs."""
    assert stand.file.stat().st_mode & 0o777 == 0o600
    found, keys = backup.verify(stand.file, stand.key, stand.state / "key-passphrase")
    assert keys == "opened"
    assert found.head is not None
    assert found.head.size == found.tables["ledger_entry"]
    assert "certwright.toml" in found.files
    assert "key-passphrase" not in found.files
    assert b"issuing" not in stand.file.read_bytes()


def test_without_a_recipient_none_is_made(stand: Stand, tmp_path: Path) -> None:
    """An open one would be worse than none."""
    shutil.copytree(stand.state, tmp_path / "state", ignore=shutil.ignore_patterns("*.sock"))
    file = tmp_path / "state" / "certwright.toml"
    file.write_text(file.read_text().replace(stand.recipient, ""))
    with Product.open(tmp_path / "state") as product, pytest.raises(Conflict, match="recipient"):
        backup.create(product, "local:test")


def damaged(content: bytes) -> dict[str, bytes]:
    """What somebody may do to a file of several chunks."""
    head, step = sealing.HEADER, sealing.CHUNK + sealing.TAG
    first, second, rest = (
        content[head : head + step],
        content[head + step : head + 2 * step],
        content[head + 2 * step :],
    )
    flips = {
        f"bit {place}": content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        for place in (0, 19, 21, 40, head, head + step, len(content) - 1)
    }
    return flips | {
        "empty": b"",
        "only a header": content[:head],
        "half a header": content[: head - 5],
        "the last byte gone": content[:-1],
        "the last chunk gone": content[: head + 2 * step],
        "one chunk": content[: head + step],
        "swapped": content[:head] + second + first + rest,
        "repeated": content[:head] + first + first + second + rest,
        "left out": content[:head] + second + rest,
        "something behind": content + b"x",
        "another version": content.replace(b"backup-1", b"backup-2", 1),
    }


def sealed(path: Path, key: X25519PrivateKey, *records: tuple[bytes, bytes], end: bool = True) -> Path:
    """A file that anybody who has the recipient can write."""
    with path.open("wb") as file:
        packer = packing.Packer(sealing.Sealed(file, key.public_key()))
        for kind, content in records:
            packer.put(kind, content)
        if end:
            packer.finish({"tables": {}, "files": {}, "head": None})
    return path


def test_whatever_is_done_to_a_file_is_seen(tmp_path: Path) -> None:
    """Each with our own refusal, and before the end."""
    key, path = X25519PrivateKey.generate(), tmp_path / "file"
    clear = bytes(2 * sealing.CHUNK + 100)
    with path.open("wb") as file:
        envelope = sealing.Sealed(file, key.public_key())
        envelope.write(clear)
        envelope.close()
    with path.open("rb") as file:
        assert b"".join(sealing.opened(file, key)) == clear
    for what, content in damaged(path.read_bytes()).items():
        path.write_bytes(content)
        with path.open("rb") as file, pytest.raises(BadRequest):
            list(sealing.opened(file, key))
            pytest.fail(what)


@pytest.mark.parametrize(
    "name", ["../evil", "keys/../../evil", "/etc/passwd", "keys/.hidden", "lock", "keys/a/b", "keys/"]
)
def test_a_file_goes_nowhere_else(tmp_path: Path, name: str) -> None:
    """The recipient is public: whoever writes a backup may name what they like."""
    key = X25519PrivateKey.generate()
    begin = (packing.BEGIN, b'{"revision":"0006"}')
    path = sealed(tmp_path / "file", key, begin, (packing.FILE, name.encode() + b"\nx"))
    with pytest.raises(BadRequest, match="name that we do not write"):
        read(path, key, Taker())


@pytest.mark.parametrize(
    "record",
    [
        (packing.BEGIN, b"[]"),
        (packing.ROWS, b"[[1]]"),
        (packing.TABLE, b'{"name":"a; DROP","columns":[]}'),
        (packing.TABLE, b"7"),
        (packing.TABLE, b"[" * 100_000),
        (b"?", b""),
    ],
)
def test_nonsense_inside_is_refused(tmp_path: Path, record: tuple[bytes, bytes]) -> None:
    """Whoever has the recipient can seal it."""
    key = X25519PrivateKey.generate()
    with pytest.raises(BadRequest):
        read(sealed(tmp_path / "file", key, (packing.BEGIN, b'{"revision":"0006"}'), record), key, Taker())


def test_another_key_opens_nothing(stand: Stand) -> None:
    """It says so, rather than that the file is damaged."""
    with pytest.raises(BadRequest) as refused:
        read(stand.file, X25519PrivateKey.generate(), Taker())
    assert refused.value.code == "wrong-key"


def test_a_newer_ledger_is_not_forked_unasked(stand: Stand, tmp_path: Path) -> None:
    """The ledger has gone on by the backup's own entry: refused, nothing changed; then accepted, and the old kept."""
    state = tmp_path / "state"
    shutil.copytree(stand.state, state, ignore=shutil.ignore_patterns("*.sock"))
    with Product.open(state) as product:
        product.settle()
        head = product.installation.ledger.head()
    assert head is not None
    before = (state / "certwright.db").read_bytes()
    with pytest.raises(Conflict) as refused:
        restoring.restore(stand.file, stand.key, state)
    assert refused.value.code == "ledger-fork"
    assert (state / "certwright.db").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    with pytest.raises(Conflict):  # a kept head says the same where no state is left
        restoring.restore(stand.file, stand.key, tmp_path / "other", head=head.checkpoint)
    done = restoring.restore(stand.file, stand.key, state, accept_fork=True)
    assert done.is_fork
    assert done.lost_entries == 1
    assert done.kept_aside is not None
    assert (Path(done.kept_aside) / "certwright.db").exists()
    with Product.open(state) as product:
        store = product.installation.store
        assert audit(store, product.installation.ledger.verifier).is_sound
        assert facts.links_era(store)
        with store.read() as connection:
            numbers = connection.execute(select(col(RevocationList.number))).scalars().all()
            unspent = connection.execute(select(SignInLink).where(col(SignInLink.used_at).is_(None))).all()
        assert min(numbers) > done.list_numbers_after
        assert not unspent


def seen(state: Path) -> str:
    """Let an installation note its newest head beside its keys, as the schedule does; the head."""
    with Product.open(state) as product:
        product.settle()
        product.audits.run_due()
    return (state / HEAD_FILE).read_text()


def test_a_database_that_is_gone_does_not_hide_a_fork(stand: Stand, tmp_path: Path) -> None:
    """The state directory still holds the newest head; after a fork that was accepted, it is none any more."""
    state = tmp_path / "state"
    shutil.copytree(stand.state, state, ignore=shutil.ignore_patterns("*.sock"))
    newest = seen(state)
    for file in state.glob("certwright.db*"):
        file.unlink()
    with pytest.raises(Conflict, match="1 ledger entries were published after this backup") as refused:
        restoring.restore(stand.file, stand.key, state)
    assert refused.value.code == "ledger-fork"
    done = restoring.restore(stand.file, stand.key, state, accept_fork=True)
    assert (done.is_fork, done.lost_entries) == (True, 1)
    assert done.kept_aside is not None
    assert (Path(done.kept_aside) / HEAD_FILE).read_text() == newest
    assert seen(state) != newest
    with Product.open(state) as product:
        assert product.audits.run_due() is None
        report = product.audits.run_due()
        assert report is not None
        assert report.is_sound


def test_a_backup_of_another_history_is_a_fork(stand: Stand, tmp_path: Path) -> None:
    """As long as what was seen, and not its continuation: what was cut off before the backup is noticed, too."""
    one, other = tmp_path / "one", tmp_path / "other"
    for state in (one, other):
        shutil.copytree(stand.state, state, ignore=shutil.ignore_patterns("*.sock"))
        with Product.open(state) as product:
            ledger = product.installation.ledger
            product.installation.store.write(
                lambda tx, name=state.name: log.append(tx, "something-done", name, "test") and None
            )
            ledger.sequence()
    seen(one)
    with Product.open(other) as product:
        made, _ = backup.create(product, "local:test")
    with pytest.raises(Conflict, match="does not continue") as refused:
        restoring.restore(made.path, stand.key, one)
    assert refused.value.code == "ledger-fork"
    assert restoring.restore(made.path, stand.key, one, accept_fork=True).is_fork


def test_a_restore_that_fails_leaves_nothing(stand: Stand, tmp_path: Path) -> None:
    """Neither a sandbox nor half of a state directory."""
    file = tmp_path / "file"
    file.write_bytes(stand.file.read_bytes()[:-1])
    with pytest.raises(CertwrightError):
        restoring.restore(file, stand.key, tmp_path / "state")
    assert list(tmp_path.iterdir()) == [file]


def test_the_environment_names_the_database(
    stand: Stand, postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wins over the settings, so it says where rows go; a database in use is refused and left as it is."""
    live, empty = fresh_database(postgresql), fresh_database(postgresql)
    initialise(tmp_path / "live", InitPlan(changes={"store.url": f'"{live}"'}))
    before = contents(live)
    passphrase = stand.state / "key-passphrase"
    monkeypatch.setenv(DATABASE_VARIABLE, live)
    for url in (None, live):
        with pytest.raises(Conflict) as refused:
            restoring.restore(stand.file, stand.key, tmp_path / "new", url=url, passphrase_file=passphrase)
        assert refused.value.code == "not-empty"
    with pytest.raises(Misconfigured, match="another database"):
        restoring.restore(stand.file, stand.key, tmp_path / "new", url=empty, passphrase_file=passphrase)
    monkeypatch.setenv(DATABASE_VARIABLE.lower(), empty)
    monkeypatch.delenv(DATABASE_VARIABLE)
    said = set[str]()
    restoring.restore(
        *(stand.file, stand.key, tmp_path / "new"),
        passphrase_file=passphrase,
        progress=lambda what, done, of: said.add(what.split()[0]) if done <= of else pytest.fail(f"{done} of {of}"),
    )
    assert said == {"reading", "proving"}
    assert contents(live) == before
    text = (tmp_path / "new" / "certwright.toml").read_text()
    assert empty not in text
    assert not (tmp_path / "new" / "certwright.db").exists()
    with Product.open(tmp_path / "new") as product:
        assert product.installation.store.dialect == "postgresql"


def contents(url: str) -> dict[str, list[str]]:
    """Every row of a PostgreSQL database."""
    import psycopg

    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT relname FROM pg_stat_user_tables").fetchall()
        return {name: sorted(map(str, connection.execute(f"SELECT * FROM {name}"))) for (name,) in names}  # type: ignore[arg-type]


@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
def test_a_backup_under_load_restores(source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The short run of the campaign: from either engine to either."""
    servers = {"sqlite": None, "postgresql": request.getfixturevalue("postgresql")}
    outcome = restores.run(40, tmp_path, source=servers[source], target=servers[target])
    restores.judge(outcome)

"""A backup of 1,000,000 certificates: made, read, restored and proven; beside the floor of copying its rows in SQLite.

The certificates are real: each is signed by the issuing CA over its own serial number and name, and has its ledger
entry, so that the audit which a restore has to pass finds nothing. Only the policy was not asked a million times.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from ca import clock, signing
from ca.authority import Issuer
from ca.installation import Installation
from ca.ledger import log
from ca.models import Certificate, CertificateName
from ca.secret import Secret
from ca.store import Transaction
from ca.x509.certificate import fingerprint, serial_text
from pki import backup, restoring
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.settings import DATABASE
from tests import rig
from tests.bench.report import Figure, console, heading, show, wall

PASSPHRASE = Secret("correct horse battery")
NAME = "spiffe://certwright.internal/ns/payments/sa/w%07d"
PAGE = 5000


def run(*, quick: bool) -> None:
    """Print the figures."""
    count = 100_000 if quick else 1_000_000
    heading(f"Backup and restore of {count:,} certificates (SQLite, one process)")
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
        home = Path(directory)
        recipient = backup.make_key(home / "key.pem", PASSPHRASE)
        initialise(home / "state", InitPlan(changes={"backup.to": '"../kept"', "backup.recipient": f'"{recipient}"'}))
        with Product.open(home / "state") as product:
            fill(product.installation, count)
            product.settle()
            size = (home / "state" / DATABASE).stat().st_size
            show(Figure("the database", size / 1e6, "MB"))
            show(Figure("the daily audit of it", _audited(product), "s"))
            started = time.perf_counter()
            made, _ = backup.create(product, "local:bench")
            show(Figure("make a backup, while it runs", time.perf_counter() - started, "s"))
            show(Figure("the backup, sealed", made.size / 1e6, "MB"))
        floor = wall(lambda: _copied(home / "state" / DATABASE, home / "copy.db"))
        show(Figure("floor: SQLite copies the rows, with their indexes", floor, "s"))
        for what in ("verify", "restore"):
            used = _apart(what, made.path, home)
            show(Figure(f"{what} it", used["seconds"], "s", note=f"{used['seconds'] / floor:.1f}x the floor"))
            show(Figure(f"{what} it: memory at most", used["memory"] / 1e6, "MB"))
        with Product.open(home / "restored") as product:
            issued = rig.issue(product.installation, NAME % count)
        console.print(f"  and the restored installation has issued {issued.serial}")


def _audited(product: Product) -> float:
    """Seconds that the first daily audit takes, which finds nothing."""
    product.audits.run_due()  # a start makes none
    started = time.perf_counter()
    report = product.audits.run_due()
    assert report is not None
    assert report.is_sound
    return time.perf_counter() - started


def fill(installation: Installation, count: int) -> None:
    """Add certificates as issuance leaves them: signed, named, in the ledger; all of one key and one life."""
    first = rig.issue(installation, NAME % 0)
    issuer = installation.authorities.issuer(first.authority)
    with installation.store.read() as connection:
        stored = select(Certificate).where(col(Certificate.serial) == first.serial)
        template = {name: value for name, value in connection.execute(stored).mappings().one().items() if name != "id"}
    for start in range(1, count, PAGE):
        made = [_certificate(template, place, issuer) for place in range(start, min(start + PAGE, count))]

        def unit(tx: Transaction, made: list[tuple[dict[str, Any], dict[str, Any]]] = made) -> None:
            for row, details in made:
                tx.add(Certificate, row)
                tx.add(CertificateName, {"name": details["names"][0], "serial": row["serial"]})
                log.append(tx, "certificate-issued", row["serial"], row["requested_by"], **details)

        installation.store.write(unit)
    installation.ledger.sequence()


def _certificate(template: dict[str, Any], place: int, issuer: Issuer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The template under another serial number of the same shard, and another name; signed."""
    old = int(template["serial"], 16).to_bytes(20, "big").lstrip(b"\0")
    new = old[:1] + secrets.token_bytes(len(old) - 2) + old[-1:]
    tbs = template["tbs"].replace(old, new).replace((NAME % 0).encode(), (NAME % place).encode())
    signature, certificate = signing.seal(tbs, issuer)
    now, subject = clock.timestamp(), template["subject"].replace(NAME % 0, NAME % place)
    row = {**template, "serial": serial_text(int.from_bytes(new, "big")), "subject": subject, "tbs": tbs}
    details = {
        "at": now,
        "authority": issuer.name,
        "profile": row["profile"],
        "profile_sha256": "0" * 64,
        "names": [f"uri:{NAME % place}"],
        "not_after": row["not_after"],
        "sha256": fingerprint(certificate),
    }
    return row | {"signature": signature, "recorded_at": now}, details


def _copied(source: Path, target: Path) -> None:
    """Every row into a new database with the same tables and indexes, durable: less than this no restore can do."""
    with sqlite3.connect(source) as old:
        made = [sql for (sql,) in old.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC")]
        names = [name for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    with sqlite3.connect(target) as new:
        for sql in made:
            if "sqlite_" not in sql.split("(")[0]:
                new.execute(sql)
        new.execute("ATTACH ? AS old", (str(source),))
        for name in names:
            if not name.startswith("sqlite_"):
                new.execute(f"INSERT INTO {name} SELECT * FROM old.{name}")  # names of our own tables


def _apart(what: str, path: Path, home: Path) -> dict[str, float]:
    """Do it in a process of its own, whose memory is its own too."""
    command = [sys.executable, "-m", "tests.bench.restore", what, str(path), str(home)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _alone(what: str, path: Path, home: Path) -> None:
    key, passphrase = backup.load_key(home / "key.pem", PASSPHRASE), home / "state" / "key-passphrase"
    started = time.perf_counter()
    if what == "verify":
        backup.verify(path, key, passphrase)
    else:
        restoring.restore(path, key, home / "restored", passphrase_file=passphrase)
    seconds = time.perf_counter() - started
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())  # rusage counts who forked it too
    print(json.dumps({"seconds": seconds, "memory": int(peak) * 1024}))


if __name__ == "__main__":
    _alone(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))

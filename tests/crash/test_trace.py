"""What the kernel saw: the intent was synced to the disk before the key signed, the certificate before the answer.

A process that is killed cannot show this, since what it wrote survives it anyway. A power cut would; `strace` can.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import peer
from tests.crash.campaign import ROOT

ISSUANCES = 4
WORKER = f"""
import os, sys
from ca import signing
from ca.store import open_store
from ca.x509.certificate import preview, serial_text
from tests import rig

def say(word, serial):
    os.write(1, f"{{word}} {{serial}}\\n".encode())

def seal_and_say(tbs, issuer, seal=signing.seal):
    say("signing", serial_text(preview(tbs, issuer.scheme.identifier).serial_number))
    return seal(tbs, issuer)

store = open_store(sys.argv[1])
installation = rig.make_installation(store)
signing.seal = seal_and_say
for _ in range({ISSUANCES}):
    say("issued", rig.issue(installation).serial)
store.close()
"""


@dataclass(frozen=True)
class Event:
    """A write to the log, a sync of it that is finished, or a line of the worker's."""

    kind: str
    text: str = ""


def events(trace: str) -> Iterator[Event]:
    """What matters of a trace, in the order of the kernel. A sync counts when it returns, a line when it begins."""
    syncing = set()
    for line in trace.splitlines():
        process, _, call = line.partition(" ")
        call = call.strip()
        if call.startswith("pwrite64(") and "-wal>" in call:
            yield Event("log written", call)
        elif call.startswith(("fdatasync(", "fsync(")) and "-wal>" in call:
            if call.endswith("<unfinished ...>"):
                syncing.add(process)
            elif call.endswith("= 0"):
                yield Event("log synced")
        elif call.startswith(("<... fdatasync resumed>", "<... fsync resumed>")) and process in syncing:
            syncing.remove(process)
            if call.endswith("= 0"):
                yield Event("log synced")
        elif said := re.match(r'write\(1<[^>]*>, "(signing|issued) ([0-9a-f]+)\\n"', call):
            yield Event(said[1], said[2])


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """The trace of a worker that issues a few certificates, one after the other."""
    strace = peer.require("strace")
    if peer.run(strace, "-f", "-o", "/dev/null", "true").returncode != 0:
        peer.missing("strace may not trace here (ptrace is not permitted)")
    home = tmp_path_factory.mktemp("traced")
    options = ["-f", "-y", "-s", "5000", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o", home / "trace"]
    argv = [strace, *options, sys.executable, "-c", WORKER, f"sqlite:///{home}/certwright.db"]
    done = subprocess.run(list(map(str, argv)), capture_output=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr.decode()
    found = list(events(Path(home / "trace").read_text(errors="replace")))
    first = next(event.text for event in found if event.kind == "signing")
    return found[next(place for place, event in enumerate(found) if first in event.text) :]


def issuances(traced: list[Event]) -> list[list[Event]]:
    """The events of each issuance, up to its answer."""
    found, current = [], []
    for event in traced:
        current.append(event)
        if event.kind == "issued":
            found.append(current)
            current = []
    return found


def test_every_answer_is_behind_two_syncs(traced: list[Event]) -> None:
    """A lone issuance costs two syncs of the write-ahead log, and is answered behind both."""
    found = issuances(traced)
    assert len(found) == ISSUANCES
    for one in found:
        assert sum(event.kind == "log synced" for event in one) >= 2


def test_the_intent_is_on_the_disk_before_the_key_signs(traced: list[Event]) -> None:
    """The log was written with the serial number and synced, nothing left in between, when the key is asked to sign."""
    for one in issuances(traced):
        serial = one[-1].text
        place = next(place for place, event in enumerate(one) if event.kind == "signing")
        assert one[place].text == serial
        before = one[:place]
        assert any(event.kind == "log written" and serial in event.text for event in before)
        assert before[-1].kind == "log synced"


def test_the_certificate_is_on_the_disk_before_the_answer(traced: list[Event]) -> None:
    """Behind the signature the log was written with the serial number again and synced, and then came the answer."""
    for one in issuances(traced):
        serial = one[-1].text
        place = next(place for place, event in enumerate(one) if event.kind == "signing")
        behind = one[place + 1 : -1]
        assert any(event.kind == "log written" and serial in event.text for event in behind)
        assert behind[-1].kind == "log synced"
        assert [event.kind for event in one].count("signing") == 1

"""Letters through a real server that refuses, drops and stalls, a short run; the full one is `make letters`."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca import clock
from ca.store import open_store
from renewers.duties import DUTIES
from renewers.mailers.memory import MemoryMailer
from renewers.mailing import opening
from renewers.runner import Runner
from tests.flows.letters import DUE, letters, wired
from tests.flows.mailing import NOW, Population, faults
from tests.mailserver import Taken

OWNERS, EACH = 18, 8


def test_none_is_lost_and_none_comes_more_than_twice(tmp_path: Path) -> None:
    """Killed, refused, broken off before and after, stalled: everybody has one digest, theirs alone, whole."""
    outcome = letters(tmp_path, OWNERS, EACH, kills=1, say=lambda _text: None)
    assert outcome.wrong == []
    assert outcome.kills == 1
    assert outcome.repeated >= 1, "nothing that was taken was ever in doubt"
    assert outcome.passed_on == 1


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Taken:
    """The digest of the first of two owners."""
    directory, mailer = tmp_path_factory.mktemp("letters"), MemoryMailer()
    with closing(open_store(f"sqlite:///{directory}/certwright.db")) as store:
        Population(2, EACH).settle(store)
        lifecycle = wired(store, mailer)
        for moment in (NOW, DUE):
            with clock.pinned(datetime.fromtimestamp(moment, UTC)):
                opening.open_due(lifecycle)
                runner = Runner(lifecycle, {"mail": DUTIES["mail"]})
                runner.drain()
                runner.stop()
    (found,) = [one for one in mailer.taken if one.recipient == "team-0000@o0000.example"]
    return Taken(found.sender, (found.recipient,), "FROM:<>", ("TO:<>",), "", "", found.raw)


def test_a_good_letter_has_no_fault(taken: Taken) -> None:
    """What the others change is all that is wrong with it."""
    assert faults(Population(2, EACH), taken) == []


EVE = "c3.o0001.example"
LINK = "cwl_" + urlsafe_b64encode(b'["act","tracked:1",1,"team-0001@o0001.example"]xxxxxxxx').decode()


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (b"Subject: ", b"Subject: team-0001 ", "things of 0001"),
        (b"Auto-Submitted:", b"X-Debug: c3.o0001.example\r\nAuto-Submitted:", "things of 0001"),
        (b"\r\nTo: ", b"\r\nCc: team-0001@o0001.example\r\nTo: ", "the header says"),
        (b"Nobody renews", b"c3.o0001.exam=\r\nple renews", "things of 0001"),
        (b"Nobody renews", b"Answer: https://ca.example/act/" + LINK.encode() + b" renews", "things of 0001"),
        (b"Nobody renews", b"<p>Nobody</p> renews", "does not stand alone"),
        (b"c0.o0000.example", b"c.o0000.example", "need somebody"),
        (b"text/csv", b"text/plain", "no text/csv"),
        (b"image/png", b"image/gif", "no image/png"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n", b"Content-Transfer-Encoding: base64\r\n\r\n!", "has ["),
    ],
)
def test_what_is_wrong_with_a_letter_is_seen(taken: Taken, before: bytes, after: bytes, why: str) -> None:
    """A name of somebody else in a header, a part, an encoding or a link; a copy; something that is missing."""
    assert before in taken.raw
    found = faults(Population(2, EACH), replace(taken, raw=taken.raw.replace(before, after)))
    assert any(why in fault for fault in found), found


def test_somebody_elses_row_in_the_table_is_seen(taken: Taken) -> None:
    """In the part that nobody looks at without decoding it."""
    for part in taken.message.walk():
        if part.get_content_type() == "text/csv":
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            changed = content.replace(b"c3.o0000.example", EVE.encode())
            lines = [b64encode(changed[start : start + 57]) for start in range(0, len(changed), 57)]
            old = part.get_payload().replace("\r\n", "\n").strip().encode()  # type: ignore[union-attr]
            raw = taken.raw.replace(b"\r\n", b"\n").replace(old, b"\n".join(lines)).replace(b"\n", b"\r\n")
    found = faults(Population(2, EACH), replace(taken, raw=raw))
    assert any("things of 0001" in fault for fault in found), found

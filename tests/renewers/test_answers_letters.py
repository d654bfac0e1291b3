"""From a letter that really left to its answer: its links act, silence moves on, what comes back goes to the next."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ca.store import Store
from renewers.answering import answers, bounces, links, preferences
from renewers.answering.links import Link, Purpose
from renewers.duties import DUTIES
from renewers.models import Letter
from renewers.runner import Runner
from tests import rig
from tests.renewers import mailing_world
from tests.renewers.mailing_world import DAY, HOUR, Post
from tests.renewers.tracking import START

POSTFIX = (Path(__file__).parent.parent / "vectors" / "bounces" / "postfix-failed.eml").read_bytes()
URL = "https://ca.example.org:8443"
END = 365 * DAY


@pytest.fixture
def post(store: Store) -> Iterator[Post]:
    """Owners with links in their letters; payments has two who come after it."""
    with mailing_world.post(store, link_url=URL) as made:
        made.runner.stop()
        made.runner = Runner(made.lifecycle, {kind: DUTIES[kind] for kind in ("mail", "escalate")})
        path = json.dumps(["backup@example.org", "lead@example.org"])
        made.change_owner(made.payments, escalation=path)
        yield made


def to(post: Post, name: str) -> list[Any]:
    """What somebody got."""
    return post.mailer.sent_to(f"{name}@example.org")


def link_in(post: Post, message: Any, purpose: Purpose) -> Link:
    """The link of that purpose in a letter, read as the pages read it."""
    text = message.get_body(("plain",)).get_content() if purpose is not Purpose.UNSUBSCRIBE else str(message)
    found = re.search(rf"{re.escape(URL)}/{purpose}/(cwl_[A-Za-z0-9_-]+)", re.sub(r"=\n", "", text))
    assert found is not None, text
    return links.read(post.lifecycle, purpose, found[1])


def urgent(post: Post) -> tuple[int, Any]:
    """A certificate that a person renews, three days before its end, and the letter that says so."""
    tracked = post.manual()
    post.live(START + END - 4 * DAY, START + END - 3 * DAY + HOUR)
    return tracked, to(post, "payments")[-1]


def test_the_link_of_a_letter_acknowledges_what_it_is_about(post: Post) -> None:
    """And nobody else is written to, until it has expired after all."""
    tracked, message = urgent(post)
    now = START + END - 3 * DAY + 2 * HOUR
    with post.at(now):
        link = link_in(post, message, Purpose.ACT)
        assert (link.about, link.recipient) == (f"tracked:{tracked}", "payments@example.org")
        answers.acknowledge(post.lifecycle, link, START + END - HOUR, "the vendor sends one")
    sent = len(post.mailer.taken)
    post.live(now, START + END - 2 * HOUR)
    assert len(post.mailer.taken) == sent
    post.live(START + END - 2 * HOUR, START + END + 6 * HOUR)
    assert len(to(post, "backup")) == 1
    assert post.twice() == []


def test_silence_moves_on_to_the_end_of_the_path(post: Post) -> None:
    """Each is written to once about one crossing; the letter says that nobody has answered."""
    urgent(post)
    post.live(START + END - 3 * DAY + HOUR, START + END - DAY - HOUR)
    (backup,), (lead,) = to(post, "backup"), to(post, "lead")
    for message in (backup, lead):
        assert "nobody has answered" in str(message["Subject"])
    assert post.twice() == []
    with post.at(START + END - DAY - HOUR):
        answers.refuse(post.lifecycle, link_in(post, lead, Purpose.ACT))
    post.live(START + END - DAY - HOUR, START + END - 12 * HOUR)
    assert [len(to(post, name)) for name in ("backup", "lead")] == [1, 1]
    assert to(post, "security")


def test_what_comes_back_goes_to_the_next(post: Post) -> None:
    """The report names the very message that left."""
    _, message = urgent(post)
    id_ = str(message["Message-ID"])[1:-1].encode()
    report = POSTFIX.replace(b"7f0c8f3d2a7b41e6a9d4c1b2e3f40518@ca.example.org", id_)
    report = report.replace(b"ghost2@example.org", b"payments@example.org")
    with post.at(START + END - 3 * DAY + 2 * HOUR):
        assert bounces.report(post.lifecycle, rig.ADMIN, report).outcome == "dead"
    post.live(START + END - 3 * DAY + 2 * HOUR, START + END - 3 * DAY + 3 * HOUR)
    assert ("backup@example.org", "sent") in [letter[1:] for letter in post.letters()]
    assert to(post, "backup")
    (bounced,) = [row for row in post.rows(Letter) if row.state == "bounced"]
    assert bounced.recipient == "payments@example.org"


def test_one_click_ends_the_digests_and_nothing_else(post: Post) -> None:
    """The weekly letter is not sent any more; what cannot wait is."""
    post.manual()
    post.live(START + END - 61 * DAY, START + END - 50 * DAY)
    digests = to(post, "payments")
    assert digests
    header = str(digests[0]["List-Unsubscribe"])
    token = re.search(r"/unsubscribe/(cwl_[A-Za-z0-9_-]+)", re.sub(r"\s", "", header))
    assert token is not None
    assert digests[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    with post.at(START + END - 50 * DAY):
        link = links.read(post.lifecycle, Purpose.UNSUBSCRIBE, token[1])
        assert preferences.decline(post.lifecycle, link)
        shown = preferences.look(post.lifecycle, link_in(post, digests[0], Purpose.PREFERENCES))
        assert not shown.wants_digests
    post.live(START + END - 50 * DAY, START + END - 7 * DAY - HOUR)
    assert len(to(post, "payments")) == len(digests)
    post.live(START + END - 7 * DAY - HOUR, START + END - 2 * DAY)
    assert len(to(post, "payments")) > len(digests)

"""A signed push, and a consumer that fetches by itself. What every publisher promises is in `tests/contracts`."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ca import clock
from ca.errors import BadRequest, Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.notifiers.signature import ID, verify
from renewers.publishers import Material, RollsBack, webhook
from renewers.publishers.pull import make_pull
from renewers.publishers.webhook import PushPlace, content_of, make_webhook
from tests.contracts.grounds import material
from tests.receiver import MISERIES, Receiver, receiving

KEY = "whsec_" + b64encode(bytes(range(32))).decode()
ONE = material(1, with_key=False)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A receiver on loopback."""
    with receiving(tmp_path) as found:
        yield found


def push(receiver: Receiver, one: Material = ONE) -> None:
    """Stage and swap."""
    places = {"edge": PushPlace(receiver.url, Secret(KEY), receiver.ca_file)}
    publisher = make_webhook({"place": "edge"}, places=places)
    publisher.stage(one)
    publisher.swap(one)


def test_all_of_it_is_in_one_signed_message(receiver: Receiver) -> None:
    """Nothing is sent before; each message has an id of its own."""
    push(receiver)
    push(receiver)
    ids = [verify(KEY, headers, body, clock.timestamp()) for headers, body in receiver.taken]
    assert len(set(ids)) == 2
    assert all(name.startswith(f"{ONE.version}.") for name in ids)
    headers, body = receiver.taken[0]
    said = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert {name: b64decode(content) for name, content in said.pop("files").items()} == ONE.files
    assert said == {"consumer": ONE.subject, "version": ONE.version, "sha256": ONE.sha256}


def test_what_is_too_large_is_pointed_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash and size of each file, for the receiver to fetch; just what fits is sent."""
    size = sum(4 * (len(content) // 3 + 1) + 2 * len(name) for name, content in ONE.files.items())
    monkeypatch.setattr(webhook, "MOST_BODY", size)
    assert "files" in json.loads(content_of(ONE))
    assert len(content_of(ONE)) < size + 300
    monkeypatch.setattr(webhook, "MOST_BODY", size - 1)
    push(receiver)
    said = json.loads(receiver.taken[0][1])
    assert said["fetch"] is True
    assert "files" not in said
    assert said["items"] == {n: {"sha256": sha256(c).hexdigest(), "size": len(c)} for n, c in ONE.files.items()}


@pytest.mark.parametrize("misery", MISERIES)
def test_what_is_not_taken_is_not_delivered(receiver: Receiver, misery: str) -> None:
    """Whatever the other side does; the URL, which may be a secret, is in no message, and no redirect is followed."""
    receiver.script.append(misery)
    with pytest.raises(NotDelivered) as refused:
        push(receiver)
    assert "canary" not in str(refused.value)
    assert len(receiver.taken) + len(receiver.refused) == 1
    push(receiver)


def test_a_message_says_which_header_its_id_is_in(receiver: Receiver) -> None:
    """The same headers as events have."""
    push(receiver)
    assert ID in receiver.taken[0][0]


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("http://edge.example/canary", KEY),
        ("https://user:canary@edge.example/", KEY),
        ("ftp://edge.example/canary", KEY),
        ("https://[canary/", KEY),
        ("https://edge.example/", "whsec_canary"),
        ("https://edge.example/", ""),
    ],
)
def test_a_place_is_checked_when_it_is_made(url: str, secret: str) -> None:
    """And neither its URL nor its secret is said."""
    with pytest.raises(Misconfigured) as refused:
        PushPlace(url, Secret(secret))
    assert "canary" not in f"{refused.value} {refused.value.hint}"


def test_a_row_names_no_url() -> None:
    """It names one of the machine's places, or nothing."""
    for odd in ("https://elsewhere.example/", "", None, 7):
        with pytest.raises(BadRequest, match="not in the settings of this machine") as refused:
            make_webhook({"place": odd}, places={})
        assert refused.value.code == "bad-settings"


def test_who_fetches_is_brought_nothing() -> None:
    """However often it is asked; it takes no settings, and no secrets."""
    publisher = make_pull({})
    for _ in range(2):
        publisher.stage(ONE)
        publisher.swap(ONE)
    assert not publisher.keeps_secrets
    assert not isinstance(publisher, RollsBack)
    with pytest.raises(BadRequest, match="'colour' is not a setting") as refused:
        make_pull({"colour": "red"})
    assert refused.value.code == "bad-settings"
    for call in (publisher.stage, publisher.swap):
        with pytest.raises(NotDelivered) as kept_out:
            call(material(1, with_key=True))
        assert kept_out.value.code == "not-for-secrets"

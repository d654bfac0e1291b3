"""A link of a letter can do one thing for one certificate: whatever is changed in it, or used twice, is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from ca import clock
from ca.errors import Conflict, NotFound
from ca.keys.sealed import Sealer
from ca.secret import Secret
from ca.store import Store
from ca.tokens import hide_tokens
from renewers.answering import links
from renewers.answering.links import Link, Purpose
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.models import Letter, SpentLink
from tests.renewers import foreign
from tests.renewers.tracking import make_lifecycle

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
PLAIN = Link(Purpose.ACT, "tracked:12", 3, "payments@example.org", 40, AT + 86400)


def life(**mail: Any) -> Lifecycle:
    """The parts that signing needs."""
    return Lifecycle(cast(Any, None), foreign.sealer(), mail=MailPolicy(**mail))


def numbers() -> st.SearchStrategy[int]:
    """Ids and times as tables have them."""
    return st.integers(min_value=0, max_value=1 << 53)


patient = settings(deadline=None)
"""The machine is shared: how long one example takes says nothing."""
LINKS = st.builds(
    Link,
    st.sampled_from(Purpose),
    st.from_regex(r"(tracked|lineage):[0-9]{1,18}", fullmatch=True),
    numbers(),
    st.emails(),
    numbers(),
    st.integers(min_value=AT + 1, max_value=links.FOREVER),
)


@patient
@given(LINKS)
def test_a_token_says_what_was_signed(link: Link) -> None:
    """Whatever its fields are, it is read as it was made, and for its own purpose alone."""
    with clock.pinned(NOW):
        token = links.token(life(), link)
        assert links.read(life(), link.purpose, token) == link
        for purpose in set(Purpose) - {link.purpose}:
            with pytest.raises(NotFound):
                links.read(life(), purpose, token)


@patient
@given(LINKS, st.data())
def test_any_flipped_bit_is_refused(link: Link, data: st.DataObject) -> None:
    """Of what it says, of its MAC, and of the spare bits that base64 has at its end."""
    with clock.pinned(NOW):
        token = links.token(life(), link)
        text = token.removeprefix("cwl_")
        signed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = data.draw(st.integers(min_value=0, max_value=len(signed) * 8 - 1))
        signed[place // 8] ^= 1 << place % 8
        flipped = "cwl_" + base64.urlsafe_b64encode(bytes(signed)).rstrip(b"=").decode()
        _is_refused(flipped, link.purpose)
        last = data.draw(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
        if last != token[-1]:
            _is_refused(token[:-1] + last, link.purpose)


@patient
@given(LINKS, st.data())
def test_any_other_field_is_another_token(link: Link, data: st.DataObject) -> None:
    """No two different links have one token or one nonce."""
    other = data.draw(LINKS)
    assert (links.token(life(), link) == links.token(life(), other)) == (link == other)
    assert (link.nonce == other.nonce) == (link == other)


@patient
@given(st.one_of(st.text(max_size=900), st.from_regex(r"cwl_[A-Za-z0-9_-]{60,300}", fullmatch=True)))
def test_any_other_text_is_refused(text: str) -> None:
    """Nothing that was not signed here is a token, and all of it is refused in the same words."""
    _is_refused(text, Purpose.ACT)


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20) | st.sampled_from([*Purpose]),
    lambda inner: st.lists(inner, max_size=7) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@patient
@given(st.one_of(st.binary(max_size=300), VALUES.map(lambda value: json.dumps(value).encode())))
def test_whatever_a_stranger_puts_into_a_token_is_refused(payload: bytes) -> None:
    """It is read before it is known whether it is ours, and nothing comes of it but the one refusal."""
    signed = base64.urlsafe_b64encode(payload + bytes(32)).rstrip(b"=").decode()
    _is_refused(f"cwl_{signed}", Purpose.ACT)


def _is_refused(text: str, purpose: Purpose) -> None:
    with pytest.raises(NotFound) as refused:
        links.read(life(), purpose, text)
    known = links.does_not_hold()
    assert (refused.value.code, refused.value.message, refused.value.hint) == (known.code, known.message, known.hint)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + "=",
        lambda token: token + "A",
        lambda token: token[:-1],
        lambda token: token.replace("cwl_", "cw_"),
        lambda token: token.upper(),
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: token[:20] + "\x00" + token[20:],
        lambda token: token * 20,
        lambda token: "",
    ],
)
def test_what_is_nearly_a_token_is_refused(spoil: Any) -> None:
    """Cut, padded, in capitals, with something before or behind it."""
    with clock.pinned(NOW):
        _is_refused(spoil(links.token(life(), PLAIN)), Purpose.ACT)


def test_one_that_has_ended_is_refused_in_the_same_words() -> None:
    """To the second; and nobody learns that it was once good."""
    with clock.pinned(NOW):
        _is_refused(links.token(life(), replace(PLAIN, expires_at=AT)), Purpose.ACT)
        links.read(life(), Purpose.ACT, links.token(life(), replace(PLAIN, expires_at=AT + 1)))


def test_another_installations_tokens_are_none_of_ours() -> None:
    """The key comes from the passphrase and the salt; what is sealed and what is signed have keys of their own."""
    other = Lifecycle(cast(Any, None), Sealer(Secret("another one"), b"salt"))
    with clock.pinned(NOW):
        _is_refused(links.token(other, PLAIN), Purpose.ACT)
    assert foreign.sealer().mac_key("links") != foreign.sealer().mac_key("anything else")


def test_replicas_agree() -> None:
    """The same link has the same token in every process, so that a letter that is put together again is the same."""
    one = Lifecycle(cast(Any, None), Sealer(Secret("inventory"), b"salt"))
    assert links.token(one, PLAIN) == links.token(life(), PLAIN)


def test_where_links_lead() -> None:
    """To our own listener as the settings name it; nowhere, where they do not."""
    feed = replace(PLAIN, purpose=Purpose.FEED)
    reached = life(link_url="https://ca.example.org:8443/")
    assert links.url(reached, PLAIN).startswith("https://ca.example.org:8443/act/cwl_")
    assert links.url(reached, feed).startswith("https://ca.example.org:8443/feeds/cwl_")
    assert links.url(reached, feed).endswith(".ics")
    assert links.url(life(), PLAIN) == ""


def test_tokens_do_not_reach_the_log() -> None:
    """Wherever a path or a text with one is written down, it goes through this."""
    for purpose in Purpose:
        path = links.path(life(), replace(PLAIN, purpose=purpose))
        secret = path.rpartition("/")[2].removesuffix(".ics")
        hidden = hide_tokens(f"GET {path} refused")
        assert secret[4:] not in hidden
        assert "cwl_***" in hidden


def test_a_letters_links_end_when_the_letter_is_old() -> None:
    """And a preview's, which no letter carries, have ended already: who looks at another's mail cannot act for them."""
    words: Any = {
        "key": "k",
        "kind": "digest",
        "recipient": "a@example.org",
        "message_id": "m",
        "reason": "",
        "state": "open",
    }
    letter = Letter(**words, id=7, owner_id=3, step=0, opened_at=AT)
    with clock.pinned(NOW):
        for purpose, life_of in links.LIVES.items():
            link = links.of_letter(letter, purpose, "tracked:1")
            assert (link.letter_id, link.recipient, link.expires_at) == (7, "a@example.org", AT + life_of)
            links.read(life(), purpose, links.token(life(), link))
            preview = links.of_letter(Letter(**words, owner_id=3, step=0, opened_at=AT), purpose, "tracked:1")
            _is_refused(links.token(life(), preview), purpose)


def test_a_link_is_used_once(any_store: Store) -> None:
    """The second time is a conflict, also in a transaction of its own; what failed to act has not used it up."""
    with clock.pinned(NOW):
        mine = make_lifecycle(any_store)

        def unit(tx: Any) -> None:
            links.spend(tx, PLAIN)
            raise RuntimeError

        with pytest.raises(RuntimeError):
            any_store.write(unit)
        assert not links.is_spent(mine, PLAIN)
        any_store.write(lambda tx: links.spend(tx, PLAIN))
        assert links.is_spent(mine, PLAIN)
        with pytest.raises(Conflict) as refused:
            any_store.write(lambda tx: links.spend(tx, PLAIN))
        assert refused.value.code == "link-used"
        any_store.write(lambda tx: links.spend(tx, replace(PLAIN, about="tracked:13")))


def test_used_links_are_forgotten_when_they_no_longer_hold(any_store: Store) -> None:
    """Not a moment before: else they could be used again."""
    with clock.pinned(NOW):
        mine = make_lifecycle(any_store)
        for number in range(3):
            link = replace(PLAIN, letter_id=number, expires_at=AT + number * 10 * 86400)
            any_store.write(lambda tx, link=link: links.spend(tx, link))
    for day, left in ((0, 3), (2, 2), (10, 2), (12, 1), (30, 0)):
        with clock.pinned(clock.from_timestamp(AT + day * 86400)):
            while links.prune(mine):
                continue
        with any_store.read() as connection:
            assert len(connection.execute(select(SpentLink)).all()) == left

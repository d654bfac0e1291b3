"""Signed heads: what was signed is read by whoever has the verifier key, and nothing else is (c2sp.org/signed-note)."""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest
from ca.ledger import checkpoint
from ca.ledger.checkpoint import Head, Verifier, open_head, sign_head

ORIGIN = "example.internal/ledger"
HEADS = st.builds(Head, st.just(ORIGIN), st.integers(0, 10**18), st.binary(min_size=32, max_size=32))
ROOT = sha256(b"root").digest()
HEAD = Head(ORIGIN, 1234, ROOT)
CHARACTERS = "A/a0+= \t\r\n\x00\x0b\x1c\x85\u2028é—-B"

# The example of Go's golang.org/x/mod/sumdb/note, and the key of its checksum database
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANNS_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NEUMANNS_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


@cache
def key(place: int = 0) -> Ed25519PrivateKey:
    """A signing key; `place` tells several apart."""
    return Ed25519PrivateKey.from_private_bytes(sha256(bytes([place])).digest())


def verifier(place: int = 0, name: str = ORIGIN) -> Verifier:
    """Who trusts that key, under a name."""
    return Verifier(name, key(place).public_key())


def refused(text: str, by: Verifier | None = None) -> str:
    """Why a checkpoint is not opened."""
    with pytest.raises(BadRequest) as raised:
        open_head(text, by or verifier())
    assert raised.value.code == "bad-checkpoint"
    return raised.value.message


def signature_line(text: str, place: int = 0, name: str = ORIGIN, key_id: bytes | None = None) -> str:
    """A signature line over any text, made by hand after the specification."""
    public = key(place).public_key().public_bytes_raw()
    key_id = key_id or sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    return f"— {name} {base64.b64encode(key_id + key(place).sign(text.encode())).decode()}\n"


def test_a_checkpoint_is_what_the_format_says() -> None:
    """Origin, size, root in base64, an empty line, and one signature line over the three lines before it."""
    text = f"{ORIGIN}\n1234\n{base64.b64encode(ROOT).decode()}\n"
    assert sign_head(HEAD, key()) == f"{text}\n{signature_line(text)}"


@given(HEADS)
@example(Head(ORIGIN, 0, bytes(32)))
@settings(deadline=None, max_examples=60)
def test_what_was_signed_is_read(head: Head) -> None:
    """A head comes out as it went in, by the verifier key as text as well."""
    signed = sign_head(head, key())
    assert open_head(signed, verifier()) == head
    assert open_head(signed, Verifier.parse(str(verifier()))) == head


def test_gos_example_is_verified() -> None:
    """The key id of Go's note package, and the signature of its own example, are understood."""
    go = Verifier.parse(NEUMANN)
    assert (go.name, go.key_id.hex(), str(go)) == ("PeterNeumann", "c74f20a3", NEUMANN)
    assert checkpoint._is_signed(NEUMANNS_TEXT, NEUMANNS_LINE, go)
    assert not checkpoint._is_signed(NEUMANNS_TEXT + " ", NEUMANNS_LINE, go)
    assert str(Verifier.parse(SUMDB)) == SUMDB


def test_a_key_id_is_bound_to_name_and_key() -> None:
    """The first four bytes of SHA-256 of name, newline, 0x01 and key: another name or key has another."""
    public = key().public_key().public_bytes_raw()
    assert verifier().key_id == sha256(f"{ORIGIN}\n".encode() + b"\x01" + public).digest()[:4]
    ids = {verifier(place, name).key_id for place in range(3) for name in (ORIGIN, "other", f"{ORIGIN}2")}
    assert len(ids) == 9


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_character_of_the_text_can_be_changed(data: st.DataObject) -> None:
    """Exchanged, taken out or put in anywhere up to the signatures: the checkpoint is refused."""
    signed = sign_head(HEAD, key())
    place = data.draw(st.integers(0, signed.index("\n\n") - 1))
    character = data.draw(st.sampled_from(CHARACTERS))
    for tampered in (
        signed[:place] + character + signed[place + 1 :],
        signed[:place] + signed[place + 1 :],
        signed[:place] + character + signed[place:],
    ):
        if tampered != signed:
            refused(tampered)


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_no_character_of_the_signature_can_be_changed(data: st.DataObject) -> None:
    """The same for the signature line, up to the four bits of padding and the line's end, which sign nothing."""
    signed = sign_head(HEAD, key())
    place = data.draw(st.integers(signed.index("\n\n") + 2, len(signed) - 4))
    character = data.draw(st.sampled_from("".join(CHARACTERS.split())))
    for tampered in (
        signed[:place] + character + signed[place + 1 :],
        signed[:place] + signed[place + 1 :],
        signed[:place] + character + signed[place:],
    ):
        if tampered != signed:
            refused(tampered)


@pytest.mark.parametrize("ending", ["\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "", "\n\n"])
def test_a_signature_line_ends_with_a_newline(ending: str) -> None:
    """One head has one text: other line ends make others of it, which no other implementation opens."""
    refused(sign_head(HEAD, key()).removesuffix("\n") + ending)


def test_the_last_empty_line_parts_text_and_signatures() -> None:
    """Everything before the last empty line is text, and so is signed (c2sp.org/signed-note)."""
    refused(sign_head(HEAD, key()).replace("\n\n", "\n\n\n"))
    refused(sign_head(HEAD, key()).replace("\n\n", "\n\nunsigned text\n\n"))


def test_a_signature_has_one_spelling() -> None:
    """The unused bits of the last base64 character are zero (RFC 4648 section 3.5)."""
    signed = sign_head(HEAD, key())
    last = signed[-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    refused(signed[:-3] + alphabet[alphabet.index(last) | 1] + signed[-2:])


@pytest.mark.parametrize("place", range(4))
def test_signatures_of_others_are_passed_over(place: int) -> None:
    """Witnesses, older keys under the same name, and lines of kinds that do not exist yet are no obstacle."""
    signed = sign_head(HEAD, key())
    text, _, own = signed.partition("\n\n")
    others = [
        signature_line(text + "\n", 1, "witness.example"),
        signature_line(text + "\n", 2),
        f"— {ORIGIN} {base64.b64encode(b'abcd' + bytes(64)).decode()}\n",
        f"— future {base64.b64encode(bytes(200)).decode()}\n",
    ]
    lines = [*others[:place], own, *others[place:]]
    assert open_head(f"{text}\n\n{''.join(lines)}", verifier()) == HEAD
    assert open_head(f"{text}\n\n{''.join(lines)}", verifier(2)) == HEAD
    refused(f"{text}\n\n{''.join(others)}")


def test_a_bad_signature_beside_a_good_one_does_not_spoil_it() -> None:
    """A line with our name and key id and a wrong signature is passed over like any other that does not verify."""
    text, _, own = sign_head(HEAD, key()).partition("\n\n")
    wrong = f"— {ORIGIN} {base64.b64encode(verifier().key_id + bytes(64)).decode()}\n"
    assert open_head(f"{text}\n\n{wrong}{own}", verifier()) == HEAD
    assert open_head(f"{text}\n\n{own}{wrong}", verifier()) == HEAD
    refused(f"{text}\n\n{wrong}")


def test_a_stranger_cannot_sign() -> None:
    """Another key, another name, another key id, a signature over another text: each alone is enough to be refused."""
    text = HEAD.text()
    for line in (
        signature_line(text, 1),
        signature_line(text, 1, key_id=verifier().key_id),
        signature_line(text, 0, "other.example"),
        signature_line(text, 0, key_id=bytes(4)),
        signature_line(text + "\n"),
        signature_line(text.removesuffix("\n")),
        signature_line(Head(ORIGIN, 1235, ROOT).text()),
        signature_line(text).replace("—", "-"),
        signature_line(text).removeprefix("— "),
        f"— {ORIGIN} \n",
        f"— {ORIGIN} {base64.b64encode(verifier().key_id).decode()}\n",
    ):
        assert "no valid signature" in refused(f"{text}\n{line}")
    assert "not a checkpoint" in refused(f"{text}\n")
    refused(sign_head(HEAD, key()), verifier(1))
    refused(sign_head(HEAD, key()), verifier(0, "other.example"))


def test_a_head_of_another_ledger_is_refused() -> None:
    """A signature of ours under a text with another origin is not about our ledger."""
    text = Head("other.example/ledger", 1234, ROOT).text()
    assert "of the ledger other.example/ledger" in refused(f"{text}\n{signature_line(text)}")


def test_lines_of_the_future_are_allowed() -> None:
    """A checkpoint may have further lines, which are signed with it; the head is read from the first three."""
    text = HEAD.text() + "Timestamp: 1234\nextension\n"
    assert open_head(f"{text}\n{signature_line(text)}", verifier()) == HEAD
    refused(f"{text}\n{signature_line(HEAD.text())}")


MALFORMED = {
    "empty": "",
    "two lines": f"{ORIGIN}\n1234\n",
    "no origin": f"\n1234\n{base64.b64encode(ROOT).decode()}\n",
    "blank in the origin": HEAD.text().replace(ORIGIN, "a b"),
    "plus in the origin": HEAD.text().replace(ORIGIN, "a+b"),
    "negative size": HEAD.text().replace("1234", "-1"),
    "leading zero": HEAD.text().replace("1234", "01234"),
    "plus in the size": HEAD.text().replace("1234", "+1234"),
    "size in words": HEAD.text().replace("1234", "many"),
    "size in other digits": HEAD.text().replace("1234", "١٢٣٤"),
    "size of twenty digits": HEAD.text().replace("1234", "1" * 20),
    "short root": Head(ORIGIN, 1234, ROOT[:31]).text(),
    "long root": Head(ORIGIN, 1234, ROOT + b"\0").text(),
    "no root": f"{ORIGIN}\n1234\n\n",
    "root in hex": f"{ORIGIN}\n1234\n{ROOT.hex()}\n",
    "carriage returns": HEAD.text().replace("\n", "\r\n"),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Even with a good signature under it."""
    refused(text)
    refused(f"{text}\n{signature_line(text)}")


def test_a_head_without_its_signature_is_refused() -> None:
    """The three lines alone, with an empty line, and with a signature that no empty line parts from them."""
    for text in (HEAD.text(), HEAD.text() + "\n", HEAD.text() + signature_line(HEAD.text())):
        refused(text)


@pytest.mark.parametrize("root", ["AAAAA", "A", base64.b64encode(ROOT).decode().rstrip("=")])
def test_a_root_that_is_no_base64_is_refused(root: str) -> None:
    """A text that is signed and nonsense is refused like nonsense that is not signed."""
    text = f"{ORIGIN}\n1234\n{root}\n"
    refused(f"{text}\n{signature_line(text)}")


@given(
    st.one_of(st.text(max_size=200), st.lists(st.sampled_from([*CHARACTERS, ORIGIN, "— "]), max_size=30).map("".join))
)
@settings(deadline=None, max_examples=100)
def test_any_text_is_refused(text: str) -> None:
    """Nothing that nobody signed is opened, and no error but a refusal comes of it."""
    refused(text)
    refused(HEAD.text() + "\n" + text)


@given(st.from_regex(r"[a-z0-9./_-]{1,40}", fullmatch=True), st.binary(min_size=32, max_size=32))
@settings(deadline=None, max_examples=60)
def test_a_verifier_key_is_read_as_it_is_written(name: str, seed: bytes) -> None:
    """Its text is name, key id and key, joined by plus signs, of which the key may have some as well."""
    made = Verifier(name, Ed25519PrivateKey.from_private_bytes(seed).public_key())
    assert str(Verifier.parse(str(made))) == str(made)
    assert str(Verifier.parse(f"  {made}\n")) == str(made)


GOOD = str(verifier())
NAME, ID, ENCODED = GOOD.split("+", 2)
PUBLIC = key().public_key().public_bytes_raw()
WRONG_KEYS = (PUBLIC, b"\x02" + PUBLIC, b"\x01" + PUBLIC + b"\0", b"\x01\x01" + PUBLIC[1:], b"\x01", b"")


@pytest.mark.parametrize(
    "text",
    [
        *("", "+", "++", NAME, f"{NAME}+{ID}", f"{NAME}+{ID}+", f"{ID}+{ENCODED}", f"{NAME} {ID} {ENCODED}"),
        *(f"other+{ID}+{ENCODED}", f"{NAME}+00000000+{ENCODED}", f"{NAME}+{ID.upper()}x+{ENCODED}"),
        *(f"{NAME}+{ID}0+{ENCODED}", f"{NAME}+{ID[:-1]}+{ENCODED}", f"{NAME}+{ID}+{ENCODED[:-4]}", f"{GOOD}+x"),
        *(f"{NAME}+{ID}+{base64.b64encode(raw).decode()}" for raw in WRONG_KEYS),
        f"{NAME}+{ID}+{ENCODED.replace('A', '!')}",
        f"{NAME}+{ID}+ {ENCODED}",
    ],
)
def test_a_damaged_verifier_key_is_refused(text: str) -> None:
    """Name, hash and key have to agree, and the key has to be an Ed25519 key."""
    with pytest.raises(BadRequest) as raised:
        Verifier.parse(text)
    assert raised.value.code == "bad-checkpoint"


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "a\tb", "a\u2028b"])
def test_a_verifier_has_a_usable_name(name: str) -> None:
    """A name that no signature line can carry is a damaged key, and not one whose heads never verify."""
    with pytest.raises(BadRequest):
        Verifier.parse(f"{name}+{verifier(0, name).key_id.hex()}+{ENCODED}")

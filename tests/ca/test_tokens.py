"""API tokens: made once, kept as a hash, good for what they were made for until they end; one answer for the rest."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ca import clock, tokens
from ca.access import Caller, Role
from ca.errors import BadRequest, Conflict, Forbidden, NotFound, PolicyRefusal, Unauthenticated
from ca.installation import Installation
from ca.models import ApiToken
from ca.secret import Secret
from ca.store import Store
from ca.tokens import Grant, TokenCheck, create_token, list_tokens, revoke_token
from tests import rig
from tests.ca.world import count, entries, rows

DAY = timedelta(days=1)


@pytest.fixture
def installation(store: Store) -> Installation:
    """Profiles, but no authorities: tokens need none."""
    return rig.make_installation(store, with_hierarchy=False)


def make(installation: Installation, name: str = "ci", role: Role = Role.OPERATOR, **choices: Any) -> tuple[str, str]:
    """A token's id and the token itself."""
    row, secret = create_token(installation, rig.ADMIN, Grant(name, role, **{"lifetime": DAY, **choices}))
    return row.id, secret.reveal()


def refusal(installation: Installation, presented: str) -> tuple[str, str, str | None]:
    """Everything that somebody with a bad token is told."""
    with pytest.raises(Unauthenticated) as caught:
        TokenCheck(installation).caller(presented)
    return caught.value.code, caught.value.message, caught.value.hint


def test_a_token_proves_its_caller(any_store: Store) -> None:
    """Who presents it is the caller that it was made for: name, role, profiles and attributes; on both engines."""
    installation = rig.make_installation(any_store, with_hierarchy=False)
    attributes = {"namespace": "payments", "user": "ada"}
    identity, token = make(installation, "ci-1", Role.REQUESTER, profiles=["server", "mesh"], attributes=attributes)
    caller = TokenCheck(installation).caller(token)
    assert (caller.identity, caller.role, caller.profiles) == (
        "token:ci-1",
        Role.REQUESTER,
        frozenset({"mesh", "server"}),
    )
    assert dict(caller.attributes) == attributes
    assert (caller.certificate, caller.is_local) == (None, False)
    unscoped = TokenCheck(installation).caller(make(installation, "all")[1])
    assert (unscoped.profiles, dict(unscoped.attributes)) == (None, {})
    assert re.fullmatch(rf"cw_{identity}_[A-Za-z0-9_-]{{43}}", token)
    revoke_token(installation, rig.ADMIN, identity)
    refusal(installation, token)


def test_it_is_good_until_its_last_second(installation: Installation) -> None:
    """It ends when it was said to end, and nothing prolongs it."""
    _, token = make(installation, lifetime=timedelta(hours=2))
    (row,) = rows(installation.store, ApiToken)
    assert row.expires_at - row.created_at == 7200
    check = TokenCheck(installation)
    with clock.pinned(clock.from_timestamp(row.expires_at - 1)):
        assert check.caller(token).identity == "token:ci"
    with clock.pinned(clock.from_timestamp(row.expires_at)), pytest.raises(Unauthenticated):
        check.caller(token)


@pytest.mark.parametrize("by", ["id", "name"])
def test_a_revoked_token_is_dead(installation: Installation, by: str) -> None:
    """By id or by name: at once where it was revoked, and it says so when it is revoked again."""
    check = TokenCheck(installation)
    identity, token = make(installation)
    other = make(installation, "other")[1]
    assert check.caller(token)
    row = revoke_token(installation, rig.ADMIN, identity if by == "id" else "ci")
    check.forget()
    with pytest.raises(Unauthenticated):
        check.caller(token)
    assert check.caller(other).identity == "token:other"
    assert row.revoked_at is not None
    with pytest.raises(Conflict) as caught:
        revoke_token(installation, rig.ADMIN, "ci")
    assert caught.value.code == "already-revoked"
    (entry,) = entries(installation.store, "token-revoked")
    assert (entry["subject"], entry["by"]) == (identity, rig.ADMIN.identity)
    with pytest.raises(NotFound):
        revoke_token(installation, rig.ADMIN, "nobody")


def test_an_id_means_its_token(installation: Installation) -> None:
    """A token that is named like another's id does not draw that one's revocation upon itself."""
    identity, token = make(installation, "leaked")
    with clock.pinned(clock.now() + timedelta(seconds=5)):
        make(installation, identity)
        revoke_token(installation, rig.ADMIN, identity)
    refusal(installation, token)


def test_another_replica_hears_of_a_revocation(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up is trusted for a second at most, then the database is asked again."""
    moment = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: moment)
    elsewhere = TokenCheck(installation)
    identity, token = make(installation)
    assert elsewhere.caller(token)
    revoke_token(installation, rig.ADMIN, identity)
    moment += tokens.FRESH_FOR
    with pytest.raises(Unauthenticated):
        elsewhere.caller(token)
    assert tokens.FRESH_FOR <= 1


def test_all_bad_tokens_get_one_answer(installation: Installation) -> None:
    """Unknown, wrong, malformed, expired and revoked cannot be told apart by whoever tries."""
    identity, token = make(installation)
    expired = make(installation, "short", lifetime=timedelta(seconds=1))[1]
    revoked_id, revoked = make(installation, "revoked")
    revoke_token(installation, rig.ADMIN, revoked_id)
    secret = token[-43:]
    with clock.pinned(clock.now() + timedelta(seconds=5)):
        answers = {
            refusal(installation, presented)
            for presented in (
                f"cw_{identity}_{'A' * 43}",
                f"cw_{'0' * 12}_{secret}",
                f"cw_{revoked_id}_{secret}",
                "nonsense",
                expired,
                revoked,
            )
        }
    assert len(answers) == 1
    assert TokenCheck(installation).caller(token)


MANGLED: list[Callable[[str], str]] = [
    lambda token: "",
    lambda token: token + "\n",
    lambda token: " " + token,
    lambda token: token + "=",
    lambda token: token[:-1],
    lambda token: token + "A",
    lambda token: token.upper(),
    lambda token: token.replace("cw_", "CW_"),
    lambda token: token.removeprefix("cw_"),
    lambda token: token[:-1] + chr(ord(token[-1]) ^ 1),
    lambda token: token[:-1] + "\0",
    lambda token: token[:-1] + "é",
    lambda token: "cw_" + "1" * 12 + "_" + "\uff11" * 43,
    lambda token: "cw_%_" + token[-43:],
    lambda token: "cw_' OR 1=1 --_" + token[-43:],
    lambda token: token * 10_000,
]


@pytest.mark.parametrize("place", range(len(MANGLED)))
def test_a_mangled_token_is_no_token(installation: Installation, place: int) -> None:
    """Only the exact characters that were given out count; anything else is refused like any bad token."""
    token = make(installation)[1]
    presented = MANGLED[place](token)
    assert presented != token
    refusal(installation, presented)


def test_secrets_are_compared_in_constant_time(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path goes through `hmac.compare_digest` once, over a hash, whether there is such a token or not."""
    compared: list[int] = []
    compare = hmac.compare_digest

    def remember(one: bytes, other: bytes) -> bool:
        compared.append(len(other))
        return compare(one, other)

    identity, token = make(installation)
    monkeypatch.setattr(hmac, "compare_digest", remember)
    TokenCheck(installation).caller(token)
    for presented in (f"cw_{identity}_{'A' * 43}", f"cw_{'0' * 12}_{'A' * 43}", "nonsense"):
        refusal(installation, presented)
    assert compared == [32] * 4


def test_only_a_hash_is_kept(installation: Installation, tmp_path: Path) -> None:
    """The secret is in no file of the database, no row, no ledger entry, and no `repr`."""
    row, secret = create_token(installation, rig.ADMIN, Grant("ci", Role.OPERATOR, DAY))
    token = secret.reveal()
    random_part = token[-43:]
    TokenCheck(installation).caller(token)
    revoke_token(installation, rig.ADMIN, "ci")
    installation.ledger.sequence()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("certwright.db"))
    assert row.id.encode() in content
    assert sha256(random_part.encode()).digest() in content
    for planted in (token, random_part):
        for form in (
            planted.encode(),
            planted[:20].encode(),
            planted.encode("utf-16-le"),
            planted.encode().hex().encode(),
        ):
            assert form not in content
    assert token not in repr((row, secret, str(secret), list_tokens(installation, rig.ADMIN)))
    assert isinstance(secret, Secret)


def test_secrets_are_random(installation: Installation) -> None:
    """No two tokens share an id or a secret, and a secret has 256 random bits."""
    made = [make(installation, f"t{place}") for place in range(50)]
    assert len({identity for identity, _ in made}) == 50
    assert len({token[-43:] for _, token in made}) == 50
    assert len({token[-43:][place] for _, token in made for place in range(42)}) > 50


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("holder", {"role": Role.HOLDER}, "bad-role"),
    ("no life", {"lifetime": timedelta(0)}, "bad-token-lifetime"),
    ("negative life", {"lifetime": timedelta(days=-1)}, "bad-token-lifetime"),
    ("too long", {"lifetime": timedelta(days=367)}, "bad-token-lifetime"),
    ("requester of nothing", {"role": Role.REQUESTER}, "token-without-profiles"),
    ("requester of no profile", {"role": Role.REQUESTER, "profiles": []}, "token-without-profiles"),
    ("unknown profile", {"role": Role.REQUESTER, "profiles": ["mesh", "nonsense"]}, "unknown-profile"),
    ("bad attribute", {"attributes": {"Namespace": "x"}}, "bad-attribute"),
    ("empty attribute", {"attributes": {"namespace": ""}}, "bad-attribute"),
    ("long attribute", {"attributes": {"namespace": "x" * 64}}, "bad-attribute"),
    *(
        (f"name {name[:9]!r}", {"name": name}, "bad-token-name")
        for name in ("", "-a", "a b", "a\n", "a/b", "x" * 64, "é")
    ),
]


@pytest.mark.parametrize(("choices", "code"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_unusable_grants_are_refused(installation: Installation, choices: dict[str, Any], code: str) -> None:
    """A token without an end, a scope or a sensible name is not made."""
    with pytest.raises((BadRequest, NotFound)) as caught:
        make(installation, **choices)
    assert caught.value.code == code
    assert count(installation.store, ApiToken) == 0
    assert entries(installation.store) == []


def test_names_are_unique(installation: Installation) -> None:
    """A second token of the same name is a conflict, and leaves neither a row nor an entry."""
    make(installation)
    with pytest.raises(Conflict) as caught:
        make(installation)
    assert caught.value.code == "token-exists"
    assert count(installation.store, ApiToken) == len(entries(installation.store, "token-created")) == 1


@pytest.mark.parametrize(
    "caller",
    [rig.OPERATOR, rig.REQUESTER, rig.CONSUMER, rig.AUDITOR, Caller("certificate:1", Role.HOLDER)],
    ids=["operator", "requester", "consumer", "auditor", "holder"],
)
def test_only_admins_manage_tokens(installation: Installation, caller: Caller) -> None:
    """Nobody else makes or revokes one; auditors may look at the list."""
    identity, token = make(installation)
    with pytest.raises(Forbidden):
        create_token(installation, caller, Grant("mine", Role.ADMIN, DAY))
    with pytest.raises(Forbidden):
        revoke_token(installation, caller, identity)
    if caller.role is Role.AUDITOR:
        assert [row.id for row in list_tokens(installation, caller)] == [identity]
    else:
        with pytest.raises(Forbidden):
            list_tokens(installation, caller)
    assert TokenCheck(installation).caller(token)
    assert count(installation.store, ApiToken) == 1


def test_the_scope_holds_where_it_counts(store: Store) -> None:
    """A requester's token issues its own names under its own profiles, and nothing else."""
    installation = rig.make_installation(store)
    token = make(installation, "ci", Role.REQUESTER, profiles=["mesh"], attributes={"namespace": "payments"})[1]
    caller = TokenCheck(installation).caller(token)
    assert rig.issue(installation, caller=caller).profile == "mesh"
    for names, profile in (
        (("spiffe://example.internal/ns/billing/sa/api",), "mesh"),
        (("a.example.internal",), "server"),
    ):
        with pytest.raises(PolicyRefusal):
            rig.issue(installation, *names, profile=profile, caller=caller)

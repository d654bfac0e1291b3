"""Signing in with a browser: links work once, sessions end when they should, and nothing is stored but hashes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256

import pytest

from ca import clock, sessions, sign_in_links
from ca.access import Caller, Role
from ca.errors import BadRequest, Forbidden, NotFound, Unauthenticated
from ca.installation import Installation
from ca.models import BrowserSession, SignInLink
from ca.sessions import SessionCheck, Terms
from ca.store import Store
from tests import rig
from tests.ca.world import count, entries, rows

TERMS = Terms(timedelta(hours=12), timedelta(hours=2))
TEN = timedelta(minutes=10)
OPERATOR = Caller("token:ada", Role.OPERATOR)
NOW = clock.from_timestamp(1_800_000_000)


@pytest.fixture
def installation(store: Store) -> Installation:
    """Signing in needs no authorities."""
    return rig.make_installation(store, with_hierarchy=False)


@pytest.fixture(autouse=True)
def _pinned() -> Iterator[None]:
    """Moments that tests can count from."""
    with clock.pinned(NOW):
        yield


def proves(caller: Caller = OPERATOR) -> sessions.Prove:
    """Whatever a session rests on proves this caller."""
    return lambda _credential: caller


def nobody(_credential: str) -> Caller:
    """What it rests on has been revoked."""
    raise Unauthenticated("the token is unknown, expired or revoked")


def link(installation: Installation, caller: Caller = OPERATOR, **choices: object) -> str:
    """A link's secret."""
    chosen = {"role": None, "lifetime": TEN, **choices}
    return sign_in_links.make_link(installation, caller, **chosen)[1].reveal()  # type: ignore[arg-type]


def spent(installation: Installation, caller: Caller = OPERATOR, **choices: object) -> str:
    """The secret of a session that a link has begun."""
    secret = link(installation, caller, **choices)
    return sign_in_links.spend(installation, secret, TERMS, proves(caller)).reveal()


def check(installation: Installation, prove: sessions.Prove | None = None) -> SessionCheck:
    """A process that has seen nothing yet."""
    return SessionCheck(installation, TERMS, prove or proves())


def test_a_link_signs_its_maker_in(any_store: Store) -> None:
    """With the same name and rights, on both engines; what is stored proves nothing; the ledger says all three."""
    installation = rig.make_installation(any_store, with_hierarchy=False)
    caller = Caller("token:ci", Role.REQUESTER, frozenset({"mesh"}), {"namespace": "payments"})
    secret = link(installation, caller)
    session = sign_in_links.spend(installation, secret, TERMS, proves(caller)).reveal()
    found = check(installation, proves(caller)).find(session)
    assert found is not None
    assert (found.caller.identity, found.caller.role, found.caller.profiles) == ("token:ci", "requester", {"mesh"})
    assert dict(found.caller.attributes) == {"namespace": "payments"}
    assert (found.how, found.credential, found.caller.is_local, found.caller.certificate) == (
        "link",
        "token:ci",
        False,
        None,
    )
    (made,), (kept,) = rows(any_store, SignInLink), rows(any_store, BrowserSession)
    assert made.secret_sha256 == sha256(secret.encode()).digest()
    assert kept.secret_sha256 == sha256(session.encode()).digest()
    assert sessions.sign_out(installation, session)
    assert check(installation, proves(caller)).find(session) is None
    actions = ("sign-in-link-made", "signed-in", "signed-out")
    (one,), (two,), (three,) = (entries(any_store, action) for action in actions)
    assert {entry["by"] for entry in (one, two, three)} == {"token:ci"}
    assert secret not in str([one, two, three])
    assert session not in str([one, two, three])


def test_looking_changes_nothing(installation: Installation) -> None:
    """A scanner that follows every link it sees leaves it as it is."""
    secret = link(installation)
    for _ in range(3):
        assert sign_in_links.look(installation, secret).identity == "token:ada"
    assert count(installation.store, BrowserSession) == 0
    assert sign_in_links.spend(installation, secret, TERMS, proves())


def refusal(installation: Installation, secret: str) -> tuple[str, str]:
    """What somebody with a link that does nothing is told."""
    with pytest.raises(Unauthenticated) as caught:
        sign_in_links.spend(installation, secret, TERMS, proves())
    with pytest.raises(Unauthenticated):
        sign_in_links.look(installation, secret)
    return caught.value.code, caught.value.message


def test_a_link_that_does_nothing_says_no_more(installation: Installation) -> None:
    """Used, over, or never one: the same words, so that nobody learns which links there were."""
    used, over = link(installation), link(installation)
    sign_in_links.spend(installation, used, TERMS, proves())
    with clock.pinned(NOW + TEN):
        told = {refusal(installation, secret) for secret in (used, over, "A" * 43, "", "\udcff")}
    assert told == {("bad-sign-in-link", "this link has been used, or has ended, or never was one")}
    with clock.pinned(NOW + TEN - timedelta(seconds=1)):
        sign_in_links.look(installation, over)


def test_whoever_comes_first_has_it(any_store: Store) -> None:
    """Eight at once, on both engines: one session, one entry."""
    installation = rig.make_installation(any_store, with_hierarchy=False)
    secret = link(installation)
    ready, won, lost = threading.Barrier(8), [], []

    def spend() -> None:
        ready.wait()
        try:
            won.append(sign_in_links.spend(installation, secret, TERMS, proves()).reveal())
        except Unauthenticated as error:
            lost.append(error.code)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), lost) == (1, ["bad-sign-in-link"] * 7)
    assert count(any_store, BrowserSession) == len(entries(any_store, "signed-in")) == 1


def test_nobody_makes_a_link_for_more_than_they_are(installation: Installation) -> None:
    """Another role and another name are for who manages tokens; a holder signs nobody in; an hour is the most."""
    for choices in ({"role": Role.ADMIN}, {"role": Role.AUDITOR}, {"name": "grace"}):
        with pytest.raises(Forbidden):
            link(installation, **choices)
    with pytest.raises(Forbidden):
        link(installation, Caller("certificate:1a", Role.HOLDER, frozenset(), certificate="1a"))
    with pytest.raises(BadRequest):
        link(installation, rig.ADMIN, role=Role.HOLDER)
    for lifetime in (timedelta(0), timedelta(hours=1, seconds=1)):
        with pytest.raises(BadRequest):
            link(installation, lifetime=lifetime)
    with pytest.raises(BadRequest):
        link(installation, rig.ADMIN, name="grace hopper\n")
    assert count(installation.store, SignInLink) == 0
    session = spent(installation, rig.ADMIN, role=Role.REQUESTER, name="grace")
    found = check(installation, proves(rig.ADMIN)).find(session)
    assert found is not None
    assert (found.caller.identity, found.caller.role, found.caller.profiles) == (
        "link:grace",
        "requester",
        frozenset(),
    )


@pytest.mark.parametrize(
    "now_proves",
    [
        nobody,
        proves(Caller("token:ada", Role.AUDITOR)),
        proves(Caller("token:ada", Role.OPERATOR, frozenset({"mesh"}))),
    ],
    ids=["revoked", "another role", "fewer profiles"],
)
def test_a_session_ends_with_what_it_rests_on(installation: Installation, now_proves: sessions.Prove) -> None:
    """The token is revoked, the grant changed: the next look at it finds nobody, and the link begins nothing either."""
    session, unspent = spent(installation), link(installation)
    assert check(installation).find(session) is not None
    assert check(installation, now_proves).find(session) is None
    with pytest.raises(Unauthenticated):
        sign_in_links.spend(installation, unspent, TERMS, now_proves)
    assert count(installation.store, BrowserSession) == 1


def test_another_replica_hears_of_an_end(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked up is trusted for a second at most, then the database is asked again."""
    moment = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: moment)
    elsewhere, session = check(installation), spent(installation)
    assert elsewhere.find(session) is not None
    sessions.sign_out(installation, session)
    assert elsewhere.find(session) is not None
    moment += sessions.FRESH_FOR
    assert elsewhere.find(session) is None


def test_a_session_ends_at_its_time(installation: Installation) -> None:
    """At its last second and not before, however busy it was."""
    session, here = spent(installation), check(installation)
    for hours in range(12):
        with clock.pinned(NOW + timedelta(hours=hours)):
            here.forget()
            assert here.find(session) is not None, hours
    with clock.pinned(NOW + timedelta(hours=12)):
        assert here.find(session) is None


def test_an_idle_session_ends(installation: Installation) -> None:
    """Two hours without a page; who reads one now and then goes on, and not every page costs a write."""
    session, here = spent(installation), check(installation)
    with clock.pinned(NOW + timedelta(seconds=sessions.SEEN_EVERY - 1)):
        assert here.find(session) is not None
    assert rows(installation.store, BrowserSession)[0].seen_at == int(NOW.timestamp())
    with clock.pinned(NOW + timedelta(hours=1)):
        assert here.find(session) is not None
    assert rows(installation.store, BrowserSession)[0].seen_at == int(NOW.timestamp()) + 3600
    with clock.pinned(NOW + timedelta(hours=3) - timedelta(seconds=1)):
        assert check(installation).find(session) is not None
    with clock.pinned(NOW + timedelta(hours=5)):
        assert check(installation).find(session) is None


@pytest.mark.parametrize("secret", ["", "A" * 43, "A" * 42, "A" * 44, "../" * 14 + "A", "\udcff" * 43])
def test_what_is_no_session_is_nobody(installation: Installation, secret: str) -> None:
    """Made up, cut, or not of the form at all."""
    spent(installation)
    assert check(installation).find(secret) is None


def test_somebody_is_signed_out_everywhere(installation: Installation) -> None:
    """By who manages tokens; the others stay; each end is in the ledger, by whom it was."""
    mine = [spent(installation) for _ in range(3)]
    other = spent(installation, Caller("token:grace", Role.OPERATOR))
    with pytest.raises(Forbidden):
        sessions.end_sessions(installation, OPERATOR, "token:ada")
    with pytest.raises(Forbidden):
        sessions.list_sessions(installation, OPERATOR)
    assert len(sessions.list_sessions(installation, rig.ADMIN)) == 4
    assert sessions.end_sessions(installation, rig.ADMIN, "token:ada") == 3
    assert [check(installation).find(session) for session in mine] == [None] * 3
    assert check(installation, proves(Caller("token:grace", Role.OPERATOR))).find(other) is not None
    assert {(e["subject"], e["by"]) for e in entries(installation.store, "signed-out")} == {
        ("token:ada", rig.ADMIN.identity)
    }
    with pytest.raises(NotFound):
        sessions.end_sessions(installation, rig.ADMIN, "token:ada")


def test_what_has_ended_is_forgotten(installation: Installation) -> None:
    """Links and sessions, not before their end: a used link is known as used until then."""
    spent(installation)
    link(installation)
    with clock.pinned(NOW + TEN - timedelta(seconds=1)):
        assert sessions.forget_ended(installation) == 0
    with clock.pinned(NOW + TEN):
        assert sessions.forget_ended(installation) == 2
    assert (count(installation.store, SignInLink), count(installation.store, BrowserSession)) == (0, 1)
    with clock.pinned(NOW + timedelta(hours=12)):
        assert sessions.forget_ended(installation) == 1

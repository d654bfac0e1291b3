"""The ACME issuer against Pebble, strict: the whole story, its interruptions, and everything that Pebble makes hard."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from sqlalchemy import delete, select, update
from sqlmodel import col

from ca import clock
from ca.errors import IssuerRefusal, IssuerUnavailable, Misconfigured
from ca.keys.algorithms import KeyType, key_type_of, spki
from ca.models import LedgerEntry
from ca.secret import Secret
from ca.store import Store
from renewers.issuers import Issuer, Obtained, RollsItsKey, SuggestsWindow, budget
from renewers.models import AcmeAccount, Spending
from tests import acme_rig
from tests.acme_rig import SEALER, Crash, Records, Remembered, Tokens, issuer, names_of, parsed, wanted
from tests.pebble import ChallengeDns, Pebble, challtestsrv, pebble

EAB = {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChallengeDns]:
    """A DNS in which every name is this machine."""
    with challtestsrv(tmp_path_factory.mktemp("dns")) as running:
        yield running


@pytest.fixture(scope="module")
def ca(dns: ChallengeDns, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """A Pebble with a second root and three-certificate chains, which refuses one nonce in five."""
    home = tmp_path_factory.mktemp("pebble")
    with pebble(home, dns=dns.dns, alternate_roots=1, chain_length=2, nonce_reject=20, retry_after=0) as running:
        yield running


@pytest.fixture(scope="module")
def web(ca: Pebble) -> Iterator[Tokens]:
    """A solver on the port where it looks."""
    with Tokens().serving(ca.http_port) as solver:
        yield solver


@pytest.fixture
def txt(dns: ChallengeDns) -> Records:
    """A solver in the DNS that it asks."""
    return Records(dns)


def judge(obtained: Obtained, ca: Pebble) -> None:
    """The chain leads, certificate by certificate, to a root of that Pebble."""
    chain = [x509.load_der_x509_certificate(der) for der in (obtained.certificate, *obtained.chain)]
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)
    assert any(_signed(chain[-1], ca.root(number)) for number in (0, 1))


def _signed(below: x509.Certificate, above: x509.Certificate) -> bool:
    try:
        below.verify_directly_issued_by(above)
    except Exception:
        return False
    return True


def account(store: Store) -> Any:
    """The one account that there is."""
    with store.read() as connection:
        return connection.execute(select(AcmeAccount)).one()


def actions(store: Store) -> list[str]:
    """What the ledger says was done."""
    with store.read() as connection:
        bodies = connection.execute(select(LedgerEntry.body).order_by(col(LedgerEntry.id))).scalars().all()
    import json

    return [json.loads(body)["action"] for body in bodies]


def test_a_certificate_over_http(ca: Pebble, web: Tokens, store: Store) -> None:
    """Account, order, proof, signature, chain: one call, and nothing is left lying about."""
    pebbled = issuer(ca, store, [web])
    assert isinstance(pebbled, SuggestsWindow)
    assert isinstance(pebbled, RollsItsKey)
    as_issuer: Issuer = pebbled
    key, memory = KeyType.P256.generate(), Remembered()
    obtained = as_issuer.obtain(wanted("api.example.com", "www.example.com", key=key), memory)
    assert names_of(obtained) == {"api.example.com", "www.example.com"}
    assert spki(parsed(obtained).public_key()) == spki(key.public_key())
    judge(obtained, ca)
    assert len(obtained.chain) == 2
    assert web.answers == {}
    assert [call.partition(" ")[0] for call in memory.calls] == ["keep", "commit"]
    assert actions(store) == ["acme-account-registered"]


def test_a_wildcard_and_its_base_in_one_order(ca: Pebble, txt: Records, dns: ChallengeDns, store: Store) -> None:
    """Two values stand at the same name at the same time; the wildcard is proved in the DNS alone."""
    obtained = issuer(ca, store, [txt]).obtain(wanted("*.wild.example.com", "wild.example.com"), Remembered())
    assert names_of(obtained) == {"*.wild.example.com", "wild.example.com"}
    assert {(each.name.value, each.is_wildcard) for each in txt.seen} == {
        ("wild.example.com", True),
        ("wild.example.com", False),
    }
    assert txt.values == {}


def test_each_name_is_proved_by_who_can(ca: Pebble, web: Tokens, txt: Records, store: Store) -> None:
    """HTTP is preferred where it can be; a wildcard goes to the DNS."""
    before = len(web.seen)
    issuer(ca, store, [txt, web]).obtain(wanted("*.mixed.example.com", "mixed.example.com"), Remembered())
    assert [each.is_wildcard for each in txt.seen] == [True]
    assert [each.name.value for each in web.seen[before:]] == ["mixed.example.com"]


def test_an_address(ca: Pebble, web: Tokens, txt: Records, store: Store) -> None:
    """An IP identifier is proved over HTTP, whatever the DNS solver would say."""
    obtained = issuer(ca, store, [txt, web], challenges=("dns-01", "http-01")).obtain(wanted("127.0.0.1"), Remembered())
    assert names_of(obtained) == {"127.0.0.1"}
    assert txt.seen == []


def test_a_profile(ca: Pebble, web: Tokens, store: Store) -> None:
    """The profile is asked for; one that the CA does not have is refused before it is asked, with those that it has."""
    pebbled = issuer(ca, store, [web])
    leaf = parsed(pebbled.obtain(wanted("short.example.com", profile="shortlived"), Remembered()))
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < timedelta(days=7)
    memory = Remembered()
    with pytest.raises(IssuerRefusal, match="no profile tlsclient") as refused:
        pebbled.obtain(wanted("short.example.com", profile="tlsclient"), memory)
    assert refused.value.hint == "it has: default, shortlived"
    assert memory.calls == []


def test_what_nobody_can_prove(ca: Pebble, web: Tokens, store: Store) -> None:
    """A wildcard without a DNS solver: refused, with what the CA offered; nothing is answered."""
    with pytest.raises(IssuerRefusal, match=r"wants \*\.nobody\.example\.com proved by dns-01") as refused:
        issuer(ca, store, [web]).obtain(wanted("*.nobody.example.com"), Remembered())
    assert refused.value.code == "no-solver"
    assert web.answers == {}


def test_a_name_that_the_ca_never_signs(ca: Pebble, web: Tokens, store: Store) -> None:
    """`rejectedIdentifier` is a refusal, with the CA's own words and a hint."""
    with pytest.raises(
        IssuerRefusal, match=r"rejectedIdentifier: Order included an identifier .* forbidden"
    ) as refused:
        issuer(ca, store, [web]).obtain(wanted("blocked-domain.example"), Remembered())
    assert refused.value.hint is not None
    with pytest.raises(IssuerRefusal, match="cannot be asked for email"):
        issuer(ca, store, [web]).obtain(wanted("email:a@example.com"), Remembered())


def test_a_validation_that_fails(ca: Pebble, store: Store) -> None:
    """It says which name, which challenge, what the CA saw; it is counted, the order forgotten, the answer removed."""
    limits = (budget.Limit("failed-validations", 1, 3600, "identifier"),)
    nobody = Tokens()
    memory = Remembered()
    pebbled = issuer(ca, store, [nobody], limits=limits)
    with pytest.raises(IssuerUnavailable, match=r"could not validate fails\.example\.com by http-01: ") as failed:
        pebbled.obtain(wanted("fails.example.com"), memory)
    assert failed.value.code == "validation-failed"
    assert memory.order_url is None
    assert nobody.answers == {}
    with store.read() as connection:
        assert [row.scope for row in connection.execute(select(Spending))] == ["fails.example.com"]
    with pytest.raises(IssuerUnavailable, match="at most 1 in 3600 s of failed-validations") as foreseen:
        pebbled.obtain(wanted("fails.example.com", "other.example.com"), memory)
    assert foreseen.value.code == "budget-exhausted"
    assert 3590 < (foreseen.value.retry_after or 0) <= 3600


@pytest.mark.parametrize("moment", ["before keep", "after keep", "before commit", "after commit", "at the end"])
def test_a_crash_loses_nothing_and_doubles_nothing(ca: Pebble, web: Tokens, store: Store, moment: str) -> None:
    """Whenever the process dies, the next attempt ends with one certificate signed for this renewal, and no second."""
    name = f"{moment.replace(' ', '-')}.crash.example.com"
    asked = wanted(name)
    before, orders = ca.issued(), ca.logged("Added order")
    memory = Remembered()

    def die(now: str) -> None:
        if now == moment:
            raise Crash

    memory.die = die
    first = issuer(ca, store, [web])
    if moment == "at the end":
        first.obtain(asked, memory)  # and the answer is lost
    else:
        with pytest.raises(Crash):
            first.obtain(asked, memory)
        assert memory.is_finalized or ca.issued() == before  # nobody was asked to sign what is not remembered
    memory.die = lambda _moment: None
    url = memory.order_url
    obtained = issuer(ca, store, [web]).obtain(asked, memory)
    judge(obtained, ca)
    assert names_of(obtained) == {name}
    assert ca.issued() - before == 1
    assert ca.logged("Added order") - orders == (2 if moment == "before keep" else 1)
    assert url in (None, memory.order_url)
    assert web.answers == {}


def test_a_crash_while_the_ca_looks(ca: Pebble, web: Tokens, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The challenge was begun and its answer is gone: the same order is gone on with, or ended and said."""
    from renewers.issuers.acme import authorizations

    asked, memory, before = wanted("looking.example.com"), Remembered(), ca.issued()
    waiting = authorizations._wait

    def die(*_: Any) -> None:
        raise Crash

    monkeypatch.setattr(authorizations, "_wait", die)
    with pytest.raises(Crash):
        issuer(ca, store, [web]).obtain(asked, memory)
    assert memory.order_url is not None
    assert web.answers == {}
    monkeypatch.setattr(authorizations, "_wait", waiting)
    again = issuer(ca, store, [web])
    try:
        obtained = again.obtain(asked, memory)
    except IssuerUnavailable:  # Pebble looked when nobody answered: the order is dead, and the next one succeeds
        assert memory.order_url is None
        obtained = again.obtain(asked, memory)
    assert names_of(obtained) == {"looking.example.com"}
    assert ca.issued() - before == 1


def test_an_order_that_is_no_longer_known(ca: Pebble, web: Tokens, store: Store) -> None:
    """Not finalized: it is forgotten, and ordered anew by the next attempt. Finalized: never a second one."""
    pebbled = issuer(ca, store, [web])
    gone = ca.directory.replace("/dir", "/my-order/no-such-order")
    memory = Remembered(order_url=gone)
    with pytest.raises(IssuerUnavailable, match="no longer known there"):
        pebbled.obtain(wanted("gone.example.com"), memory)
    assert memory.order_url is None
    pebbled.obtain(wanted("gone.example.com"), memory)
    signed = Remembered(order_url=gone, is_finalized=True)
    before = ca.issued()
    with pytest.raises(IssuerUnavailable, match="may have been signed") as lost:
        pebbled.obtain(wanted("gone.example.com"), signed)
    assert (lost.value.code, signed.order_url, signed.calls) == ("order-lost", gone, [])
    assert ca.issued() == before


def test_an_order_that_somebody_else_has_failed(ca: Pebble, web: Tokens, store: Store) -> None:
    """Its authorization was given up: the order is forgotten, what is the matter is said, the next attempt succeeds."""
    pebbled, asked = issuer(ca, store, [web]), wanted("given-up.example.com")
    memory = Remembered()

    def die(now: str) -> None:
        if now == "after keep":
            raise Crash

    memory.die = die
    with pytest.raises(Crash):
        pebbled.obtain(asked, memory)
    memory.die = lambda _moment: None
    _deactivate_authorizations(pebbled, memory.order_url)
    with pytest.raises(IssuerUnavailable) as failed:
        pebbled.obtain(asked, memory)
    assert "deactivated" in failed.value.message or failed.value.code == "order-failed"
    assert memory.order_url is None
    assert names_of(pebbled.obtain(asked, memory)) == {"given-up.example.com"}


def _deactivate_authorizations(pebbled: Any, url: str | None) -> None:
    from renewers.issuers.acme.conversation import conversation
    from renewers.issuers.acme.network import Message
    from renewers.issuers.acme.rollover import sign_in

    assert url is not None
    with conversation(pebbled.config, clock.monotonic() + 60) as talk:
        sign_in(talk, pebbled._accounts)
        for each in talk.read(url, "our order").document().texts("authorizations", 10):
            talk.ask(each, Message(status="deactivated"), "giving up").check()


def test_the_preferred_chain(ca: Pebble, web: Tokens, store: Store) -> None:
    """Each root can be chosen by its name; a name that no chain ends in leaves the CA's own choice."""
    for number in (0, 1):
        wish = ca.root(number).subject.rfc4514_string().removeprefix("CN=")
        got = issuer(ca, store, [web], preferred_chain=wish).obtain(wanted("chain.example.com"), Remembered())
        assert _signed(x509.load_der_x509_certificate(got.chain[-1]), ca.root(number))
    got = issuer(ca, store, [web], preferred_chain="No Such Root").obtain(wanted("chain.example.com"), Remembered())
    judge(got, ca)


def test_a_window_that_moves_into_the_past(ca: Pebble, web: Tokens, store: Store) -> None:
    """What the CA suggests is read: in the future at first, in the past when it is in a hurry, with its reason."""
    pebbled = issuer(ca, store, [web])
    obtained = pebbled.obtain(wanted("window.example.com", profile="default"), Remembered())
    leaf, now = parsed(obtained), clock.timestamp()
    window = pebbled.window(obtained.certificate, obtained.chain[0])
    assert window is not None
    assert now < window.start < window.end < leaf.not_valid_after_utc.timestamp()
    assert window.poll_after == 6 * 3600
    assert window.explanation is None
    start, end = (datetime.fromtimestamp(now - ago, UTC).isoformat() for ago in (7200, 3600))
    answer = {"suggestedWindow": {"start": start, "end": end}, "explanationURL": "https://ca.example/incident/7"}
    ca.set_renewal_info(leaf, answer)
    urgent = pebbled.window(obtained.certificate, None)
    assert urgent is not None
    assert (urgent.start, urgent.end) == (now - 7200, now - 3600)
    assert urgent.explanation == "https://ca.example/incident/7"
    ca.set_renewal_info(leaf, {"suggestedWindow": {"start": end, "end": start}})
    assert pebbled.window(obtained.certificate, None) is None


def test_a_window_of_a_strangers_certificate(ca: Pebble, store: Store) -> None:
    """A certificate that the CA does not know has no window there, and one without an authority's key id neither."""
    assert issuer(ca, store).window(acme_rig.rig.issue(acme_rig.rig.make_installation(store)).certificate, None) is None


def test_what_is_replaced_is_said_once(ca: Pebble, web: Tokens, store: Store) -> None:
    """An order names its predecessor and costs nothing; where that one is replaced already, it is an order like any."""
    limits = (budget.Limit("new-orders", 2, 3600, "account"), budget.Limit("per-set", 2, 3600, "exact-set"))
    pebbled = issuer(ca, store, [web], limits=limits)
    first = pebbled.obtain(wanted("ari.example.com"), Remembered())
    replaced = ca.logged("is a replacement of")
    second = pebbled.obtain(wanted("ari.example.com", replaces=first.certificate), Remembered())
    assert ca.logged("is a replacement of") - replaced == 1
    with store.read() as connection:
        assert len(connection.execute(select(Spending)).all()) == 2
    pebbled.obtain(wanted("ari.example.com", replaces=first.certificate), Remembered())
    assert ca.logged("is a replacement of") - replaced == 1
    with store.read() as connection:
        assert len(connection.execute(select(Spending)).all()) == 4
    with pytest.raises(IssuerUnavailable, match=r"takes at most 2 in 3600 s of (new-orders|per-set)") as exhausted:
        pebbled.obtain(wanted("ari.example.com"), Remembered())
    assert exhausted.value.code == "budget-exhausted"
    third = pebbled.obtain(wanted("ari.example.com", replaces=second.certificate), Remembered())
    assert names_of(third) == {"ari.example.com"}


def test_a_predecessor_from_another_ca(ca: Pebble, web: Tokens, store: Store) -> None:
    """A certificate that this CA did not issue is no obstacle: it is ordered without saying what it replaces."""
    installation = acme_rig.rig.make_installation(store)
    ours = acme_rig.rig.issue(installation, "moved.edge.example.internal", profile="edge").certificate
    obtained = issuer(ca, store, [web]).obtain(wanted("moved.example.com", replaces=ours), Remembered())
    assert names_of(obtained) == {"moved.example.com"}


def test_a_key_is_exchanged(ca: Pebble, web: Tokens, store: Store) -> None:
    """By a new one, by a given one, by the same one; the account stays the same and works, the old key does not."""
    pebbled = issuer(ca, store, [web])
    pebbled.obtain(wanted("key.example.com"), Remembered())
    before = account(store)
    pebbled.roll_key()
    after = account(store)
    assert (after.url, after.next_sealed_key) == (before.url, None)
    given = KeyType.P384.generate()
    pebbled.roll_key(given)
    opened = SEALER.unwrap(account(store).sealed_key, "acme-account:pebble")
    assert spki(opened.public_key()) == spki(given.public_key())
    changed = actions(store).count("acme-account-key-changed")
    pebbled.roll_key(given)
    assert changed == actions(store).count("acme-account-key-changed") == 2
    assert names_of(pebbled.obtain(wanted("key.example.com"), Remembered())) == {"key.example.com"}
    store.write(lambda tx: tx.execute(update(AcmeAccount).values(sealed_key=before.sealed_key)))
    with pytest.raises(IssuerRefusal, match=r"JWS verification error|badSignatureAlgorithm"):
        pebbled.obtain(wanted("key.example.com"), Remembered())


def test_a_key_that_is_exchanged_while_an_order_is_under_way(ca: Pebble, web: Tokens, store: Store) -> None:
    """Another replica exchanges the key in the middle: that is no refusal, and the next attempt ends the same order."""
    memory, asked = Remembered(), wanted("meanwhile.example.com")
    replica, orders = issuer(ca, store), ca.logged("Added order")

    def die(now: str) -> None:
        if now == "after keep":
            replica.roll_key()

    memory.die = die
    with pytest.raises(IssuerUnavailable, match="key was exchanged meanwhile"):
        issuer(ca, store, [web]).obtain(asked, memory)
    memory.die = lambda _moment: None
    assert names_of(issuer(ca, store, [web]).obtain(asked, memory)) == {"meanwhile.example.com"}
    assert ca.logged("Added order") - orders == 1


@pytest.mark.parametrize("died", ["before it asked", "after it was answered"])
def test_a_crash_in_the_middle_of_an_exchange(ca: Pebble, web: Tokens, store: Store, died: str) -> None:
    """Two keys are left; whichever the CA knows is found, by a renewal as by the next exchange."""
    pebbled = issuer(ca, store, [web])
    pebbled.obtain(wanted("half.example.com"), Remembered())
    old = account(store)
    accounts: Any = pebbled._accounts
    ended = accounts.exchanged
    accounts.exchanged = _crash
    if died == "before it asked":
        assert accounts.exchanging(accounts.load(), KeyType.P256.generate())
    else:
        with pytest.raises(Crash):
            pebbled.roll_key()
    accounts.exchanged = ended
    half = account(store)
    assert half.sealed_key == old.sealed_key
    assert half.next_sealed_key is not None
    again = issuer(ca, store, [web])
    assert names_of(again.obtain(wanted("half.example.com"), Remembered())) == {"half.example.com"}
    expected = old.sealed_key if died == "before it asked" else half.next_sealed_key
    assert account(store).sealed_key == expected
    again.roll_key()
    assert account(store).next_sealed_key is None
    assert account(store).sealed_key != expected
    assert account(store).url == old.url
    again.obtain(wanted("half.example.com"), Remembered())


def _crash(*_: Any) -> None:
    raise Crash


def test_a_key_that_another_account_has(ca: Pebble, store: Store) -> None:
    """The exchange is refused, and the account goes on with the key that it had."""
    first, second = issuer(ca, store), issuer(ca, store, name="second")
    taken = KeyType.P256.generate()
    first.roll_key(taken)
    with pytest.raises(IssuerRefusal, match="another account has that key"):
        second.roll_key(taken)
    with store.read() as connection:
        row = connection.execute(select(AcmeAccount).where(col(AcmeAccount.issuer) == "second")).one()
    assert row.next_sealed_key is None
    second.roll_key()


def test_replicas_share_one_account(ca: Pebble, any_store: Store) -> None:
    """Many that begin at the same moment end with one key and one account."""
    from concurrent.futures import ThreadPoolExecutor

    before = ca.logged("accounts in memory")
    many = [issuer(ca, any_store) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        urls = {each.result() for each in [pool.submit(_sign_in, one) for one in many]}
    assert len(urls) == 1
    assert ca.logged("accounts in memory") - before == 1
    assert account(any_store).url in urls


def _sign_in(pebbled: Any) -> str:
    from renewers.issuers.acme.conversation import conversation
    from renewers.issuers.acme.rollover import sign_in

    with conversation(pebbled.config, clock.monotonic() + 60) as talk:
        sign_in(talk, pebbled._accounts)
        return talk.account


def test_a_ca_that_has_lost_our_account(ca: Pebble, web: Tokens, store: Store) -> None:
    """`accountDoesNotExist` is no refusal: the account is made anew, with the same key."""
    pebbled = issuer(ca, store, [web])
    pebbled.obtain(wanted("lost.example.com"), Remembered())
    before = account(store)
    lost = ca.directory.replace("/dir", "/my-account/no-such-account")
    store.write(lambda tx: tx.execute(update(AcmeAccount).values(url=lost)))
    assert names_of(pebbled.obtain(wanted("lost.example.com"), Remembered())) == {"lost.example.com"}
    assert (account(store).url, account(store).sealed_key) == (before.url, before.sealed_key)


def test_an_account_that_was_deactivated(ca: Pebble, web: Tokens, store: Store) -> None:
    """Somebody closed it: that is a refusal, since a new account would be another one."""
    from renewers.issuers.acme.conversation import conversation
    from renewers.issuers.acme.network import Message
    from renewers.issuers.acme.rollover import sign_in

    pebbled: Any = issuer(ca, store, [web])
    with conversation(pebbled.config, clock.monotonic() + 60) as talk:
        sign_in(talk, pebbled._accounts)
        talk.ask(talk.account, Message(status="deactivated"), "closing").check()
    with pytest.raises(IssuerRefusal, match="deactivated"):
        pebbled.obtain(wanted("closed.example.com"), Remembered())
    store.write(lambda tx: tx.execute(update(AcmeAccount).values(url=None)))
    with pytest.raises(IssuerRefusal, match="deactivated"):
        pebbled.obtain(wanted("closed.example.com"), Remembered())


def test_one_issuer_name_is_one_ca(ca: Pebble, store: Store) -> None:
    """The key of one account is never shown to another CA because somebody changed a URL."""
    issuer(ca, store).roll_key()
    moved = issuer(ca, store, directory=f"{ca.directory}?moved")
    with pytest.raises(Misconfigured, match="the account of pebble is at"):
        moved.roll_key()


def test_terms_are_for_people(ca: Pebble, store: Store) -> None:
    """Nobody agrees to terms by accident: the refusal says where they are."""
    with pytest.raises(IssuerRefusal, match="Do%20what%20thou%20wilt") as refused:
        issuer(ca, store, terms_agreed=False).roll_key()
    assert refused.value.code == "terms-not-agreed"


@pytest.mark.parametrize("kind", [KeyType.P384, KeyType.RSA2048])
def test_other_account_keys(ca: Pebble, store: Store, kind: KeyType) -> None:
    """An account's key can be of each kind that is allowed; exchanging it works too."""
    acme = issuer(ca, store, account_key_type=kind)
    acme.roll_key()
    first = account(store)
    acme.roll_key()  # signed with the key that the CA has taken: it would refuse another
    second = account(store)
    assert first.url == second.url is not None
    assert (first.next_sealed_key, second.next_sealed_key) == (None, None)
    keys = [SEALER.unwrap(row.sealed_key, "acme-account:pebble").public_key() for row in (first, second)]
    assert [key_type_of(key) for key in keys] == [kind, kind]
    assert keys[0] != keys[1]


def test_half_of_all_nonces_are_refused(dns: ChallengeDns, tmp_path: Path, store: Store) -> None:
    """And validations take a while: it only takes longer."""
    with (
        pebble(tmp_path, dns=dns.dns, nonce_reject=50, va_sleep=True) as ca,
        Tokens().serving(ca.http_port) as web,
    ):
        obtained = issuer(ca, store, [web]).obtain(wanted("nonce.example.com", "n2.example.com"), Remembered())
        assert names_of(obtained) == {"nonce.example.com", "n2.example.com"}
        assert ca.logged("badNonce") == 0 or ca.issued() == 1


def test_an_account_that_is_bound(dns: ChallengeDns, tmp_path: Path, store: Store) -> None:
    """External account binding: refused without, refused with a wrong key, taken with the right one."""
    with pebble(tmp_path, dns=dns.dns, eab=EAB) as ca:
        with pytest.raises(IssuerRefusal, match="made with it beforehand") as refused:
            issuer(ca, store).roll_key()
        assert refused.value.code == "account-binding"
        for odd in ("not base64url!", "QUJD"):
            with pytest.raises(IssuerRefusal):
                issuer(ca, store, eab_kid="kid-1", eab_key=Secret(odd)).roll_key()
        bound = issuer(ca, store, eab_kid="kid-1", eab_key=Secret(EAB["kid-1"]))
        bound.roll_key()
        assert account(store).url is not None


def test_a_ca_that_was_reborn(dns: ChallengeDns, tmp_path: Path, store: Store) -> None:
    """Pebble forgets everything when it restarts: accounts and orders are made anew, without a person."""
    from tests import peer

    port, http_port = peer.free_port(), peer.free_port()
    memory, asked = Remembered(), wanted("reborn.example.com")

    def die(now: str) -> None:
        if now == "after keep":
            raise Crash

    memory.die = die
    with pebble(tmp_path, dns=dns.dns, port=port, http_port=http_port) as ca, pytest.raises(Crash):
        issuer(ca, store).obtain(asked, memory)
    memory.die = lambda _moment: None
    first = account(store)
    with (
        pebble(tmp_path, dns=dns.dns, port=port, http_port=http_port) as ca,
        Tokens().serving(ca.http_port) as web,
    ):
        pebbled = issuer(ca, store, [web])
        with pytest.raises(IssuerUnavailable, match="no longer known"):
            pebbled.obtain(asked, memory)
        assert names_of(pebbled.obtain(asked, memory)) == {"reborn.example.com"}
        assert account(store).sealed_key == first.sealed_key
    with pytest.raises(IssuerUnavailable, match="cannot be reached"):
        pebbled.check()
    store.write(lambda tx: tx.execute(delete(AcmeAccount)))


def test_it_is_there_or_not(ca: Pebble, store: Store) -> None:
    """`check` asks for nothing but the directory; trust is by the given file alone."""
    issuer(ca, store).check()
    with pytest.raises(IssuerUnavailable, match="TLS failed"):
        issuer(ca, store, ca_file=None).check()


def test_reused_authorizations(dns: ChallengeDns, tmp_path: Path, store: Store) -> None:
    """What is still authorized needs no proof: the order is ready at once."""
    with pebble(tmp_path, dns=dns.dns, authz_reuse=100) as ca, Tokens().serving(ca.http_port) as web:
        pebbled = issuer(ca, store, [web])
        pebbled.obtain(wanted("reuse.example.com"), Remembered())
        proved = len(web.seen)
        pebbled.obtain(wanted("reuse.example.com"), Remembered())
        assert (proved, len(web.seen)) == (1, 1)

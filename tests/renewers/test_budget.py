"""The book of rate limits: what it foresees is what a sliding count says, on both engines."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from ca.errors import Misconfigured
from ca.store import Store
from ca.x509.names import Name, parse
from renewers.issuers import budget
from renewers.issuers.budget import FAILED, LETS_ENCRYPT, Limit
from renewers.models import Spending

NOW = 1_900_000_000
_fresh = itertools.count()


def names(*texts: str) -> tuple[Name, ...]:
    """Names from text."""
    return tuple(map(parse, texts))


def spend(store: Store, limits: tuple[Limit, ...], wanted: tuple[Name, ...], at: int, **choices: object) -> None:
    """Spend once."""
    store.write(lambda tx: budget.spend(tx, "le", limits, wanted, at, **choices))  # type: ignore[arg-type]


def test_a_full_limit_is_foreseen_to_the_second(any_store: Store) -> None:
    """Below the count nothing; at it, the wait until the oldest use leaves the period; then nothing again."""
    limits = (Limit("orders", 3, 100, "account"),)
    wanted = names("a.example.com")
    for at in (0, 10, 20):
        assert budget.foresee(any_store, "le", limits, wanted, NOW + at) is None
        spend(any_store, limits, wanted, NOW + at)
    found = budget.foresee(any_store, "le", limits, wanted, NOW + 30)
    assert found is not None
    assert (found.limit, found.wait_seconds) == (limits[0], 70)
    assert budget.foresee(any_store, "le", limits, wanted, NOW + 99) is not None
    assert budget.foresee(any_store, "le", limits, wanted, NOW + 100) is None
    assert budget.foresee(any_store, "other", limits, wanted, NOW + 30) is None


def test_each_scope_counts_by_its_own(store: Store) -> None:
    """The account by itself, domains by their last two labels, sets by all their names, failures by one name."""
    by = {
        "domain": Limit("domain", 1, 60, "registered-domain"),
        "set": Limit("set", 1, 60, "exact-set"),
        "name": Limit("name", 1, 60, "identifier"),
    }
    spend(store, tuple(by.values()), names("a.example.com", "*.b.example.com"), NOW)
    spend(store, tuple(by.values()), names("a.example.com"), NOW, only=FAILED)

    def full(which: str, *texts: str) -> bool:
        return budget.foresee(store, "le", (by[which],), names(*texts), NOW) is not None

    assert full("domain", "c.example.com")
    assert full("domain", "elsewhere.example", "c.example.com")
    assert not full("domain", "example.org")
    assert full("set", "*.b.example.com", "a.example.com")
    assert not full("set", "a.example.com")
    assert full("name", "a.example.com")
    assert full("name", "*.a.example.com")
    assert not full("name", "b.example.com")


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("example.com", "example.com"),
        ("*.a.b.example.com", "example.com"),
        ("localhost", "localhost"),
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::9", "2001:db8:1:2::/64"),
    ],
)
def test_registered_domains(text: str, domain: str) -> None:
    """The last two labels, an IPv4 address, the /64 of an IPv6 address."""
    assert budget.registered_domain(parse(text)) == domain


def test_the_longest_wait_is_named(store: Store) -> None:
    """Of several full limits, the one that ends last."""
    limits = (Limit("short", 1, 60, "account"), Limit("long", 1, 600, "exact-set"))
    spend(store, limits, names("a.example.com"), NOW)
    found = budget.foresee(store, "le", limits, names("a.example.com"), NOW)
    assert found is not None
    assert (found.limit.name, found.wait_seconds) == ("long", 600)


def test_lets_encrypt(store: Store) -> None:
    """The sixth certificate for the same names within a week is foreseen; one for other names is not hindered."""
    wanted = names("a.example.com", "b.example.com")
    for at in range(5):
        assert budget.foresee(store, "le", LETS_ENCRYPT, wanted, NOW + at) is None
        spend(store, LETS_ENCRYPT, wanted, NOW + at)
    found = budget.foresee(store, "le", LETS_ENCRYPT, wanted, NOW + 10)
    assert found is not None
    assert found.limit.name == "certificates-per-set"
    assert found.wait_seconds == 7 * 86400 - 10
    assert budget.foresee(store, "le", LETS_ENCRYPT, names("a.example.com"), NOW + 10) is None


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_it_never_lets_more_through_than_it_should(store: Store, data: st.DataObject) -> None:
    """Who asks first and spends only when nothing is foreseen never has more uses in a period than the limit has."""
    issuer = f"ca-{next(_fresh)}"
    limit = Limit("l", data.draw(st.integers(1, 4)), data.draw(st.integers(1, 50)), "account")
    wanted, spent, now = names("a.example.com"), list[int](), NOW
    for step in data.draw(st.lists(st.integers(0, 20), max_size=12)):
        now += step
        found = budget.foresee(store, issuer, (limit,), wanted, now)
        within = [at for at in spent if at > now - limit.period_seconds]
        assert (found is None) == (len(within) < limit.count)
        if found is None:
            store.write(lambda tx, at=now: budget.spend(tx, issuer, (limit,), wanted, at))
            spent.append(now)
        else:
            assert budget.foresee(store, issuer, (limit,), wanted, now + found.wait_seconds) is None
            if found.wait_seconds > 1:
                assert budget.foresee(store, issuer, (limit,), wanted, now + found.wait_seconds - 1) is not None


def test_the_book_forgets(store: Store) -> None:
    """Rows that no limit looks at any more go, of scopes in use at once, of others a few at a time."""
    limits = (Limit("orders", 3, 100, "account"),)
    old = [{"issuer": "gone", "budget": "b", "scope": str(n), "at": NOW - 32 * 86400} for n in range(30)]
    store.write(lambda tx: tx.execute(insert(Spending), old))
    for at in (0, 200, 400):
        spend(store, limits, names("a.example.com"), NOW + at)
    with store.read() as connection:
        rows = connection.execute(select(Spending)).all()
    assert [(row.issuer, row.at) for row in rows] == [("le", NOW + 400)]


def test_a_limit_makes_sense() -> None:
    """No count below one, no period that the book does not keep, no scope that nobody knows."""
    for odd in (("x", 0, 60, "account"), ("x", 1, 0, "account"), ("x", 1, 32 * 86400, "account"), ("x", 1, 1, "moon")):
        with pytest.raises(Misconfigured):
            Limit(*odd)

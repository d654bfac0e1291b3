"""Whose something is: the rules in their order; nobody without the role takes or silences what is another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlmodel import col

from ca.access import Caller, Role
from ca.errors import BadRequest, CertwrightError, Conflict, Forbidden, NotFound
from ca.installation import Installation
from ca.x509.names import parse
from renewers.inventory import ending, imports, issued, lineages, own, owners
from renewers.inventory.claims import check_claim, matches
from renewers.inventory.lineages import LineagePlan
from renewers.inventory.owners import OwnerPlan
from renewers.lifecycle import Lifecycle
from renewers.models import Lineage, Owner, OwnerClaim, Tracked
from tests import rig
from tests.ca.world import entries, rows
from tests.renewers import foreign
from tests.renewers.foreign import facts, numbered, tracked

ADMIN = rig.ADMIN


@pytest.fixture
def life(installation: Installation) -> Lifecycle:
    """An installation with its CA."""
    return foreign.lifecycle(installation)


def add(life: Lifecycle, name: str, **choices: Any) -> Owner:
    """An owner with a mailbox."""
    return owners.add(life, ADMIN, OwnerPlan(name, f"{name}@example.org", **choices))


def whose(life: Lifecycle, id_: int) -> tuple[str | None, str, bool]:
    """Whose a tracked row is, and why."""
    with life.store.read() as connection:
        found = owners.owner_of(connection, connection.execute(select(Tracked).where(col(Tracked.id) == id_)).one())
    return found.owner and found.owner.name, found.why, found.is_orphan


def test_the_first_rule_that_says_something_counts(life: Lifecycle) -> None:
    """Set on it, on its lineage, by a name, by who asked for it, else nobody: all sixteen combinations."""
    for name in ("fallback", "explicit", "lineage", "named", "requester"):
        add(life, name)
    certificate = rig.issue(life.installation, "dns:a.pay.example.internal", profile="server")
    issued.catch_up(life)
    (row,) = [row for row in rows(life.store, Tracked) if row.serial == certificate.serial]
    claims = {"named": ("name", "dns:*.pay.example.internal"), "requester": ("requester", "token:operator")}
    for known in product([False, True], repeat=4):
        explicit, lineage, *by_claim = known
        owners.assign(life, ADMIN, "explicit" if explicit else None, tracked=row.identity)
        owners.assign(life, ADMIN, "lineage" if lineage else None, lineage="a.pay.example.internal")
        for (name, claim), is_made in zip(claims.items(), by_claim, strict=True):
            (owners.claim if is_made else owners.release)(life, ADMIN, name, *claim)
        order = [name for name, is_known in zip(("explicit", "lineage", *claims), known, strict=True) if is_known]
        name, why, is_orphan = whose(life, row.id)
        assert (name, is_orphan) == ((order or ["fallback"])[0], not order), known
        assert why


def test_the_closest_claim_counts() -> None:
    """An exact name before a rule, a longer rule before a shorter; of two alike the first in the alphabet."""
    closest = [match.pattern for match in sorted(matches("dns:a.b.c.example"), key=lambda m: m.rank, reverse=True)]
    assert closest == ["dns:a.b.c.example", "dns:*.b.c.example", "dns:*.c.example", "dns:*.example"]
    paths = [match.pattern for match in sorted(matches("uri:spiffe://td/ns/pay"), key=lambda m: m.rank, reverse=True)]
    assert paths == ["uri:spiffe://td/ns/pay", "uri:spiffe://td/ns/*", "uri:spiffe://td/*"]
    assert [match.pattern for match in matches("ip:10.0.0.1")] == ["ip:10.0.0.1"]


def test_an_odd_name_fits_no_claim() -> None:
    """What is not exactly a name of ours is nobody's: no NUL, no case, no trailing dot leads to an owner."""
    for name in (
        "dns:a\\x00.pay.example",
        "dns:A.pay.example",
        "dns:a.pay.example.",
        "directory:CN=a.pay.example",
        "dns:",
    ):
        assert matches(name) == []


def test_claims_of_several_names(life: Lifecycle) -> None:
    """A certificate with names of two owners belongs to whom it fits most closely."""
    for name in ("fallback", "wide", "narrow", "exact"):
        add(life, name)
    owners.claim(life, ADMIN, "wide", "name", "*.example")
    owners.claim(life, ADMIN, "narrow", "name", "dns:*.pay.example")
    owners.claim(life, ADMIN, "exact", "name", "spiffe://td/ns/pay/*")
    ids = {
        "narrow": tracked(life, facts("dns:x.example", "dns:api.pay.example")),
        "wide": tracked(life, facts("dns:pay.example")),
        "exact": tracked(life, facts("uri:spiffe://td/ns/pay/sa/api")),
    }
    assert {name: whose(life, id_)[0] for name, id_ in ids.items()} == {name: name for name in ids}
    assert owners.release(life, ADMIN, "narrow", "name", "dns:*.pay.example")
    assert not owners.release(life, ADMIN, "narrow", "name", "dns:*.pay.example")
    assert whose(life, ids["narrow"])[0] == "wide"
    assert owners.claims_of(life, ADMIN, "exact") == [("name", "uri:spiffe://td/ns/pay/*")]


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [
        ("requester", "payments"),
        ("requester", "token:a b"),
        ("requester", "token:a\nb"),
        ("name", "dns:*"),
        ("name", "dns:*.a.*.b"),
        ("name", "dns:a\0b"),
        ("name", "uri:spiffe://td/../*"),
        ("name", "uri:spiffe://*"),
        ("mail", "a@b.example"),
    ],
)
def test_a_claim_that_could_mean_anything_is_refused(kind: str, pattern: str) -> None:
    """Rules are names, suffixes and prefixes in canonical form, nothing else."""
    with pytest.raises(BadRequest):
        check_claim(kind, pattern)


def test_a_claim_has_one_owner(life: Lifecycle) -> None:
    """Another's claim is not taken over; one's own may be said twice."""
    add(life, "one")
    add(life, "two")
    assert owners.claim(life, ADMIN, "one", "name", "API.example") == "dns:api.example"
    owners.claim(life, ADMIN, "one", "name", "dns:api.example")
    with pytest.raises(Conflict, match="claimed by one"):
        owners.claim(life, ADMIN, "two", "name", "dns:api.example")
    assert len(entries(life.store, "claim-added")) == 1


def test_the_first_owner_is_the_fallback_and_it_is_only_ever_exchanged(life: Lifecycle) -> None:
    """Orphans always fall to somebody, once there is anybody."""
    id_ = tracked(life, facts("dns:lost.example"))
    assert whose(life, id_) == (None, "nobody claims it", True)
    add(life, "first")
    add(life, "second")
    assert whose(life, id_) == ("first", "nobody claims it", True)
    with pytest.raises(Conflict) as caught:
        owners.remove(life, ADMIN, "first")
    assert caught.value.code == "fallback-owner"
    with pytest.raises(Conflict):
        owners.change(life, ADMIN, "first", lambda plan: replace(plan, is_fallback=False))
    owners.change(life, ADMIN, "second", lambda plan: replace(plan, is_fallback=True))
    assert [(owner.name, owner.is_fallback) for owner in owners.listing(life, ADMIN)] == [
        ("first", False),
        ("second", True),
    ]
    owners.remove(life, ADMIN, "first")
    assert whose(life, id_)[0] == "second"


def test_an_owner_is_not_removed_from_under_what_is_its(life: Lifecycle) -> None:
    """Everything goes to an heir, or nothing happens; the refusal says what there is."""
    add(life, "fallback")
    add(life, "one")
    id_ = tracked(life, facts("dns:a.example"))
    owners.assign(life, ADMIN, "one", lineage="a.example")
    owners.claim(life, ADMIN, "one", "name", "dns:b.example")
    with pytest.raises(Conflict, match="1 lineages, 1 claims"):
        owners.remove(life, ADMIN, "one")
    with pytest.raises(BadRequest):
        owners.remove(life, ADMIN, "one", heir="one")
    add(life, "heir")
    owners.remove(life, ADMIN, "one", heir="heir")
    assert whose(life, id_)[0] == "heir"
    assert owners.claims_of(life, ADMIN, "heir") == [("name", "dns:b.example")]
    with pytest.raises(NotFound):
        owners.show(life, ADMIN, "one")


def test_an_owner_that_vanished_leaves_orphans(life: Lifecycle) -> None:
    """Whatever race left a row with an owner that is gone, it is an orphan and not lost."""
    add(life, "fallback")
    id_ = tracked(life, facts("dns:a.example"), owner_id=99)
    assert whose(life, id_) == ("fallback", "nobody claims it", True)


HEADERS: list[tuple[str, Any]] = [
    ("email", "a@b.example\r\nBcc: all@example.org"),
    ("email", "a@b.example, c@d.example"),
    ("email", "Team <a@b.example>"),
    ("email", "nobody"),
    ("email", "a@*.example"),
    ("escalation", ("a@b.example\n",)),
    ("escalation", ("a@b.example",) * 6),
    ("time_zone", "../../etc/passwd"),
    ("time_zone", "Europe"),
    ("time_zone", "Mars/Olympus"),
    ("time_zone", ""),
    ("name", ""),
    ("name", "a\r\nTo: b"),
    ("name", "a\u202eb"),
    ("name", "x" * 64),
    ("name", " a"),
]


def test_nothing_of_an_owner_can_become_a_header(life: Lifecycle) -> None:
    """Names, addresses and zones are checked when they are set; the refusal is one harmless line."""
    for field, value in HEADERS:
        with pytest.raises(BadRequest) as caught:
            owners.add(life, ADMIN, replace(OwnerPlan("team", "team@example.org"), **{field: value}))
        assert caught.value.message.isprintable()
    assert rows(life.store, Owner) == []


def test_owners_are_added_changed_and_shown(life: Lifecycle) -> None:
    """What was planned is what is there, and each change is in the ledger."""
    made = owners.add(
        life, ADMIN, OwnerPlan("Löhne & Gehälter", "pay@example.org", ("lead@example.org",), "Europe/Berlin")
    )
    assert (made.email, made.escalation, made.time_zone) == ("pay@example.org", '["lead@example.org"]', "Europe/Berlin")
    with pytest.raises(Conflict):
        owners.add(life, ADMIN, OwnerPlan("Löhne & Gehälter", "other@example.org"))
    changed = owners.change(life, ADMIN, made.name, lambda plan: replace(plan, name="payroll", email="p@example.org"))
    assert (changed.id, changed.name, changed.email) == (made.id, "payroll", "p@example.org")
    assert owners.show(life, rig.AUDITOR, "payroll") == changed
    assert [entry["action"] for entry in entries(life.store) if entry["action"].startswith("owner")] == [
        "owner-added",
        "owner-changed",
    ]


def test_orphans_come_in_pages(life: Lifecycle) -> None:
    """Everything that nobody claims, once each, and nothing of our own."""
    add(life, "fallback")
    add(life, "one")
    owners.claim(life, ADMIN, "one", "name", "dns:*.claimed.example")
    lost = [tracked(life, facts(f"dns:n{n}.lost.example", serial=numbered(n + 1))) for n in range(5)]
    for n in range(5):
        tracked(life, facts(f"dns:n{n}.claimed.example", serial=numbered(n + 1)))
    own.catch_up(life)
    found: list[int] = []
    cursor: int | None = 0
    while cursor is not None:
        page, cursor = owners.orphans(life, rig.AUDITOR, cursor=cursor, limit=2)
        found += [row.id for row in page]
    assert found == lost


VERBS: dict[str, tuple[Callable[[Lifecycle, Caller], Any], set[Role]]] = {
    "add": (lambda life, who: owners.add(life, who, OwnerPlan("new", "n@example.org")), {Role.ADMIN}),
    "change": (lambda life, who: owners.change(life, who, "one", lambda plan: plan), {Role.ADMIN}),
    "remove": (lambda life, who: owners.remove(life, who, "one"), {Role.ADMIN}),
    "claim": (lambda life, who: owners.claim(life, who, "one", "name", "dns:a.example"), {Role.ADMIN}),
    "release": (lambda life, who: owners.release(life, who, "one", "name", "dns:a.example"), {Role.ADMIN}),
    "assign": (lambda life, who: owners.assign(life, who, "one", lineage="a.example"), {Role.ADMIN, Role.OPERATOR}),
    "take": (lambda life, who: owners.assign(life, who, None, tracked="#1"), {Role.ADMIN, Role.OPERATOR}),
    "show": (lambda life, who: owners.show(life, who, "one"), {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "listing": (owners.listing, {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "claims": (lambda life, who: owners.claims_of(life, who, "one"), {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "orphans": (owners.orphans, {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "lineages": (lineages.listing, {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "lineage": (lambda life, who: lineages.show(life, who, "a.example"), {Role.ADMIN, Role.OPERATOR, Role.AUDITOR}),
    "plan": (
        lambda life, who: lineages.create(life, who, LineagePlan("n", (parse("dns:n.example"),))),
        {Role.ADMIN, Role.OPERATOR},
    ),
    "alter": (
        lambda life, who: lineages.change(life, who, "a.example", lambda plan: plan),
        {Role.ADMIN, Role.OPERATOR},
    ),
    "unplan": (lambda life, who: lineages.remove(life, who, "a.example"), {Role.ADMIN, Role.OPERATOR}),
    "retire": (lambda life, who: ending.retire(life, who, "#1", "gone"), {Role.ADMIN, Role.OPERATOR}),
    "replace": (lambda life, who: ending.replace(life, who, "#1", "#2"), {Role.ADMIN, Role.OPERATOR}),
    "import": (
        lambda life, who: imports.import_pem(life, who, foreign.certificate("dns:i.example")),
        {Role.ADMIN, Role.OPERATOR},
    ),
    "pkcs12": (lambda life, who: imports.import_pkcs12(life, who, b"", None), {Role.ADMIN, Role.OPERATOR}),
}


@pytest.mark.parametrize("verb", VERBS)
def test_only_the_roles_in_the_table_may(life: Lifecycle, verb: str) -> None:
    """Who may not is told so before anything is looked up, and nothing has changed (rows 20, 21)."""
    call, allowed = VERBS[verb]
    add(life, "fallback")
    add(life, "one")
    for number in (1, 2):
        tracked(life, facts("dns:a.example", serial=numbered(number)))
    for role in Role:
        before = {table: rows(life.store, table) for table in (Owner, OwnerClaim, Lineage, Tracked)}
        try:
            call(life, Caller("token:someone", role))
        except Forbidden:
            assert role not in allowed, role
            assert {table: rows(life.store, table) for table in before} == before
        except CertwrightError:
            assert role in allowed, role
        else:
            assert role in allowed, role


def test_two_replicas_make_one_fallback(any_store: Any) -> None:
    """The database itself refuses a second one."""
    life = foreign.lifecycle(rig.make_installation(any_store, with_hierarchy=False))
    add(life, "one")
    add(life, "two")
    with pytest.raises(Conflict):
        any_store.write(lambda tx: tx.execute(update(Owner).where(col(Owner.name) == "two").values(is_fallback=True)))

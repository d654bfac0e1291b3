"""What was so at a past moment: the ledger's answer against snapshots that were taken while it was so."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlmodel import col

from ca import certificates, clock, hierarchy, holding, in_force, retention, revocation, unrecorded
from ca.authority import State
from ca.errors import BadRequest, CertwrightError, Defect
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.ledger import counting, state
from ca.ledger.checkpoint import open_head
from ca.models import Certificate, LedgerEntry, LedgerHead, ProfileVersion, Revocation
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.test_unrecorded import signed
from tests.ca.world import count, entries, outside, publish
from tests.conftest import copied

SUPERSEDED = RevocationReason.SUPERSEDED


@dataclass(frozen=True)
class Snapshot:
    """What the tables said at a moment."""

    certificates: dict[str, str]
    authorities: dict[str, str]
    profiles: dict[str, str]
    valid: Counter[str]


def snapshot(installation: Installation, names: dict[str, str]) -> Snapshot:
    """Take one."""
    query = certificates.Query(requested_by=rig.OPERATOR.identity)
    found, cursor = [], None
    while True:
        page, cursor = certificates.page(installation.store, query, cursor=cursor, limit=500)
        found += page
        if cursor is None:
            break
    valid = [one for one in found if one.state == "valid"]
    return Snapshot(
        {one.serial: one.state for one in found},
        {row.name: str(row.state) for row in installation.authorities.all()},
        dict(names),
        Counter(one.profile for one in valid),
    )


class History:
    """Plays a random history with a clock that is stepped, and takes a snapshot before each step."""

    def __init__(self, installation: Installation, chance: Random, profiles: Path) -> None:
        self.installation = installation
        self.chance = chance
        self.profiles = profiles
        self.issued: list[str] = []
        self.taken: list[tuple[int, Snapshot]] = []
        self.strangers = 0

    def play(self, start: datetime, steps: int) -> datetime:
        """Some acts at each moment; a step is seconds, hours or days long."""
        now = start
        for _ in range(steps):
            with clock.pinned(now):
                for _ in range(self.chance.randrange(4)):
                    self._act()
                in_force.record(self.installation)
                if self.chance.random() < 0.7:
                    self.installation.ledger.sequence()
                digests = {profile.name: profile.sha256 for profile in self.installation.profiles}
                self.taken.append((clock.timestamp(), snapshot(self.installation, digests)))
            now += timedelta(seconds=self.chance.choice((1, 20, 400, 7200, 86400)))
        with clock.pinned(now + timedelta(days=1)):
            self.installation.ledger.sequence()
        return now + timedelta(days=1)

    def _act(self) -> None:
        acts: list[Callable[[], Any]] = [self._issue, self._issue, self._hold, self._release, self._revoke]
        acts += [self._change_profile, self._stranger, self._authority]
        try:
            self.chance.choice(acts)()
        except CertwrightError:  # it was not in the right state for that
            return

    def _issue(self) -> None:
        lifetime = timedelta(hours=self.chance.choice((2, 24, 160)))
        self.issued.append(rig.issue(self.installation, lifetime=lifetime).serial)

    def _hold(self) -> None:
        if self.issued:
            holding.hold(self.installation, rig.OPERATOR, self.chance.choice(self.issued))

    def _release(self) -> None:
        if self.issued:
            holding.release(self.installation, rig.OPERATOR, self.chance.choice(self.issued))

    def _revoke(self) -> None:
        if self.issued:
            revocation.revoke(self.installation, rig.OPERATOR, self.chance.choice(self.issued), SUPERSEDED)

    def _change_profile(self) -> None:
        path = self.profiles / "client.toml"
        path.write_text(path.read_text() + f"# {self.chance.random()}\n")
        self.installation.profiles.reload()

    def _stranger(self) -> None:
        self.strangers += 1
        stranger = signed(self.installation, 0x100 + self.strangers)
        unrecorded.revoke(self.installation, rig.ADMIN, stranger, SUPERSEDED)

    def _authority(self) -> None:
        prepared = [row for row in self.installation.authorities.all() if row.state == State.PREPARED]
        if prepared:
            publish(self.installation)
            hierarchy.transition(self.installation, rig.ADMIN, prepared[0].name, State.RETIRED)
        else:
            plan = Plan("issuing", rig.common_name(f"Issuing {len(self.taken)}"), KeyType.P256, crl_shards=1)
            hierarchy.create_subordinate(self.installation, rig.ADMIN, "sub-ca", plan)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 32))
def test_every_moment_is_known(tables: Path, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Certificates, CAs, profiles and counts, at every moment of a history that was played, are as they were."""
    directory = tmp_path_factory.mktemp("history")
    shutil.copytree(rig.CONFIG / "profiles", directory / "profiles")
    store = open_store(f"sqlite:///{copied(tables, directory)}")
    try:
        start = clock.now() - timedelta(days=2000)
        with clock.pinned(start):
            installation = rig.make_installation(store, profiles=directory / "profiles")
        history = History(installation, Random(seed), directory / "profiles")
        end = history.play(start, 15)
        with clock.pinned(end):
            while retention.prune_certificates(installation, timedelta(0)):  # the tables forget, the ledger does not
                continue
            for at, taken in history.taken:
                compare(installation, at, taken)
    finally:
        store.close()


def compare(installation: Installation, at: int, taken: Snapshot) -> None:
    """The ledger's answers against one snapshot."""
    store, verifier = installation.store, installation.ledger.verifier
    for serial, expected in taken.certificates.items():
        head, then = state.certificate_at(store, verifier, serial, at)
        assert then.state == expected, (serial, at)
        assert open_head(head.checkpoint, verifier).size == head.size
    _, authorities = state.authorities_at(store, verifier, at)
    assert {one.name: one.state for one in authorities} == taken.authorities
    _, profiles = state.profiles_at(store, verifier, at)
    assert {one.name: one.sha256 for one in profiles} == taken.profiles
    assert all(one.content for one in profiles)
    _, counts = counting.counts_at(store, verifier, at)
    states = Counter(taken.certificates.values())
    assert {name: counts.by_profile[name] for name in taken.valid} == dict(taken.valid)
    assert (counts.held, counts.revoked) == (states["held"], states["revoked"])
    assert counts.disordered == 0


@pytest.fixture
def lived(installation: Installation) -> Installation:
    """Something issued, held, revoked; all of it under a head."""
    issued = [rig.issue(installation) for _ in range(300)]
    holding.hold(installation, rig.OPERATOR, issued[0].serial)
    revocation.revoke(installation, rig.OPERATOR, issued[1].serial, SUPERSEDED)
    installation.ledger.sequence()
    return installation


def test_an_answer_rests_on_the_tree(lived: Installation) -> None:
    """Tables that were changed change nothing; an entry or a head that was changed is a defect, and no answer."""
    store, verifier, now = lived.store, lived.ledger.verifier, clock.timestamp()
    serial = next(one["subject"] for one in entries(store, "certificate-revoked"))
    with outside(store) as connection:
        connection.execute(update(Revocation).values(reason=6))
        connection.execute(update(Certificate).values(profile="x"))
    _, then = state.certificate_at(store, verifier, serial, now)
    assert (then.state, then.facts["reason"], then.facts["profile"]) == ("revoked", "superseded", "mesh")
    assert len(then.positions) == 2
    _, counts = counting.counts_at(store, verifier, now)
    assert (counts.by_profile["mesh"], counts.held, counts.revoked) == (298, 1, 1)
    query = select(LedgerEntry).where(col(LedgerEntry.subject) == serial).order_by(col(LedgerEntry.id).desc())
    with outside(store) as connection:
        row = connection.execute(query).first()
        assert row is not None
        forged = row.body.replace(b"superseded", b"unspecified")
        connection.execute(update(LedgerEntry).where(col(LedgerEntry.id) == row.id).values(body=forged))
    asked: tuple[Callable[[], Any], ...] = (
        lambda: state.certificate_at(store, verifier, serial, now),
        lambda: counting.counts_at(store, verifier, now),
    )
    for ask in asked:
        with pytest.raises(Defect) as caught:
            ask()
        assert caught.value.code == "ledger-damaged"
    with outside(store) as connection:
        connection.execute(update(LedgerEntry).where(col(LedgerEntry.id) == row.id).values(body=row.body))
        connection.execute(update(LedgerHead).values(root=b"\0" * 32))
    with pytest.raises(Defect):
        state.authorities_at(store, verifier, now)


def test_moments_that_there_are_not(lived: Installation) -> None:
    """The future; a time before everything; a certificate that nobody knows."""
    store, verifier = lived.store, lived.ledger.verifier
    with pytest.raises(BadRequest):
        state.authorities_at(store, verifier, clock.timestamp() + 60)
    assert state.authorities_at(store, verifier, 1000)[1] == []
    assert state.certificate_at(store, verifier, "abc", clock.timestamp())[1].state == "unknown"
    _, counts = counting.counts_at(store, verifier, 1000)
    assert (counts.issued, counts.entries) == (0, 0)


def test_a_clock_that_was_set_back_is_said(installation: Installation) -> None:
    """Entries that are older by the clock behind younger ones are counted."""
    now = clock.now()
    with clock.pinned(now - timedelta(hours=1)):
        rig.issue(installation)
    installation.ledger.sequence()
    _, counts = counting.counts_at(installation.store, installation.ledger.verifier, clock.timestamp() - 1800)
    assert counts.disordered == 1


def test_what_is_in_force_is_said_once(any_store: Store, tmp_path: Path) -> None:
    """At first, when a file changes, when it goes, when it comes back as it was; the text of each version is kept."""
    profiles = tmp_path / "profiles"
    shutil.copytree(rig.CONFIG / "profiles", profiles)
    installation = rig.make_installation(any_store, profiles=profiles)
    first = in_force.record(installation)
    assert "client" in first
    assert in_force.record(installation) == []
    text = (profiles / "client.toml").read_text()
    for changed in (f"{text}\n# more", None, text):
        (profiles / "client.toml").unlink() if changed is None else (profiles / "client.toml").write_text(changed)
        installation.profiles.reload()
        assert in_force.record(installation) == ["client"]
        assert in_force.record(installation) == []
    said = [one["action"] for one in entries(any_store) if one["subject"] == "profile:client"]
    assert said == ["profile-loaded", "profile-loaded", "profile-removed", "profile-loaded"]
    assert count(any_store, ProfileVersion) == len(first) + 1

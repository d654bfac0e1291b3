"""Random histories: whatever happens when, nothing revoked leaves a list too early, and everything leaves some day.

RFC 5280 section 3.3: an entry stays until it appeared on one list that was issued after its certificate expired. Other
CAs lost entries when they tidied up (row 71) or when certificates were about to expire (row 72).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ca import certificates, clock, crl, revocation
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.installation import Installation
from ca.models import Certificate, Revocation
from ca.retention import prune_certificates
from ca.store import open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig
from tests.ca.world import count, listed, load_crl, rows

Step = tuple[str, int]
KINDS = (
    *["issue", "issue", "issue without shard", "revoke", "revoke", "revoke"],
    *["wait", "wait", "wait", "publish", "publish shards", "publish shards", "prune"],
)
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 99)), min_size=50, max_size=60)


@dataclass
class History:
    """What happened, by a clock that this test holds, and what every list that was signed said."""

    installation: Installation
    policy: CrlPolicy
    now: int
    issued: list[tuple[str, int | None, int]] = field(default_factory=list)
    """Serial number, shard and last second."""
    revoked: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    gone: set[tuple[int, str]] = field(default_factory=set)
    """Lists from which an entry may be absent: it was on one that was signed after its certificate expired."""

    def step(self, kind: str, amount: int) -> None:
        """Let one thing happen."""
        if kind == "wait":
            self.now += 1 + amount // 2
            return
        with clock.pinned(clock.from_timestamp(self.now)):
            match kind:
                case "issue" | "issue without shard":
                    self.issue("mesh" if kind == "issue" else "ephemeral", amount)
                case "revoke":
                    self.revoke(amount)
                case "publish":
                    self.publish(CrlPublisher(self.installation, self.policy))
                    self.everything_is_listed()
                case "publish shards":
                    publisher = CrlPublisher(self.installation, self.policy)
                    publisher._not_before["issuing-1"] = clock.monotonic() + 3600
                    self.publish(publisher)
                case _:
                    self.prune(amount)

    def issue(self, profile: str, seconds: int) -> None:
        """A certificate that ends soon."""
        lifetime = timedelta(seconds=62 + seconds)  # of which a minute is in the past
        one = rig.issue(self.installation, profile=profile, lifetime=lifetime)
        shard = certificates.find(self.installation.store, one.serial).shard
        self.issued.append((one.serial, shard, one.not_after))

    def revoke(self, place: int) -> None:
        """Revoke one of those that are alive."""
        alive = [one for one in self.issued if one[0] not in self.revoked and one[2] >= self.now]
        if alive:
            serial, shard, not_after = alive[place % len(alive)]
            revocation.revoke(self.installation, rig.OPERATOR, serial, RevocationReason.SUPERSEDED)
            self.revoked[serial] = (shard, not_after)

    def publish(self, publisher: CrlPublisher) -> None:
        """Make what is due, and hold every new list against what it has to carry."""
        for made in publisher.publish_due():
            if made.authority == "issuing-1":
                self.check(made.shard)

    def check(self, place: int) -> None:
        """A list that was just signed carries what was revoked, unless that was seen on one signed after its end."""
        signed = load_crl(self.installation, shard=place)
        on_list = listed(self.installation, shard=place)
        expected = {s for s, (shard, _) in self.revoked.items() if place in (shard, COMPLETE)}
        missing = {serial for serial in expected - on_list if (place, serial) not in self.gone}
        assert not missing, f"list {place} at {self.now} lacks {missing}"
        assert on_list <= expected
        begins = int(signed.last_update_utc.timestamp())
        self.gone |= {(place, serial) for serial in on_list if begins > self.revoked[serial][1]}

    def everything_is_listed(self) -> None:
        """After a full pass consumers can fetch every revocation that matters, from both of its lists."""
        for serial, (shard, _) in self.revoked.items():
            for place in (COMPLETE, *([] if shard is None else [shard])):
                assert serial in listed(self.installation, shard=place) or (place, serial) in self.gone

    def prune(self, keep: int) -> None:
        """Forget what expired longer ago; what has not left its lists stays, and so does the living."""
        before = self.stored()
        while prune_certificates(self.installation, timedelta(seconds=keep)):
            continue
        forgotten = before - self.stored()
        for serial, shard, not_after in self.issued:
            if serial in forgotten:
                assert not_after < self.now - keep
                assert (
                    serial not in self.revoked
                    or {(COMPLETE, serial), (COMPLETE if shard is None else shard, serial)} <= self.gone
                )

    def stored(self) -> set[str]:
        """The serial numbers of all certificates that are not forgotten."""
        return {row.serial for row in rows(self.installation.store, Certificate)}


@contextmanager
def history(backdate: int, refresh: int) -> Iterator[History]:
    """A fresh installation whose lists are refreshed often."""
    with tempfile.TemporaryDirectory() as directory:
        store = open_store(f"sqlite:///{directory}/certwright.db")
        try:
            policy = CrlPolicy(timedelta(hours=1), timedelta(seconds=refresh), timedelta(seconds=backdate))
            yield History(rig.make_installation(store, shards=2), policy, clock.timestamp() + 5)
        finally:
            store.close()


@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
@given(STEPS, st.sampled_from([0, 60]), st.sampled_from([1, 30]))
def test_entries_stay_as_long_as_they_must_and_then_leave(steps: list[Step], backdate: int, refresh: int) -> None:
    """Rows 71 and 72, for random histories of issuing, revoking, waiting, publishing and pruning."""
    with history(backdate, refresh) as story:
        for step in steps:
            story.step(*step)
        for _ in range(4):
            story.step("wait", 600)
            story.step("publish", 0)
        assert all(listed(story.installation, shard=place) == set() for place in (COMPLETE, 0, 1))
        assert crl.count_entries(story.installation) == 0
        story.step("prune", 0)
        assert count(story.installation.store, Revocation) == 0

"""A CA is declared compromised, and everything beneath it is replaced: minutes measured, everything accounted for.

`python -m tests.flows.compromise [LINEAGES [PER_MINUTE]]` founds an installation with so many lineages that we renew,
each with a destination in memory, starts the rotation of its issuing CA as compromised, and prints the account.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import func, select
from sqlmodel import col

from ca import clock
from ca.keys.algorithms import KeyType
from ca.keys.memory import MemoryKeyStore
from ca.keys.sealed import Sealer
from ca.models import Revocation
from ca.publication.signer import Signer
from ca.secret import Secret
from ca.store import open_store
from renewers.distribution import publishing
from renewers.duties import DUTIES
from renewers.issuers.internal import InternalIssuer
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Lineage, Replacement, Rotation, Tracked
from renewers.replacing import report
from renewers.replacing.sandbox import Model, Places, Sandbox
from renewers.rotation import starting
from renewers.rotation.plans import MOST_PER_MINUTE, RotationPlan
from tests import rig
from tests.renewers.rotating import make

_OWN = select(func.count()).select_from(Lineage).where(col(Lineage.mode) == "renewed")
WHY = "the key of the issuing CA was seen outside of its module"


@dataclass
class Outcome:
    """What became of it."""

    lineages: int
    founded: float
    seconds: float
    """From the declaration until every certificate was replaced, verified and revoked."""
    state: str
    stage: str
    account: report.Report
    revoked: int
    beneath: int
    """How many lineages have a certificate of the next CA."""

    @property
    def wrong(self) -> list[str]:
        """What keeps it from being all that was promised."""
        progress, found = self.account.progress, []
        if (progress.total, progress.left, progress.unaccounted) != (self.lineages, 0, 0):
            found.append(f"not everything is accounted for: {progress}")
        if self.revoked < self.lineages:
            found.append(f"{self.revoked} of {self.lineages} were revoked")
        if self.beneath != self.lineages:
            found.append(f"{self.beneath} of {self.lineages} are beneath the next CA")
        return found


class Declared(Sandbox):
    """A sandbox that publishes as well: a rotation waits until its new CA was published."""

    def beat(self) -> None:
        """What the schedule does."""
        before = self._beaten
        super().beat()
        if self._beaten != before:
            publishing.publish_due(self.lifecycle)


def compromise(
    home: Path, lineages: int, per_minute: int = MOST_PER_MINUTE, say: Callable[[str], None] = print
) -> Outcome:
    """Found it, declare the compromise, wait for the end."""
    store = open_store(f"sqlite:///{home / 'compromise.db'}")
    box = None
    try:
        box = Declared(_lifecycle(store), DUTIES)
        rig.make_hierarchy(box.lifecycle.installation, shards=4)
        began = time.monotonic()
        box.add([Model(names=(f"dns:host-{number}.{rig.DOMAIN}",)) for number in range(lineages)])
        box.run(_reached(box, _OWN.where(col(Lineage.current_id).is_not(None)), lineages, say))
        founded = time.monotonic() - began
        say(f"founded in {founded:.1f} s")
        began = time.monotonic()
        plan = RotationPlan("issuing", WHY, is_compromise=True, per_minute=per_minute)
        rotation = starting.start(box.lifecycle, rig.ADMIN, plan)
        over = select(func.count()).where(col(Replacement.state) == "done")
        box.run(_reached(box, over, 1, say))
        seconds = time.monotonic() - began
        retired = select(func.count()).where(col(Rotation.state) != "open")
        box.run(_reached(box, retired, 1, say))
        box.lifecycle.installation.ledger.sequence()
        return _outcome(box, rotation, lineages, founded, seconds)
    finally:
        if box is not None:
            box.runner.stop()
        store.close()


def _lifecycle(store: object) -> Lifecycle:
    keys = MemoryKeyStore()
    installation = make(store, keys, keys.create("ledger-key", KeyType.ED25519))  # type: ignore[arg-type]
    made = Lifecycle(
        installation=installation,
        sealer=Sealer(Secret("only for the tests"), bytes(16)),
        issuers={"internal": InternalIssuer(installation)},
        publishers={"memory": Places()},
        policy=Policy(workers=8),
        trust_domain=rig.DOMAIN,
    )
    return replace(made, sign_manifest=Signer(installation, rig.DOMAIN).sign)


def _reached(box: Sandbox, query: object, wanted: int, say: Callable[[str], None]) -> Callable[[], bool]:
    """Whether a count has come to a number; looked at twice a second, said every ten."""
    looked = told = 0.0
    deadline = time.monotonic() + 300 + 0.5 * wanted + 3600

    def is_over() -> bool:
        nonlocal looked, told
        now = time.monotonic()
        if now - looked < 0.5:
            return False
        looked = now
        assert now < deadline, "it does not end"
        with box.lifecycle.store.read() as connection:
            count = connection.execute(query).scalar_one()  # type: ignore[call-overload]
        if now - told > 10:
            told = now
            say(f"  {clock.now():%H:%M:%S} {count} of {wanted}")
        return bool(count >= wanted)

    return is_over


def _outcome(box: Sandbox, rotation: int, lineages: int, founded: float, seconds: float) -> Outcome:
    with box.lifecycle.store.read() as connection:
        row = connection.execute(select(Rotation).where(col(Rotation.id) == rotation)).one()
        made = connection.execute(select(col(Replacement.id))).scalar_one()
        revoked = connection.execute(select(func.count()).select_from(Revocation)).scalar_one()
        joined = _OWN.join(Tracked, col(Tracked.id) == col(Lineage.current_id))
        beneath = connection.execute(joined.where(col(Tracked.issuer).like("%CA 2"))).scalar_one()
    assert made is not None
    found = report.report(box.lifecycle, rig.ADMIN, made)
    return Outcome(lineages, founded, seconds, row.state, row.stage, found, revoked, beneath)


def main() -> None:
    """The full run."""
    numbers = [int(word) for word in sys.argv[1:]]
    lineages = numbers[0] if numbers else 10_000
    with tempfile.TemporaryDirectory() as home:
        outcome = compromise(Path(home), lineages, numbers[1] if len(numbers) > 1 else MOST_PER_MINUTE)
    account = outcome.account.progress
    accounted = 100 * (account.total - account.left - account.unaccounted) / max(account.total, 1)
    print(report.render(outcome.account), end="")
    print(f"rotation: {outcome.state}, {outcome.stage}")
    print(
        f"{lineages:,} certificates replaced in {outcome.seconds / 60:.1f} minutes, "
        f"{60 * lineages / outcome.seconds:,.0f} a minute; {accounted:.0f} % accounted for"
    )
    for one in outcome.wrong:
        print(f"WRONG: {one}")
    sys.exit(1 if outcome.wrong else 0)


if __name__ == "__main__":
    main()

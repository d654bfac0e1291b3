"""Put a certificate of our own CA on hold, and release it: a revocation that can be taken back."""

from __future__ import annotations

from ca import holding
from ca.access import Operation
from pki.web.context import identity_of
from pki.web.dashboard.acting import GOOD, HELD, Action, Doing, Fact, Plan
from pki.web.dashboard.acts_revocation import refusing, stored_of, warnings
from renewers.inventory.story import Story


def _can_be_held(_story: Story, standing: str) -> bool:
    return standing == GOOD


def _can_be_released(_story: Story, standing: str) -> bool:
    return standing == HELD


def _plan_hold(doing: Doing) -> Plan:
    stored = stored_of(doing)
    facts = [
        Fact("Serial number", stored.serial, "mono"),
        Fact("Asked for by", stored.requested_by),
        Fact("Ends by itself", stored.not_after, "moment"),
    ]
    effects = [
        "It stands on the next revocation list, which is signed within seconds, with the reason certificateHold.",
        refusing(doing, stored),
        "Its holder can neither use nor renew it. Release it, and it is good again; or revoke it for good.",
    ]
    return Plan(facts, effects, "Put on hold", warnings=list(warnings(doing, stored)))


def _hold(doing: Doing) -> str:
    holding.hold(doing.product.installation, doing.caller, stored_of(doing).serial)
    doing.product.metrics.revoked.labels("certificate-hold").inc()
    identity_of(doing.request).forget()
    return "held"


def _plan_release(doing: Doing) -> Plan:
    stored = stored_of(doing)
    facts = [
        Fact("Serial number", stored.serial, "mono"),
        Fact("On hold since", stored.revoked_at or 0, "moment"),
        Fact("Ends by itself", stored.not_after, "moment"),
    ]
    effects = [
        "The next revocation list, which is signed within seconds, names it no more.",
        "Whoever keeps an older list refuses it until that one ends, or is followed by a delta.",
    ]
    return Plan(facts, effects, "Release")


def _release(doing: Doing) -> str:
    holding.release(doing.product.installation, doing.caller, stored_of(doing).serial)
    identity_of(doing.request).forget()
    return "released"


HOLD = Action("hold", "Put on hold", Operation.REVOKE_ANY, _can_be_held, _plan_hold, _hold, "warn")
RELEASE = Action("release", "Release", Operation.REVOKE_ANY, _can_be_released, _plan_release, _release)

"""Renew now, and deliver again: what these say before they do it."""

from __future__ import annotations

import json

from ca.access import Operation
from ca.errors import BadRequest
from pki.web.dashboard.acting import Action, Doing, Fact, Field, Plan
from renewers.delivering import destinations
from renewers.inventory.joining import RENEWED
from renewers.inventory.story import Story
from renewers.models import Destination, Lineage
from renewers.renewing import course, renewal
from renewers.renewing.course import Course

NAMED = 5
"""How many names or places a sentence lists."""


def _is_ours_to_renew(story: Story, _standing: str) -> bool:
    return story.lineage is not None and story.is_current and story.lineage.mode == RENEWED


def _lineage(doing: Doing) -> Lineage:
    if doing.story.lineage is None:
        raise BadRequest("nothing here is planned: there is no lineage", code="bad-request")
    return doing.story.lineage


def _plan_renewal(doing: Doing) -> Plan:
    shown = course.show(doing.product.lifecycle, doing.caller, _lineage(doing).name)
    issuers = json.loads(shown.shown.lineage.issuers) or doing.product.lifecycle.policy.issuers
    effects = [
        f"A new certificate for the same names is asked of {' or '.join(issuers)}, at once and whatever the plan says.",
        _delivery(shown),
        "The present certificate stays good until its own end: it is not revoked.",
    ]
    warnings = []
    if shown.work is not None and shown.work.last_error:
        warnings.append(f"The last attempt failed: {shown.work.last_error}")
    return Plan(_facts(shown), effects, "Renew now", warnings=warnings)


def _facts(shown: Course) -> list[Fact]:
    current = shown.shown.current
    found = [Fact("Lineage", shown.shown.lineage.name)]
    if current is not None:
        found.append(Fact("Ends", current.not_after, "moment"))
    if shown.due is not None:
        found.append(Fact("Would be renewed by itself", shown.due.at, "moment"))
    if shown.renewals:
        last = shown.renewals[0]
        found.append(Fact("Last renewal", f"{last.state}, by {last.issuer}" if last.issuer else last.state))
    return found


def _delivery(shown: Course) -> str:
    places = [each.name for each in shown.shown.destinations]
    if not places:
        return "It is brought nowhere: no destination is known, and whoever uses it has to fetch it."
    more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
    return f"Then it is brought to {', '.join(places[:NAMED])}{more}, and looked at there."


def _renew(doing: Doing) -> str:
    lineage = _lineage(doing)
    if lineage.id is not None and renewal.now(doing.product.lifecycle, doing.caller, lineage.id):
        return "renewal-asked"
    return "renewal-under-way"


def _is_brought_somewhere(story: Story, _standing: str) -> bool:
    return story.lineage is not None and story.is_current and story.lineage.mode == RENEWED


def _destinations(doing: Doing) -> list[Destination]:
    of = _lineage(doing).id
    return destinations.listing(doing.product.lifecycle, doing.caller, lineage_id=of, limit=destinations.MAX_PAGE)[0]


def _plan_delivery(doing: Doing) -> Plan:
    known = _destinations(doing)
    facts = [Fact(each.name, f"{each.publisher}: {each.state}") for each in known[:20]]
    effects = [
        "What the destination shall have is brought there again, at once: a back-off is overridden.",
        "If what is there is the same already, it is written anew and its user reloads it.",
    ]
    if not known:
        return Plan(facts, ["There is no destination: nothing would happen."], "Deliver again")
    chosen = Field("destination", "Where", "choice", [(each.name, each.name) for each in known])
    return Plan(facts, effects, "Deliver again", [chosen])


def _deliver(doing: Doing) -> str:
    name = doing.field("destination")
    if name not in [each.name for each in _destinations(doing)]:
        raise BadRequest("this is no destination of it", code="bad-request")
    done = destinations.deliver_now(doing.product.lifecycle, doing.caller, name)
    return "delivery-asked" if done else "delivery-waits"


RENEW = Action("renew", "Renew now", Operation.RENEW_ANY, _is_ours_to_renew, _plan_renewal, _renew)
DELIVER = Action(
    "deliver", "Deliver again", Operation.MANAGE_INVENTORY, _is_brought_somewhere, _plan_delivery, _deliver
)

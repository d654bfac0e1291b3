"""Acknowledge, say whose it is, say that it is out of use: what these say before they do it."""

from __future__ import annotations

from ca import clock
from ca.access import Operation
from ca.errors import BadRequest
from pki.web.dashboard.acting import Action, Doing, Fact, Field, Plan
from pki.web.dashboard.words import left, utc
from renewers.answering import acknowledged
from renewers.inventory import ending, owners
from renewers.inventory.joining import RENEWED
from renewers.inventory.story import Story
from renewers.inventory.succession import ENDED

DAYS = (1, 3, 7, 14, 30, 60, 90)
DAY = 86400
MOST_OWNERS = 2000
ONE, ALL = "one", "all"


def _is_open(story: Story, _standing: str) -> bool:
    return story.replaced_by is None and story.tracked.stage != ENDED


def _plan_acknowledgement(doing: Doing) -> Plan:
    now, end = clock.timestamp(), doing.story.tracked.not_after
    effects = [
        "Until then no letter lists it, and nobody higher up is written to.",
        "It ends by itself, or when a newer certificate has come. That something has expired is told all the same.",
        "Your reason stands in the ledger, and the owner can read it.",
    ]
    until = Field("until", "You take care of it until", "choice", _until(now, end))
    reason = Field("reason", "What is being done about it", longest=acknowledged.MAX_REASON)
    return Plan([*_whose(doing), *_standing(doing)], effects, "Acknowledge", [until, reason])


def _until(now: int, end: int) -> list[tuple[str, str]]:
    days = [(now + each * DAY, f"{each} d") for each in DAYS]
    found = [(str(at), f"{utc(at)} UTC ({text})") for at, text in days if at < end]
    if now < end <= now + acknowledged.LONGEST:
        found.append((str(end), f"{utc(end)} UTC, its end"))
    return found


def _standing(doing: Doing) -> list[Fact]:
    with doing.product.lifecycle.store.read() as connection:
        found = acknowledged.of_tracked(connection, doing.story.tracked)
    if found is None:
        return []
    return [Fact("Acknowledged until", found.until, "moment"), Fact("By", found.by), Fact("Because", found.reason)]


def _acknowledge(doing: Doing) -> str:
    until = doing.field("until", longest=12)
    if not until.isascii() or not until.isdigit():
        raise BadRequest("choose until when", code="bad-until")
    acknowledged.acknowledge(doing.product.lifecycle, doing.caller, doing.what, int(until), doing.field("reason"))
    return "acknowledged"


def _plan_withdrawal(doing: Doing) -> Plan:
    effects = ["Letters about it are written again, and it escalates again, from the next look on."]
    return Plan(_standing(doing), effects, "Take it back")


def _withdraw(doing: Doing) -> str:
    done = acknowledged.withdraw(doing.product.lifecycle, doing.caller, doing.what)
    return "acknowledgement-withdrawn" if done else "nothing-acknowledged"


def _whose(doing: Doing) -> list[Fact]:
    ownership, ends = doing.story.ownership, doing.story.tracked.not_after
    name = "nobody" if ownership.owner is None else ownership.owner.name
    orphan = ", since nobody owns it" if ownership.is_orphan else ""
    return [
        Fact("Ends", ends, "moment"),
        Fact("Left", left(ends - clock.timestamp())),
        Fact("Who answers for it", f"{name}{orphan}"),
        Fact("Because", ownership.why),
    ]


def _plan_owner(doing: Doing) -> Plan:
    known = [row.name for row in owners.listing(doing.product.lifecycle, doing.caller)[:MOST_OWNERS]]
    effects = [
        "Letters about it go to that owner from now on, with its end as it is then.",
        "Left empty, it is whoever's the rules say, and the fallback owner's where they say nothing.",
    ]
    owner = Field("owner", "Whose it shall be", suggested=known, is_needed=False, longest=128)
    lineage = doing.story.lineage
    if lineage is None:
        return Plan(_whose(doing), effects, "Assign", [owner])
    choices = [(ALL, f"{lineage.name}, through all its renewals"), (ONE, "this one certificate alone")]
    return Plan(_whose(doing), effects, "Assign", [owner, Field("scope", "What", "choice", choices, value=ALL)])


def _assign(doing: Doing) -> str:
    lineage, owner = doing.story.lineage, doing.field("owner") or None
    if lineage is not None and doing.field("scope") != ONE:
        owners.assign(doing.product.lifecycle, doing.caller, owner, lineage=lineage.name)
    else:
        owners.assign(doing.product.lifecycle, doing.caller, owner, tracked=doing.what)
    return "owner-assigned"


def _can_be_given_up(story: Story, standing: str) -> bool:
    is_renewed = story.lineage is not None and story.is_current and story.lineage.mode == RENEWED
    return _is_open(story, standing) and not is_renewed and story.tracked.kind == "certificate"


def _plan_retirement(doing: Doing) -> Plan:
    there = [seen.place for seen in doing.story.places if seen.is_there]
    effects = [
        "Nobody is written to about its end any more. The ledger keeps who said so, and why.",
        "It is not revoked: whoever holds its key can use it until its end.",
    ]
    warnings = [f"It is still seen at {', '.join(there[:5])}: there it is watched all the same."] if there else []
    reason = Field("reason", "Why it is out of use")
    return Plan(_whose(doing), effects, "It is out of use", [reason], warnings)


def _retire(doing: Doing) -> str:
    reason = doing.field("reason")
    if len(reason) < 3:
        raise BadRequest("say why", code="reason-missing")
    done = ending.retire(doing.product.lifecycle, doing.caller, doing.what, reason)
    return "retired" if done else "retired-already"


_MAY = Operation.MANAGE_INVENTORY
ACKNOWLEDGE = Action("acknowledge", "Acknowledge", _MAY, _is_open, _plan_acknowledgement, _acknowledge)
WITHDRAW = Action("unacknowledge", "Take the acknowledgement back", _MAY, _is_open, _plan_withdrawal, _withdraw)
OWNER = Action("owner", "Assign owner", _MAY, lambda _story, _standing: True, _plan_owner, _assign)
RETIRE = Action("retire", "Out of use", _MAY, _can_be_given_up, _plan_retirement, _retire)

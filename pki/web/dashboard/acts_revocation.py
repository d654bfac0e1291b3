"""Revoke a certificate of our own CA: who will refuse it how soon, and who uses it now."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ca import certificates, cost, revocation
from ca.access import Operation
from ca.certificates import Query, Stored
from ca.errors import BadRequest, NotFound
from ca.x509.revocation_list import REASONS, RevocationReason
from pki.web.context import identity_of
from pki.web.dashboard.acting import GOOD, HELD, Action, Doing, Fact, Field, Plan
from renewers.distribution import consumers, showing
from renewers.distribution.streams import crl_stream
from renewers.inventory.story import Story

MOST = 200
LIVE = (GOOD, HELD)
NAMED = 5


def _can_be_revoked(_story: Story, standing: str) -> bool:
    return standing in LIVE


def ours(doing: Doing) -> Stored | None:
    """The certificate as our own CA has issued it, if it is good or on hold: others have serial numbers, too."""
    tracked = doing.story.tracked
    if tracked.kind != "certificate":
        return None
    try:
        stored = certificates.find(doing.product.installation.store, tracked.serial)
    except (NotFound, BadRequest):
        return None
    return stored if stored.state in LIVE and stored.spki_sha256 == tracked.spki_sha256 else None


def stored_of(doing: Doing) -> Stored:
    """The same, or `NotFound`."""
    found = ours(doing)
    if found is None:
        raise NotFound("our own CA has issued nothing here that is still good", code="unknown-certificate")
    return found


def _plan(doing: Doing) -> Plan:
    stored = stored_of(doing)
    facts = [
        Fact("Serial number", stored.serial, "mono"),
        Fact("Issued by", stored.authority),
        Fact("Profile", stored.profile),
        Fact("Asked for by", stored.requested_by),
        Fact("Ends by itself", stored.not_after, "moment"),
    ]
    reasons = [(word, word.replace("-", " ")) for word in REASONS]
    fields = [
        Field("reason", "Why", "choice", reasons, value="cessation-of-operation"),
        Field("sure", "Yes, revoke it for good: it cannot be taken back", "sure"),
    ]
    return Plan(facts, list(_effects(doing, stored)), "Revoke", fields, list(warnings(doing, stored)))


def _effects(doing: Doing, stored: Stored) -> Iterator[str]:
    yield f"It stands on the next revocation list, which is signed within seconds{grows(doing, stored)}."
    yield refusing(doing, stored)
    others = _same_key(doing, stored)
    many = f"{others} other certificate{'s' if others != 1 else ''}" if others < MOST else f"at least {MOST} others"
    too = f"{many} with the same key {'goes' if others == 1 else 'go'}, too" if others else "no other has the same key"
    yield f"If its key is compromised, {too}; the key is never certified again."


def grows(doing: Doing, stored: Stored) -> str:
    """What that does to the lists that it stands on."""
    found = cost.estimate(doing.product.installation, [[stored]], RevocationReason.CESSATION_OF_OPERATION)
    complete = next((one for one in found.lists if one.shard is None), None)
    if complete is None:
        return ""
    return f": {len(found.lists)} lists are made anew, the complete one with {complete.size_after} bytes"


def refusing(doing: Doing, stored: Stored) -> str:
    """How many will refuse it, and how soon, by what was measured."""
    profile = next((each for each in doing.product.installation.profiles if each.name == stored.profile), None)
    if profile is not None and profile.config.revocation.check == "none":
        return (
            "Nobody asks a list about certificates of this profile: it is let in until its end, whatever you do here."
        )
    lifecycle = doing.product.lifecycle
    stream = crl_stream(lifecycle.trust_domain)
    rows, more = consumers.page(lifecycle, doing.caller, stream=stream, limit=showing.MAX_PAGE)
    count = f"more than {len(rows)}" if more is not None else str(len(rows))
    measured = showing.latencies(lifecycle, doing.caller, stream=stream)
    who = f"{count} consumer{'' if count == '1' else 's'} hold{'s' if count == '1' else ''} our revocation lists"
    if measured is None:
        return f"{who}; how soon they refuse it has not been measured yet."
    half, all_of_them = math.ceil(measured.p50), math.ceil(measured.p99)
    return f"{who}: half of them have refused what was revoked within {half} s, 99 of 100 within {all_of_them} s."


def _same_key(doing: Doing, stored: Stored) -> int:
    of_it = Query(spki_sha256=stored.spki_sha256, state="valid")
    found, _ = certificates.page(doing.product.installation.store, of_it, limit=MOST)
    return sum(one.serial != stored.serial for one in found)


def warnings(doing: Doing, stored: Stored) -> Iterator[str]:
    """Who is hit: where it is seen, and what it is the current certificate of."""
    story = doing.story
    there = [seen.place for seen in story.places if seen.is_there]
    if there:
        more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
        yield f"It is in use at {', '.join(there[:NAMED])}{more}: who connects there is refused soon."
    elif story.places:
        yield f"It was last seen at {story.places[0].place}, which shows another one now."
    else:
        yield "It was never seen anywhere: who uses it is not known."
    if story.is_current and story.lineage is not None:
        yield f"It is the current certificate of {story.lineage.name}: renew that first, and revoke this one then."


def _revoke(doing: Doing) -> str:
    if doing.field("sure") != "yes":
        raise BadRequest("say that you are sure", code="not-sure")
    reason = revocation.parse_reason(doing.field("reason"))
    product = doing.product
    revoked = revocation.revoke(product.installation, doing.caller, stored_of(doing).serial, reason)
    product.metrics.revoked.labels(reason.word).inc(len(revoked.serials))
    identity_of(doing.request).forget()
    return "revoked"


REVOKE = Action("revoke", "Revoke", Operation.REVOKE_ANY, _can_be_revoked, _plan, _revoke, "bad")

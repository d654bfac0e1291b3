"""Which CA follows which: the old ones of a rotation, the next generation of each line, its name, profile and life.

What exists is looked up and never remembered, so that nothing is made twice: the next generation of a line is one that
is prepared, younger than the old one, and stands beneath the right parent. Nothing is decided here about when.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, select
from sqlmodel import col

from ca import clock, crossing, hierarchy
from ca.authority import OFFLINE, Authorities, State
from ca.errors import NotFound
from ca.founding import Plan
from ca.keys.algorithms import KeyType, key_type_of
from ca.models import Authority, Certificate, LedgerEntry
from ca.profiles.profile import Profile
from renewers.lifecycle import Lifecycle
from renewers.rotation.underway import BY, Underway

LONGEST_COMMON_NAME = 64
"""RFC 5280, appendix A.1: ub-common-name."""
_NUMBER = re.compile(r"(?P<stem>.*?)(?P<mark>[ \-]G?|[ \-])(?P<number>[0-9]{1,6})")


def outgoing(authorities: Authorities, line: str, *, is_compromise: bool) -> list[Authority]:
    """The CAs that a rotation of a line is to do away with, the root first.

    A root takes all beneath it along, whatever their state. Of a compromised line what was prepared before goes, too:
    its key lay beside the one that was stolen.
    """
    active = authorities.get(line)
    rows = [row for row in authorities.trusted() if row.id != active.id]
    beneath = [row for row in rows if active.id in {above.id for above in authorities.ancestors(row)}]
    beside = [row for row in rows if is_compromise and row.line == active.line and row.state == State.PREPARED]
    return [active, *sorted(beneath, key=lambda row: (len(authorities.ancestors(row)), row.id or 0)), *beside]


def leading(old: Sequence[Authority]) -> list[Authority]:
    """Those of them that sign now, and so need a next generation."""
    return [row for row in old if row.state == State.ACTIVE]


def parent_of(authorities: Authorities, row: Authority, incoming: Sequence[Authority]) -> Authority | None:
    """Beneath what the next generation of a CA belongs: the new root, else its root line's active one."""
    if row.parent_id is None:
        return None
    line = next(above.line for above in authorities.all() if above.id == row.parent_id)
    return next((other for other in incoming if other.line == line), None) or authorities.get(line)


def find(lifecycle: Lifecycle, rotation: Underway, old: Authority, parent: Authority | None) -> Authority | None:
    """The next generation that is there already; after a compromise only one that was made since."""
    wanted = None if parent is None else parent.id
    rows = [
        row
        for row in lifecycle.installation.authorities.all()
        if (row.line, row.parent_id, row.state) == (old.line, wanted, State.PREPARED)
        and row.generation > old.generation
        and row.not_after > clock.timestamp()
        and row.name not in rotation.outgoing
        and (not rotation.is_compromise or row.created_at >= rotation.started_at)
    ]
    return min(rows, key=lambda row: row.generation, default=None)


def make(lifecycle: Lifecycle, rotation: Underway, old: Authority, parent: Authority | None) -> Authority:
    """Make the next generation of a CA."""
    plan = plan_for(lifecycle, rotation, old)
    installation = lifecycle.installation
    if parent is None:
        cross_by = old.name if _is_to_certify(rotation, old) and old.key_label != OFFLINE else None
        return hierarchy.create_root(installation, BY, plan, cross_by=cross_by)
    profile = profile_for(lifecycle, old)
    return hierarchy.create_subordinate(installation, BY, profile.name, plan, parent=parent.name)


def uncertified(lifecycle: Lifecycle, rotation: Underway) -> list[tuple[str, str]]:
    """Each new root that an old one is to certify whose key is offline, and that one: people carry it there.

    One that another root certifies is left as somebody has wanted it.
    """
    authorities = lifecycle.installation.authorities
    new = {row.line: row for row in map(authorities.get, rotation.incoming) if row.parent_id is None}
    return [
        (new[old.line].name, old.name)
        for old in map(authorities.get, rotation.found["leading"])
        if old.line in new and old.key_label == OFFLINE and _is_to_certify(rotation, old)
        if crossing.good_cross(lifecycle.store, new[old.line]) is None
    ]


def _is_to_certify(rotation: Underway, old: Authority) -> bool:
    """Unless it has ended: then it certifies nobody any more, and nobody trusts it."""
    return rotation.policy.cross and old.not_after > clock.timestamp()


def strays(lifecycle: Lifecycle, rotation: Underway) -> list[Authority]:
    """What this rotation has made and then lost sight of: a process that died, or was overtaken, between the two."""
    known = {*rotation.outgoing, *rotation.incoming}
    rows, affected = lifecycle.installation.authorities.all(), rotation.found["lines"]
    found = [
        row
        for row in rows
        if row.state == State.PREPARED and row.name not in known and row.line in affected
        if row.created_at >= rotation.started_at
    ]
    with lifecycle.store.read() as connection:
        return [row for row in found if _is_ours(connection, row)]


def _is_ours(connection: Connection, row: Authority) -> bool:
    bodies = connection.execute(select(col(LedgerEntry.body)).where(col(LedgerEntry.subject) == row.name)).scalars()
    said = [json.loads(body) for body in bodies]
    return any((one["action"], one["by"]) == ("authority-created", BY.identity) for one in said)


def plan_for(lifecycle: Lifecycle, rotation: Underway, old: Authority) -> Plan:
    """What the next generation of a CA is to be: like the old one, but for what was asked of the line itself."""
    policy, certificate = rotation.policy, parsed(old)
    is_asked = old.line == rotation.line
    own_type = key_type_of(certificate.public_key())  # type: ignore[arg-type]
    wished = timedelta(seconds=policy.lifetime) if is_asked and policy.lifetime else lifetime_of(lifecycle, old)
    taken = [parsed(row).subject for row in lifecycle.installation.authorities.all()]
    subject = (
        policy.subject
        if is_asked and policy.subject is not None
        else next_subject(certificate.subject, taken, old.generation)
    )
    return Plan(
        line=old.line,
        subject=subject,
        key_type=policy.key_type or own_type or KeyType.P256,
        lifetime=wished,
        crl_shards=old.crl_shards,
        state=State.PREPARED,
    )


def lifetime_of(lifecycle: Lifecycle, old: Authority) -> timedelta:
    """As long as the old one was good for, or, where its own issuer cut that short, as its profile says."""
    had = timedelta(seconds=old.not_after - old.not_before + 1)
    if old.parent_id is None:
        return had
    profile = profile_for(lifecycle, old)
    return timedelta(seconds=min(max(int(had.total_seconds()), profile.lifetime), profile.longest))


def profile_for(lifecycle: Lifecycle, old: Authority) -> Profile:
    """The profile that makes CAs like this one: the one that made it, else one for its root. `NotFound` without one."""
    authorities, profiles = lifecycle.installation.authorities, lifecycle.installation.profiles
    root = next(row for row in authorities.all() if row.id == old.parent_id)
    fitting = [one for one in profiles if one.config.kind == "authority" and one.config.issuer == root.line]
    fitting = [one for one in fitting if one.name != crossing.PROFILE]
    with lifecycle.store.read() as connection:
        made = connection.execute(
            select(col(Certificate.profile)).where(col(Certificate.serial) == old.serial)
        ).scalar()
    by_rank = sorted(fitting, key=lambda one: (one.name != made, one.name != "sub-ca", one.name))
    if not by_rank:
        raise NotFound(
            f"no profile makes CAs beneath {root.line}, as {old.name} is",
            code="unknown-profile",
            hint=f"a profile of the kind authority with issuer = {root.line!r}",
        )
    return by_rank[0]


def next_subject(subject: x509.Name, taken: Sequence[x509.Name], generation: int) -> x509.Name:
    """The old subject with the next number: "Issuing CA" is followed by "Issuing CA 2", "Root G2" by "Root G3".

    Each generation needs a name of its own: GnuTLS and Java keep one CRL of a name.
    """
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME) or list(subject)[-1:]
    if not names:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")])
        names = list(subject)
    attribute, number = names[-1], generation
    while True:
        number += 1
        text = _numbered(str(attribute.value), number, generation)
        fresh = x509.NameAttribute(attribute.oid, text)
        made = x509.Name(
            x509.RelativeDistinguishedName(fresh if part is attribute else part for part in relative)
            for relative in subject.rdns
        )
        if made not in taken:
            return made


def _numbered(text: str, number: int, generation: int) -> str:
    """A number at the end is taken for the generation's if it is that, or stands behind a G."""
    found = _NUMBER.fullmatch(text)
    if found is not None and (int(found["number"]) == generation or found["mark"].endswith("G")):
        offset = int(found["number"]) - generation
        stem, mark, number = found["stem"], found["mark"], number + offset
    else:
        stem, mark = text, " "
    ending = f"{mark}{number}"
    return stem[: LONGEST_COMMON_NAME - len(ending)].rstrip() + ending


def parsed(row: Authority) -> x509.Certificate:
    """Its certificate as `cryptography` sees it."""
    return x509.load_der_x509_certificate(row.certificate)

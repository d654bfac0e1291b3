"""The end of a CA: it is an anchor no more, what still vouches for it is revoked, its last CRLs are signed, it retires.

Whether a certificate of an old CA is revoked: where its issuer goes with it, not, since whoever trusts neither needs no
list; after a compromise always, for those who still trust the old root. Where its issuer stays, yes, though nothing has
happened: else a key that nobody watches any more could sign for as long as its certificate lives, and nothing but an
entry in a list takes that back. It costs nothing, as no live leaf is left beneath.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlmodel import col

from ca import clock, crl, crossing, hierarchy, lastlist, revocation
from ca.authority import OFFLINE, State
from ca.errors import Conflict
from ca.models import Authority, Certificate, Revocation
from ca.x509.revocation_list import RevocationReason
from renewers.lifecycle import Lifecycle
from renewers.rotation.underway import BY, Underway


def outgoing(lifecycle: Lifecycle, rotation: Underway) -> list[Authority]:
    """The CAs that go, the root first."""
    return [lifecycle.installation.authorities.get(name) for name in rotation.outgoing]


def distrust(lifecycle: Lifecycle, rotation: Underway) -> list[str]:
    """Take them out of what is trusted; the names of those that were in it."""
    done = []
    for row in outgoing(lifecycle, rotation):
        if row.state == State.TAINTED:
            hierarchy.transition(lifecycle.installation, BY, row.name, State.DISTRUSTED)
            done.append(row.name)
        elif row.state == State.PREPARED:  # has signed nothing that could be used: it goes at once
            _retire(lifecycle, row)
            done.append(row.name)
    return done


def revoke(lifecycle: Lifecycle, rotation: Underway) -> list[str]:
    """Revoke what still vouches for them; the serial numbers of those that were not revoked before."""
    done = []
    for serial in _vouching(lifecycle, rotation):
        try:
            revocation.revoke(lifecycle.installation, BY, serial, _reason(rotation))
        except Conflict:  # another process was faster, or it has just expired
            continue
        done.append(serial)
    return done


def retire(lifecycle: Lifecycle, rotation: Underway) -> dict[str, int]:
    """Sign their last CRLs and let them go, those beneath first. The number of each last complete list."""
    return {
        row.name: _retire(lifecycle, row)
        for row in reversed(outgoing(lifecycle, rotation))
        if row.state != State.RETIRED
    }


def parents_that_stay(lifecycle: Lifecycle, rotation: Underway) -> list[str]:
    """The CAs above them that do not go, and whose CRLs say what becomes of them."""
    rows = outgoing(lifecycle, rotation)
    above = {issuer_id for row in rows for issuer_id, _ in _certified(lifecycle, row)} - {row.id for row in rows}
    everyone = lifecycle.installation.authorities.all()
    return [row.name for row in everyone if row.id in above and row.state != State.RETIRED]


def without_last(lifecycle: Lifecycle, rotation: Underway) -> list[str]:
    """Those that go whose key is offline, and whose last list nobody has had signed there."""
    return [
        row.name
        for row in outgoing(lifecycle, rotation)
        if row.state != State.RETIRED and row.key_label == OFFLINE and row.not_after > clock.timestamp()
        if not lastlist.has_last(lifecycle.installation, row.name)
    ]


def _retire(lifecycle: Lifecycle, row: Authority) -> int:
    """What has expired signs no list: nobody looks at one. What is offline has signed it, or nothing that was used."""
    number = 0
    if row.key_label == OFFLINE:
        number = crl.complete_number(lifecycle.installation, row.name) or 0
    elif row.not_after > clock.timestamp():
        number = lastlist.publish_last(lifecycle.installation, row.name).number
    hierarchy.transition(lifecycle.installation, BY, row.name, State.RETIRED)
    return number


def _certified(lifecycle: Lifecycle, row: Authority) -> list[tuple[int, str]]:
    """Who has certified a CA, and with which serial number; a root's own signature does not count."""
    own = [] if row.parent_id is None else [(row.parent_id, row.serial)]
    crosses = crossing.crosses(lifecycle.store)
    return own + [(cross.issuer_id, cross.serial) for cross in crosses if cross.authority_id == row.id]


def _vouching(lifecycle: Lifecycle, rotation: Underway) -> Sequence[str]:
    """Serial numbers that are to be revoked, of our own making, alive and not revoked yet."""
    rows = outgoing(lifecycle, rotation)
    going = {row.id for row in rows}
    gone = {row.id for row in lifecycle.installation.authorities.all() if row.state == State.RETIRED}
    serials = {
        serial
        for row in rows
        for issuer_id, serial in _certified(lifecycle, row)
        if issuer_id not in gone and (rotation.is_compromise or issuer_id not in going)
    }
    alive = (
        select(col(Certificate.serial))
        .outerjoin(Revocation, col(Revocation.serial) == col(Certificate.serial))
        .where(col(Certificate.serial).in_(serials), col(Certificate.not_after) >= clock.timestamp())
        .where(col(Revocation.serial).is_(None))
        .order_by(col(Certificate.id))
    )
    with lifecycle.store.read() as connection:
        return connection.execute(alive).scalars().all()


def _reason(rotation: Underway) -> RevocationReason:
    if rotation.is_reverting:
        return RevocationReason.CESSATION_OF_OPERATION
    return RevocationReason.CA_COMPROMISE if rotation.is_compromise else RevocationReason.SUPERSEDED

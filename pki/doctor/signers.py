"""What signs beside the CAs: OCSP answers and publications. Its certificates are short and follow each other.

They are looked for where they are recorded, so that it does not matter which replica uses them. A signer that nobody
has asked for since it ended is nothing: the next question makes another.
"""

from __future__ import annotations

from collections.abc import Iterator

from ca import certificates, clock
from ca.certificates import Query, Stored
from ca.enrolment import OCSP_PROFILE
from ca.ocsp.signer import CALLER as OCSP
from ca.publication.signer import CALLER as PUBLICATIONS
from pki.doctor.finding import Finding, Level
from pki.product import Product

SIGNERS = "signers"
FOLLOWED = "it is followed at half of its life: see the log of certwright serve for ocsp-signer and publication-signer"


def signers(product: Product) -> Iterator[Finding]:
    """Why one could not be had, if so; else how long those in use are good for."""
    troubles = dict(product.responder.signers.trouble)
    if (trouble := product.lifecycle.signing_trouble()) is not None:
        troubles["publications"] = trouble
    for name, error in troubles.items():
        message = f"no certificate could be had for what signs for {name}: {error.message}"
        yield Finding(SIGNERS, Level.PROBLEM, message, error.hint or FOLLOWED)
    ends = list(_in_use(product))
    now = clock.timestamp()
    late = [(name, one) for name, one in ends if one.not_after - now < (one.not_after - one.not_before) / 4]
    for name, one in late:
        message = f"what signs {name} ends in {(one.not_after - now) // 3600} hours and was not followed"
        yield Finding(SIGNERS, Level.WARNING, message, FOLLOWED)
    if not troubles and not late:
        first = min((one.not_after for _, one in ends), default=None)
        said = "" if first is None else f", the first ends in {(first - now) // 86400} days"
        yield Finding(SIGNERS, Level.OK, f"{len(ends)} certificates sign OCSP answers and publications{said}")


def _in_use(product: Product) -> Iterator[tuple[str, Stored]]:
    """The newest that is valid, of each CA's answers and of what signs publications."""
    store = product.installation.store
    for row in product.installation.authorities.standing():
        asked = Query(profile=OCSP_PROFILE, authority=row.name, state="valid", requested_by=OCSP.identity)
        yield from ((f"OCSP answers of {row.name}", one) for one in certificates.page(store, asked, limit=1)[0])
    asked = Query(profile="publication", state="valid", requested_by=PUBLICATIONS.identity)
    yield from (("publications", one) for one in certificates.page(store, asked, limit=1)[0])

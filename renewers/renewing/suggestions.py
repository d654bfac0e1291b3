"""Asking issuers when they would like a certificate renewed (RFC 9773, ARI): the handler of `ask-window` work.

The time within the window is chosen once and kept, so that asking often does not make it earlier. A window that has
moved gets a new choice; one that lies in the past means now, and what the issuer gives as its explanation is said.
"""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import select, update
from sqlmodel import col

from ca import clock
from ca.errors import IssuerUnavailable
from ca.ledger import log
from ca.store import Transaction
from renewers import work
from renewers.issuers import SuggestsWindow, Window
from renewers.lifecycle import Lifecycle
from renewers.mailing import crossings
from renewers.models import Lineage, Renewal, TrackedContent
from renewers.renewing import planning
from renewers.renewing.planning import Situation
from renewers.telling import events
from renewers.telling.alarms import BY
from renewers.timing import lead_time, watch
from renewers.work import Claim

ASK_AGAIN, ASK_SELDOM = 6 * 3600, 86400
"""Seconds until an issuer that does not answer is asked again; and one that has no opinion."""


def ask_window(lifecycle: Lifecycle, claim: Claim) -> None:
    """Ask for one lineage, keep the answer, plan its renewal anew where that changed it."""
    with lifecycle.store.read() as connection:
        found = planning.situation(connection, int(claim.subject))
        content = None if found is None else _content(connection, found)
        name = None if found is None else _issuer_of(connection, found)
    issuer = _suggesting(lifecycle, name)
    if found is None or found.lineage.mode != "renewed" or content is None or issuer is None:
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=None))
        return
    try:
        window = issuer.window(content.der, _first(content.chain))
    except IssuerUnavailable as error:
        again = clock.timestamp() + max(error.retry_after or 0, ASK_AGAIN)
        lifecycle.store.write(lambda tx: work.settle(tx, claim, again_at=again))
        return

    def unit(tx: Transaction) -> None:
        moment = clock.timestamp()
        work.settle(tx, claim, again_at=moment + (ASK_SELDOM if window is None else window.poll_after))
        if _keep(tx, found, window, moment):
            again = planning.situation(tx.connection, found.lineage.id)
            if again is not None:
                due = planning.due(tx.connection, again, lifecycle, moment)
                work.schedule(tx, "renew", claim.subject, due.at)

    lifecycle.store.write(unit)


def _keep(tx: Transaction, found: Situation, window: Window | None, moment: int) -> bool:
    """Keep the window and a time in it. False if nothing has changed."""
    lineage = found.lineage
    start, end = (None, None) if window is None else (window.start, window.end)
    if (lineage.ari_start, lineage.ari_end) == (start, end):
        return False
    chosen = None
    if window is not None:
        seed = f"{lineage.id}/{lineage.current_id}"
        chosen = lead_time.choose_in_window(window.start, window.end, seed=seed, now=moment)
    values = {"ari_start": start, "ari_end": end, "ari_chosen": chosen}
    explanation = None if window is None else window.explanation
    tx.execute(update(Lineage).where(col(Lineage.id) == lineage.id).values(**values, ari_explanation=explanation))
    watch.replan(tx, lineage.id)
    if window is not None and window.end <= moment:
        message = f"the issuer of {lineage.name} wants it renewed at once"
        details: dict[str, Any] = {"explanation": explanation, "start": start, "end": end}
        events.record(tx, "renewal-urged", lineage.name, message, severity="warning", **details)
        log.append(tx, "renewal-urged", lineage.name, BY, **details)
        crossings.note_urged(tx, lineage, explanation)
    return True


def _suggesting(lifecycle: Lifecycle, name: str | None) -> SuggestsWindow | None:
    issuer: object = lifecycle.issuers.get(name or "")
    return issuer if isinstance(issuer, SuggestsWindow) else None


def _content(connection: Any, found: Situation) -> Any:
    of = select(TrackedContent).where(col(TrackedContent.tracked_id) == found.lineage.current_id)
    return connection.execute(of).first()


def _issuer_of(connection: Any, found: Situation) -> str | None:
    """Who issued the current certificate."""
    of = select(col(Renewal.issuer)).where(col(Renewal.tracked_id) == found.lineage.current_id)
    issuer: str | None = connection.execute(of.order_by(col(Renewal.id).desc()).limit(1)).scalar()
    return issuer


def _first(chain: str) -> bytes | None:
    """DER of the first certificate of a chain."""
    found = x509.load_pem_x509_certificates(chain.encode()) if chain else []
    return found[0].public_bytes(Encoding.DER) if found else None

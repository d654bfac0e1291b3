"""What stands above a letter: subject, sender, thread, and how to be left alone.

Everything is one line of text that `email` folds and encodes (RFC 5322, RFC 2047): what strangers wrote is made ASCII
before. A thread is an owner's, and a lineage's where a letter is about few: the same for ever, so that mail programs
keep together what belongs together. Who reads the subject alone knows what to do.
"""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import EmailPolicy
from email.utils import format_datetime, parseaddr

from ca import clock
from renewers.answering import links
from renewers.answering.links import Purpose
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters
from renewers.models import Letter
from renewers.reports import words
from renewers.reports.calendar import domain_of
from renewers.reports.content import DIGEST, ESCALATION, Digest

THREADS = 5
"""How many lineages' threads a letter joins at most."""


class Verbatim(str):
    """A header that must not be encoded: `email` takes a long address for a word to be written as RFC 2047 has it."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, value: str) -> Verbatim:
        """A value in lines of ASCII, shorter than 998 (RFC 5322 section 2.1.1), each but the first indented."""
        made = super().__new__(cls, value)
        made.name = name
        return made

    def fold(self, *, policy: EmailPolicy) -> str:
        """As it stands."""
        return f"{self.name}: {policy.linesep.join(self.splitlines())}{policy.linesep}"


def subject(digest: Digest) -> str:
    """`[3 act now · 11 soon] payments-team certificates — next expiry 2026-11-27 api.pay.example (6 d 4 h)`."""
    counts = [f"{digest.now_count:,} act now"] if digest.now_count else []
    if digest.kind == ESCALATION:
        counts.append("nobody has answered")
    elif digest.soon_count:
        counts.append(f"{digest.soon_count:,} soon")
    what = f"{words.header(digest.owner.name, 64)} certificates"
    if digest.is_healthy:
        return f"{what} — {_in_order(digest)}"
    return f"[{' · '.join(counts)}] {what} — {_what_is_next(digest)}"


def write(message: EmailMessage, lifecycle: Lifecycle, digest: Digest, letter: Letter) -> None:
    """All headers of a letter but those of its parts."""
    mail, domain = lifecycle.mail, domain_of(lifecycle)
    name, address = parseaddr(mail.sender)
    message["From"] = Address(words.ascii_name(name), addr_spec=address)
    message["To"] = Address(addr_spec=letter.recipient)
    if mail.reply_to:
        message["Reply-To"] = Address(addr_spec=mail.reply_to)
    message["Subject"] = subject(digest)
    message["Date"] = format_datetime(clock.from_timestamp(digest.at))
    message["Message-ID"] = letters.message_id(mail, letter)
    roots = threads(digest, domain)
    message["In-Reply-To"] = roots[-1]
    message["References"] = " ".join(roots)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
    message["X-Auto-Response-Suppress"] = "All"
    if digest.kind == DIGEST:
        _list(message, lifecycle, letter, domain)


def threads(digest: Digest, domain: str) -> list[str]:
    """The owner's thread, and those of the lineages that an urgent letter is about."""
    found = [f"<owner-{digest.owner.id}.certificates@{domain}>"]
    if digest.kind != DIGEST:
        lineages = dict.fromkeys(row.lineage_id for row in digest.listed if row.lineage_id is not None)
        found += [f"<lineage-{lineage_id}.certificates@{domain}>" for lineage_id in list(lineages)[:THREADS]]
    return found


def _list(message: EmailMessage, lifecycle: Lifecycle, letter: Letter, domain: str) -> None:
    """The digests are a list that may be left with one click (RFC 2919, RFC 2369, RFC 8058); nothing urgent is."""
    message["List-Id"] = Verbatim("List-Id", f"Certificate digests <digest.certificates.{domain}>")
    ways = []
    if address := links.url(lifecycle, links.of_letter(letter, Purpose.UNSUBSCRIBE)):
        ways.append(f"<{address}>")
    if lifecycle.mail.reply_to:
        ways.append(f"<mailto:{lifecycle.mail.reply_to}?subject=unsubscribe>")
    if ways:
        message["List-Unsubscribe"] = Verbatim("List-Unsubscribe", ",\n ".join(ways))
    if address:
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"


def _what_is_next(digest: Digest) -> str:
    nearest = digest.nearest
    if nearest is None:
        return words.ascii_name(digest.notices[0].subject, 60)
    if nearest.left <= 0:
        return f"{nearest.header_name} expired {words.day(nearest.ends)}"
    return f"next expiry {words.day(nearest.ends)} {nearest.header_name} ({words.span(nearest.left)})"


def _in_order(digest: Digest) -> str:
    if digest.resting:
        return f"{digest.healthy:,} in order, {len(digest.resting):,} taken care of"
    return f"all {digest.healthy:,} in order" if digest.healthy != 1 else "in order"

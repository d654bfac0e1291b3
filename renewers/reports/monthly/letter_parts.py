"""What stands in the monthly letter: the summary as text and HTML of the same, and the report itself as PDF.

mixed( alternative( plain, html ), pdf ). It is a letter to people who sign: no list to leave, no link that acts; one
link to the dashboard, where whoever may see it signs in.
"""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ca import clock
from renewers.lifecycle import Lifecycle
from renewers.mailing import letters
from renewers.models import Letter
from renewers.plain import one_line
from renewers.reports.monthly import chapters, paper
from renewers.reports.monthly.blocks import BAD, WATCH, Fact, Facts, Report
from renewers.reports.monthly.html import SIGNS
from renewers.reports.monthly.snapshots import Kept


def compose(lifecycle: Lifecycle, letter: Letter, kept: Kept) -> EmailMessage:
    """The letter, ready to leave."""
    report = chapters.compose(kept)
    message = EmailMessage(SMTP)
    mail = lifecycle.mail
    name, address = parseaddr(mail.sender)
    message["From"] = Address(_ascii(name), addr_spec=address)
    message["To"] = Address(addr_spec=letter.recipient)
    if mail.reply_to:
        message["Reply-To"] = Address(addr_spec=mail.reply_to)
    message["Subject"] = subject(report)
    message["Date"] = format_datetime(clock.now())
    message["Message-ID"] = letters.message_id(mail, letter)
    domain = address.rpartition("@")[2] or "localhost"
    message["References"] = f"<monthly.certificates@{domain}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
    message["X-Auto-Response-Suppress"] = "All"
    link = f"{mail.link_url}/reports/monthly/{report.month}" if mail.link_url else ""
    values = {"report": report, "attention": attention(report), "link": link, "SIGNS": SIGNS}
    message.set_content(
        _environment(lifecycle.templates, is_html=False).get_template("letter.txt").render(values),
        cte="quoted-printable",
    )
    page = _environment(lifecycle.templates, is_html=True).get_template("letter.html").render(values)
    message.add_alternative(page, subtype="html", cte="quoted-printable")
    message.add_attachment(
        paper.render(report), maintype="application", subtype="pdf", filename=f"certificates-{report.month}.pdf"
    )
    return message


def subject(report: Report) -> str:
    """`Certificates in November 2026: 2 to act on, 5 to look at`."""
    found = [fact.tone for _, fact in attention(report)]
    counts = [f"{found.count(BAD)} to act on"] if BAD in found else []
    counts += [f"{found.count(WATCH)} to look at"] if WATCH in found else []
    return _ascii(f"{report.title}: {', '.join(counts) or 'all in order'}")


def attention(report: Report) -> list[tuple[str, Fact]]:
    """The figures that somebody has to act on or look at, the worst first, with the chapter that they stand in."""
    facts = [
        (chapter.title, fact)
        for chapter in report.chapters
        for block in chapter.blocks
        if isinstance(block, Facts)
        for fact in block.items
    ]
    return [each for tone in (BAD, WATCH) for each in facts if each[1].tone == tone]


def _ascii(text: str) -> str:
    """One line of ASCII, as headers have it."""
    return one_line(text, 200).encode("ascii", "replace").decode()


def _environment(templates: Path, *, is_html: bool) -> Environment:
    return Environment(
        loader=FileSystemLoader(templates / "report"),
        autoescape=is_html,  # noqa: S701 - a text part is no markup, and its values hold no control character
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )

"""From what is to be said to a message: text and HTML of the same, pictures, calendar and table (RFC 2045 to 2049).

mixed( alternative( plain, related( html, png... ) ), calendar, csv ): whoever shows no HTML shows the text, which says
all. A message is a fresh object each time. Lines are of 76 characters at most and end in CRLF however it is written
out, and nothing in it comes from anywhere else: no picture is fetched when it is opened.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP

from renewers.lifecycle import Lifecycle
from renewers.models import Letter
from renewers.reports import calendar, charts, headers, rendering, table
from renewers.reports.charts import Picture
from renewers.reports.content import DAILY, DIGEST, Digest
from renewers.reports.page import lay_out

Pictures = Mapping[str, tuple[str, Picture]]


def compose(lifecycle: Lifecycle, digest: Digest, letter: Letter) -> EmailMessage:
    """A letter, ready to leave. `letter` says to whom, as part of which thread, and carries the links."""
    domain, page = calendar.domain_of(lifecycle), lay_out(lifecycle, digest, letter)
    pictures = {name: (f"{name}@{domain}", picture) for name, picture in draw(digest).items()}
    message = EmailMessage(SMTP)
    headers.write(message, lifecycle, digest, letter)
    message["MIME-Version"] = "1.0"
    plain = _part("plain", rendering.text(lifecycle.templates, page))
    related = _together("related", _part("html", rendering.html(lifecycle.templates, page, pictures)))
    for name, (cid, picture) in pictures.items():
        related.attach(_image(name, cid, picture))
    message["Content-Type"] = "multipart/mixed"
    message.attach(_together("alternative", plain, related))
    if events := calendar.of_letter(digest, domain):
        message.attach(_attached("calendar", "deadlines.ics", events, method="PUBLISH"))
    if digest.everything and digest.kind in (DIGEST, DAILY):
        message.attach(_attached("csv", "certificates.csv", table.of_digest(digest), header="present"))
    return message


def draw(digest: Digest) -> dict[str, Picture]:
    """The pictures of a letter, by what they show."""
    found = {}
    if digest.nearest is not None:
        found["gauge"] = charts.gauge(digest.nearest)
    if digest.kind in (DIGEST, DAILY) and any(week.total for week in digest.weeks):
        found["histogram"] = charts.histogram(digest.weeks, digest.owner.time_zone)
    return found


def _together(how: str, *parts: EmailMessage) -> EmailMessage:
    made = EmailMessage(SMTP)
    made["Content-Type"] = f'multipart/{how}; type="text/html"' if how == "related" else f"multipart/{how}"
    for part in parts:
        made.attach(part)
    return made


def _part(subtype: str, text: str) -> EmailMessage:
    """Text, quoted-printable: read by people in its source, and never with a line that is too long."""
    made = EmailMessage(SMTP)
    made["Content-Type"] = f"text/{subtype}; charset=utf-8"
    made["Content-Transfer-Encoding"] = "quoted-printable"
    made.set_payload(binascii.b2a_qp(text.encode(), istext=True).decode("ascii"))
    return made


def _image(name: str, cid: str, picture: Picture) -> EmailMessage:
    made = EmailMessage(SMTP)
    made["Content-Type"] = f'image/png; name="{name}.png"'
    made["Content-Disposition"] = f'inline; filename="{name}.png"'
    made["Content-ID"] = f"<{cid}>"
    return _encoded(made, picture.png)


def _attached(subtype: str, filename: str, content: bytes, **parameters: str) -> EmailMessage:
    made = EmailMessage(SMTP)
    said = "".join(f"; {name}={value}" for name, value in parameters.items())
    made["Content-Type"] = f'text/{subtype}; charset=utf-8{said}; name="{filename}"'
    made["Content-Disposition"] = f'attachment; filename="{filename}"'
    return _encoded(made, content)


def _encoded(made: EmailMessage, content: bytes) -> EmailMessage:
    """Base64 in lines of 76 characters (RFC 2045 section 6.8)."""
    made["Content-Transfer-Encoding"] = "base64"
    lines = (content[start : start + 57] for start in range(0, len(content), 57))
    made.set_payload("".join(binascii.b2a_base64(line).decode("ascii") for line in lines))
    return made

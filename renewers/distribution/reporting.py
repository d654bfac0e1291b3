"""What a consumer says that it holds, and as whom it may say so: read strictly, whoever sent it.

    {"consumer": "edge-1", "stream": "crl:example.internal", "version": 1795000000, "sha256": "64 hex",
     "at": 1795000003, "state": "loaded"}              or "state": "refused", "reason": "why"

`at` is when the consumer looked, seconds since the epoch by its own clock. Read `acknowledging.py` next.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ca import clock
from ca.errors import BadRequest, TooLarge
from ca.x509 import names
from ca.x509.names import Kind
from renewers.plain import one_line

LOADED, REFUSED = "loaded", "refused"
LONGEST = 16 * 1024
"""Bytes of a signed report."""
AHEAD = 300
"""Seconds by which a consumer's clock may be ahead of ours: what it says later is compared with this."""
LONGEST_REASON = 300
MOST_IDENTITIES = 20
_FIELDS = frozenset({"stream", "version", "sha256", "at", "state", "reason"})
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")
"""As `ca/tokens.py` names them."""
_JWT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}:[ -~]{1,255}")
"""An issuer of JSON Web Tokens as the settings name it, and of whom it speaks."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Report:
    """That a consumer holds a version of a stream, or was brought it and refuses it."""

    stream: str
    version: int
    sha256: str
    """Of the manifest, hex."""
    at: int
    state: str = LOADED
    reason: str = ""


def check(report: Report) -> None:
    """`BadRequest` (`bad-report`) names everything that is wrong with it."""
    wrong = []
    reason: Any = report.reason
    if not isinstance(report.stream, str) or not 1 <= len(report.stream) <= 300 or not report.stream.isprintable():
        wrong.append("stream is no name of a stream")
    if type(report.version) is not int or not 0 < report.version < 1 << 53:
        wrong.append("version is no version")
    if not isinstance(report.sha256, str) or not _SHA256.fullmatch(report.sha256):
        wrong.append("sha256 is not 64 hexadecimal digits, in lower case")
    if type(report.at) is not int or not 0 < report.at < 1 << 53:
        wrong.append("at is not in seconds since the epoch")
    elif report.at > clock.timestamp() + AHEAD:
        wrong.append("at is in the future: the consumer's clock is wrong")
    if report.state not in (LOADED, REFUSED):
        wrong.append(f"state is neither {LOADED} nor {REFUSED}")
    if not isinstance(reason, str):
        wrong.append("reason is no text")
    if wrong:
        raise _bad("; ".join(wrong))


def read_report(found: Mapping[str, Any]) -> Report:
    """A report from JSON. `BadRequest` (`bad-report`) says what is wrong with it."""
    unknown = sorted(one_line(str(name), 40) for name in set(found) - _FIELDS)
    missing = [name for name in ("stream", "version", "sha256", "at") if name not in found]
    if unknown or missing:
        raise _bad("; ".join([*(f"{name} is missing" for name in missing), *(f"{one} is unknown" for one in unknown)]))
    reason = found.get("reason", "")
    shown = one_line(reason, LONGEST_REASON) if isinstance(reason, str) else reason
    report = Report(**{**found, "reason": shown})
    check(report)
    return report


def read_signed(body: bytes) -> tuple[str, Report]:
    """Of whom a signed report says that it is, and the report; nothing of it is to be believed yet."""
    if len(body) > LONGEST:
        raise TooLarge(f"a report has at most {LONGEST} bytes")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("it is not JSON") from None
    name = found.pop("consumer", None) if isinstance(found, dict) else None
    if not isinstance(name, str) or not 1 <= len(name) <= 63 or not name.isprintable():
        raise _bad("it does not say which consumer's it is")
    return name, read_report(found)


def check_identities(found: Iterable[Any]) -> tuple[str, ...]:
    """`token:NAME`, `jwt:ISSUER:SUBJECT`, `name:<kind>:<value>`, in canonical form. `BadRequest` if one is none."""
    checked = tuple(sorted({_identity(one) for one in found}))
    if len(checked) > MOST_IDENTITIES:
        raise BadRequest(f"a consumer has at most {MOST_IDENTITIES} identities", code="bad-identity")
    return checked


def read_identities(text: str) -> frozenset[str]:
    """The identities as a consumer's row keeps them."""
    return frozenset(json.loads(text))


def _identity(text: Any) -> str:
    kind, _, value = text.partition(":") if isinstance(text, str) else ("", "", "")
    if kind == "token" and _TOKEN.fullmatch(value):
        return f"token:{value}"
    if kind == "jwt" and _JWT.fullmatch(value):
        return f"jwt:{value}"
    if kind == "name" and value.partition(":")[0] in set(Kind):
        try:
            name = names.parse(value)
        except BadRequest as error:
            raise _bad_identity(text, error.message) from None
        if not name.is_wildcard:
            return f"name:{name}"
    raise _bad_identity(str(text), "it is no token, no subject of an issuer, and no whole name in a certificate")


def _bad_identity(text: str, why: str) -> BadRequest:
    shown = one_line(text, 100)
    return BadRequest(
        f"{shown!r} is nobody that reports: {one_line(why)}",
        code="bad-identity",
        hint="token:NAME, jwt:ISSUER:SUBJECT, name:uri:spiffe://..., name:dns:HOST, name:ip:ADDRESS, name:email:BOX",
    )


def _bad(what: str) -> BadRequest:
    return BadRequest(
        f"this is no report of a consumer: {what}",
        code="bad-report",
        hint='{"stream", "version", "sha256", "at"} and, if it was refused, "state": "refused" and a "reason"',
    )

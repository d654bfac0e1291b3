"""Rules by which certificates belong to an owner: all that one requester asked for, or all names beneath something.

A rule is one row whose text can be computed from what it matches, so that finding the owner of a name is a look at a
few keys, however many rules there are. Rules are `requester token:payments-ci`, `name dns:api.pay.example` (that name),
`name dns:*.pay.example` (all beneath it, at any depth), `name uri:spiffe://example/ns/pay/*` (all paths beneath it).
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from ca.errors import BadRequest
from ca.x509 import names
from ca.x509.names import Kind, Name
from renewers.inventory import shown
from renewers.inventory.names import text_of

MAX_DEPTH = 32
"""How many rules a path may match; deeper ones match by their beginning."""
_REQUESTER = re.compile(r"[a-z]+:[!-~]{1,190}")


class ClaimKind(StrEnum):
    """What a rule looks at."""

    REQUESTER = "requester"
    NAME = "name"


class Match(NamedTuple):
    """A rule that a name fits, and how closely: the larger rank wins."""

    rank: tuple[bool, int]
    pattern: str


def check_claim(kind: str, pattern: str) -> tuple[ClaimKind, str]:
    """The rule as it is stored. `BadRequest` says what is wrong with it."""
    match kind:
        case ClaimKind.REQUESTER:
            if not _REQUESTER.fullmatch(pattern):
                raise _bad(pattern, "a requester is written as the ledger does: token:payments-ci")
            return ClaimKind.REQUESTER, pattern
        case ClaimKind.NAME:
            return ClaimKind.NAME, shown.capped(_name_pattern(pattern), shown.MAX_NAME)
    raise BadRequest(f"{kind[:40]!r} is not a kind of claim", code="bad-claim", hint="requester, name")


def matches(name: str) -> list[Match]:
    """The rules that a name of a certificate fits, if there are such. An odd name fits none."""
    try:
        parsed = names.parse(name)
    except BadRequest:
        return []
    if str(parsed) != name:
        return []
    exact = Match((True, 0), text_of(parsed))
    if parsed.kind is Kind.DNS:
        return [exact, *_domains(parsed)]
    return [exact, *_paths(parsed)] if parsed.is_spiffe else [exact]


def _domains(name: Name) -> list[Match]:
    labels = name.value.split(".")
    above = [labels[start:] for start in range(1, len(labels))]
    return [Match((False, len(rest)), f"dns:*.{'.'.join(rest)}") for rest in above]


def _paths(name: Name) -> list[Match]:
    domain, segments = names.spiffe_parts(name.value)
    above = [segments[:end] for end in range(min(len(segments), MAX_DEPTH))]
    return [Match((False, len(path)), f"uri:spiffe://{'/'.join((domain, *path))}/*") for path in above]


def _name_pattern(pattern: str) -> str:
    if pattern.startswith(("uri:spiffe://", "spiffe://")):
        value = pattern.removeprefix("uri:")
        beneath = value.removesuffix("/*")
        checked = names.make(Kind.URI, beneath)
        if beneath != value and len(names.spiffe_parts(beneath)[1]) >= MAX_DEPTH:
            raise _bad(pattern, f"a path has at most {MAX_DEPTH - 1} segments")
        return f"{checked}/*" if beneath != value else str(checked)
    return str(names.parse(pattern))


def _bad(pattern: str, why: str) -> BadRequest:
    return BadRequest(f"{shown.line(pattern, 80)!r} is not a claim: {why}", code="bad-claim")

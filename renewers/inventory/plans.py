"""What a lineage shall be, and whether this installation can make it so. Nothing here changes anything."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ca.errors import BadRequest
from ca.keys.algorithms import KeyType
from ca.x509 import names
from ca.x509.names import Name
from renewers.inventory import shown
from renewers.inventory.joining import HOLDER, MANUAL, RENEWED
from renewers.lifecycle import Lifecycle

MODES = (RENEWED, MANUAL, HOLDER)
MAX_NAMES = 100
"""What public CAs put into one certificate at most."""
LONGEST = 100 * 366 * 86400
_NAME = re.compile(r"[\w*][\w.*@:/ ()-]{0,119}")
_PROFILE = re.compile(r"[A-Za-z0-9._-]{0,100}")


@dataclass(frozen=True, slots=True)
class LineagePlan:
    """What a lineage shall be."""

    name: str
    names: tuple[Name, ...]
    mode: str = RENEWED
    issuers: tuple[str, ...] = ()
    """Who is asked, in this order; empty for the policy's."""
    profile: str = ""
    key_type: str = ""
    """Empty for the policy's."""
    key_age: int = 0
    """Seconds for which one key may serve certificate after certificate; 0: each has a new one."""
    lifetime: int | None = None
    window: str = ""
    """A maintenance window by its name; empty: any time."""
    owner: str | None = None
    may_shrink: bool = False
    """Whether, when time runs out, it is renewed without a name that cannot be proved, for the sake of the rest."""


def check(lifecycle: Lifecycle, plan: LineagePlan, before: LineagePlan | None = None) -> None:
    """`BadRequest` if a plan cannot be carried out, saying why. Names that stay as they were may be anything."""
    if (before is None or plan.name != before.name) and (not _NAME.fullmatch(plan.name) or plan.name.endswith(" ")):
        raise _bad(f"{shown.line(plan.name, 80)!r} cannot be a lineage's name", "letters, digits, and . * @ : / ( ) -")
    if plan.mode not in MODES:
        raise _bad(f"{shown.line(plan.mode, 40)!r} is not a mode", ", ".join(MODES))
    if before is None or plan.mode == RENEWED or plan.names != before.names:
        _check_names(plan)
    if plan.key_type and plan.key_type not in set(KeyType):
        raise _bad(f"{shown.line(plan.key_type, 40)!r} is not a type of key", ", ".join(KeyType))
    if not _PROFILE.fullmatch(plan.profile):
        raise _bad(f"{shown.line(plan.profile, 80)!r} is not a profile's name")
    if not 0 <= plan.key_age <= LONGEST or (plan.lifetime is not None and not 0 < plan.lifetime <= LONGEST):
        raise _bad("key age and lifetime are seconds, and not more than a hundred years")
    if plan.window and plan.window not in lifecycle.policy.windows:
        raise _bad(f"there is no window {shown.line(plan.window, 60)!r}", ", ".join(lifecycle.policy.windows) or None)
    _check_issuers(lifecycle, plan)


def _check_names(plan: LineagePlan) -> None:
    if not 0 < len(plan.names) <= MAX_NAMES or len(set(plan.names)) != len(plan.names):
        raise _bad(f"a lineage has 1 to {MAX_NAMES} names, each once")
    for name in plan.names:
        if names.parse(str(name)) != name or len(str(name)) > shown.MAX_NAME:
            raise _bad(f"{shown.line(str(name), 80)!r} is not a name that can be planned")


def _check_issuers(lifecycle: Lifecycle, plan: LineagePlan) -> None:
    wanted = plan.issuers or (lifecycle.policy.issuers if plan.mode == RENEWED else ())
    unknown = [name for name in wanted if name not in lifecycle.issuers]
    if unknown:
        raise _bad(f"there is no issuer {shown.line(unknown[0], 60)!r}", ", ".join(lifecycle.issuers) or None)
    if len(set(wanted)) != len(wanted) or (plan.mode == RENEWED and not wanted):
        raise _bad("a lineage that we renew has at least one issuer, and each once")


def _bad(why: str, hint: str | None = None) -> BadRequest:
    return BadRequest(why, code="bad-lineage", hint=hint)

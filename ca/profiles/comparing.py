"""What a changed profile would change, in words, before it is in force: field by field, and by whom it is felt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ca.access import Role
from ca.profiles.config import format_duration
from ca.profiles.profile import Profile

_MORE_IS_WIDER = {"longest", "names.maximum"}
_MORE_IS_NARROWER = {"names.minimum"}
_SETS = {"keys", "usage.key", "usage.extended", "dangers.accepted"}
"""Lists whose order says nothing; each item more lets more through."""
_UNFELT = {"description", "lint.pkilint"}
_ROLES = (Role.OPERATOR, Role.REQUESTER)
"""Those that rules are written for; an admin may what an operator may."""


class Effect(StrEnum):
    """What a difference does to those who ask."""

    WIDER = "wider"
    """Something that is refused today is allowed."""
    NARROWER = "narrower"
    """Something that is allowed today is refused."""
    OTHER = "other"
    """Certificates are made differently."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not what it was; texts as a file would have them."""

    field: str
    before: str
    after: str
    effect: Effect


def compare(old: Profile, new: Profile) -> list[Difference]:
    """Every difference, those that let more through first. Rules of names are compared by role, as compiled."""
    found = [*_rules(old, new), *_fields(old, new)]
    return sorted(found, key=lambda one: (list(Effect).index(one.effect), one.field))


def _rules(old: Profile, new: Profile) -> Iterator[Difference]:
    for role in _ROLES:
        before, after = ({f"{rule.kind.value} {rule.text}" for rule in one.rules[role]} for one in (old, new))
        if (role in old.roles) != (role in new.roles):
            effect = Effect.WIDER if role in new.roles else Effect.NARROWER
            yield Difference(f"allow: {role}", _may(old, role), _may(new, role), effect)
        yield from (Difference(f"allow: {role}", "", rule, Effect.WIDER) for rule in sorted(after - before))
        yield from (Difference(f"allow: {role}", rule, "", Effect.NARROWER) for rule in sorted(before - after))


def _may(profile: Profile, role: Role) -> str:
    return "may ask" if role in profile.roles else "may not ask"


def _fields(old: Profile, new: Profile) -> Iterator[Difference]:
    before, after = (dict(_flat(one.config.model_dump(exclude={"allow"}))) for one in (old, new))
    for name in before:
        if before[name] == after[name]:
            continue
        if name in _SETS:
            gone, come = set(before[name]) - set(after[name]), set(after[name]) - set(before[name])
            yield from (Difference(name, "", str(item), Effect.WIDER) for item in sorted(come))
            yield from (Difference(name, str(item), "", Effect.NARROWER) for item in sorted(gone))
            continue
        yield Difference(name, _text(before[name]), _text(after[name]), _effect(name, before[name], after[name]))


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def _effect(name: str, before: Any, after: Any) -> Effect:
    if name in _UNFELT:
        return Effect.NONE
    if name in _MORE_IS_WIDER:
        return Effect.WIDER if after > before else Effect.NARROWER
    if name in _MORE_IS_NARROWER:
        return Effect.NARROWER if after > before else Effect.WIDER
    return Effect.OTHER


def _text(value: Any) -> str:
    return format_duration(value) if hasattr(value, "total_seconds") else str(value)

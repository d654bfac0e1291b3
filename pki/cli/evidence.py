"""By what right a rotation left a stage, in words: what `rotation show` and the demo say instead of JSON."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MORE = re.compile(r"and ([0-9]+) more")
NOBODY = "not waited for"
"""By what right a gate is passed on the way back, where nobody is harmed by what he still holds."""
FEW = 3
"""How many names are said before it is only said how many more there are."""


def in_words(stage: str, evidence: Mapping[str, Any]) -> str | None:
    """The evidence of a stage as a person says it; None if there is none."""
    if not evidence:
        return None
    if "gives_up" in evidence:
        back = f", back to {few(evidence['goes_back_to'])}" if evidence.get("goes_back_to") else ""
        return f"turned back: {few(evidence['gives_up'])} given up{back}: {evidence.get('reason', '')}"
    say = _SAY.get(stage)
    try:
        return say(evidence) if say is not None and "why" not in evidence else _plain(evidence)
    except KeyError:  # of another release
        return _plain(evidence)


def few(names: Sequence[str], most: int = FEW) -> str:
    """`a, b and 18 more`."""
    if len(names) <= most + 1:  # "and 1 more" is no shorter than its name
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def summed(waits: Sequence[str]) -> list[str]:
    """What a rotation waits for, with those together that it waits for in the same words: `a, b and 18 more: why`."""
    named, more = _counted(waits)
    groups: dict[str, list[str]] = {}
    for text in named:
        name, colon, why = text.partition(": ")
        groups.setdefault(why if colon else "", []).append(name if colon else text)
    if more and len(groups) == 1 and "" not in groups:
        ((why, names),) = groups.items()
        return [f"{', '.join(names[:FEW])} and {len(names) - FEW + more} more: {why}"]
    said = [f"{few(names)}: {why}" for why, names in groups.items() if why]
    return [*said, *groups.get("", []), *([f"and {more} more"] if more else [])]


def names_of(waits: Sequence[str]) -> str | None:
    """The same in a few names, without why."""
    named, more = _counted(waits)
    names = list(dict.fromkeys(text.partition(": ")[0] for text in named))
    if more:
        return f"{', '.join(names[:FEW])} and {len(names[FEW:]) + more} more"
    return few(names) or None


def _counted(waits: Sequence[str]) -> tuple[list[str], int]:
    """Those that are named, and how many more there are."""
    found = [(text, _MORE.fullmatch(text)) for text in waits]
    return [text for text, more in found if more is None], sum(int(more[1]) for _, more in found if more is not None)


def _made(evidence: Mapping[str, Any]) -> str:
    return f"{few(evidence['incoming'])} made"


def _published(evidence: Mapping[str, Any]) -> str:
    return f"published in {_versions(evidence['versions'])}"


def _held(evidence: Mapping[str, Any]) -> str:
    total, missing = evidence["consumers"], evidence["count_not_proved"]
    if not total:
        return "no consumer to wait for"
    if not missing:
        return f"proof: all {total} consumers hold it" if total > 1 else "proof: the one consumer holds it"
    without = few(evidence["not_proved"], FEW) if missing <= len(evidence["not_proved"]) else str(missing)
    return f"{_right(evidence)}: {total - missing} of {total} consumers hold it, without proof of {without}"


def _signing(evidence: Mapping[str, Any]) -> str:
    return f"{few(evidence['active'])} {'signs' if len(evidence['active']) == 1 else 'sign'} from now on"


def _begun(evidence: Mapping[str, Any]) -> str:
    return f"replacement {evidence['replacement']} begun: certwright replace show {evidence['replacement']}"


def _drained(evidence: Mapping[str, Any]) -> str:
    left = evidence["leaves"] + len(evidence["places"])
    replaced = f", {evidence['replaced']} replaced" if evidence.get("replaced") else ""
    waived = f", waived: {few(evidence['waived'])}" if evidence["waived"] else ""
    if not left and not waived:
        return f"proof: no live certificate is left beneath it{replaced}"
    alive = f"{evidence['leaves']} live certificates left" if evidence["leaves"] else "no other live certificate left"
    places = f", served still at {few(evidence['places'])}" if evidence["places"] else ""
    return f"{_right(evidence)}: {alive}{places}{replaced}{waived}"


def _let_go(evidence: Mapping[str, Any]) -> str:
    if not evidence["last_lists"]:
        return "retired, with no CRL left to sign"
    return f"last CRLs of {few(list(evidence['last_lists']))}, good until their end"


_SAY: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "prepare": _made,
    "introduce": _published,
    "prove": _held,
    "activate": _signing,
    "reissue": _begun,
    "drain": _drained,
    "distrust": _held,
    "retire": _let_go,
}

_RIGHTS = {"patience": "patience is at its end", "threshold": "enough for its plan", "override": "let pass in writing"}


def _right(evidence: Mapping[str, Any]) -> str:
    by = str(evidence["passed_by"] or NOBODY)
    return _RIGHTS.get(by, by)


def _versions(versions: Mapping[str, int]) -> str:
    return ", ".join(f"{stream.partition(':')[0]} {version}" for stream, version in sorted(versions.items()))


def _plain(evidence: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {_value(value)}" for name, value in evidence.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return few([_value(each) for each in value]) or "none"
    return str(value)

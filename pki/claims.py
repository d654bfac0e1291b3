"""What a token says of somebody: where in it a claim stands, and patterns that its text is held against.

A claim is named as it is called (`sub`, `groups`), or by a JSON Pointer (RFC 6901) where it stands within another:
`/kubernetes.io/namespace`. In a pattern `*` stands for what has neither `:` nor `/` in it, a closing `**` for all that
is left, and `{name}` for one plain label, which then is `{caller.name}` in the rules of profiles.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LONGEST = 1024
"""Characters of a claim that is still looked at."""
MOST = 200
"""Values of a list that are."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_SPECIAL = re.compile(r"\*\*|\*|\{[^{}]*\}")
_VARIABLE = re.compile(r"[a-z][a-z_]{0,30}")
_POINTER = re.compile(r"(?:/(?:[^/~]|~[01])+)+")


def check_place(text: str) -> str:
    """Return how a claim is named, or `ValueError`."""
    if not text or not text.isprintable() or (text.startswith("/") and not _POINTER.fullmatch(text)):
        raise ValueError(f"{text!r} names no claim: sub, or /kubernetes.io/namespace for one within another")
    return text


def check_variable(text: str) -> str:
    """Return the name of a variable, or `ValueError`."""
    if not _VARIABLE.fullmatch(text):
        raise ValueError(f"{text!r} names no variable: lower-case letters and underscores, as in {{caller.namespace}}")
    return text


def is_label(value: object) -> bool:
    """Whether rules of profiles take a value for a variable."""
    return isinstance(value, str) and re.fullmatch(_LABEL, value) is not None


def look_up(claims: Mapping[str, Any], place: str) -> Any:
    """What stands there; None if nothing does."""
    if not place.startswith("/"):
        return claims.get(place)
    found: Any = claims
    for step in place[1:].split("/"):
        if not isinstance(found, dict):
            return None
        found = found.get(step.replace("~1", "/").replace("~0", "~"))
    return found


@dataclass(frozen=True, slots=True)
class Pattern:
    """One compiled pattern."""

    text: str
    variables: frozenset[str]
    _compiled: re.Pattern[str]

    def match(self, said: Any) -> Mapping[str, str] | None:
        """What its variables stand for if a claim fits, as a text or as one of a list; None if it does not."""
        for value in _texts(said):
            if (found := self._compiled.fullmatch(value)) is not None:
                return found.groupdict()
        return None


def compile_pattern(text: str) -> Pattern:
    """Read a pattern. `ValueError` says what is wrong with it; one that would fit anybody is wrong, too."""
    pieces = re.split(r"([:/])", text)
    compiled, variables = "", list[str]()
    for place, piece in enumerate(pieces):
        found = _SPECIAL.findall(piece)
        if len(found) > 1 or set("{}") & set(_SPECIAL.sub("", piece)):
            raise ValueError(f"{text!r}: between two of : and / stands one of * and {{name}} at most")
        if not found:
            compiled += re.escape(piece)
            continue
        before, after = piece.split(found[0])
        if found[0] == "**" and (after or place != len(pieces) - 1):
            raise ValueError(f"{text!r}: ** closes a pattern")
        if found[0].startswith("{") and piece != found[0]:
            raise ValueError(f"{text!r}: {found[0]} stands for a whole part between : and /")
        if found[0].startswith("{"):
            variables.append(check_variable(found[0].strip("{}")))
        compiled += re.escape(before) + _regex(found[0]) + re.escape(after)
    if len(set(variables)) != len(variables):
        raise ValueError(f"{text!r}: each variable stands there once")
    if not re.search(r"[^*:/\s]", _SPECIAL.sub("", text)):
        raise ValueError(f"{text!r} fits anybody: write out what has to be there")
    return Pattern(text, frozenset(variables), re.compile(compiled))


def _regex(special: str) -> str:
    if special == "**":
        return r"[^\x00-\x1f\x7f]+"
    return r"[^:/\x00-\x1f\x7f]+" if special == "*" else f"(?P<{special.strip('{}')}>{_LABEL})"


def _texts(said: Any) -> Iterator[str]:
    """A claim as texts: truth values and whole numbers as JSON writes them; anything else is none."""
    for value in said[:MOST] if isinstance(said, list) else [said]:
        if isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, int) and abs(value) < 1 << 63:
            yield str(value)
        elif isinstance(value, str) and len(value) <= LONGEST:
            yield value

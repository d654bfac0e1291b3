"""Which token is meant: PKCS#11 URIs (RFC 7512), read strictly. Pure: nothing is opened here.

Only a token can be named: the keys in it are named by this program. A PIN never stands in a URI, which is shown in
settings, process lists and logs; what is refused here is therefore not repeated in the refusal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ca.errors import Misconfigured

EXAMPLE = "pkcs11:token=certwright?module-path=/usr/lib/softhsm/libsofthsm2.so"
_TOKEN = {"token": "label", "serial": "serial", "manufacturer": "manufacturer_id", "model": "model"}
_OBJECTS = {"object", "id", "type"}
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenUri:
    """What a token has to be called, by the names that it tells of itself; and where its module and its PIN are."""

    text: str
    attributes: tuple[tuple[str, str], ...]
    slot: int | None = None
    module: Path | None = None
    pin_source: Path | None = None

    def matches(self, slot: int, token: Mapping[str, str]) -> bool:
        """Whether the token in a slot is the one that is meant."""
        return self.slot in (None, slot) and all(token.get(name) == value for name, value in self.attributes)


def read_token_uri(text: str) -> TokenUri:
    """Parse one. `Misconfigured` says what is wrong, without the text."""
    scheme, _, rest = text.strip().partition(":")
    if scheme.lower() != "pkcs11":
        raise _wrong("it does not begin with pkcs11:")
    path, _, query = rest.partition("?")
    named, asked = dict(_pairs(path, ";")), dict(_pairs(query, "&"))
    if "pin-value" in named or "pin-value" in asked:
        raise _wrong("it holds the PIN itself, which others may read; name a file with it in keys.pin_file")
    if named.keys() & _OBJECTS:
        raise _wrong("it names an object; name the token alone, the keys in it get their names from us")
    unknown = sorted((named.keys() - _TOKEN.keys() - {"slot-id"}) | (asked.keys() - {"module-path", "pin-source"}))
    if unknown:
        raise _wrong(f"{', '.join(unknown)} means nothing here")
    if not named:
        raise _wrong("it names no token")
    return TokenUri(
        text=text.strip(),
        attributes=tuple((_TOKEN[name], value) for name, value in named.items() if name in _TOKEN),
        slot=_number(named["slot-id"]) if "slot-id" in named else None,
        module=_file(asked, "module-path"),
        pin_source=_file(asked, "pin-source"),
    )


def _pairs(part: str, separator: str) -> Iterator[tuple[str, str]]:
    seen = set()
    for piece in part.split(separator) if part else ():
        name, is_set, value = piece.partition("=")
        if not is_set or not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", name):
            raise _wrong("it is not made of name=value")
        if name in seen:
            raise _wrong(f"it says {name} twice")
        seen.add(name)
        yield name, _decoded(name, value)


def _decoded(name: str, value: str) -> str:
    try:
        text = "" if _BROKEN.search(value) else unquote(value, errors="strict")
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise _wrong(f"the value of {name} is empty or not percent-encoded text")
    return text


def _number(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", value):
        raise _wrong("slot-id is not a number")
    return int(value)


def _file(asked: Mapping[str, str], name: str) -> Path | None:
    if name not in asked:
        return None
    path = Path(re.sub(r"\A(file:)?(//(localhost)?(?=/))?", "", asked[name]))
    if not path.is_absolute():
        raise _wrong(f"{name} is not an absolute path")
    return path


def _wrong(why: str) -> Misconfigured:
    return Misconfigured(f"the PKCS#11 URI cannot be used: {why}", hint=f"RFC 7512; such as {EXAMPLE}")

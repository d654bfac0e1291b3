"""Text that strangers wrote, made harmless before it is stored, searched by or shown: escaped, capped, still distinct.

Control characters, NULs, line ends and what reorders text on a screen (Unicode's category "other") become visible
escapes (rows 42 and 98 of the field's failures). Two different texts never become the same one: what is too long keeps
a hash of all of it.
"""

from __future__ import annotations

from hashlib import sha256

MAX_NAME = 500
"""How long a name is kept: an index of PostgreSQL takes no row over 2,700 bytes."""
MAX_TEXT = 300


def harmless(text: str) -> str:
    """`text` with everything escaped that does not simply print."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def literal(content: bytes) -> str:
    """Bytes that should be ASCII text: what is not, and the backslash, is escaped, so that none looks like another."""
    return "".join(chr(b) if 0x20 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in content)


def capped(text: str, longest: int) -> str:
    """`text`, or its beginning and a hash of all of it."""
    if len(text) <= longest:
        return text
    digest = sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
    return f"{text[: longest - 36]}...#{digest}"


def line(text: str, longest: int = MAX_TEXT) -> str:
    """One line of bounded length for people."""
    return capped(harmless(text), longest)


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"

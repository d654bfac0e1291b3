"""What may name a version and a file wherever material is brought, and what publishers hand out that keep no secrets.

Names are the same everywhere: plain enough for a path, an object's key, a topic and a header. Nothing else gets out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ca.errors import BadRequest, NotDelivered
from renewers.plain import one_line
from renewers.publishers import Material

VERSION = re.compile(r"[a-z0-9](?:[a-z0-9_-]|\.(?!\.)){0,126}[a-z0-9]")
FILE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,100}")


def check_names(material: Material) -> None:
    """`NotDelivered` if its version or one of its files is called something else."""
    if not VERSION.fullmatch(material.version):
        raise NotDelivered(f"{material.version[:140]!r} cannot name a version")
    if odd := [name for name in (*material.files, *material.secrets) if not FILE.fullmatch(name)]:
        raise NotDelivered(f"{odd[0][:140]!r} cannot name a file")


def public_files(material: Material) -> Mapping[str, bytes]:
    """The files of material that everybody may read. `NotDelivered`, all of it, if there is a secret among them."""
    check_names(material)
    if material.secrets:
        raise NotDelivered(
            f"{material.version} has a key in it, and where it is to go keeps no secrets",
            code="not-for-secrets",
            hint="bring keys by files, or to a place that says that it keeps secrets",
        )
    return material.files


Read = Callable[[Any], Any]
"""Takes one value of a setting; `ValueError` says what is wrong with it, to follow its name in a sentence."""


def read_with(
    readers: Mapping[str, Read], settings: Mapping[str, Any], *, makes: str, required: Sequence[str] = ()
) -> dict[str, Any]:
    """What the settings of one place say. `BadRequest` names every one that is wrong, unknown or missing."""
    wrong, values = [], {}
    for name, value in settings.items():
        read = readers.get(name)
        if read is None:
            wrong.append(f"{str(name)[:40]!r} is not a setting")
            continue
        try:
            values[name] = read(value)
        except ValueError as error:
            wrong.append(f"{name} {error}")
    wrong += [f"{name} is missing" for name in required if name not in settings]
    if wrong:
        known = f"there are {', '.join(readers)}" if readers else "there are no settings"
        raise BadRequest(f"these settings do not make {makes}: {'; '.join(wrong)}", code="bad-settings", hint=known)
    return values


def one_of(known: Mapping[str, Any], what: str) -> Read:
    """A reader of the name of something that the machine's own settings define."""

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in known:
            shown = repr(one_line(value, 60)) if isinstance(value, str) else "this"
            raise ValueError(f"is no {what}: {shown} is not in the settings of this machine")
        return known[value]

    return read

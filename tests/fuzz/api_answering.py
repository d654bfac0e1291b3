"""Values about letters, answers and who is signed in that mean something to a living installation; as `api_living`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ca import clock
from tests.fuzz.api_choosing import Choosing

DEAD = "gone@example.internal"
VISITORS = ("token:admin", "token:operator", "token:auditor", "token:requester")
NOUNS = frozenset({"acknowledged", "mailboxes", "bounces", "letters", "reports", "sign-in-links", "sessions"})
PLACES: Mapping[str, tuple[str, ...]] = {
    "mailboxes": (DEAD,),
    "letters": ("1",),
    "sessions": VISITORS,
}
QUERIES: Mapping[str, Mapping[str, list[Any]]] = {
    "mailboxes": {"dead": [True, False]},
    "letters": {
        "at": ["2027-01-04", "2027-01-04T12:00:00Z", "soon", "9999-12-31", ""],
        "owner": ["everybody", "none"],
        "kind": ["digest", "urgent"],
        "state": ["open", "sent"],
    },
    "reports": {
        "at": ["2027-01-04", "soon", "0001-01-01", "9999-12-31"],
        "kind": ["digest", "daily", "urgent"],
    },
}
NEEDED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "letters": {"what": ("standing", "\u202e")},
    "reports": {"owner": ("everybody", "none"), "month": (f"{clock.now():%Y-%m}", "2027-13")},
}
"""Parameters that are never left out: what is right, and what is odd."""
VECTORS = Path(__file__).parent.parent / "vectors" / "bounces"
_REPORT = (VECTORS / "postfix-failed.eml").read_bytes()


def encoded(content: bytes) -> str:
    """Base64."""
    return base64.b64encode(content).decode()


def makers(one: Choosing, number: Callable[[], int]) -> Mapping[str, Callable[[], dict[str, Any]]]:
    """What makes the body of an operation."""

    def care() -> dict[str, Any]:
        both = {"within": "1h", "until": "2027-01-04"}
        odd: Sequence[Any] = ({}, {"within": "x"}, both, {"until": "9999-12-31T23:59:59-23:59"}, {"until": "soon"})
        return {
            **one(({"within": "1h"}, {"within": "2h"}), odd),
            "reason": one(["it is in hand"], ("", "x", "\u200b" * 5, "r" * 300, "\x00")),
        }

    def bounce() -> dict[str, Any]:
        cut = _REPORT[: number() % len(_REPORT)]
        odd = ("", "!", encoded(cut), encoded(b"\xff" * 500), encoded(_REPORT.replace(b"failed", b"\xf0\x9f\r\n")))
        return {"message": one([encoded(_REPORT)], odd)}

    return {
        "PUT /tracked/{identity}/acknowledgement": care,
        "PUT /lineages/{name}/acknowledgement": care,
        "POST /bounces": bounce,
        "POST /owners/{name}/calendar": lambda: {"renew": one([True, False], ("x", 1, None))},
        "POST /sign-in-links": lambda: one(
            [{}, {"lifetime": "5m"}], ({"role": "root"}, {"lifetime": "9y"}, {"name": ""})
        ),
    }

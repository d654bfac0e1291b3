"""A DNS provider for dns-lexicon that keeps its zone in memory, and misbehaves as real ones were seen to.

Put on the path of Lexicon's providers by `tests/renewers/test_solvers_lexicon.py`; `mode` is one of the provider's
options.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

from lexicon.exceptions import AuthenticationError
from lexicon.interfaces import Provider as Interface


class HttpProblem(Exception):
    """As `requests.HTTPError`: its text is a URL with the token in it."""

    def __init__(self, token: str) -> None:
        super().__init__(f"403 Client Error for url: https://api.example/?token={token}")
        self.response = type("Response", (), {"status_code": 403})()


class Provider(Interface):
    """Its modes: `plain`, `quoted`, `whole-zone`, `no-ids`, `swallows`, `forbids`, `hangs`, `dies`."""

    zone: ClassVar[dict[int, tuple[str, str]]] = {}
    calls: ClassVar[list[tuple[Any, ...]]] = []
    released: ClassVar[threading.Event] = threading.Event()

    @staticmethod
    def get_nameservers() -> list[str]:
        """None."""
        return []

    @staticmethod
    def configure_parser(parser: Any) -> None:
        """No command line."""

    def authenticate(self) -> None:
        """By a token, for one zone."""
        self.mode = self._get_provider_option("mode") or "plain"
        token = self._get_provider_option("auth_token")
        if self.mode == "forbids":
            raise HttpProblem(str(token))
        if token != "sesame" or self.domain != "zone.example":
            raise AuthenticationError(f"no access to {self.domain} with {token}")

    def cleanup(self) -> None:
        """Told."""
        self.calls.append(("cleanup",))

    def create_record(self, rtype: str, name: str, content: str) -> bool:
        """Once."""
        self.calls.append(("create", rtype, name, content, self._get_lexicon_option("ttl")))
        if self.mode == "hangs":
            self.released.wait(120)
        if self.mode == "dies":
            raise KeyError(content)
        if self.mode == "swallows":
            return False
        if (self._full_name(name), content) not in self.zone.values():
            self.zone[max(self.zone, default=0) + 1] = (self._full_name(name), content)
        return True

    def list_records(
        self, rtype: str | None = None, name: str | None = None, content: str | None = None
    ) -> list[dict[str, Any]]:
        """Some give everything, some give texts with quotes, some give no identifiers."""
        wanted = None if name is None or self.mode == "whole-zone" else self._full_name(name)
        quote = '"' if self.mode == "quoted" else ""
        dot = "." if self.mode == "whole-zone" else ""
        return [
            {"type": "TXT", "name": owner + dot, "content": f"{quote}{text}{quote}"}
            | ({} if self.mode == "no-ids" else {"id": number})
            for number, (owner, text) in self.zone.items()
            if wanted in (None, owner)
        ]

    def update_record(self, *_: Any, **__: Any) -> bool:
        """Never asked for."""
        raise NotImplementedError

    def delete_record(
        self,
        identifier: str | None = None,
        rtype: str | None = None,
        name: str | None = None,
        content: str | None = None,
    ) -> bool:
        """One by its identifier; without one, everything at the name, as some did (OVH, until 3.25.1)."""
        self.calls.append(("delete", identifier, rtype, name, content))
        if identifier is not None:
            del self.zone[int(identifier)]
            return True
        owner = self._full_name(name or "")
        gone = [
            n for n, held in self.zone.items() if held[0] == owner and (self.mode != "no-ids" or held[1] == content)
        ]
        for number in gone:
            del self.zone[number]
        return True

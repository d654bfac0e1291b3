"""Cases from the OpenAPI description: what it allows and what it forbids, by schemathesis, the same for the same seed.

A case is not a request yet: the campaign puts values of a living installation into it (`api_values`), or breaks what
it has become on the wire (`api_damage`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from tests.fuzz.api_wire import Ask

_NOT_IN_HEADERS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""What an HTTP parser lets nobody send."""
JSON_TYPE = (b"content-type", b"application/json")


@dataclass(frozen=True)
class Case:
    """Values for the parameters and the body of one operation; `path` is percent-encoded already."""

    operation: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    has_body: bool = False

    def ask(self, caller: str, kind: str) -> Ask:
        """The request that it makes."""
        method, _, template = self.operation.partition(" ")
        path = re.sub(r"\{(\w+)\}", lambda match: self.path.get(match[1]) or "-", template)
        return Ask(
            operation=self.operation,
            caller=caller,
            kind=kind,
            method=method,
            path=path,
            query=_query(self.query),
            headers=(*((JSON_TYPE,) if self.has_body else ()), *_headers(self.headers)),
            body=_body(self.body) if self.has_body else b"",
        )


Corpus = Mapping[str, Mapping[str, list[Case]]]
"""By operation, and then `described` or `negative`."""


def operations(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Everything that an OpenAPI document describes: `GET /path` and its description."""
    return {
        f"{method.upper()} {path}": described
        for path, item in document["paths"].items()
        for method, described in item.items()
    }


def make_corpus(document: dict[str, Any], count: int, chance: int) -> Corpus:
    """Up to `count` cases of either kind for every operation; there is a single one where nothing can be chosen."""
    schema = schemathesis.openapi.from_dict(document)
    corpus: dict[str, dict[str, list[Case]]] = {}
    for name, description in operations(document).items():
        method, _, path = name.partition(" ")
        drawn = schema[path][method]
        corpus[name] = {"described": list(_draw(name, drawn, GenerationMode.POSITIVE, count, chance))}
        if _can_be_negative(description):
            corpus[name]["negative"] = list(_draw(name, drawn, GenerationMode.NEGATIVE, count, chance))
    return corpus


def _can_be_negative(description: Mapping[str, Any]) -> bool:
    """Whether the description forbids anything: no text in a path is forbidden."""
    parameters: Iterable[Mapping[str, Any]] = description.get("parameters", ())
    return "requestBody" in description or any(
        parameter["in"] != "path" or parameter["schema"].get("type") != "string" for parameter in parameters
    )


def _draw(name: str, operation: Any, mode: GenerationMode, count: int, chance: int) -> Iterator[Case]:
    found: list[Any] = []

    @seed(chance)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def draw(case: Any) -> None:
        found.append(case)

    draw()
    for case in found:
        body = case.body
        yield Case(
            operation=name,
            path={key: quote(str(value), safe="%") for key, value in (case.path_parameters or {}).items()},
            query=dict(case.query or {}),
            headers={key: str(value) for key, value in (case.headers or {}).items()},
            body=None if isinstance(body, NotSet) else body,
            has_body=not isinstance(body, NotSet),
        )


def _query(values: Mapping[str, Any]) -> str:
    pairs = [
        (name, one if isinstance(one, str) else json.dumps(one))
        for name, value in values.items()
        for one in (value if isinstance(value, list) else [value])
    ]
    return urlencode(
        [(name.encode("utf-8", "surrogatepass"), one.encode("utf-8", "surrogatepass")) for name, one in pairs]
    )


def _headers(values: Mapping[str, str]) -> Iterator[tuple[bytes, bytes]]:
    for name, value in values.items():
        sent = value.encode("latin-1", "replace")
        yield name.lower().encode("ascii", "replace"), _NOT_IN_HEADERS.sub(b"", sent).strip()


def _body(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return json.dumps(value, default=str).encode()

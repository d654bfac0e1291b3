"""The table of requests beside a profile: what must be allowed and what must be refused, and for which reasons.

`config/profiles/NAME.examples.toml` is to a profile what a test is to code; `certwright profile test` runs it, and so
does the test suite. An example that expects a refusal names the codes of its reasons, all of them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ca import policy
from ca.access import Role
from ca.errors import BadRequest, Misconfigured
from ca.keys.algorithms import KeyType
from ca.profiles.collection import EXAMPLES_SUFFIX
from ca.profiles.config import Duration
from ca.profiles.profile import Profile
from ca.x509 import names


class Example(BaseModel):
    """One request: who asks for what, and why it is there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: str
    role: Role = Role.OPERATOR
    attributes: dict[str, str] = {}
    names: list[str] = []
    key: KeyType = KeyType.P256
    lifetime: Duration | None = None


class Refused(Example):
    """A request that has to be refused for exactly these reasons."""

    because: list[str] = Field(min_length=1)


class Examples(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allowed: list[Example] = []
    refused: list[Refused] = []


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one example came to."""

    why: str
    expected: tuple[str, ...]
    found: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def is_as_expected(self) -> bool:
        """Whether the profile does what its author meant."""
        return self.expected == self.found


def read_examples(directory: Path, profile: str, variables: Mapping[str, str]) -> Examples:
    """The examples beside a profile; empty if there are none. `{domain}` and the like are filled in names."""
    path = directory / f"{profile}{EXAMPLES_SUFFIX}"
    if not path.exists():
        return Examples()
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8 text: byte {error.start}", code="bad-examples") from None
    for name, value in variables.items():
        text = text.replace(f"{{{name}}}", value)
    try:
        return Examples.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{path}: {error}", code="bad-examples") from None


def run_examples(profile: Profile, examples: Examples) -> list[Outcome]:
    """Judge every example against the profile."""
    return [
        *(_run(profile, example, ()) for example in examples.allowed),
        *(_run(profile, example, tuple(sorted(example.because))) for example in examples.refused),
    ]


def _run(profile: Profile, example: Example, expected: tuple[str, ...]) -> Outcome:
    lifetime = profile.lifetime if example.lifetime is None else int(example.lifetime.total_seconds())
    try:
        parsed = [names.parse(name) for name in example.names]
    except BadRequest as error:
        return Outcome(example.why, expected, (error.code,), (error.message,))
    subject = policy.Subject(parsed, example.key, lifetime, example.role, example.attributes)
    reasons = policy.judge(profile, subject)
    codes = tuple(sorted({reason.code for reason in reasons}))
    return Outcome(example.why, expected, codes, tuple(map(str, reasons)))

"""A profile that passed validation: its file's content, its rules compiled, ready to be judged against."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from ca.access import Role
from ca.errors import BadRequest, Misconfigured
from ca.keys.algorithms import KeyType
from ca.profiles.config import ProfileConfig
from ca.profiles.reserved import own_name
from ca.profiles.rules import Attributes, NameRule, compile_rules
from ca.x509.names import Name


@dataclass(frozen=True, slots=True)
class Allow:
    """One `[[allow]]` block."""

    roles: frozenset[Role]
    rules: tuple[NameRule, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """What may be issued under one name. Immutable, and its own key in caches: a changed file makes a new one."""

    name: str
    config: ProfileConfig
    allow: tuple[Allow, ...]
    rules: Mapping[Role, tuple[NameRule, ...]]
    """The rules that cover each role. An admin is covered by what covers an operator; a holder by everything, since
    its names were allowed to somebody when they were issued."""
    own_name: Name | None
    """The only name that a profile of kind publication or probe issues."""
    keys: frozenset[KeyType]
    lifetime: int
    longest: int
    backdate: int
    """Seconds."""
    sha256: str
    text: str

    @property
    def roles(self) -> frozenset[Role]:
        """Who may ask for it at all. An admin may ask for everything that an operator may."""
        named = frozenset(role for block in self.allow for role in block.roles)
        return named | {Role.ADMIN} if self.config.kind != "leaf" or Role.OPERATOR in named else named

    @property
    def names_crl(self) -> bool:
        """Whether certificates name a CRL shard. An OCSP signer's name none (RFC 6960 section 4.2.2.2.1)."""
        return self.config.revocation.check != "none" and self.config.kind != "ocsp"

    def allows_name(self, name: Name, role: Role, attributes: Attributes) -> bool:
        """Whether some rule of the role covers the name."""
        return any(rule.allows(name, attributes) for rule in self.rules[role])


def read_profile(name: str, text: str, variables: Mapping[str, str]) -> Profile:
    """Validate and compile one file. `Misconfigured` lists everything that is wrong with it."""
    try:
        config = ProfileConfig.model_validate(tomllib.loads(text))
        if config.lifetime > config.longest:
            raise ValueError("lifetime is larger than longest")
        if config.names.minimum > config.names.maximum:
            raise ValueError("names.minimum is larger than names.maximum")
        own = own_name(config.kind, variables.get("trust_domain", ""))
        allow = tuple(Allow(frozenset(block.roles), compile_rules(block, variables)) for block in config.allow)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Misconfigured(f"profile {name}: {found}", code="bad-profile") from None
    except (ValueError, BadRequest) as error:  # TOMLDecodeError is one, too; and a trust domain that cannot be one
        raise Misconfigured(f"profile {name}: {error}", code="bad-profile") from None
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    return Profile(
        name=name,
        config=config,
        allow=allow,
        rules={role: tuple(_rules_for(role, allow)) for role in Role},
        own_name=own,
        keys=frozenset(config.keys),
        lifetime=int(config.lifetime.total_seconds()),
        longest=int(config.longest.total_seconds()),
        backdate=int(config.backdate.total_seconds()),
        sha256=sha256,
        text=text,
    )


def _rules_for(role: Role, allow: Iterable[Allow]) -> Iterator[NameRule]:
    covered = Role.OPERATOR if role is Role.ADMIN else role
    for block in allow:
        if role is Role.HOLDER or covered in block.roles:
            yield from block.rules

"""Who may do what: roles, operations, and one table that joins them. Deny is what is not in the table.

A `Caller` is what remains of a credential after it was checked: a name for the ledger, a role, and attributes that
profiles can bind names to. The outer floor makes callers (`pki/web/identity.py`); everything here only reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from ca.errors import Forbidden, Unauthenticated


class Role(StrEnum):
    """What a caller is to this installation."""

    ADMIN = "admin"
    OPERATOR = "operator"
    REQUESTER = "requester"
    CONSUMER = "consumer"
    AUDITOR = "auditor"
    HOLDER = "holder"
    """Holds a certificate of ours and nothing else: may look at, renew and revoke that very certificate."""


GRANTABLE_ROLES = (Role.ADMIN, Role.OPERATOR, Role.REQUESTER, Role.CONSUMER, Role.AUDITOR)
"""The roles that a token or a setting can give; `holder` comes with the certificate."""


class Operation(StrEnum):
    """Everything that a caller can ask for, as the ledger and the log name it."""

    ISSUE = "issue certificates"
    RENEW_OWN = "renew its own certificate"
    RENEW_ANY = "renew any certificate"
    REVOKE_OWN = "revoke its own certificate"
    REVOKE_ANY = "revoke any certificate"
    READ_OWN = "read its own certificates"
    READ_ANY = "read any certificate"
    READ_AUTHORITIES = "read authorities"
    MANAGE_AUTHORITIES = "manage authorities"
    MANAGE_DESTINATIONS = "manage destinations"
    MANAGE_CONSUMERS = "manage consumers"
    ACKNOWLEDGE = "acknowledge what it holds"
    READ_PROFILES = "read profiles"
    READ_TOKENS = "read tokens"
    MANAGE_TOKENS = "manage tokens"
    BLOCK_KEYS = "block keys"
    READ_LEDGER = "read the ledger"
    READ_METRICS = "read metrics"
    READ_INVENTORY = "read the inventory"
    MANAGE_INVENTORY = "manage the inventory"
    MANAGE_OWNERS = "manage owners"


_O, _R = Operation, Role
_TABLE: Mapping[Role, frozenset[Operation]] = {
    _R.ADMIN: frozenset(Operation) - {_O.RENEW_OWN, _O.REVOKE_OWN, _O.READ_OWN},
    _R.OPERATOR: frozenset(
        {_O.ISSUE, _O.RENEW_ANY, _O.REVOKE_ANY, _O.READ_ANY, _O.READ_AUTHORITIES, _O.READ_PROFILES}
        | {_O.BLOCK_KEYS, _O.READ_LEDGER, _O.READ_METRICS, _O.READ_INVENTORY, _O.MANAGE_INVENTORY}
    ),
    _R.REQUESTER: frozenset(
        {_O.ISSUE, _O.RENEW_OWN, _O.READ_OWN, _O.REVOKE_OWN, _O.READ_AUTHORITIES, _O.READ_PROFILES}
    ),
    _R.CONSUMER: frozenset({_O.READ_AUTHORITIES, _O.ACKNOWLEDGE}),
    _R.AUDITOR: frozenset(
        {_O.READ_ANY, _O.READ_AUTHORITIES, _O.READ_PROFILES, _O.READ_TOKENS, _O.READ_LEDGER, _O.READ_METRICS}
        | {_O.READ_INVENTORY}
    ),
    _R.HOLDER: frozenset({_O.RENEW_OWN, _O.REVOKE_OWN, _O.READ_OWN, _O.READ_AUTHORITIES, _O.ACKNOWLEDGE}),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """An identity that was proved, and what it is allowed."""

    identity: str
    """How the ledger names it: `token:ci`, `certificate:<serial>`, `jwt:<issuer>:<subject>`, `local:uid=0`."""
    role: Role
    profiles: frozenset[str] | None = None
    """The profiles it may ask for; None for all that its role is allowed."""
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What `{caller.NAME}` stands for in a profile's rules."""
    certificate: str | None = None
    """The serial number of the certificate that proved it, if one did."""
    is_local: bool = False
    """Whether it speaks over the Unix socket or in process, and so owns the state directory anyway."""

    def may(self, operation: Operation) -> bool:
        """Whether the table allows it to its role or, if a certificate proved it, to who holds that certificate."""
        return operation in _TABLE[self.role] or (self.certificate is not None and operation in _TABLE[Role.HOLDER])

    def must(self, *operations: Operation) -> None:
        """`Forbidden` unless the table allows at least one of `operations`."""
        if not any(self.may(operation) for operation in operations):
            raise Forbidden(f"{self.identity} has the role {self.role}, which may not {operations[0]}")


def required(caller: Caller | None) -> Caller:
    """The caller, or `Unauthenticated` if there is none."""
    if caller is None:
        raise Unauthenticated(
            "this needs an identity",
            hint="send a client certificate of this CA, or a token: certwright token create",
        )
    return caller


def allowed(role: Role) -> frozenset[Operation]:
    """The row of the table for one role."""
    return _TABLE[role]

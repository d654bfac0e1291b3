"""What is wrong with what an endpoint shows: a list of codes, made from facts alone.

`judge` is a pure function and the only judge: `handshake.py` looks and does not judge, `record.py` writes down. A
finding is not an error: it is listed beside its endpoint, and `trouble.py` says which ones are an alarm.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from cryptography import x509

from renewers.addresses import as_address
from renewers.inventory.facts import Facts

EXPIRED, NOT_YET_VALID, WRONG_NAME = "expired", "not-yet-valid", "wrong-name"
INCOMPLETE_CHAIN, WRONG_ORDER, SELF_SIGNED = "incomplete-chain", "wrong-order", "self-signed"
OLD_INTERMEDIATE, OLD_PROTOCOL, WEAK_KEY = "old-intermediate", "old-protocol", "weak-key"
NOT_THE_ISSUED, SHARED_KEY = "not-the-issued", "shared-key"
OLD_PROTOCOLS = frozenset({"SSLv2", "SSLv3", "TLSv1", "TLSv1.1"})
"""What RFC 8996 has put to rest."""
_SIZED = re.compile(r"(?:RSA|DSA)-([0-9]+)")
_CURVE = re.compile(r"(?:secp|sect|prime|brainpoolP)([0-9]+).*")


@dataclass(frozen=True, slots=True)
class Known:
    """What the inventory knows of the authorities that a chain mentions."""

    roots: Collection[str] = ()
    """Subjects of self-signed authorities: a chain may end beneath one of these."""
    intermediates: Collection[str] = ()
    """Subjects of others: a chain that ends beneath one of these lacks it."""
    replaced: Collection[str] = ()
    """Identities of those that have a successor."""
    issued_with: frozenset[str] = frozenset()
    """Identities of the chain with which the issuer handed out the leaf."""


NOTHING = Known()


def judge(
    chain: Sequence[Facts], *, server_name: str | None = None, version: str = "", now: int, known: Known = NOTHING
) -> list[str]:
    """The findings about a chain, leaf first as it was sent, in alphabetical order."""
    leaf = chain[0]
    path = _path(chain)
    found = {
        EXPIRED: now > leaf.not_after,
        NOT_YET_VALID: now < leaf.not_before,
        WRONG_NAME: server_name is not None and not is_for(leaf.names, server_name),
        SELF_SIGNED: is_self_signed(leaf),
        INCOMPLETE_CHAIN: _is_incomplete(path, known),
        WRONG_ORDER: list(chain) != path and len(path) > 1,
        OLD_INTERMEDIATE: _has_old(leaf, path[1:], known),
        OLD_PROTOCOL: version in OLD_PROTOCOLS,
        WEAK_KEY: any(is_weak(one.key_type) for one in path),
    }
    return sorted(code for code, holds in found.items() if holds)


def is_for(names: Sequence[str], server_name: str) -> bool:
    """Whether names as they stand in the tables (`dns:*.api.example`) cover a host (RFC 9525 section 6.3)."""
    address = as_address(server_name)
    if address is not None:
        return f"ip:{ip_address(address)}" in names
    host = server_name.lower().rstrip(".")
    parent = host.partition(".")[2]
    return f"dns:{host}" in names or (bool(parent) and f"dns:*.{parent}" in names)


def is_self_signed(facts: Facts) -> bool:
    """Whether it names itself as its issuer and its own key made the signature."""
    if facts.subject != facts.issuer:
        return False
    try:
        certificate = x509.load_der_x509_certificate(facts.der)
        certificate.verify_directly_issued_by(certificate)
    except Exception:  # noqa: BLE001 - unknown algorithms, broken keys: whatever it is, its key did not show to have made it
        return False
    return True


def is_weak(key_type: str) -> bool:
    """Less than 112 bits of strength (NIST SP 800-57)."""
    sized, curve = _SIZED.fullmatch(key_type), _CURVE.fullmatch(key_type)
    return (sized is not None and int(sized[1]) < 2048) or (curve is not None and int(curve[1]) < 224)


def _path(chain: Sequence[Facts]) -> list[Facts]:
    """From the leaf upwards, each the issuer of the one before it, taken from wherever it was sent."""
    path, rest = [chain[0]], list(chain[1:])
    while path[-1].subject != path[-1].issuer:
        above = next((one for one in rest if one.subject == path[-1].issuer), None)
        if above is None:
            break
        path.append(above)
        rest.remove(above)
    return path


def _is_incomplete(path: Sequence[Facts], known: Known) -> bool:
    """Whether somebody who knows the root alone would miss something."""
    top = path[-1]
    if top.subject == top.issuer or top.issuer in known.roots:
        return False
    return len(path) == 1 or top.issuer in known.intermediates


def _has_old(leaf: Facts, above: Sequence[Facts], known: Known) -> bool:
    """Whether an intermediate ends before the leaf does, has a successor, or is not the one the leaf came with."""
    between = [one for one in above if one.subject != one.issuer]
    if any(one.not_after < leaf.not_after or one.identity in known.replaced for one in between):
        return True
    return bool(known.issued_with) and any(one.identity not in known.issued_with for one in between)

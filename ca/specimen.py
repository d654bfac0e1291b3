"""A specimen of what a profile makes: a real certificate by a throwaway CA, to be linted when the profile is loaded.

A profile that cannot make a sound certificate is found here, with its author watching, and not by its first user.
"""

from __future__ import annotations

from datetime import timedelta
from functools import cache

from cryptography import x509
from cryptography.x509.oid import NameOID

from ca import clock, signing
from ca.access import Role
from ca.authority import Issuer, PublicUrls, State, make_issuer
from ca.errors import PolicyRefusal, Reason
from ca.founding import Plan, self_signed
from ca.issuance import new_serial
from ca.keys.algorithms import KeyType, PrivateKey, spki
from ca.models import Authority
from ca.profiles.profile import Profile
from ca.signing import Order
from ca.x509 import names
from ca.x509.deeplint import deep_lint, is_available
from ca.x509.names import Name


def lint_profile(profile: Profile) -> list[Reason]:
    """Make a specimen for every key type the profile allows; everything that lint and, if installed, pkilint find."""
    found: list[Reason] = []
    for key_type in sorted(profile.keys):
        try:
            certificate = make_specimen(profile, key_type)
        except PolicyRefusal as error:
            found += [Reason(r.code, f"{key_type}: {r.message}", r.rule) for r in error.reasons]
            continue
        if is_available():
            found += [Reason(r.code, f"{key_type}: {r.message}", r.rule) for r in deep_lint(certificate)]
    return found


def make_specimen(profile: Profile, key_type: KeyType, issuer: Issuer | None = None) -> bytes:
    """One certificate as the profile would make it, by a CA that nobody will ever trust."""
    issuer = throwaway_root(KeyType.P256) if issuer is None else issuer
    role = next((role for role in (Role.OPERATOR, Role.REQUESTER) if profile.rules[role]), Role.ADMIN)
    encoded_key = spki(throwaway_key(key_type).public_key())
    not_before = clock.timestamp() - profile.backdate
    is_leaf = profile.config.kind == "leaf"
    serial = new_serial()
    order = Order(
        profile=profile,
        serial=serial,
        spki=encoded_key,
        key_type=key_type,
        names=_specimen_names(profile, role),
        subject=None if is_leaf or profile.own_name else _subject(f"Specimen of {profile.name}").public_bytes(),
        not_before=not_before,
        not_after=not_before + profile.lifetime - 1,
        path_length=0 if profile.config.kind == "authority" else None,
        shard=issuer.shard_of(serial) if profile.names_crl else None,
        role=role,
        attributes=None,
    )
    tbs = signing.build(order, issuer)
    signing.check(tbs, order, issuer)
    return signing.seal(tbs, issuer)[1]


def _specimen_names(profile: Profile, role: Role) -> tuple[Name, ...]:
    """One name of each kind that the profile allows the role, as many as fit."""
    if profile.own_name is not None:
        return (profile.own_name,)
    found: dict[names.Kind, Name] = {}
    for rule in profile.rules[role]:
        found.setdefault(rule.kind, rule.sample)
    return tuple(found.values())[: profile.config.names.maximum]


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


@cache
def throwaway_key(key_type: KeyType) -> PrivateKey:
    """A key of this type that signs nothing but specimens."""
    return key_type.generate()


@cache
def throwaway_root(key_type: KeyType) -> Issuer:
    """A root that nobody will ever trust."""
    key = key_type.generate()
    plan = Plan("specimen", _subject("Specimen CA"), key_type, lifetime=timedelta(days=36500))
    return throwaway_issuer(self_signed(key, plan), key)


def throwaway_issuer(certificate: bytes, key: PrivateKey) -> Issuer:
    """A CA that exists nowhere but here."""
    row = Authority(
        name="specimen-1",
        line="specimen",
        generation=1,
        state=State.ACTIVE.value,
        certificate=certificate,
        serial="1",
        key_label="specimen",
        spki_sha256=b"",
        not_before=0,
        not_after=0,
        crl_shards=1,
        created_at=0,
    )
    return make_issuer(row, (), key, PublicUrls("http://ca.example"))

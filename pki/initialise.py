"""Making an installation: a state directory with settings, profiles, keys, a hierarchy, and one admin token.

The settings file is written last, and it is what makes the directory an installation: an `init` that was interrupted
leaves no half of one behind that could be mistaken for a whole.
"""

from __future__ import annotations

import re
import secrets
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca import facts, files, hierarchy
from ca.access import Caller, Role
from ca.errors import Conflict, KeyUnavailable
from ca.founding import Plan
from ca.keys import KeyStore
from ca.keys.algorithms import KeyType, PrivateKey
from ca.keys.passphrase import find_passphrase
from ca.ledger.checkpoint import Verifier
from ca.ledger.log import Ledger
from ca.models import Authority
from ca.profiles.collection import profile_files
from ca.secret import Secret
from ca.store import Store
from ca.tokens import Grant, create_token
from pki.data import data
from pki.product import LEDGER_KEY, LEDGER_ORIGIN, LEDGER_VERIFIER, Product, open_ledger
from pki.settings import FILE, ApprovalSettings, Settings, make_settings

FIRST_TOKEN = timedelta(days=90)
INIT = Caller("local:init", Role.ADMIN, is_local=True)


@dataclass(frozen=True, slots=True)
class ExistingCa:
    """A CA that is taken over instead of being made."""

    certificate: x509.Certificate
    key: PrivateKey


@dataclass(frozen=True, slots=True)
class InitPlan:
    """What `init` is asked for. `changes` are settings that differ from the shipped ones: `section.name`."""

    name: str = "Certwright"
    key_type: KeyType = KeyType.P256
    root_lifetime: timedelta = timedelta(days=3650)
    issuing_lifetime: timedelta = timedelta(days=1825)
    changes: Mapping[str, str] = field(default_factory=dict)
    root: ExistingCa | None = None
    issuing: ExistingCa | None = None


@dataclass(frozen=True, slots=True)
class Initialised:
    """What `init` made; the token is shown once."""

    state: Path
    root: Authority
    issuing: Authority
    token: Secret
    verifier: str
    made_passphrase: bool


def initialise(state: Path, plan: InitPlan) -> Initialised:
    """Make an installation in `state`, which must not hold one."""
    if state.exists() and any(state.iterdir()):
        what = "an installation" if (state / FILE).exists() else "something else, or the rest of an interrupted init,"
        raise Conflict(f"there is {what} in {state}", code="initialised-already", hint="choose an empty directory")
    files.private_directory(state)
    text = settings_text(plan.changes)
    settings = make_settings(tomllib.loads(text), source="the settings for init")
    made_passphrase = _make_passphrase(state, settings)
    _copy_profiles(state)
    one = settings.model_copy(update={"approval": ApprovalSettings()})  # there is no second person yet
    with Product.wire(state, one, _new_ledger(settings)) as product:
        root, issuing = _hierarchy(product, plan)
        _, token = create_token(product.installation, INIT, Grant("first-admin", Role.ADMIN, FIRST_TOKEN))
        product.settle()
        verifier = str(product.installation.ledger.verifier)
    files.write_new(state / FILE, text.encode(), mode=0o600)
    return Initialised(state, root, issuing, token, verifier, made_passphrase)


def settings_text(changes: Mapping[str, str]) -> str:
    """The shipped settings file with some values changed, its comments kept. Values are written as TOML."""
    text = (data("config") / FILE).read_text()
    for key, value in changes.items():
        section, name = key.split(".")
        line = re.search(rf"(?ms)^\[{section}\]\n(?:(?!^\[).)*?^{name} = ([^\n]*)", text)
        if line is None:
            raise Conflict(f"there is no setting {key}", code="unknown-setting")
        text = text[: line.start(1)] + value + text[line.end(1) :]
    return text


def _make_passphrase(state: Path, settings: Settings) -> bool:
    """Unless one is provided, make a passphrase and keep it beside the keys: better than none, and said aloud."""
    path = state / settings.keys.passphrase_file
    try:
        find_passphrase(path)
    except KeyUnavailable:
        if path.exists():
            raise
        files.write_new(path, secrets.token_urlsafe(32).encode(), mode=0o400)
        return True
    return False


def _copy_profiles(state: Path) -> None:
    target = files.private_directory(state / "profiles")
    source = data("config") / "profiles"
    for path in profile_files(source):
        for file in (path, path.with_suffix(".examples.toml")):
            if file.exists():
                files.write_new(target / file.name, file.read_bytes())


def _new_ledger(settings: Settings) -> Callable[[Store, KeyStore], Ledger]:
    def make(store: Store, keys: KeyStore) -> Ledger:
        label = f"ledger-{secrets.token_hex(4)}"
        key = keys.create(label, KeyType.ED25519)
        assert isinstance(key, Ed25519PrivateKey)
        origin = f"{settings.installation.domain}/ledger/{secrets.token_hex(4)}"
        verifier = str(Verifier(origin, key.public_key()))
        facts.decide(store, {LEDGER_ORIGIN: origin, LEDGER_KEY: label, LEDGER_VERIFIER: verifier})
        return open_ledger(store, keys)

    return make


def _hierarchy(product: Product, plan: InitPlan) -> tuple[Authority, Authority]:
    installation, shards = product.installation, product.settings.crl.shards
    root_plan = Plan("root", _subject(f"{plan.name} Root CA"), plan.key_type, plan.root_lifetime)
    if plan.root is not None:
        root = hierarchy.import_authority(installation, INIT, root_plan, plan.root.certificate, plan.root.key)
    else:
        root = hierarchy.create_root(installation, INIT, root_plan)
    issuing_plan = Plan("issuing", _subject(f"{plan.name} Issuing CA"), plan.key_type, plan.issuing_lifetime, shards)
    if plan.issuing is not None:
        existing = plan.issuing
        issuing = hierarchy.import_authority(installation, INIT, issuing_plan, existing.certificate, existing.key)
    else:
        issuing = hierarchy.create_subordinate(installation, INIT, "sub-ca", issuing_plan)
    return root, issuing


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, common_name)])

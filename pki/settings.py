"""Every setting, typed, with its default. `config/certwright.toml` says each again, with a sentence; a test compares.

A setting comes from the environment (`CERTWRIGHT_LISTEN__TLS=...`), else from `certwright.toml` in the state
directory, else from here. A file with an unknown key is refused: a misspelt setting must not be a missing one.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_origin

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from ca.errors import Misconfigured
from ca.keys.pkcs11_uri import read_token_uri
from ca.profiles.config import Duration, Pause
from pki.addresses import Address, DnsName, ListenerName, PublicUrl, TrustDomain
from pki.backup_settings import BackupSettings
from pki.distribution_settings import ConsumerSettings, PlaceSettings, RotationSettings
from pki.identity_settings import IdentitySettings
from pki.lifecycle_settings import (
    EventSettings,
    InventorySettings,
    IssuerSettings,
    RenewalSettings,
    SolverSettings,
)
from pki.mail_settings import DashboardSettings, MailSettings
from pki.status_settings import Burst, CrlSettings, OcspSettings, Rate

FILE, DATABASE = "certwright.toml", "certwright.db"
PREFIX = "CERTWRIGHT_"
STATE_VARIABLE = "CERTWRIGHT_STATE"
DATABASE_VARIABLE = "CERTWRIGHT_STORE__URL"


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class InstallationSettings(_Table):
    """What this installation is called and where strangers find it."""

    domain: DnsName = "certwright.internal"
    trust_domain: TrustDomain = ""
    public_url: PublicUrl = "http://localhost:8080"


class StoreSettings(_Table):
    """Where state is kept, and for how long."""

    url: SecretStr = SecretStr("")
    """Secret because a database URL may carry a password: settings are shown in logs and tracebacks."""
    keep_expired: Duration = timedelta(days=90)


class KeySettings(_Table):
    """Where private keys are kept."""

    store: Literal["software", "pkcs11"] = "software"
    passphrase_file: str = Field(default="key-passphrase", min_length=1)
    pkcs11_uri: str = ""
    pkcs11_module: str = ""
    pin_file: str = ""
    ledger_key: Literal["software", "token"] = "software"

    @field_validator("pkcs11_uri")
    @classmethod
    def _names_a_token(cls, value: str) -> str:
        try:
            return read_token_uri(value).text if value else value
        except Misconfigured as error:
            raise ValueError(error.message) from None


class ListenSettings(_Table):
    """What is listened on, and under which names."""

    tls: Address = ":8443"
    plain: Address = ":8080"
    names: list[ListenerName] = Field(default=["localhost", "127.0.0.1", "::1"], min_length=1)
    lifetime: Duration = timedelta(days=7)
    drain: Pause = Field(default=timedelta(0), le=timedelta(minutes=10))
    finish: Duration = Field(default=timedelta(seconds=5), ge=timedelta(seconds=1), le=timedelta(minutes=10))


class ClockSettings(_Table):
    """How far this machine's clock may be from what the store knows before no date is taken from it."""

    tolerance: Duration = Field(default=timedelta(minutes=1), ge=timedelta(seconds=5))


class ApprovalSettings(_Table):
    """Whether what changes the CAs takes two persons, and how long what one asked for waits."""

    two_persons: bool = False
    lifetime: Duration = Field(default=timedelta(hours=24), ge=timedelta(minutes=1), le=timedelta(days=30))


class LimitSettings(_Table):
    """What a caller may send, and how fast."""

    body_bytes: int = Field(default=256 * 1024, ge=1024, le=16 * 1024 * 1024)
    per_second: Rate = 200.0
    burst: Burst = 1000
    anonymous_per_second: Rate = 20.0
    anonymous_burst: Burst = 200
    issuing: int = Field(default=64, ge=1, le=10_000)
    waiting: int = Field(default=1000, ge=1, le=100_000)


class WarnSettings(_Table):
    """How long before the end of a CA certificate it is announced, every day, in the log and in the metrics."""

    authority: Duration = timedelta(days=180)


class LedgerSettings(_Table):
    """Where signed heads of the ledger are told, so that somebody else has one; how often all is held against it."""

    publish_to: str = ""
    publish_every: Duration = Field(default=timedelta(hours=1), ge=timedelta(minutes=1), le=timedelta(days=1))
    audit_every: Duration = Field(default=timedelta(days=1), ge=timedelta(hours=1), le=timedelta(days=31))


class LogSettings(_Table):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    installation: InstallationSettings = InstallationSettings()
    store: StoreSettings = StoreSettings()
    keys: KeySettings = KeySettings()
    listen: ListenSettings = ListenSettings()
    crl: CrlSettings = CrlSettings()
    ocsp: OcspSettings = OcspSettings()
    clock: ClockSettings = ClockSettings()
    approval: ApprovalSettings = ApprovalSettings()
    limits: LimitSettings = LimitSettings()
    identity: IdentitySettings = IdentitySettings()
    inventory: InventorySettings = InventorySettings()
    renewals: RenewalSettings = RenewalSettings()
    issuers: IssuerSettings = IssuerSettings()
    solvers: SolverSettings = SolverSettings()
    events: EventSettings = EventSettings()
    mail: MailSettings = MailSettings()
    dashboard: DashboardSettings = DashboardSettings()
    places: PlaceSettings = PlaceSettings()
    consumers: ConsumerSettings = ConsumerSettings()
    rotation: RotationSettings = RotationSettings()
    ledger: LedgerSettings = LedgerSettings()
    backup: BackupSettings = BackupSettings()
    warn: WarnSettings = WarnSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, whose content arrives as arguments."""
        return env_settings, init_settings

    @property
    def variables(self) -> dict[str, str]:
        """What `{domain}` and `{trust_domain}` stand for in profiles."""
        domain = self.installation.domain
        return {"domain": domain, "trust_domain": self.installation.trust_domain or domain}


def load_settings(state: Path) -> Settings:
    """The settings of a state directory. `Misconfigured` lists everything that is wrong."""
    path = state / FILE
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}", hint="certwright init makes one") from None
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8 text: byte {error.start}", hint="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path}: {error}", hint="values are TOML: texts stand in double quotes") from None
    return make_settings(content, source=str(path))


def make_settings(content: Mapping[str, Any], *, source: str = "settings") -> Settings:
    """Settings from the content of a file, and the environment. `Misconfigured` lists everything that is wrong."""
    sections = Settings.model_fields
    found = [f"{name}: there is no such section" for name in content if name not in sections]
    found += _lost_variables()
    try:
        # Only sections: the library would take a key such as `_env_prefix` for an argument of its own.
        settings = Settings(**{name: table for name, table in content.items() if name in sections})
    except ValidationError as error:
        found += [f"{'.'.join(map(str, e['loc']))}: {_said(e['type'], e['msg'])}" for e in error.errors()]
    except SettingsError:
        found += _garbled_variables()
    else:
        if not found:
            return settings
    hint = f"the comment above a setting says what it takes; variables such as {PREFIX}LISTEN__TLS win over the file"
    raise Misconfigured(f"{source}: {'; '.join(found)}", hint=hint)


def database_url(state: Path, settings: Settings) -> str:
    """The database of an installation: what `store.url` names, else a file in its state directory."""
    return settings.store.url.get_secret_value() or f"sqlite:///{state}/{DATABASE}"


def state_directory() -> Path:
    """Where state is by default: the environment says, else what the platform suggests."""
    if value := os.environ.get(STATE_VARIABLE):
        return Path(value)
    if os.geteuid() == 0:
        return Path("/var/lib/certwright")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "certwright"


_OWN_WORDS = {"extra_forbidden": "there is no such setting", "model_type": "this is a section, not a value"}


def _said(kind: str, message: str) -> str:
    return _OWN_WORDS.get(kind, message.removeprefix("Value error, "))


def _lost_variables() -> list[str]:
    """Variables that look like a setting and belong to no section: a misspelt one must not be a missing one."""
    written = (name.removeprefix(PREFIX).lower() for name in map(str.upper, os.environ) if name.startswith(PREFIX))
    keys = (name.replace("__", ".", 1) for name in written if "__" in name)
    return [f"{key} (in the environment): there is no such section" for key in keys if _section(key) is None]


def _garbled_variables() -> Iterator[str]:
    """Variables that stand for a table or a list and are not JSON. Their values are not repeated."""
    for name, text in os.environ.items():
        key = name.upper().removeprefix(PREFIX).lower().replace("__", ".", 1)
        table = _section(key) if name.upper().startswith(PREFIX) else None
        setting = table.get(key.partition(".")[2]) if table is not None else None
        if table is None or (setting is not None and get_origin(setting.annotation) is not list):
            continue
        try:
            json.loads(text)
        except ValueError:
            example = f"""{PREFIX}LISTEN__NAMES='["ca.example.internal"]\'"""
            yield f"{key} (in the environment): lists and tables are written as JSON, such as {example}"


def _section(key: str) -> Mapping[str, FieldInfo] | None:
    section = Settings.model_fields.get(key.partition(".")[0])
    table: Any = section.annotation if section is not None else None
    return None if table is None else table.model_fields

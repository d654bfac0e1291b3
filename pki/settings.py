"""Every setting, typed, with its default. `config/certwright.toml` says each again, with a sentence; a test compares.

A setting comes from the environment (`CERTWRIGHT_LISTEN__TLS=...`), else from `certwright.toml` in the state
directory, else from here. A file with an unknown key is refused: a misspelt setting must not be a missing one.
"""

from __future__ import annotations

import os
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ca.access import GRANTABLE_ROLES, Role
from ca.errors import BadRequest, Misconfigured
from ca.profiles.config import Duration
from ca.x509 import names

FILE = "certwright.toml"
STATE_VARIABLE = "CERTWRIGHT_STATE"


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ValueError(f"{text!r} is not an address such as :8443 or 127.0.0.1:8443")
    return f"{host}:{port}"


def _dns_name(text: str) -> str:
    try:
        return names.make(names.Kind.DNS, text).value
    except BadRequest as error:
        raise ValueError(error.message) from None


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or text.endswith("/"):
        raise ValueError(f"{text!r} is not a URL such as http://ca.example.internal:8080, without a slash at its end")
    return text


Address = Annotated[str, AfterValidator(_address)]
DnsName = Annotated[str, AfterValidator(_dns_name)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InstallationSettings(_Table):
    """What this installation is called and where strangers find it."""

    domain: DnsName = "certwright.internal"
    trust_domain: str = ""
    public_url: Annotated[str, AfterValidator(_url)] = "http://localhost:8080"


class StoreSettings(_Table):
    """Where state is kept, and for how long."""

    url: str = ""
    keep_expired: Duration = timedelta(days=90)


class KeySettings(_Table):
    """Where private keys are kept."""

    store: Literal["software"] = "software"
    passphrase_file: str = "key-passphrase"  # noqa: S105 - the name of a file


class ListenSettings(_Table):
    """What is listened on, and under which names."""

    tls: Address = ":8443"
    plain: Address = ":8080"
    names: list[str] = ["localhost", "127.0.0.1", "::1"]
    lifetime: Duration = timedelta(days=7)


class CrlSettings(_Table):
    """How revocation lists are made."""

    shards: int = Field(default=128, ge=0, le=4096)
    lifetime: Duration = timedelta(hours=72)
    refresh: Duration = timedelta(hours=12)
    backdate: Duration = timedelta(seconds=60)


class LimitSettings(_Table):
    """What a caller may send, and how fast."""

    body_bytes: int = Field(default=256 * 1024, ge=1024, le=16 * 1024 * 1024)
    per_second: float = Field(default=200.0, gt=0)
    burst: int = Field(default=1000, ge=1)
    anonymous_per_second: float = Field(default=20.0, gt=0)
    anonymous_burst: int = Field(default=200, ge=1)


class CertificateGrant(_Table):
    """A role for whoever holds a certificate of one profile with one name, written like `uri:spiffe://...`."""

    profile: str
    name: str
    role: Role
    profiles: list[str] | None = None


class IdentitySettings(_Table):
    """Which certificates are more than their holder's own."""

    certificates: list[CertificateGrant] = []


class WarnSettings(_Table):
    """How long before the end of a CA certificate it is announced, every day, in the log and in the metrics."""

    authority: Duration = timedelta(days=180)


class LogSettings(_Table):
    """What is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix="CERTWRIGHT_",
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
    limits: LimitSettings = LimitSettings()
    identity: IdentitySettings = IdentitySettings()
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
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}", hint="certwright init makes one") from None
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path}: {error}") from None
    return make_settings(content, source=str(path))


def make_settings(content: dict[str, object], *, source: str = "settings") -> Settings:
    """Settings from the content of a file, and the environment."""
    try:
        settings = Settings(**content)  # type: ignore[arg-type]
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Misconfigured(f"{source}: {found}") from None
    for grant in settings.identity.certificates:
        if grant.role not in GRANTABLE_ROLES:
            raise Misconfigured(f"{source}: identity.certificates: the role {grant.role} cannot be given")
    return settings


def state_directory() -> Path:
    """Where state is by default: the environment says, else what the platform suggests."""
    if value := os.environ.get(STATE_VARIABLE):
        return Path(value)
    if os.geteuid() == 0:
        return Path("/var/lib/certwright")
    return Path(os.environ.get("XDG_STATE_HOME", Path.home() / ".local" / "state")) / "certwright"

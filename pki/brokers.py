"""MQTT brokers of the settings: as places to publish at, and as places to listen at for acknowledgements."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING

from pki.distribution_settings import BrokerSettings
from pki.secret_files import read_secret
from pki.settings import Settings

if TYPE_CHECKING:
    from renewers.brokers import Broker
    from renewers.distribution.reports_mqtt import MqttReports
    from renewers.lifecycle import Lifecycle


def broker(state: Path, settings: BrokerSettings) -> Broker:
    """An MQTT broker of the settings."""
    from renewers.brokers import Broker

    return Broker(
        settings.host,
        settings.port,
        _file(state, settings.ca_file),
        settings.username or None,
        read_secret(state / settings.password_file) if settings.password_file else None,
        _file(state, settings.certificate_file),
        _file(state, settings.key_file),
        settings.tls,
    )


def reports(state: Path, settings: Settings, lifecycle: Lifecycle) -> list[MqttReports]:
    """Those who listen for acknowledgements at brokers, not started yet."""
    listening = [each for each in settings.places.brokers if each.reports]
    if not listening:
        return []
    from renewers.distribution.reports_mqtt import MqttReports

    # This process's own at each broker, and the same after a restart: two that shared one would cut each other off.
    session = f"certwright-{sha256(f'{gethostname()}:{state.resolve()}'.encode()).hexdigest()[:16]}"
    return [MqttReports(lifecycle, each.name, broker(state, each), each.reports, session=session) for each in listening]


def _file(state: Path, name: str) -> Path | None:
    return state / name if name else None

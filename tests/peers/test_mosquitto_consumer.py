"""From a revocation to the proof that its consumer knows, over a real Mosquitto both ways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ca.publication.signer import Signer
from ca.store import Store
from renewers.brokers import Broker
from renewers.brokers.link import linked
from renewers.distribution import consumers, publishing
from renewers.distribution.consumers import ConsumerPlan
from renewers.distribution.reports_mqtt import MqttReports
from renewers.lifecycle import Lifecycle
from renewers.publishers import Material
from renewers.publishers.mqtt import Mqtt, make_mqtt
from tests import peer, rig
from tests.mosquitto import mosquitto, own_tls
from tests.mqtt_consumer import MOST, Consumer, whole
from tests.renewers import consuming, publications

TOPIC, PREFIX = "certwright/edge", "certwright"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker on loopback."""
    tls, ca_file = own_tls(tmp_path)
    with mosquitto(tmp_path, tls=tls) as found:
        yield Broker("localhost", found.port, ca_file)


@pytest.fixture
def lifecycle(store: Store, broker: Broker) -> Lifecycle:
    """An installation that signs what it publishes, and brings it over MQTT."""
    plain = publications.make_lifecycle(store)
    signer = Signer(plain.installation, publications.OWN)
    return replace(plain, sign_manifest=signer.sign, publishers={"mqtt": partial(make_mqtt, brokers={"plant": broker})})


def held(lifecycle: Lifecycle) -> dict[str, int]:
    """What its consumer was proved to hold."""
    return {row.stream: row.held_version for row in consuming.rows(lifecycle, consuming.Holding)}


def newest(lifecycle: Lifecycle) -> dict[str, int]:
    """What was published last."""
    return {
        stream: publications.published(lifecycle, stream).version for stream in (publications.TRUST, publications.CRL)
    }


def publish(lifecycle: Lifecycle) -> None:
    """Whatever has changed, and bring it."""
    publishing.publish_due(lifecycle)
    consuming.drain(lifecycle)


def test_what_changes_is_proved_to_be_held(lifecycle: Lifecycle, broker: Broker, tmp_path: Path) -> None:
    """Signed, brought, checked, reported; and what is old is refused when it comes again."""
    needs = {"bundle": ["pem"], "crl": "complete", "crl_formats": ["pem"]}
    settings = {"broker": "plant", "topic": TOPIC}
    plan = ConsumerPlan("edge", needs=needs, publisher="mqtt", settings=settings, makes_secret=True)
    secret: Any = consumers.add(lifecycle, rig.ADMIN, plan).secret
    publish(lifecycle)
    anchors = [a.certificate for a in publications.published(lifecycle, publications.TRUST).anchors]
    reports = MqttReports(lifecycle, "plant", broker, PREFIX, session="certwright-test")
    reports.start()
    directory = tmp_path / "edge"
    consumer = Consumer(broker, TOPIC, directory, reports_to=PREFIX, secret=secret.reveal(), anchors=anchors)
    try:
        peer.until(reports.is_listening.is_set, "it listens")
        with consumer:
            peer.until(lambda: held(lifecycle) == newest(lifecycle), "the first version is held")
            with linked(broker, most=MOST) as link:
                first, _ = whole(link, TOPIC, link.retained(f"{TOPIC}/current") or b"")
            publications.list_revoked(lifecycle)
            publish(lifecycle)
            peer.until(lambda: held(lifecycle) == newest(lifecycle), "the revocation is held")
            assert consumer.refused == []
            assert len(consumer.versions) == 2
            assert (directory / "live/crl.pem").read_bytes() != first["crl.pem"]
            replayed = Material("edge", "edge-9-replayed", "00", first)
            Mqtt(broker, TOPIC).stage(replayed)
            Mqtt(broker, TOPIC).swap(replayed)
            peer.until(lambda: consumer.refused != [], "it refuses what is old")
            assert consumer.refused == ["replayed-manifest"]
            assert (directory / "live/crl.pem").read_bytes() != first["crl.pem"]
    finally:
        reports.stop()

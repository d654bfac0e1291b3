"""The ground of retained messages: a topic of its own on a real Mosquitto, behind a relay that can be cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ca.secret import Secret
from renewers.brokers import Broker
from renewers.publishers import Publisher
from renewers.publishers.mqtt import make_mqtt
from tests.contracts.grounds import shared
from tests.contracts.grounds.relay import Relay, brought
from tests.mosquitto import mosquitto, own_tls
from tests.mqtt_consumer import look

PASSWORD = "a long password of ours"
_NUMBERS = itertools.count(1)


class MqttGround:
    """A topic whose user reads it as the reference consumer does."""

    tells_staged = True
    hidden = (PASSWORD,)

    def __init__(self, broker: Broker, relay: Relay) -> None:
        self._direct, self._relay = broker, relay
        self._brokers = {"plant": replace(broker, port=relay.port)}
        self.settings: dict[str, Any] = {"broker": "plant", "topic": f"certwright/edge-{next(_NUMBERS)}"}

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_mqtt(settings, brokers=self._brokers)

    def live(self) -> dict[str, bytes] | None:
        return look(self._direct, self.settings["topic"])

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self._relay.refuse(everything=True)
        yield
        self._relay.refuse(everything=False)

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        return self._relay.cut(step, brought(self.make(self.settings), work))


@contextmanager
def _running() -> Iterator[Broker]:
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        tls, ca_file = own_tls(home)
        running = stack.enter_context(mosquitto(home, tls=tls, users={"certwright": PASSWORD}))
        yield Broker("localhost", running.port, ca_file, "certwright", Secret(PASSWORD))


@contextmanager
def opened(home: Path) -> Iterator[MqttGround]:
    """A topic of its own."""
    broker = shared("mqtt", _running)
    with Relay(broker.port) as relay:
        yield MqttGround(broker, relay)

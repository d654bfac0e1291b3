"""Reports over a real Mosquitto: each is heard, through outages of the broker and of the store, whatever is in it."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from ca import clock
from ca.errors import StoreUnavailable, Unauthenticated
from ca.store import Store
from renewers.brokers import Broker
from renewers.brokers.link import linked
from renewers.distribution import reports_mqtt
from renewers.distribution.acknowledging import acknowledge_signed
from renewers.distribution.reports_mqtt import BAD, LATER, TAKEN, UNHEARD_ALARM, MqttReports, read_message
from renewers.lifecycle import Lifecycle
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP
from tests import peer
from tests.mosquitto import Mosquitto, mosquitto, own_tls
from tests.mqtt_consumer import message
from tests.renewers import consuming

PREFIX, SECRET = "certwright", "whsec_" + "A" * 43 + "="


class Desk:
    """Who answers reports: notes their bodies, and does first what its script says."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.script: deque[Exception] = deque()
        self._lock = threading.Lock()

    def __call__(self, _lifecycle: Lifecycle, headers: Mapping[str, str], body: bytes) -> None:
        with self._lock:
            if self.script:
                raise self.script.popleft()
            assert headers[TIMESTAMP].isdecimal()
            self.bodies.append(body)

    def heard(self, number: int) -> list[int]:
        """The numbers of the reports, once there are so many."""
        peer.until(lambda: len(self.bodies) >= number, f"{number} reports")
        return sorted(json.loads(body)["version"] for body in self.bodies)


@pytest.fixture
def lifecycle(store: Store) -> Lifecycle:
    """A lifecycle with consumers."""
    return consuming.make_lifecycle(store)


@contextmanager
def running(home: Path, port: int | None = None) -> Iterator[tuple[Broker, Mosquitto]]:
    """A broker that keeps what it was told for those who are away."""
    tls, ca_file = own_tls(home)
    with mosquitto(home, tls=tls, port=port, more=["max_queued_messages 1000"]) as found:
        yield Broker("localhost", found.port, ca_file), found


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that stays."""
    with running(tmp_path) as (found, _):
        yield found


@contextmanager
def listening(lifecycle: Lifecycle, broker: Broker, acknowledge: Any) -> Iterator[MqttReports]:
    """Listen until the block ends."""
    reports = MqttReports(lifecycle, "plant", broker, PREFIX, session="certwright-test", acknowledge=acknowledge)
    reports.start()
    try:
        peer.until(reports.is_listening.is_set, "it listens")
        yield reports
    finally:
        reports.stop()


def send(broker: Broker, *payloads: bytes) -> None:
    """As consumers do."""
    with linked(broker) as link:
        for payload in payloads:
            link.tell(f"{PREFIX}/reports/edge", payload, retain=False)


def report(version: int) -> bytes:
    """A signed report."""
    return message(SECRET, {"version": version})


def test_each_report_is_heard_once(lifecycle: Lifecycle, broker: Broker) -> None:
    """More of them than are on their way at once."""
    desk = Desk()
    with listening(lifecycle, broker, desk) as reports:
        send(broker, *map(report, range(100)))
        assert desk.heard(100) == list(range(100))
        peer.until(lambda: reports.outcomes[TAKEN] == 100, "all are counted")
    assert len(desk.bodies) == 100


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"webhook-id": 7}',
        b"null",
        json.dumps({ID: "a", TIMESTAMP: "1", SIGNATURE: "v1,", "body": 7}).encode(),
        json.dumps({ID: "a", TIMESTAMP: "1", SIGNATURE: "v1,", "body": "\ud800"}).encode(),
    ],
)
def test_no_message_stops_it(lifecycle: Lifecycle, broker: Broker, poison: bytes) -> None:
    """It is counted as what it is, and the next one heard."""
    desk = Desk()
    with listening(lifecycle, broker, desk) as reports:
        send(broker, poison, report(1))
        assert desk.heard(1) == [1]
        peer.until(lambda: reports.outcomes == {BAD: 1, TAKEN: 1}, "both are counted")


def test_a_message_without_end_does_not_come_in(lifecycle: Lifecycle, broker: Broker) -> None:
    """The broker is told what we take, and drops what is larger."""
    desk = Desk()
    with listening(lifecycle, broker, desk) as reports:
        send(broker, b"x" * 200_000, report(1))
        assert desk.heard(1) == [1]
        peer.until(lambda: reports.outcomes == {TAKEN: 1}, "one is counted")


def test_what_the_desk_does_is_counted(lifecycle: Lifecycle, broker: Broker) -> None:
    """A refusal by its code; an error of ours is said, and the next report heard."""
    desk, said = Desk(), []
    desk.script += [Unauthenticated("no", code="bad-signature"), ZeroDivisionError("ours")]
    with listening(lifecycle, broker, desk) as reports:
        reports.on_error = said.append
        for version in (1, 2, 3):
            send(broker, report(version))
            peer.until(lambda version=version: sum(reports.outcomes.values()) == version, "counted")  # type: ignore[misc]
    assert reports.outcomes == {"bad-signature": 1, "failed": 1, TAKEN: 1}
    assert (desk.heard(1), [type(error) for error in said]) == ([3], [ZeroDivisionError])


def test_what_the_store_did_not_take_comes_again(lifecycle: Lifecycle, broker: Broker) -> None:
    """It is not answered for, and brought once more."""
    desk = Desk()
    desk.script += [StoreUnavailable("away")] * 3
    with listening(lifecycle, broker, desk) as reports:
        send(broker, report(1), report(2))
        assert desk.heard(2) == [1, 2]
        assert reports.outcomes[LATER] == 3


def test_what_is_said_while_nobody_listens_is_heard(lifecycle: Lifecycle, broker: Broker) -> None:
    """A restart of ours loses no report."""
    desk = Desk()
    with listening(lifecycle, broker, desk):
        send(broker, report(1))
        desk.heard(1)
    send(broker, report(2), report(3))
    with listening(lifecycle, broker, desk):
        assert desk.heard(3) == [1, 2, 3]


def test_a_broker_that_comes_back_is_listened_to(
    lifecycle: Lifecycle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage that lasts is an alarm, which is over when the broker is back."""
    monkeypatch.setattr(reports_mqtt, "UNHEARD_AFTER", 0.5)
    monkeypatch.setattr(reports_mqtt, "LONGEST_REST", 0.2)
    desk = Desk()
    with ExitStack() as stack:
        with running(tmp_path) as (broker, _):
            reports = stack.enter_context(listening(lifecycle, broker, desk))
            send(broker, report(1))
            desk.heard(1)
        peer.until(lambda: alarms(lifecycle) != [], "an alarm")
        [alarm] = alarms(lifecycle)
        assert (alarm.kind, alarm.subject) == (UNHEARD_ALARM, "plant")
        assert "nobody listens there" in alarm.message
        with running(tmp_path, broker.port) as (_, again):
            trusted = Broker("localhost", again.port, tmp_path / "broker-ca.pem")
            peer.until(reports.is_listening.is_set, "it listens")
            send(trusted, report(2))
            assert desk.heard(2) == [1, 2]
            assert alarms(lifecycle) == []


def alarms(lifecycle: Lifecycle) -> list[Any]:
    """Those that stand."""
    return [row for row in consuming.rows(lifecycle, consuming.Alarm) if row.kind == UNHEARD_ALARM]


def test_a_broker_that_is_not_there_is_no_reason_not_to_start(lifecycle: Lifecycle, tmp_path: Path) -> None:
    """It starts, and stops, without one."""
    broker = Broker("localhost", peer.free_port(), tls=False)
    reports = MqttReports(lifecycle, "plant", broker, PREFIX, session="certwright-test")
    reports.start()
    reports.start()
    reports.stop()
    reports.stop()
    assert not reports.is_listening.is_set()


def test_a_signed_report_proves_what_its_consumer_holds(lifecycle: Lifecycle, broker: Broker) -> None:
    """By the same door as over HTTP: who signs with another's secret proves nothing."""
    added = consuming.add(lifecycle, "edge-1", makes_secret=True)
    assert added.secret is not None
    version = consuming.publish(lifecycle)
    said = {
        "consumer": "edge-1",
        "stream": consuming.TRUST,
        "version": version,
        "sha256": consuming.hash_of(consuming.TRUST, version),
        "at": clock.timestamp(),
    }
    with listening(lifecycle, broker, acknowledge_signed) as reports:
        send(broker, message(SECRET, said), message(added.secret.reveal(), said, at=clock.timestamp() - 301))
        peer.until(lambda: reports.outcomes["bad-signature"] == 2, "refused")
        assert held(lifecycle) == 0
        send(broker, message(added.secret.reveal(), said))
        peer.until(lambda: reports.outcomes[TAKEN] == 1, "taken")
        assert held(lifecycle) == version


def held(lifecycle: Lifecycle) -> int:
    """The version that is proved to be held."""
    rows = consuming.rows(lifecycle, consuming.Holding)
    return max((row.held_version for row in rows if row.stream == consuming.TRUST), default=0)


def test_a_message_is_read_strictly() -> None:
    """Four texts, and nothing else is looked at."""
    headers, body = read_message(report(7))
    assert json.loads(body) == {"version": 7}
    assert len(headers) == 3

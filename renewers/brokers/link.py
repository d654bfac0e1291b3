"""A connection to a broker. It belongs to one thread and has none of its own; every wait ends.

MQTT 5 (OASIS), since only there does a broker say that it did not take something: in 3.1.1 it acknowledges what its
access list has made it drop.
"""

from __future__ import annotations

import secrets
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from ca import clock
from ca.errors import NotDelivered
from renewers.brokers import Broker
from renewers.plain import one_line

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 15.0
"""Until TCP stands, and again until TLS does; until the broker has answered what it was asked or told."""
BYTES_PER_SECOND = 1 << 18
"""A large message is given more time."""
KEEP_ALIVE, WINDOW = 30, 16
LARGEST_HEARD, LARGEST_TOLD = 1 << 20, (1 << 28) - 1


@dataclass(frozen=True, slots=True)
class Heard:
    """A message that came in; `Link.took` says that it need not come again."""

    topic: str
    payload: bytes
    is_retained: bool
    mid: int


@contextmanager
def linked(broker: Broker, *, session: str | None = None, keep: int = 0, most: int = LARGEST_HEARD) -> Iterator[Link]:
    """A connection until the block ends. `NotDelivered` says why there is none.

    A `session` that has a name is resumed: for `keep` seconds, the broker keeps what its subscriptions would hear.
    Messages of more than `most` bytes do not come in.
    """
    link = Link(broker, session, keep, most)
    try:
        link.connect()
        yield link
    finally:
        link.close()


class Link:
    """One connection. Whatever fails is a `NotDelivered` with a plain reason."""

    def __init__(self, broker: Broker, session: str | None, keep: int, most: int) -> None:
        self._broker = broker
        self._keep = keep
        self._most = most
        self._answer: ReasonCode | None = None
        self._limits: dict[str, Any] = {}
        self._ended: str | None = None
        self._told: str | None = None
        self._granted: dict[int, list[ReasonCode]] = {}
        self._refused: str | None = None
        self._heard: list[Heard] = []
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=session or f"certwright-{secrets.token_hex(6)}",
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        self._client.connect_timeout = CONNECT_SECONDS
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message

    def connect(self) -> None:
        """Connect, and be let in."""
        broker, properties = self._broker, Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum, properties.MaximumPacketSize = WINDOW, self._most
        if self._keep:
            properties.SessionExpiryInterval = self._keep
        if broker.username is not None:
            self._client.username_pw_set(broker.username, broker.password.reveal() if broker.password else None)
        if broker.tls:
            self._client.tls_set_context(broker.context())
        try:
            self._client.connect(
                broker.host, broker.port, KEEP_ALIVE, clean_start=not self._keep, properties=properties
            )
        except (OSError, ValueError) as error:
            raise NotDelivered(f"{broker.place} cannot be reached: {_reason(error)}") from None
        if isinstance(connection := self._client.socket(), socket.socket):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._until(lambda: self._answer is not None, "let us in")

    def close(self) -> None:
        """Say goodbye; whatever was not answered is forgotten."""
        self._client.disconnect()
        if (open_still := self._client.socket()) is not None:
            open_still.close()

    def tell(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        """Send a message at QoS 1, to be kept by the broker if it is to `retain`; when this returns, the broker has it.

        One at a time: a broker that takes offence at a message may close the connection behind its answer, and what
        was sent meanwhile would make us miss it.
        """
        most = self._limits.get("MaximumPacketSize", LARGEST_TOLD)
        if len(payload) + len(topic.encode()) + 16 > most:
            message = f"{topic} has {len(payload)} bytes, and {self._broker.place} takes messages up to {most}"
            raise NotDelivered(message, code="too-large-for-broker", hint="max_packet_size of Mosquitto")
        if retain and not self._limits.get("RetainAvailable", 1):
            raise NotDelivered(f"{self._broker.place} keeps no retained messages", code="broker-refuses")
        self._told = f"{topic} ({len(payload)} bytes)"
        self._client.publish(topic, payload, qos=1, retain=retain)
        self._until(lambda: self._told is None, f"take {topic}", len(payload) / BYTES_PER_SECOND)

    def subscribe(self, pattern: str) -> None:
        """Have messages come in that match."""
        _, mid = self._client.subscribe(pattern, qos=1)
        self._until(lambda: mid in self._granted, f"take a subscription to {pattern}")
        if any(code.is_failure for code in self._granted[mid or 0]):
            codes = ", ".join(str(code) for code in self._granted[mid or 0])
            raise NotDelivered(f"{self._broker.place} does not let us read {pattern}: {codes}", code="broker-refuses")

    def hear(self, seconds: float) -> list[Heard]:
        """What has come in, waiting for `seconds` if nothing has."""
        deadline = clock.monotonic() + seconds
        while not self._heard and (left := deadline - clock.monotonic()) > 0:
            self._turn(left)
        heard, self._heard = self._heard, []
        return heard

    def took(self, heard: Heard) -> None:
        """Say that a message need not come again."""
        self._client.ack(heard.mid, 1)

    def retained(self, topic: str) -> bytes | None:
        """What the broker keeps there. A word of ours comes back behind it: messages of one topic keep their order."""
        self.subscribe(topic)
        mark, found = f"?{secrets.token_hex(12)}".encode(), None
        self.tell(topic, mark, retain=False)
        deadline = clock.monotonic() + ANSWER_SECONDS
        while clock.monotonic() < deadline:
            for heard in self.hear(deadline - clock.monotonic()):
                self.took(heard)
                if heard.payload == mark:
                    return found
                if heard.topic == topic and heard.is_retained:
                    found = heard.payload
        raise NotDelivered(f"{self._broker.place} does not show us {topic}; may we read it?", code="broker-refuses")

    def _until(self, is_so: Callable[[], bool], what: str, more: float = 0.0) -> None:
        """Turn until something is so, or the time for it is over."""
        seconds = ANSWER_SECONDS + more
        deadline = clock.monotonic() + seconds
        while not is_so():
            if (left := deadline - clock.monotonic()) <= 0:
                raise NotDelivered(f"{self._broker.place} did not {what} in {seconds:.0f} s")
            self._turn(left)
        if self._refused is not None:
            raise self._lost("")

    def _lost(self, otherwise: str) -> NotDelivered:
        """What ended it: what the broker has said, which may close the connection right behind it, or else this."""
        if self._refused is not None:
            return NotDelivered(f"{self._broker.place} {self._refused}", code="broker-refuses")
        over = f" over {self._told}" if self._told is not None else ""
        hint = "message_size_limit of Mosquitto, or its access list" if over else None
        return NotDelivered(f"{self._broker.place} {self._ended or otherwise}{over}", hint=hint)

    def _turn(self, seconds: float) -> None:
        """Read and write what there is, once; `poll`, since `select` fails beyond a thousand open files."""
        client, connection = self._client, self._client.socket()
        if connection is None:
            raise self._lost("is gone")
        if isinstance(connection, socket.socket):  # a broker that holds back small answers waits for this: 40 ms each
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        is_pending = isinstance(connection, ssl.SSLSocket) and connection.pending() > 0
        poller = select.poll()
        poller.register(connection, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        events = dict(poller.poll(0 if is_pending else 1000 * min(seconds, 1.0)))
        event = events.get(connection.fileno(), 0)
        try:
            codes = [client.loop_read()] if is_pending or event & ~select.POLLOUT else []
            if event & select.POLLOUT and client.socket() is not None:
                codes.append(client.loop_write())
            if client.socket() is not None:
                codes.append(client.loop_misc())
        except (MQTTException, LookupError, ValueError, struct.error):
            raise NotDelivered(f"{self._broker.place} answers something that is no MQTT") from None
        if any(code != MQTTErrorCode.MQTT_ERR_SUCCESS for code in codes):
            raise self._lost("closed the connection")

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._answer = code
        if code.is_failure:
            self._refused = f"does not let us in: {code}"
        if properties is not None:
            self._limits = {n: v for n in _LIMITS if (v := getattr(properties, n, None)) is not None}

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._ended = f"ended the connection: {code}"
        else:
            self._ended = "closed the connection" + ("" if self._answer else "; does it take our certificate?")

    def _on_publish(
        self, _client: Client, _data: Any, _mid: int, code: ReasonCode, _properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = f"did not take {self._told}: {code}"
        self._told = None

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, codes: list[ReasonCode], _properties: Properties | None
    ) -> None:
        self._granted[mid] = codes

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._heard.append(Heard(message.topic, bytes(message.payload), message.retain, message.mid))


_LIMITS = ("MaximumPacketSize", "RetainAvailable")


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted here ({one_line(error.verify_message, 120)})"
        case ssl.SSLError():
            return "TLS failed"
        case TimeoutError():
            return "it did not answer in time"
        case ConnectionRefusedError():
            return "nobody listens there"
        case socket.gaierror():
            return "its name leads nowhere"
        case _:
            return type(error).__name__

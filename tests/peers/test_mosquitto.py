"""Retained messages on a real Mosquitto: what lies there, who is let in, and what it says when it does not take one.

What every publisher promises is asked of it in `tests/contracts/test_publishers.py`.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from ca.x509.bundle import pem_certificate
from renewers.brokers import Broker, link
from renewers.brokers.link import Heard, Link, linked
from renewers.publishers import Material
from renewers.publishers.mqtt import Mqtt
from tests.contracts.grounds import material
from tests.mosquitto import mosquitto, own_tls
from tests.mqtt_consumer import MOST, look
from tests.renewers.listeners import make

TOPIC = "certwright/edge"
PASSWORD = "a canary of ours"
ONE, TWO = material(1, with_key=False), material(2, with_key=False)


@contextmanager
def running(home: Path, **choices: Any) -> Iterator[Broker]:
    """A broker and how we speak to it."""
    tls, ca_file = own_tls(home)
    with mosquitto(home, tls=choices.pop("tls", tls), **choices) as found:
        yield Broker("localhost", found.port, ca_file)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One that lets everybody in."""
    with running(tmp_path) as found:
        yield found


def bring(broker: Broker, *all_of_it: Material) -> None:
    """Stage and swap."""
    for one in all_of_it:
        Mqtt(broker, TOPIC).stage(one)
        Mqtt(broker, TOPIC).swap(one)


def hear_all(link: Link) -> list[Heard]:
    """Whatever has come beneath the topic until now: a word of ours comes behind it."""
    mark, heard = secrets.token_hex(8).encode(), []
    link.tell(f"{TOPIC}/mark", mark, retain=False)
    while not heard or heard[-1].payload != mark:
        for one in link.hear(60):
            link.took(one)
            heard.append(one)
    return heard[:-1]


def kept(broker: Broker) -> dict[str, bytes]:
    """Everything that is retained beneath the topic."""
    with linked(broker, most=MOST) as link:
        link.subscribe(f"{TOPIC}/#")
        return {one.topic.removeprefix(f"{TOPIC}/"): one.payload for one in hear_all(link) if one.is_retained}


def refused(broker: Broker, one: Material = ONE) -> str:
    """Why it cannot be brought."""
    with pytest.raises(NotDelivered) as error:
        bring(broker, one)
    assert "canary" not in str(error.value)
    assert error.value.message.isprintable()
    return error.value.message


def test_its_layout_is_the_documented_one(broker: Broker) -> None:
    """The newest three versions, what is current, and our index."""
    every = [material(number, with_key=False) for number in range(5)]
    bring(broker, *every)
    files = {f"versions/{one.version}/{name}": content for one in every[-3:] for name, content in one.files.items()}
    found = kept(broker)
    assert found.keys() == {"current", "index", *files}
    assert {name: found[name] for name in files} == files


def test_files_come_before_what_names_them(broker: Broker) -> None:
    """Whoever listens all the while hears a version's files, and only then that it is current."""
    with linked(broker) as link:
        link.subscribe(f"{TOPIC}/#")
        bring(broker, ONE, TWO)
        heard = [one.topic.removeprefix(f"{TOPIC}/") for one in hear_all(link)]
    pointers = [place for place, topic in enumerate(heard) if topic == "current"]
    assert len(pointers) == 2
    for one, pointer in zip((ONE, TWO), pointers, strict=True):
        assert all(heard.index(f"versions/{one.version}/{name}") < pointer for name in one.files)


def test_a_large_list_arrives_whole(broker: Broker) -> None:
    """Of the size that a million revocations have."""
    large = Material("edge", "edge-9-abc", "00", {"crl.pem": secrets.token_bytes(40 << 20), "bundle.pem": b"x"})
    bring(broker, large)
    assert look(broker, TOPIC) == large.files


@pytest.mark.parametrize("limit", ["max_packet_size 2000", "message_size_limit 2000"])
def test_what_is_too_large_for_the_broker_is_said(tmp_path: Path, limit: str) -> None:
    """With the file's name; what is in use stays."""
    with running(tmp_path, more=[limit]) as broker:
        small = Material("edge", "edge-1-abc", "00", {"bundle.pem": b"small"})
        bring(broker, small)
        reason = refused(broker)
        assert "bundle.pem" in reason
        assert "takes messages up to 2000" in reason or reason.endswith("bundle.pem (2700 bytes)")
        assert look(broker, TOPIC) == small.files


def test_what_an_access_list_forbids_is_said(tmp_path: Path) -> None:
    """Though a broker acknowledges it to those who speak an older MQTT."""
    access = ["user edge", f"topic readwrite {TOPIC}/index", f"topic readwrite {TOPIC}/current"]
    with running(tmp_path, users={"edge": PASSWORD}, access=access) as broker:
        allowed = replace(broker, username="edge", password=Secret(PASSWORD))
        assert "did not take certwright/edge/versions/" in refused(allowed)
        assert "Not authorized" in refused(allowed)


def test_who_may_not_read_the_index_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mosquitto grants the subscription and shows nothing."""
    monkeypatch.setattr(link, "ANSWER_SECONDS", 2.0)
    with running(tmp_path, users={"edge": PASSWORD}, access=["user edge", "topic write #"]) as broker:
        allowed = replace(broker, username="edge", password=Secret(PASSWORD))
        assert "does not show us certwright/edge/index; may we read it?" in refused(allowed)


def test_who_is_not_let_in_is_told(tmp_path: Path) -> None:
    """By what the broker says, and nothing of the password."""
    with running(tmp_path, users={"edge": PASSWORD}) as broker:
        for other in (replace(broker, username="edge", password=Secret("canary of others")), broker):
            assert refused(other).endswith("does not let us in: Not authorized")


def test_whom_we_do_not_trust_we_tell_nothing(broker: Broker, tmp_path: Path) -> None:
    """A broker of another CA, or of another name."""
    other = tmp_path / "other.pem"
    other.write_text(pem_certificate(make("other.example", is_ca=True).der))
    assert "its certificate is not trusted here" in refused(replace(broker, ca_file=other))
    assert "its certificate is not trusted here" in refused(replace(broker, host="127.0.0.1"))
    with pytest.raises(Misconfigured):
        bring(replace(broker, ca_file=tmp_path / "missing.pem"), ONE)


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    """To a broker that wants one; without it, the reason is a guess that helps."""
    clients = make("clients.example", is_ca=True)
    ours, theirs = make("certwright", issuer=clients), tmp_path / "clients.pem"
    theirs.write_text(pem_certificate(clients.der))
    certificate, key = tmp_path / "ours.pem", tmp_path / "ours.key"
    certificate.write_text(pem_certificate(ours.der))
    key.write_bytes(ours.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    tls, ca_file = own_tls(tmp_path)
    with mosquitto(tmp_path, tls=replace(tls, ca=theirs)) as found:
        broker = Broker("localhost", found.port, ca_file)
        assert "does it take our certificate?" in refused(broker)
        shown = replace(broker, certificate_file=certificate, key_file=key)
        bring(shown, ONE)
        assert kept(shown)


def test_a_broker_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in TLS nor in MQTT."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.5)
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.5)
    with answering(b"") as port:
        assert refused(Broker("localhost", port)).endswith("cannot be reached: it did not answer in time")
        assert "did not let us in in 0 s" in refused(Broker("localhost", port, tls=False))


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00" * 64,
        b"\xff" * 64,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x03\x00\x00\x00" + b"\x40\xff\xff\xff\x7f" * 20,
        b"\x20\x08\x00\x00\x05\x27\xff\xff\xff\xff",
        b"\x20\x03\x00\x00\x00\x90\x04\x00\x01\x00\xff" + b"\x30\x02\xff\xff" * 9,
    ],
)
def test_what_speaks_no_mqtt_is_no_broker(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes instead, the reason is a plain one."""
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.5)
    with answering(answer) as port:
        assert f"localhost:{port}" in refused(Broker("localhost", port, tls=False))


@contextmanager
def answering(what: bytes) -> Iterator[int]:
    """Something that listens, says this to whoever connects, and nothing more."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                stack.callback(connection.close)
                with suppress(OSError):
                    connection.sendall(what)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_what_is_current_is_told_once_more(broker: Broker) -> None:
    """To whoever has listened, and has lost it: the same files, at another time."""
    bring(broker, ONE)
    with linked(broker) as link:
        link.subscribe(f"{TOPIC}/current")
        Mqtt(broker, TOPIC).swap(ONE)
        heard = [json.loads(one.payload) for one in hear_again(link, 2)]
    assert heard[0]["files"] == heard[1]["files"]


def hear_again(link: Link, number: int) -> list[Heard]:
    """So many messages."""
    heard: list[Heard] = []
    while len(heard) < number:
        heard += link.hear(60)
    return heard

"""Retained messages, told to a broker in memory that can end the connection at any message.

What every publisher promises is in `tests/contracts/test_publishers.py`; a real broker is in `tests/peers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest, Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.brokers import Broker
from renewers.publishers import Material, mqtt
from renewers.publishers.shelf import KEEP, Shelf
from tests.contracts.grounds import material

TOPIC = "certwright/edge"
BROKER = Broker("localhost", 1883, tls=False)
MATERIALS = [material(number, with_key=False) for number in range(6)]


class Retained:
    """What a broker keeps; `left` messages from now it is gone."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.left: int | None = None

    def tell(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        assert retain
        if self.left is not None:
            if self.left == 0:
                raise NotDelivered("it is gone")
            self.left -= 1
        if payload:
            self.kept[topic] = payload
        else:
            self.kept.pop(topic, None)

    def retained(self, topic: str) -> bytes | None:
        return self.kept.get(topic)

    def files(self) -> dict[str, dict[str, bytes]]:
        """By version."""
        found: dict[str, dict[str, bytes]] = {}
        for topic, payload in self.kept.items():
            if topic.startswith(f"{TOPIC}/versions/"):
                version, name = topic.removeprefix(f"{TOPIC}/versions/").split("/")
                found.setdefault(version, {})[name] = payload
        return found

    def current(self) -> dict[str, Any] | None:
        said = self.kept.get(f"{TOPIC}/current")
        return None if said is None else dict(json.loads(said))


@pytest.fixture
def retained(monkeypatch: pytest.MonkeyPatch) -> Retained:
    """A broker in memory, to which every publisher connects."""
    found = Retained()
    monkeypatch.setattr(mqtt, "linked", to(found))
    return found


def to(found: Retained) -> Any:
    """What takes the place of a connection."""

    @contextmanager
    def linked(_broker: Broker) -> Iterator[Retained]:
        yield found

    return linked


def publisher() -> mqtt.Mqtt:
    """As another process would make it."""
    return mqtt.Mqtt(BROKER, TOPIC)


def bring(*all_of_it: Material) -> None:
    """Stage and swap."""
    for one in all_of_it:
        publisher().stage(one)
        publisher().swap(one)


CALL = st.tuples(st.sampled_from(["stage", "swap"]), st.sampled_from(MATERIALS), st.none() | st.integers(0, 9))


@settings(max_examples=80, deadline=None)
@given(calls=st.lists(CALL, max_size=25))
def test_whatever_ends_whenever_nothing_is_lost_or_left(calls: list[tuple[str, Material, int | None]]) -> None:
    """`current` names whole files; whatever lies there is in the index; and it never is much."""
    retained = Retained()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mqtt, "linked", to(retained))
        for call, one, left in calls:
            retained.left = left
            with suppress(NotDelivered):
                getattr(publisher(), call)(one)
            files, said = retained.files(), retained.current()
            if said is not None:
                held = files[said["version"]]
                assert said["files"] == {n: {"sha256": sha256(c).hexdigest(), "size": len(c)} for n, c in held.items()}
            shelf = Shelf.read(retained.kept.get(f"{TOPIC}/index"))
            assert all(files[v].keys() <= shelf.find(v).files.keys() for v in files)  # type: ignore[union-attr]
            assert len(files) <= KEEP + 2
        retained.left = None
        bring(MATERIALS[0])
        assert retained.files()[MATERIALS[0].version] == MATERIALS[0].files
        bring(*MATERIALS[1:])
        assert len(retained.files()) <= KEEP + 1


def test_the_newest_three_versions_stay(retained: Retained) -> None:
    """And what is in use, however many were staged after it."""
    bring(*MATERIALS)
    assert set(retained.files()) == {one.version for one in MATERIALS[-3:]}
    bring(MATERIALS[0])
    for one in MATERIALS[1:]:
        publisher().stage(one)
    assert set(retained.files()) == {one.version for one in (MATERIALS[0], *MATERIALS[-3:])}
    publisher().swap(MATERIALS[0])


def test_current_says_what_it_names(retained: Retained) -> None:
    """Whose, which version, which files; and when it was told."""
    bring(MATERIALS[1])
    said = retained.current()
    assert said is not None
    assert said.keys() == {"consumer", "version", "sha256", "at", "files"}
    assert (said["consumer"], said["version"], said["sha256"]) == ("edge", MATERIALS[1].version, MATERIALS[1].sha256)


def test_what_is_in_use_is_never_written_over(retained: Retained) -> None:
    """The same version with other files is refused: somebody may be reading it."""
    bring(MATERIALS[0])
    other = Material("edge", MATERIALS[0].version, MATERIALS[0].sha256, {"bundle.pem": b"other"})
    with pytest.raises(NotDelivered, match="in use"):
        publisher().stage(other)
    assert retained.files()[MATERIALS[0].version] == MATERIALS[0].files


def test_the_same_version_with_fewer_files_leaves_none_of_the_others(retained: Retained) -> None:
    """As it is where a release changes what a version consists of."""
    publisher().stage(MATERIALS[0])
    few = Material("edge", MATERIALS[0].version, MATERIALS[0].sha256, {"bundle.pem": b"few"})
    bring(few)
    assert retained.files() == {few.version: {"bundle.pem": b"few"}}


@pytest.mark.parametrize(
    "index",
    [
        b"\xff\x00",
        b"[]",
        b"7",
        b'{"versions":7}',
        b'{"live":[7]}',
        b'{"versions":[{"version":"../x","sha256":"","files":{},"whole":true}]}',
        b'{"versions":[{"version":"ab","sha256":"","files":{"../x":"1"},"whole":true}]}',
        b'{"versions":[{"version":"ab","sha256":"","files":{"x":7},"whole":true}]}',
        b'{"versions":[{"version":["ab"],"sha256":"","files":{},"whole":true}]}',
        b"[" * 100_000,
    ],
)
def test_an_index_of_somebody_else_is_none(retained: Retained, index: bytes) -> None:
    """It neither stops us nor leads us elsewhere."""
    retained.kept[f"{TOPIC}/index"] = index
    bring(MATERIALS[0])
    assert set(retained.kept) == {
        f"{TOPIC}/index",
        f"{TOPIC}/current",
        *(f"{TOPIC}/versions/{MATERIALS[0].version}/{name}" for name in MATERIALS[0].files),
    }


@pytest.mark.parametrize(
    "topic", ["", "a/+/b", "a/#", "$SYS/a", "/a", "a/", "a//b", "a\0b", "a\nb", "x" * 201, "ä" * 101, 7, None, ["a"]]
)
def test_a_topic_is_beneath_one_of_ours(topic: Any) -> None:
    """No wildcard, no NUL, nothing that the broker says itself, nothing overlong."""
    with pytest.raises(BadRequest, match="topic") as refused:
        mqtt.make_mqtt({"broker": "plant", "topic": topic}, brokers={"plant": BROKER})
    assert refused.value.code == "bad-settings"


def test_a_row_names_no_broker_of_its_own() -> None:
    """It is one of the machine's settings, or none."""
    with pytest.raises(BadRequest, match=r"'elsewhere\.example' is not in the settings"):
        mqtt.make_mqtt({"broker": "elsewhere.example", "topic": "a"}, brokers={"plant": BROKER})


@pytest.mark.parametrize(
    "broken",
    [
        {"host": "broker.example", "tls": False},
        {"host": "10.0.0.1", "tls": False},
        {"host": ""},
        {"host": "a\nb"},
        {"host": "localhost", "port": 0},
        {"host": "localhost", "port": 65536},
        {"host": "localhost", "certificate_file": Path("cert.pem")},
        {"host": "localhost", "key_file": Path("key.pem")},
        {"host": "localhost", "password": Secret("canary")},
    ],
)
def test_a_broker_is_spoken_to_over_tls(broken: dict[str, Any]) -> None:
    """Unless it is on this machine; and with all that belongs together."""
    with pytest.raises(Misconfigured) as refused:
        Broker(**broken)
    assert "canary" not in str(refused.value)


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As the settings are wrong, not the broker."""
    broker = Broker("localhost", certificate_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    with pytest.raises(Misconfigured, match="certificate and key for localhost:8883 cannot be read"):
        broker.context()
    (tmp_path / "cert.pem").write_text("none")
    (tmp_path / "key.pem").write_text("none")
    with pytest.raises(Misconfigured, match="cannot be read"):
        broker.context()

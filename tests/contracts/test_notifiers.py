"""Notifiers: what everyone does that tells a recipient, and what a signed webhook does besides."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers import egress
from renewers.notifiers import Notice, Notifier, Selection, signature
from renewers.notifiers.memory import MemoryNotifier
from renewers.notifiers.rest import Rest
from renewers.notifiers.signature import key_of, signature_of, verify
from renewers.notifiers.webhook import Webhook, content_of
from tests import peer
from tests.receiver import MISERIES, OK, STALL, TRICKLE, Receiver, receiving

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
NOW = int(NOON.timestamp())
KEY = "whsec_" + b64encode(bytes(range(32))).decode()
NOTICE = Notice(7, "renewal-failed", "api.example", "error", NOW - 60, {"message": "it failed", "age": 60})


@dataclass
class Told:
    """A notifier, and what its recipient has heard: ids and bodies."""

    notifier: Notifier
    heard: Callable[[], list[tuple[int, dict[str, Any]]]]
    break_: Callable[[bool], None]


def memory() -> Iterator[Told]:
    """In memory."""
    made = MemoryNotifier(severity="warning", kinds=["renewal-*", "alarm-raised"])
    yield Told(made, lambda: [(n.id, n.body) for n in made.told], lambda is_down: setattr(made, "is_down", is_down))


def webhook(receiver: Receiver) -> Told:
    """A signed POST to a server of our own."""
    made = Webhook(
        receiver.url, Secret(KEY), receiver.ca_file, severity="warning", kinds=["renewal-*", "alarm-raised"], rest=0
    )

    def heard() -> list[tuple[int, dict[str, Any]]]:
        found = [json.loads(body) for _, body in receiver.taken]
        return [(one["id"], {"message": one["message"], **one["details"]}) for one in found]

    return Told(made, heard, lambda is_down: setattr(receiver, "otherwise", "503" if is_down else OK))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    """A server that takes everything, until it is told otherwise."""
    with receiving(tmp_path) as made:
        yield made


@pytest.fixture(params=["memory", "webhook"])
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    """Each notifier in turn."""
    if request.param == "memory":
        yield from memory()
    else:
        yield webhook(request.getfixturevalue("receiver"))


def test_the_recipient_has_it(told: Told) -> None:
    """When `tell` returns, all of it is there; told again it is the same event by the same id."""
    told.notifier.tell(NOTICE)
    assert told.heard() == [(7, NOTICE.body)]
    told.notifier.tell(NOTICE)
    assert told.heard() == [(7, NOTICE.body)] * 2


def test_a_recipient_that_does_not_take_it(told: Told) -> None:
    """`NotDelivered`, which is tried again; and once it does take it, it gets it."""
    told.break_(True)
    with pytest.raises(NotDelivered):
        told.notifier.tell(NOTICE)
    assert told.heard() == []
    told.break_(False)
    told.notifier.tell(NOTICE)
    assert told.heard() == [(7, NOTICE.body)]


@pytest.mark.parametrize(
    ("changes", "is_wanted"),
    [
        ({}, True),
        ({"severity": "warning"}, True),
        ({"severity": "info"}, False),
        ({"kind": "alarm-raised"}, True),
        ({"kind": "alarm-cleared"}, False),
        ({"kind": "renewal-urged", "severity": "critical"}, True),
        ({"kind": "certificate-renewed"}, False),
        ({"severity": "unheard-of"}, True),
    ],
)
def test_what_is_wanted(told: Told, changes: dict[str, Any], is_wanted: bool) -> None:
    """By severity and kind, and nobody is asked for it."""
    told.break_(True)
    assert told.notifier.wants(replace(NOTICE, **changes)) is is_wanted


def test_everything_is_wanted_by_default() -> None:
    """Whoever selects nothing hears of everything."""
    assert all(Selection().takes(replace(NOTICE, kind=kind, severity="info")) for kind in ("a", "b-c", "alarm-raised"))


@pytest.mark.parametrize("wrong", [{"severity": "loud"}, {"kinds": ["Renewal"]}, {"kinds": ["*", "[a-z]"]}])
def test_a_wrong_selection_is_refused(wrong: dict[str, Any]) -> None:
    """A word that selects nothing would be silence for ever."""
    with pytest.raises(Misconfigured) as caught:
        Selection(**wrong)
    assert caught.value.hint


# The webhook.


def test_what_is_posted(receiver: Receiver) -> None:
    """JSON with all that an event has, under the headers of the specification, at the path of the URL."""
    with clock.pinned(NOON):
        webhook(receiver).notifier.tell(NOTICE)
    [(headers, body)] = receiver.taken
    assert json.loads(body) == {
        "id": 7,
        "kind": "renewal-failed",
        "subject": "api.example",
        "severity": "error",
        "at": "2030-06-01T11:59:00Z",
        "message": "it failed",
        "details": {"age": 60},
    }
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("event-7", str(NOW))
    assert headers["content-type"] == "application/json"
    assert verify(KEY, headers, body, NOW) == "event-7"
    assert receiver.paths == ["/hook/canary"]


def test_openssl_comes_to_the_same_signature(receiver: Receiver) -> None:
    """HMAC-SHA256 over id, time and body, under the decoded secret: as anybody would compute it."""
    openssl = peer.require("openssl")
    with clock.pinned(NOON):
        webhook(receiver).notifier.tell(NOTICE)
    [(headers, body)] = receiver.taken
    signed = f"event-7.{NOW}.".encode() + body
    argv = ["mac", "-digest", "SHA256", "-macopt", f"hexkey:{bytes(range(32)).hex()}", "-binary", "HMAC"]
    done = subprocess.run([openssl, *argv], input=signed, capture_output=True, check=True)
    assert headers["webhook-signature"] == "v1," + b64encode(done.stdout).decode()


def test_the_vector_of_the_specification() -> None:
    """The example that every library of Standard Webhooks is tested with."""
    made = signature_of(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("misery", [*MISERIES, "100", "199", "304", "410"])
def test_whatever_else_it_answers_is_no_success(receiver: Receiver, misery: str) -> None:
    """Refusals, redirects, nonsense and a dropped connection: told again later; nothing of an answer is repeated."""
    receiver.script.append(misery)
    receiver.otherwise = OK
    hook = webhook(receiver).notifier
    with pytest.raises(NotDelivered) as caught:
        hook.tell(NOTICE)
    assert "canary" not in str(caught.value)
    assert receiver.url.split("/")[2] in caught.value.message
    hook.tell(NOTICE)
    assert receiver.paths == ["/hook/canary"] * 2


@pytest.mark.parametrize("status", ["200", "201", "202", "204", "299"])
def test_every_2xx_is_a_success(receiver: Receiver, status: str) -> None:
    """Whatever it says."""
    receiver.script.append(status)
    webhook(receiver).notifier.tell(NOTICE)
    assert len(receiver.taken) == 1


def test_a_receiver_that_stalls(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs its time-out, and no more."""
    monkeypatch.setattr(egress, "TIMEOUT", httpx.Timeout(60, read=0.3))
    receiver.script.append(STALL)
    start = clock.monotonic()
    with pytest.raises(NotDelivered, match="ReadTimeout"):
        webhook(receiver).notifier.tell(NOTICE)
    assert clock.monotonic() - start < 20


def test_nobody_there() -> None:
    """A port that nobody listens on."""
    with pytest.raises(NotDelivered, match="cannot be reached"):
        Webhook(f"http://127.0.0.1:{peer.free_port()}/", Secret(KEY)).tell(NOTICE)


def test_a_receiver_that_we_do_not_trust(receiver: Receiver) -> None:
    """A certificate of another CA: not one byte of the event is sent."""
    with pytest.raises(NotDelivered):
        Webhook(receiver.url, Secret(KEY)).tell(NOTICE)
    assert receiver.taken == receiver.refused == []


def test_a_receiver_that_keeps_us_waiting_is_left_alone(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody waits for it, until its rest is over; then one finds out, and it is told as before."""
    now = 1000.0
    monkeypatch.setattr(clock, "monotonic", lambda: now)
    rest = Rest("hook", 60)

    def attempt(seconds: float, error: Exception | None = None) -> None:
        nonlocal now
        with rest.trying():
            now += seconds
            if error is not None:
                raise error

    for _ in range(3):  # who refuses at once is asked as often as there is something to tell
        with pytest.raises(NotDelivered, match="503"):
            attempt(0.1, NotDelivered("503"))
    with pytest.raises(NotDelivered, match="timed out"):
        attempt(10, NotDelivered("timed out"))
    now += 59
    with pytest.raises(NotDelivered, match="left alone"):
        attempt(0)
    now += 1
    with rest.trying(), pytest.raises(NotDelivered, match="left alone"):
        attempt(0)  # while one looks, the others do not wait with it
    attempt(0)
    attempt(0)


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example/canary", "ftp://a/canary", "https://u:canary@a/", "https:///canary", "https://[canary", ""],
)
def test_a_url_that_is_not_taken(url: str) -> None:
    """Refused before anything is told; what may be a secret in it is not shown."""
    with pytest.raises(Misconfigured) as caught:
        Webhook(url, Secret(KEY))
    assert "canary" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "canary", "whsec_Y2FuYXJ5", "whsec_" + "A" * 400, "whsec_" + "Y2F!!" * 12]
)
def test_a_secret_that_is_not_taken(secret: str) -> None:
    """Too short, too long, or no base64: refused before anything is signed with it, and never shown."""
    with pytest.raises(Misconfigured) as caught:
        Webhook("https://a/", Secret(secret))
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    assert "openssl rand" in (caught.value.hint or "")


def test_a_webhook_does_not_show_its_secrets(receiver: Receiver) -> None:
    """Neither its secret nor the path of its URL is in what Python prints of it."""
    assert "canary" not in repr(webhook(receiver).notifier)
    assert KEY not in repr(vars(webhook(receiver).notifier))


# The other side.


def signed(body: bytes = b"{}", at: int = NOW, message_id: str = "event-1") -> dict[str, str]:
    """Headers that are right."""
    return {
        "Webhook-Id": message_id,
        "Webhook-Timestamp": f"{at}",
        "Webhook-Signature": signature_of(KEY, message_id, at, body),
    }


@given(body=st.binary(max_size=200), place=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_changed_body_is_not_believed(body: bytes, place: int, bit: int) -> None:
    """One bit, anywhere; a byte more or less."""
    headers = signed(body)
    assert verify(KEY, headers, body, NOW) == "event-1"
    changed = bytearray(body or b"x")
    changed[place % len(changed)] ^= 1 << bit
    for other in {bytes(changed), body + b" ", body[:-1]} - {body}:
        with pytest.raises(ValueError, match="not of this message"):
            verify(KEY, headers, other, NOW)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Webhook-Id": "event-2"}, "not of this"),
        ({"Webhook-Id": ""}, "no id"),
        ({"Webhook-Timestamp": f"{NOW + 1}"}, "not of this"),
        ({"Webhook-Timestamp": f"+{NOW}"}, "no time"),
        ({"Webhook-Timestamp": "\u0661\u0662"}, "no time"),
        ({"Webhook-Timestamp": "9" * 5000}, "no time"),
        ({"Webhook-Timestamp": ""}, "no time"),
        ({"Webhook-Signature": ""}, "not of this"),
        ({"Webhook-Signature": "v1,"}, "not of this"),
        ({"Webhook-Signature": signature_of(KEY, "event-1", NOW, b"{}").replace("v1,", "v2,")}, "not of this"),
        ({"Webhook-Signature": signature_of(KEY, "event-1", NOW, b"{}")[3:]}, "not of this"),
        ({"Webhook-Signature": "v1,\u00e9"}, "not of this"),
    ],
)
def test_wrong_headers_are_not_believed(changes: dict[str, str], why: str) -> None:
    """Missing, of another message, of another kind, or not what they should be."""
    with pytest.raises(ValueError, match=why):
        verify(KEY, {**signed(), **changes}, b"{}", NOW)


@pytest.mark.parametrize(("late", "is_taken"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_an_old_message_is_not_believed(late: int, is_taken: bool) -> None:
    """Whoever recorded one cannot send it again an hour later; nor may it come from the future."""
    if is_taken:
        verify(KEY, signed(at=NOW - late), b"{}", NOW, 300)
    else:
        with pytest.raises(ValueError, match="too old, or from the future"):
            verify(KEY, signed(at=NOW - late), b"{}", NOW, 300)


def test_a_secret_may_be_replaced() -> None:
    """Two signatures side by side: either is enough; that of another secret is none."""
    other = "whsec_" + b64encode(bytes(24)).decode()
    headers = signed()
    headers["Webhook-Signature"] = f"{signature_of(other, 'event-1', NOW, b'{}')} {headers['Webhook-Signature']}"
    assert verify(KEY, headers, b"{}", NOW) == verify(other, headers, b"{}", NOW) == "event-1"
    with pytest.raises(ValueError, match="not of this message"):
        verify("whsec_" + b64encode(b"x" * 24).decode(), headers, b"{}", NOW)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one that is offered, by `hmac.compare_digest`, whether or not an earlier one was right."""
    compared = []
    real = signature.hmac.compare_digest
    monkeypatch.setattr(signature.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))
    headers = signed()
    headers["Webhook-Signature"] += " v1,AAAA v1,BBBB"
    verify(KEY, headers, b"{}", NOW)
    assert len(compared) == 3
    assert "==" not in Path(signature.__file__).read_text()


def test_the_other_side_can_copy_it(tmp_path: Path, receiver: Receiver) -> None:
    """The file alone, in an interpreter that knows nothing of this product, believes what we sent and nothing else."""
    source = Path(signature.__file__).read_text()
    roots = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    }
    assert roots <= sys.stdlib_module_names
    webhook(receiver).notifier.tell(NOTICE)
    [(headers, body)] = receiver.taken
    (tmp_path / "copied.py").write_text(source)
    program = (
        "import json, sys, time\nimport copied\n"
        "secret, headers, body = json.load(sys.stdin)\n"
        "print(copied.verify(secret, headers, body.encode(), time.time()))\n"
        "try:\n    copied.verify(secret, headers, body.encode() + b' ', time.time())\n"
        "except ValueError as error:\n    print(error)\n"
    )
    given_ = json.dumps([KEY, headers, body.decode()]).encode()
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n{program}"],
        input=given_,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().splitlines() == ["event-7", "the signature is not of this message"]


def test_the_key_of_a_secret() -> None:
    """With its prefix or without, as the specification's libraries take it."""
    assert key_of(KEY) == key_of(KEY.removeprefix("whsec_")) == key_of(f"{KEY}\n") == bytes(range(32))


def test_strangers_words_are_carried_and_do_nothing() -> None:
    """Whatever stands in an event, the body is ASCII JSON that says it."""
    odd = replace(NOTICE, subject='a"\r\n\u202e\ud800', body={"message": "\x00", "name": "\u2028</script>"})
    body = content_of(odd)
    assert body.isascii()
    assert json.loads(body)["subject"] == odd.subject
    assert json.loads(body)["details"] == {"name": "\u2028</script>"}


def test_a_receiver_that_trickles(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no answer: there is one end over all of it, whatever each read may take."""
    monkeypatch.setattr(egress, "POST_SECONDS", 1.0)
    receiver.script.append(TRICKLE)
    start = clock.monotonic()
    with pytest.raises(NotDelivered):
        webhook(receiver).notifier.tell(NOTICE)
    assert clock.monotonic() - start < 20

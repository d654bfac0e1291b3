"""The REST API of consumers: who must hold what, how it gets it, who may say so; and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509

from ca import clock
from ca.access import Role
from pki import lifecycle_schedule
from renewers.distribution import published
from tests import rig
from tests.pki.conftest import API, World, problem
from tests.pki.test_lifecycle_api import last_line, ok, owner

PATH = f"{API}/consumers"
TRUST, CRLS = f"trust:{rig.DOMAIN}", f"crl:{rig.DOMAIN}"


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token, where everything was published once."""
    lifecycle_schedule.publish(world.product)
    return world.as_(world.token(Role.ADMIN))


def add(client: httpx.Client, name: str = "edge", **more: Any) -> dict[str, Any]:
    """A consumer that comes and fetches, unless it is said otherwise."""
    return dict(ok(client.post(PATH, json={"name": name, **more})))


def test_a_directory_is_brought_what_it_needs(world: World, admin: httpx.Client, tmp_path: Path) -> None:
    """Added, brought at once, shown as not proved; acknowledged by hand, current; changed, paused, resumed, removed."""
    owner(admin)
    place = tmp_path / "edge"
    needs = {"bundle": ["pem", "spiffe"], "crl": "complete", "crl_formats": ["pem", "der"]}
    made = add(
        admin, kind="proxy", owner="payments", needs=needs, publisher="files", settings={"directory": str(place)}
    )
    assert (made["state"], made["kind"], made["owner"], made["secret"]) == ("active", "proxy", "payments", None)
    assert made["needs"] == {"trust_domains": [rig.DOMAIN], **needs}
    assert (made["is_current"], made["proves_by"], made["has_secret"], made["fresh_within"]) == (False, [], False, "1h")
    last_line(admin.post(f"{API}/renewals/run", json={}))
    live = place / "live"
    names = {path.name for path in live.iterdir()}
    assert {"bundle.pem", "cas.pem", "spiffe.json", "crl.pem", "issuing-1.crl", "trust.jws", "crl.jws"} <= names
    assert x509.load_pem_x509_certificate((live / "bundle.pem").read_bytes()).subject == rig.common_name("Test Root CA")

    shown = ok(admin.get(f"{PATH}/edge"))
    assert {one["stream"]: one["sent_version"] == one["newest_version"] > 0 for one in shown["holds"]} == {
        TRUST: True,
        CRLS: True,
    }
    assert [one["held_version"] for one in shown["holds"]] == [0, 0]
    for stream in (TRUST, CRLS):
        with world.installation.store.read() as connection:
            newest = published.head(connection, stream)
        assert newest is not None
        body = {"stream": stream, "version": newest.version, "sha256": newest.sha256, "at": clock.timestamp()}
        assert ok(admin.post(f"{PATH}/edge/acknowledgements", json=body))["held_version"] == newest.version
    shown = ok(admin.get(f"{PATH}/edge"))
    assert (shown["is_current"], shown["alarms"], shown["error"]) == (True, {}, None)
    assert {one["proved_by"] for one in shown["holds"]} == {"hand:token:admin-1"}
    assert ok(admin.get(f"{PATH}/latencies", params={"stream": TRUST}))["count"] == 1
    assert ok(admin.get(f"{PATH}/latencies", params={"consumer": "edge"}))["count"] == 2
    problem(admin.get(f"{PATH}/latencies", params={"consumer": "none"}), 404, "unknown-consumer")

    assert ok(admin.post(f"{PATH}/edge/pause", json={}))["state"] == "paused"
    assert "resume" in problem(admin.post(f"{PATH}/edge/spread", json={}), 409, "consumer-paused")["hint"]
    assert ok(admin.post(f"{PATH}/edge/resume", json={}))["state"] == "active"
    (live / "bundle.pem").unlink()
    assert admin.post(f"{PATH}/edge/spread", json={}).status_code == 202
    last_line(admin.post(f"{API}/renewals/run", json={}))
    assert (place / "live" / "bundle.pem").exists()

    assert ok(admin.delete(f"{PATH}/edge")) == {"removed": "edge"}
    problem(admin.get(f"{PATH}/edge"), 404, "unknown-consumer")
    assert ok(admin.get(PATH)) == {"items": [], "next": None}
    assert (place / "live" / "bundle.pem").exists()


def lasting(row: dict[str, Any]) -> dict[str, Any]:
    """What a consumer is, without what grows while one looks."""
    holds = [{name: value for name, value in one.items() if name != "behind_seconds"} for one in row["holds"]]
    return {**row, "holds": holds}


def test_what_is_left_out_of_a_change_stays(admin: httpx.Client, tmp_path: Path) -> None:
    """Each field by itself; null is as if it were left out, but for the owner, who can be nobody."""
    owner(admin)
    settings = {"directory": str(tmp_path / "a"), "keep": 3}
    before = add(
        admin,
        kind="broker",
        owner="payments",
        publisher="files",
        settings=settings,
        probe="https:edge.example.internal:443",
        identities=["token:edge"],
        gates=False,
        fresh_within="2h",
        needs={"crl": "none"},
    )
    before.pop("secret")
    assert lasting(ok(admin.patch(f"{PATH}/edge", json={}))) == lasting(before)
    nothing = {"kind": None, "needs": None, "settings": None, "gates": None, "fresh_within": None, "identities": None}
    assert lasting(ok(admin.patch(f"{PATH}/edge", json=nothing))) == lasting(before)
    for change in (
        {"kind": "host"},
        {"gates": True},
        {"fresh_within": "3h"},
        {"identities": []},
        {"owner": None},
        {"probe": ""},
        {"settings": {"directory": str(tmp_path / "b")}},
    ):
        after = ok(admin.patch(f"{PATH}/edge", json=change))
        (field,) = change
        assert after[field] == change[field], change  # type: ignore[literal-required]
        moved = {field, "proves_by", "holds"}
        assert {n: v for n, v in after.items() if n not in moved} == {n: v for n, v in before.items() if n not in moved}
        before = after
    after = ok(admin.patch(f"{PATH}/edge", json={"needs": {"crl": "shards", "bundle": ["jwks"]}}))
    assert [one["stream"] for one in after["holds"]] == [CRLS, TRUST]
    problem(admin.patch(f"{PATH}/none", json={}), 404, "unknown-consumer")
    problem(admin.patch(f"{PATH}/edge", json={"name": "other"}), 400, "bad-request")


def test_a_secret_is_shown_once(admin: httpx.Client) -> None:
    """In the answer that makes it, and in no other; another one takes its place."""
    first = add(admin, makes_secret=True)["secret"]
    assert first.startswith("whsec_")
    assert (
        first not in admin.get(f"{PATH}/edge").text + admin.get(PATH).text + admin.patch(f"{PATH}/edge", json={}).text
    )
    assert ok(admin.get(f"{PATH}/edge"))["proves_by"] == ["signed report"]
    answer = admin.post(f"{PATH}/edge/secret", json={})
    assert answer.status_code == 201
    assert answer.json()["secret"] not in (first, "")
    assert ok(admin.get(f"{PATH}/edge"))["has_secret"] is True
    problem(admin.post(f"{PATH}/none/secret", json={}), 404, "unknown-consumer")


def test_lists_go_on(admin: httpx.Client) -> None:
    """By name, in pages, all or those that need a stream."""
    for number in range(5):
        add(admin, f"edge-{number}", needs={"crl": "none"} if number % 2 else {})
    page = ok(admin.get(PATH, params={"limit": 2}))
    names = [one["name"] for one in page["items"]]
    while page["next"] is not None:
        page = ok(admin.get(PATH, params={"limit": 2, "cursor": page["next"]}))
        names += [one["name"] for one in page["items"]]
    assert names == [f"edge-{number}" for number in range(5)]
    needing = ok(admin.get(PATH, params={"stream": CRLS}))["items"]
    assert [one["name"] for one in needing] == ["edge-0", "edge-2", "edge-4"]
    assert ok(admin.get(PATH, params={"stream": "trust:none"}))["items"] == []
    for wrong in ({"limit": 0}, {"limit": 501}, {"cursor": "\x00"}):
        problem(admin.get(PATH, params=wrong), 400, "bad-request")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"name": "Edge"}, "bad-consumer-name"),
        ({"name": "a..b"}, "bad-consumer-name"),
        ({"kind": "toaster"}, "bad-request"),
        ({"publisher": "none"}, "bad-publisher"),
        ({"publisher": "files"}, "bad-settings"),
        ({"publisher": "files", "settings": {"directory": "relative"}}, "bad-settings"),
        ({"settings": {"directory": "/x"}}, "bad-settings"),
        ({"publisher": "webhook", "settings": {"place": "none"}}, "bad-settings"),
        ({"publisher": "mqtt", "settings": {"place": "none"}}, "bad-settings"),
        ({"publisher": "kubernetes", "settings": {"place": "none"}}, "bad-settings"),
        ({"publisher": "objects", "settings": {"place": "none"}}, "bad-settings"),
        ({"needs": {"bundle": ["docx"]}}, "bad-needs"),
        ({"needs": {"bundle": []}}, "bad-needs"),
        ({"needs": {"crl": "some"}}, "bad-needs"),
        ({"needs": {"trust_domains": ["a b"]}}, "bad-needs"),
        ({"needs": {"more": 1}}, "bad-request"),
        ({"probe": "gopher:x:1"}, "bad-probe"),
        ({"identities": ["local:uid=0"]}, "bad-identity"),
        ({"identities": ["name:dns:*.example.internal"]}, "bad-identity"),
        ({"fresh_within": "1s"}, "bad-fresh-within"),
        ({"fresh_within": "soon"}, "bad-duration"),
        ({"owner": "none"}, "unknown-owner"),
        ({"makes_secret": "perhaps"}, "bad-request"),
    ],
)
def test_what_is_no_consumer_is_refused(world: World, body: dict[str, Any], code: str) -> None:
    """With a code for each, a hint where there is a choice, and nothing is left behind."""
    answer = world.local.post(PATH, json={"name": "edge", **body})
    problem(answer, answer.status_code, code)
    assert answer.status_code in (400, 404)
    assert world.local.get(PATH).json()["items"] == []


def test_two_do_not_share_a_place_or_an_identity(admin: httpx.Client, tmp_path: Path) -> None:
    """Each would chase the other out; a name is taken once, too."""
    place = {"publisher": "files", "settings": {"directory": str(tmp_path / "x")}}
    add(admin, identities=["token:edge"], **place)
    problem(admin.post(PATH, json={"name": "edge"}), 409, "consumer-exists")
    problem(admin.post(PATH, json={"name": "other", "identities": ["token:edge"]}), 409, "identity-taken")
    answer = admin.post(PATH, json={"name": "other", **place})
    problem(answer, 409, answer.json()["code"])
    add(admin, "other")
    problem(admin.patch(f"{PATH}/other", json={"identities": ["token:edge"]}), 409, "identity-taken")
    answer = admin.patch(f"{PATH}/other", json=place)
    problem(answer, 409, answer.json()["code"])


def test_an_operator_adds_what_is_harmless_alone(world: World, tmp_path: Path) -> None:
    """One that fetches, or a plain directory; what runs a command, and every change, is an administrator's."""
    operator = world.as_(world.token(Role.OPERATOR))
    add(operator, "fetches")
    add(operator, "plain", publisher="files", settings={"directory": str(tmp_path / "x")})
    reloading = {"directory": str(tmp_path / "y"), "reload": ["/bin/true"]}
    for body in ({"publisher": "files", "settings": reloading}, {"publisher": "mqtt", "settings": {"place": "x"}}):
        problem(operator.post(PATH, json={"name": "other", **body}), 403, "forbidden")
    for method, path, body in (
        ("PATCH", "/fetches", {"gates": False}),
        ("PATCH", "/none", {}),
        ("DELETE", "/fetches", None),
        ("DELETE", "/none", None),
        *(("POST", f"/fetches/{verb}", {}) for verb in ("pause", "resume", "spread", "secret")),
    ):
        problem(operator.request(method, PATH + path, json=body), 403, "forbidden")
    auditor = world.as_(world.token(Role.AUDITOR))
    assert len(ok(auditor.get(PATH))["items"]) == 2
    problem(auditor.post(PATH, json={"name": "x"}), 403, "forbidden")
    for role in (Role.CONSUMER, Role.REQUESTER):
        problem(world.as_(world.token(role)).get(PATH), 403, "forbidden")


def test_hidden_settings_come_back_as_they_are(admin: httpx.Client, tmp_path: Path) -> None:
    """What was hidden in an answer may be sent back, as a change of the rest, and is not lost."""
    made = add(
        admin, publisher="files", settings={"directory": str(tmp_path / "x"), "reload": ["/bin/sh", "-c", "true"]}
    )
    after = ok(admin.patch(f"{PATH}/edge", json={"settings": {**made["settings"], "keep": 9}}))
    assert after["settings"] == {**made["settings"], "keep": 9}

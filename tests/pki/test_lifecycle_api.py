"""The REST API of the floor that reaches out: owners, lineages, destinations, what is tracked, scans, forecasts.

A fresh installation with its own CA as the issuer is all that it takes. What is brought to a directory is looked at
there; what is scanned is a TLS server on loopback.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs12,
)
from sqlalchemy import update

from ca.access import Role
from ca.ledger.reconcile import audit
from ca.x509.bundle import pem_certificate
from renewers.issuers.memory import MemoryIssuer
from renewers.models import Destination
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from tests import rig
from tests.pki.conftest import API, World, key_pem, problem
from tests.renewers.listeners import Made, listening, make, serving, tls

NAME = "pay.edge.example.internal"


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token."""
    return world.as_(world.token(Role.ADMIN))


@pytest.fixture
def operator(world: World) -> httpx.Client:
    """A client with an operator's token."""
    return world.as_(world.token(Role.OPERATOR))


def ok(answer: httpx.Response) -> Any:
    """The content of a success."""
    return answer.raise_for_status().json()


def last_line(answer: httpx.Response) -> dict[str, Any]:
    """The report at the end of an answer that came line by line."""
    assert answer.headers["content-type"] == "application/x-ndjson", answer.text
    return dict(json.loads(answer.raise_for_status().text.splitlines()[-1]))


def run(client: httpx.Client) -> dict[str, Any]:
    """Everything that is due, done."""
    return last_line(client.post(f"{API}/renewals/run", json={}))


def owner(admin: httpx.Client, name: str = "payments", **more: Any) -> dict[str, Any]:
    """Somebody who answers for certificates."""
    return dict(ok(admin.post(f"{API}/owners", json={"name": name, "email": "team@example.org", **more})))


def lineage(client: httpx.Client, name: str = "pay", *names: str, **more: Any) -> dict[str, Any]:
    """A certificate that is wanted."""
    return dict(ok(client.post(f"{API}/lineages", json={"name": name, "names": list(names or (NAME,)), **more})))


def destination(client: httpx.Client, directory: Path, name: str = "web", **more: Any) -> dict[str, Any]:
    """A directory where it is used."""
    body = {"name": name, "lineage": "pay", "settings": {"directory": str(directory)}, **more}
    return dict(ok(client.post(f"{API}/destinations", json=body)))


def fits(directory: Path) -> x509.Certificate:
    """The certificate in use in a directory, after seeing that key and chain belong to it."""
    live = directory / "live"
    certificate = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes())
    (issuing,) = x509.load_pem_x509_certificates((live / "chain.pem").read_bytes())
    certificate.verify_directly_issued_by(issuing)
    key = load_pem_private_key((live / "key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
    assert (live / "key.pem").stat().st_mode & 0o777 == 0o600
    return certificate


def test_a_lineage_from_plan_to_directory(world: World, admin: httpx.Client, tmp_path: Path) -> None:
    """Planned, issued by our own CA, brought to a directory where it fits, shown with its story, renewed when asked."""
    owner(admin)
    made = lineage(admin, owner="payments")
    assert (made["mode"], made["due_because"], made["current"], made["owner"]) == ("renewed", "first", None, "payments")
    assert destination(admin, tmp_path / "web")["state"] == "empty"
    waiting = ok(admin.get(f"{API}/renewals"))["items"]
    assert [(item["kind"], item["about"], item["standing"]) for item in waiting] == [("renew", "pay", "due")]

    report = run(admin)
    assert (report["error"], report["troubled"]) == (None, [])
    assert report["done"] >= 2
    first = fits(tmp_path / "web")
    assert first.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == [NAME]

    shown = ok(admin.get(f"{API}/lineages/pay"))
    assert (shown["stage"], shown["due_because"], shown["work"]["standing"]) == ("fine", "due", "planned")
    assert [(one["state"], one["reason"], one["issuer"]) for one in shown["renewals"]] == [
        ("done", "first", "internal")
    ]
    assert [(one["name"], one["state"], one["delivered"]) for one in shown["destinations"]] == [
        ("web", "delivered", shown["current"])
    ]
    story = ok(admin.get(f"{API}/tracked/{quote(shown['current'], safe='')}"))
    assert story["certificate"] == pem_certificate(first.public_bytes(Encoding.DER))
    assert (story["source"], story["lineage"], story["owner"], story["is_current"]) == (
        "renewed",
        "pay",
        "payments",
        True,
    )
    assert [(one["destination"], one["outcome"]) for one in story["deliveries"]] == [("web", "delivered")]
    assert [one["outcome"] for one in ok(admin.get(f"{API}/destinations/web"))["deliveries"]] == ["delivered"]

    answer = admin.post(f"{API}/lineages/pay/renew", json={})
    assert (answer.status_code, answer.json()) == (202, {"begins": True})
    run(admin)
    second = fits(tmp_path / "web")
    assert second.serial_number != first.serial_number
    assert second.public_key() != first.public_key()
    assert ok(admin.get(f"{API}/tracked/{story['identity']}"))["replaced_by"] is not None
    kinds = [event["kind"] for event in ok(admin.get(f"{API}/events", params={"subject": "pay"}))["items"]]
    assert kinds.count("certificate-renewed") == 2
    assert kinds[-1] == "lineage-created"
    assert audit(world.installation.store, world.installation.ledger.verifier).is_sound


def test_what_the_profile_refuses_stops_and_says_why(admin: httpx.Client) -> None:
    """A name that no profile allows is refused by our CA: the work stops, is listed with its reason, is an alarm."""
    lineage(admin, "pay", "pay.example.com")
    report = run(admin)
    assert [(one["about"], one["standing"]) for one in report["troubled"]] == [("pay", "stopped")]
    (item,) = ok(admin.get(f"{API}/renewals", params={"standing": "stopped"}))["items"]
    assert (item["code"], item["attempts"]) == ("policy-refused", 1)
    assert "pay.example.com" in item["error"]
    (alarm,) = ok(admin.get(f"{API}/alarms"))["items"]
    assert (alarm["kind"], alarm["subject"], alarm["severity"]) == ("renewal-stopped", "pay", "error")
    ok(admin.patch(f"{API}/lineages/pay", json={"names": [NAME]}))
    assert run(admin)["troubled"] == []
    assert ok(admin.get(f"{API}/alarms"))["items"] == []
    assert [one["kind"] for one in ok(admin.get(f"{API}/events", params={"severity": "error"}))["items"]] == [
        "alarm-raised"
    ]


REFUSED: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "an owner twice": ("POST", "/owners", {"name": "payments", "email": "a@example.org"}, 409, "owner-exists"),
    "no address": ("POST", "/owners", {"name": "x", "email": "nobody"}, 400, "bad-email"),
    "no time zone": ("POST", "/owners", {"name": "x", "email": "a@b.example", "time_zone": "x"}, 400, "bad-time-zone"),
    "an odd name": ("POST", "/owners", {"name": "<b>", "email": "a@b.example"}, 400, "bad-owner"),
    "no such owner": ("PATCH", "/owners/none", {"email": "a@b.example"}, 404, "unknown-owner"),
    "the fallback goes": ("DELETE", "/owners/payments", {}, 409, "fallback-owner"),
    "no claim": ("POST", "/owners/payments/claims", {"kind": "name", "pattern": "a..b"}, 400, "bad-name"),
    "no such issuer": ("POST", "/lineages", {"name": "x", "names": ["a.b"], "issuers": ["none"]}, 400, "bad-lineage"),
    "no such window": ("POST", "/lineages", {"name": "x", "names": ["a.b"], "window": "none"}, 400, "bad-lineage"),
    "no such key": ("POST", "/lineages", {"name": "x", "names": ["a.b"], "key_type": "RSA-7"}, 400, "bad-lineage"),
    "an odd duration": ("POST", "/lineages", {"name": "x", "names": ["a.b"], "lifetime": "1y"}, 400, "bad-duration"),
    "names that are renewed": ("POST", "/lineages", {"name": "x", "names": [NAME]}, 409, "lineage-exists"),
    "a name that is taken": ("POST", "/lineages", {"name": "pay", "names": ["a.b"]}, 409, "lineage-exists"),
    "no such lineage": ("POST", "/lineages/none/renew", {}, 404, "unknown-lineage"),
    "in use": ("DELETE", "/lineages/pay", {}, 409, "lineage-in-use"),
    "a path that climbs": (
        *("POST", "/destinations", {"name": "x", "lineage": "pay", "settings": {"directory": "/a/../b"}}),
        *(400, "bad-settings"),
    ),
    "a shell": (
        *("POST", "/destinations", {"name": "x", "lineage": "pay", "settings": {"directory": "/a", "reload": "rm x"}}),
        *(400, "bad-settings"),
    ),
    "a place that is taken": ("POST", "/destinations", {"name": "web", "lineage": "pay"}, 400, "bad-settings"),
    "no such publisher": (
        *("POST", "/destinations", {"name": "x", "lineage": "pay", "publisher": "x"}),
        *(400, "bad-publisher"),
    ),
    "no probe": ("PATCH", "/destinations/web", {"probe": "a:b:c"}, 400, "bad-probe"),
    "no certificate yet": ("POST", "/destinations/web/deliver", {}, 409, "nothing-to-deliver"),
    "no such destination": ("DELETE", "/destinations/none", {}, 404, "unknown-destination"),
    "no such thing": ("PUT", "/tracked/none/owner", {"owner": "payments"}, 404, "unknown-tracked"),
    "no account": ("POST", "/issuers/internal/roll-key", {}, 409, "no-account"),
    "no such issuer here": ("POST", "/issuers/none/check", {}, 404, "unknown-issuer"),
    "nothing to scan": ("POST", "/scans", {"targets": "  # all"}, 400, "bad-request"),
    "multicast": ("POST", "/scans", {"targets": "224.0.0.1:443"}, 400, "bad-request"),
    "too much to scan": ("POST", "/scans", {"targets": "10.0.0.0/8:443"}, 400, "bad-request"),
    "nothing at all to scan": ("POST", "/scans", {}, 400, "bad-request"),
    "two things to scan": ("POST", "/scans", {"targets": "127.0.0.1:1", "directory": "/none"}, 400, "bad-request"),
    "a path among endpoints": ("POST", "/scans", {"targets": "127.0.0.1:1 /nonexistent"}, 400, "bad-request"),
    "a directory from afar": ("POST", "/scans", {"directory": "/nonexistent"}, 403, "local-only"),
    "no such endpoint": ("DELETE", "/endpoints/tls%3Ax%3A1", {}, 404, "not-found"),
}  # fmt: skip


@pytest.fixture
def stocked(admin: httpx.Client, tmp_path: Path) -> httpx.Client:
    """An owner, a lineage and a destination; nothing is issued yet."""
    owner(admin)
    lineage(admin)
    destination(admin, tmp_path / "web")
    return admin


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_plain_and_changes_nothing(world: World, stocked: httpx.Client, case: str) -> None:
    """Each has its status and its code, and leaves the tables as they were."""
    method, path, body, status, code = REFUSED[case]
    before = world.counts()
    problem(stocked.request(method, f"{API}{path}", json=body), status, code)
    assert world.counts() == before


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.CONSUMER])
def test_requesters_and_consumers_see_nothing_of_it(world: World, stocked: httpx.Client, role: Role) -> None:
    """Neither what is there nor whether it is there: 403 for what exists and for what does not."""
    client, before = world.as_(world.token(role)), None
    before = world.counts()
    for path in ("/owners", "/tracked", "/lineages", "/destinations", "/renewals", "/issuers", "/alarms", "/events"):
        problem(client.get(f"{API}{path}"), 403, "forbidden")
    for path in ("/lineages/pay", "/lineages/none", "/owners/none", "/destinations/none", "/tracked/none"):
        problem(client.get(f"{API}{path}"), 403, "forbidden")
    for path in ("/lineages/pay/renew", "/lineages/none/renew", "/renewals/run", "/destinations/none/deliver"):
        problem(client.post(f"{API}{path}", json={}), 403, "forbidden")
    assert world.counts() == before


def test_an_operator_may_not_run_commands(operator: httpx.Client, stocked: httpx.Client, tmp_path: Path) -> None:
    """Directories of plain files are its to add; what runs as us, or gives a key away, takes an admin."""
    destination(operator, tmp_path / "plain", "plain")
    for more in ({"reload": ["/bin/true"]}, {"group": "root"}, {"mode": "0640"}):
        body = {"name": "x", "lineage": "pay", "settings": {"directory": str(tmp_path / "x"), **more}}
        problem(operator.post(f"{API}/destinations", json=body), 403, "forbidden")
    commanding = {"directory": str(tmp_path / "web"), "reload": ["/bin/true"]}
    ok(stocked.patch(f"{API}/destinations/web", json={"settings": commanding}))
    problem(operator.patch(f"{API}/destinations/web", json={"rank": 3}), 403, "forbidden")
    problem(operator.delete(f"{API}/destinations/web"), 403, "forbidden")


def test_owners_and_what_is_theirs(admin: httpx.Client) -> None:
    """The first is the fallback; a rule gives it what fits; who goes leaves all of it to an heir."""
    first, second = owner(admin, escalation=["boss@example.org"]), owner(admin, "R&D (north/south)")
    assert (first["is_fallback"], second["is_fallback"]) == (True, False)
    path = f"{API}/owners/{quote(second['name'], safe='')}"
    claimed = ok(admin.post(f"{path}/claims", json={"kind": "name", "pattern": "*.Lab.example"}))
    assert claimed["claims"] == [{"kind": "name", "pattern": "dns:*.lab.example"}]
    bring(admin, make("deep.in.lab.example"), make("elsewhere.example"))
    theirs = ok(admin.get(f"{API}/tracked", params={"owner": second["name"]}))["items"]
    assert [(row["shown_as"], row["owner_because"]) for row in theirs] == [
        ("deep.in.lab.example", "claims dns:*.lab.example")
    ]
    (orphan,) = ok(admin.get(f"{API}/tracked/orphans"))["items"]
    assert (orphan["shown_as"], orphan["owner"], orphan["is_orphan"]) == ("elsewhere.example", "payments", True)
    ok(admin.put(f"{API}/tracked/{orphan['identity']}/owner", json={"owner": second["name"]}))
    assert ok(admin.get(f"{API}/tracked/orphans"))["items"] == []
    problem(admin.delete(path), 409, "owner-in-use")
    assert ok(admin.delete(path, params={"heir": "payments"})) == {"removed": second["name"]}
    assert ok(admin.get(f"{API}/tracked/{orphan['identity']}"))["owner"] == "payments"
    assert ok(admin.get(f"{API}/owners/payments"))["claims"] == claimed["claims"]
    gone = {"kind": "name", "pattern": "*.lab.example"}
    assert ok(admin.post(f"{API}/owners/payments/releases", json=gone)) == {"was_there": True}
    assert ok(admin.post(f"{API}/owners/payments/releases", json=gone)) == {"was_there": False}


def bring(client: httpx.Client, *made: Made, **more: Any) -> list[dict[str, Any]]:
    """Import certificates, an item each."""
    items = [{"name": f"item {n}", "pem": pem_certificate(one.der)} for n, one in enumerate(made)]
    return list(ok(client.post(f"{API}/tracked", json={"items": items, **more})))


def test_what_is_brought_in(admin: httpx.Client) -> None:
    """PEM, DER and PKCS#12 are taken, what is known is said, what is no certificate is refused; the rest goes on."""
    owner(admin)
    root = make("Foreign CA", is_ca=True)
    first, second, third = (make(f"{name}.example.org", issuer=root) for name in ("a", "b", "c"))
    bag = pkcs12.serialize_key_and_certificates(
        b"c",
        third.key,
        third.certificate,
        [root.certificate],
        BestAvailableEncryption(b"open sesame"),  # type: ignore[arg-type]
    )
    items = [
        {"name": "a.pem", "pem": f"{key_pem(first.key)}{pem_certificate(first.der)}"},
        {"name": "b.der", "der": base64.b64encode(second.der).decode()},
        {"name": "c.p12", "der": base64.b64encode(bag).decode(), "passphrase": "open sesame"},
        {"name": "again", "pem": pem_certificate(first.der)},
        {"name": "wrong passphrase", "der": base64.b64encode(bag).decode(), "passphrase": "guess"},
        {"name": "nothing", "pem": "hello"},
        {"name": "nonsense", "der": base64.b64encode(b"0\x82\x01").decode()},
        {"name": "both", "pem": "x", "der": "eA=="},
        {"name": "not base64", "der": "="},
    ]
    found = {one["name"]: one for one in ok(admin.post(f"{API}/tracked", json={"items": items, "owner": "payments"}))}
    assert [len(found[name]["tracked"]) for name in ("a.pem", "b.der", "c.p12")] == [1, 1, 2]
    assert found["again"]["known"] == found["a.pem"]["tracked"]
    for name in ("wrong passphrase", "nothing", "nonsense", "both", "not base64"):
        assert found[name]["tracked"] == []
        assert found[name]["refused"][0]["why"], name
    assert "sesame" not in json.dumps(found)
    rows = ok(admin.get(f"{API}/tracked", params={"issuer": "foreign", "kind": "certificate"}))["items"]
    assert {row["shown_as"] for row in rows} == {"a.example.org", "b.example.org", "c.example.org"}
    assert {row["owner"] for row in rows} == {"payments"}
    assert {row["mode"] for row in rows} == {"manual"}
    body = {"items": items[:1], "owner": "nobody"}
    problem(admin.post(f"{API}/tracked", json=body), 404, "unknown-owner")


def test_the_same_key_twice(admin: httpx.Client) -> None:
    """Two certificates of different names with one key are found."""
    key = rig.pooled_key(place=60)
    bring(admin, make("one.example", key=key), make("two.example", key=key))
    (shared,) = ok(admin.get(f"{API}/tracked/shared-keys"))["items"]
    assert len(shared["tracked"]) == len(shared["lineages"]) == 2


def test_searching(admin: httpx.Client) -> None:
    """By name, serial number, key and end; page after page, each once."""
    made = [make(f"n{number}.example", days=10 + number) for number in range(7)]
    bring(admin, *made)
    serial = f"{made[3].certificate.serial_number:x}"
    for params in ({"name": "n3.example"}, {"serial": serial}, {"key": _key_hash(made[3])}):
        rows = ok(admin.get(f"{API}/tracked", params=params))["items"]
        assert [row["shown_as"] for row in rows] == ["n3.example"], params
    seen, cursor = [], None
    while True:
        params = {"limit": 3, "expires_before": 1 << 40, "source": "imported", **({"cursor": cursor} if cursor else {})}
        page = ok(admin.get(f"{API}/tracked", params=params))
        seen += [row["shown_as"] for row in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"n{number}.example" for number in range(7)]
    problem(admin.get(f"{API}/tracked", params={"cursor": "x"}), 400, "bad-cursor")
    problem(admin.get(f"{API}/tracked", params={"owner": "none"}), 404, "unknown-owner")


def _key_hash(made: Made) -> str:
    from hashlib import sha256

    from ca.keys.algorithms import spki

    return sha256(spki(made.key.public_key())).hexdigest()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Made, int]]:
    """A TLS server on loopback whose certificate has another name and has ended."""
    from ca import clock

    leaf = make("shop.example", start=clock.from_timestamp(clock.timestamp() - 90 * 86400), days=30)
    with listening(tls(serving(tmp_path, leaf))) as listener:
        yield leaf, listener.port


def test_a_scan_tracks_what_it_sees(world: World, operator: httpx.Client, shop: tuple[Made, int]) -> None:
    """Progress line by line, then the report; the certificate is tracked, its endpoint listed with what is wrong."""
    leaf, port = shop
    target = f"127.0.0.1:{port}"
    answer = operator.post(f"{API}/scans", json={"targets": f"{target} 127.0.0.1:1"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["done"] for line in lines] == [1, 2, 2]
    assert (lines[-1]["of"], lines[-1]["seen"], lines[-1]["error"]) == (2, 1, None)
    assert [one["place"] for one in lines[-1]["unseen"]] == ["tls:127.0.0.1:1"]
    (place,) = lines[-1]["endpoints"]
    assert (place["place"], place["shown_as"]) == (f"tls:{target}", "shop.example")
    assert "expired" in place["findings"]
    assert "self-signed" in place["findings"]
    assert [one["place"] for one in ok(operator.get(f"{API}/endpoints?finding=expired"))["items"]] == [f"tls:{target}"]
    assert ok(operator.get(f"{API}/endpoints?finding=weak-key"))["items"] == []
    (row,) = ok(operator.get(f"{API}/tracked", params={"name": "shop.example"}))["items"]
    story = ok(operator.get(f"{API}/tracked/{row['identity']}"))
    assert [(seen["place"], seen["is_there"]) for seen in story["places"]] == [(f"tls:{target}", True)]
    assert story["certificate"] == pem_certificate(leaf.der)
    assert ok(operator.delete(f"{API}/endpoints/{quote(f'tls:{target}', safe='')}"))["removed"] == f"tls:{target}"
    assert ok(operator.get(f"{API}/endpoints"))["items"] == []


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """A directory with a chain and its key, one that has ended, and what gives nothing."""
    from ca import clock

    top, root = tmp_path / "pile", make("Foreign CA", is_ca=True)
    (top / "deep").mkdir(parents=True)
    leaf = make("pile.example", issuer=root)
    ended = make("ended.example", issuer=root, start=clock.from_timestamp(clock.timestamp() - 90 * 86400), days=30)
    (top / "chain.pem").write_text(f"{key_pem(leaf.key)}{pem_certificate(leaf.der)}{pem_certificate(root.der)}")
    (top / "deep" / "ended.der").write_bytes(ended.der)
    (top / "broken.crt").write_bytes(b"0\x82\x01")
    (top / "closed.pem").touch(0)
    (top / "out.pem").symlink_to("/etc/passwd")
    with (top / "large.pem").open("wb") as file:
        file.truncate(2 * 1024 * 1024)
    return top


def test_a_directory_is_read_for_who_is_on_the_machine(world: World, admin: httpx.Client, pile: Path) -> None:
    """Progress line by line, then what is where and each reason; an admin from afar is told to bring the files."""
    owner(admin)
    document = problem(admin.post(f"{API}/scans", json={"directory": str(pile)}), 403, "local-only")
    assert "certwright track import" in document["hint"]
    assert ok(admin.get(f"{API}/tracked"))["items"] == []
    answer = world.local.post(f"{API}/scans", json={"directory": str(pile), "owner": "payments"})
    lines = [json.loads(line) for line in answer.raise_for_status().text.splitlines()]
    assert [(line["done"], line["of"]) for line in lines[:-1]] == [(number, None) for number in range(1, 7)]
    report = last_line(answer)
    assert [report[name] for name in ("error", "done", "of", "seen")] == [None, 6, 6, 2]
    assert {one["place"].removeprefix(f"file:{pile}/"): one["shown_as"] for one in report["endpoints"]} == {
        "chain.pem": "pile.example",
        "deep/ended.der": "ended.example",
    }
    assert report["findings"]["expired"] == 1
    reasons = {one["place"].removeprefix(f"file:{pile}/"): one["reason"] for one in report["unseen"]}
    assert set(reasons) == {"broken.crt", "closed.pem", "large.pem", "out.pem"}
    assert "leads out" in reasons["out.pem"]
    assert sum(report["reasons"].values()) == len(reasons)
    assert "PRIVATE" not in answer.text
    rows = ok(admin.get(f"{API}/tracked", params={"owner": "payments"}))["items"]
    assert {row["shown_as"] for row in rows} == {"pile.example", "ended.example"}
    assert len(ok(admin.get(f"{API}/endpoints"))["items"]) == 2


@pytest.mark.parametrize(
    "path", ["etc/ssl", ".", "../etc", "/etc/../etc/ssl", "{pile}/deep/..", "{pile}/none", "~", ""]
)
def test_a_directory_has_a_plain_path(world: World, pile: Path, path: str) -> None:
    """A relative one, one that climbs, and one that leads nowhere are refused; nothing is read."""
    before = world.counts()
    answer = world.local.post(f"{API}/scans", json={"directory": path.format(pile=pile)})
    document = problem(answer, 400, answer.json()["code"])
    assert document["code"] in ("bad-directory", "bad-request")
    assert world.counts() == before


def test_one_scan_at_a_time(world: World, operator: httpx.Client) -> None:
    """A second one is refused while the first runs, and may come when it is over."""
    from pki.web.api import scans

    going, said = threading.Event(), []
    running = scans._SCAN.answer(lambda say: said.append(going.wait(60)) or {"error": None}, lambda why: {"error": why})
    document = problem(operator.post(f"{API}/scans", json={"targets": "127.0.0.1:1"}), 409, "scan-running")
    assert document["hint"]
    going.set()

    async def drain() -> list[str]:
        return [str(chunk) async for chunk in running.body_iterator]

    assert world._loop.run(drain()) == ['{"error": null}\n']
    assert last_line(operator.post(f"{API}/scans", json={"targets": "127.0.0.1:1"}))["done"] == 1


def test_what_goes_wrong_on_the_way_is_the_last_line(admin: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The headers are sent by then: the stream itself says that it failed, and nothing of the inside."""

    def boom(*_args: object, **_named: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("pki.web.api.renewals.catch_up", boom)
    report = run(admin)
    assert (report["error"], report["done"]) == ("it failed: RuntimeError", 0)


def test_looking_ahead(stocked: httpx.Client) -> None:
    """One forecast a lifetime: shorter lifetimes bring more renewals, and what is asked for wrongly is refused."""
    run(stocked)
    now, short = ok(stocked.get(f"{API}/renewals/plan", params={"lifetimes": "now,6", "days": 60}))
    assert (now["lifetime_days"], short["lifetime_days"]) == (None, 6)
    assert len(now["renewals"]) == len(short["smoothed"]) == 60
    assert sum(short["renewals"]) > 2 * sum(now["renewals"]) > 4
    assert now["breaks"] == []
    for params in ({"lifetimes": "0"}, {"lifetimes": "now,"}, {"days": 0}, {"days": 401}):
        problem(stocked.get(f"{API}/renewals/plan", params=params), 400, "bad-request")
    problem(stocked.get(f"{API}/renewals/plan", params={"lifetimes": "9999"}), 400, "bad-lifetimes")
    problem(stocked.get(f"{API}/renewals/plan", params={"issuer": "none"}), 404, "unknown-issuer")
    (other,) = ok(stocked.get(f"{API}/renewals/plan", params={"issuer": "internal", "lifetimes": "now", "days": 60}))
    assert {**other, "start": now["start"]} == now  # a second may have passed between the two questions


def test_issuers(world: World, stocked: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own CA is one of them; nobody knows how it is until somebody asks; what it says no with is said."""
    (internal,) = ok(stocked.get(f"{API}/issuers"))
    assert (internal["name"], internal["kind"], internal["state"], internal["account"]) == (
        *("internal", "internal", "unknown", None),
    )
    assert ok(stocked.post(f"{API}/issuers/internal/check", json={}))["is_ok"] is True
    assert ok(stocked.get(f"{API}/issuers"))[0]["state"] == "answers"
    world.local.post(f"{API}/authorities/issuing-1/state", json={"state": "tainted"}).raise_for_status()
    found = ok(stocked.post(f"{API}/issuers/internal/check", json={}))
    assert (found["is_ok"], bool(found["message"])) == (False, True)


def test_alarms_and_events_are_paged(world: World, admin: httpx.Client) -> None:
    """Page after page, each once; a cursor that we did not give out is refused."""
    store = world.installation.store
    for number in range(5):
        trouble = Trouble("odd", f"subject {number}", "warning", "it is odd", hint="certwright alarm list")
        store.write(lambda tx, trouble=trouble: alarms.raise_alarm(tx, trouble))
    for path, name in (("/alarms", "subject"), ("/events", "subject")):
        seen, cursor = [], None
        while True:
            page = ok(admin.get(f"{API}{path}", params={"limit": 2, **({"cursor": cursor} if cursor else {})}))
            seen += [row[name] for row in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert sorted(seen) == [f"subject {number}" for number in range(5)]
    problem(admin.get(f"{API}/alarms", params={"cursor": "x"}), 400, "bad-cursor")
    (event,) = ok(admin.get(f"{API}/events", params={"subject": "subject 3"}))["items"]
    assert (event["kind"], event["severity"], event["message"]) == ("alarm-raised", "warning", "it is odd")
    assert event["details"]["alarm"] == "odd"


def test_a_change_says_only_what_it_changes(stocked: httpx.Client, tmp_path: Path) -> None:
    """What is left out stays, null empties what may be empty, and another name is another path."""
    first = lineage(stocked, "api", "api.edge.example.internal", key_age="30d", lifetime="7d", owner="payments")
    path = f"{API}/lineages/api"
    assert (first["key_age"], first["lifetime"]) == ("30d", "7d")
    changed = ok(stocked.patch(path, json={"lifetime": None, "key_type": "P-384"}))
    assert (changed["key_age"], changed["lifetime"], changed["key_type"]) == ("30d", None, "P-384")
    changed = ok(stocked.patch(path, json={"owner": None, "key_type": None, "name": "uri:x/y"}))
    assert (changed["owner"], changed["key_type"], changed["name"]) == (None, "", "uri:x/y")
    assert ok(stocked.get(f"{API}/lineages/uri:x%2Fy"))["names"] == ["dns:api.edge.example.internal"]
    problem(stocked.get(path), 404, "unknown-lineage")
    place = ok(stocked.patch(f"{API}/destinations/web", json={"probe": "localhost:443", "rank": -3}))
    assert (place["probe"], place["rank"], place["settings"]) == ("localhost:443", -3, {"directory": f"{tmp_path}/web"})
    problem(stocked.delete(f"{API}/lineages/pay"), 409, "lineage-in-use")
    ok(stocked.delete(f"{API}/lineages/pay", params={"force": "true"}))
    problem(stocked.get(f"{API}/destinations/web"), 404, "unknown-destination")


def test_a_public_issuer_goes_first_and_ours_helps_out(world: World, admin: httpx.Client, tmp_path: Path) -> None:
    """Issuers are asked in the order of the lineage; one that does not answer is passed over, and fails in the list."""
    from ca.errors import IssuerUnavailable
    from renewers.issuers import Wanted

    def away(_wanted: Wanted) -> None:
        raise IssuerUnavailable("it is being moved")

    object.__setattr__(
        world.product.lifecycle, "issuers", {**world.product.lifecycle.issuers, "moved": MemoryIssuer(trouble=away)}
    )
    lineage(admin, issuers=["moved", "internal"])
    assert run(admin)["troubled"] == []
    shown = ok(admin.get(f"{API}/lineages/pay"))
    assert [one["issuer"] for one in shown["renewals"]] == ["internal"]
    states = {row["name"]: (row["state"], row["last_error"]) for row in ok(admin.get(f"{API}/issuers"))}
    assert states["moved"] == ("failing", "it is being moved")


def test_a_token_is_no_shell(world: World, admin: httpx.Client, tmp_path: Path) -> None:
    """A program that this machine's settings do not name is refused, to admins too, and to rows that name it anyway."""
    lineage(admin, "web", "web.example.internal")
    settings = {"directory": str(tmp_path / "web"), "reload": ["/bin/touch", str(tmp_path / "touched")]}
    refused = admin.post(f"{API}/destinations", json={"name": "web", "lineage": "web", "settings": settings})
    problem(refused, 400, "program-not-allowed")
    assert "renewals.programs" in refused.json()["hint"]
    destination(admin, tmp_path / "web", lineage="web", settings={**settings, "reload": ["/bin/true"]})
    row = update(Destination).values(settings=json.dumps(settings))
    world.product.installation.store.write(lambda tx: tx.execute(row) and None)
    run(admin)
    assert not (tmp_path / "touched").exists()
    assert ok(admin.get(f"{API}/destinations/web"))["delivered"] is None
    assert [alarm["kind"] for alarm in ok(admin.get(f"{API}/alarms"))["items"]] == ["delivery-failing"]

"""The dates to come: 30 days, 1, 5 and 10 years on, leap days, and the night on which UTCTime ends (RFC 5280 4.1.2.5).

One process lives through all of them, and nobody helps it: CAs that ended meanwhile have to be followed. At every date
it issues, renews, revokes, publishes and answers; OpenSSL judges what comes of it, at that date and not at today's.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from ca import clock, completeness
from ca.publication.opening import open_signed
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from pki import lifecycle_schedule, schedule
from pki.initialise import InitPlan, initialise
from pki.product import Product
from renewers.distribution import published
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.runner import Runner
from tests import peer, rig
from tests.ca.asking import judged, request_about
from tests.pki.conftest import API, PLAN, World, csr, wish

pytestmark = [pytest.mark.peer("openssl")]
FOUNDED = datetime(2026, 11, 26, 9, 30, tzinfo=UTC)
BEATS = (
    *(lifecycle_schedule.publish, schedule.sequence_ledger, schedule.keep_responders, lifecycle_schedule.rotate_due),
    *(lifecycle_schedule.track_issued, lifecycle_schedule.track_own, lifecycle_schedule.watch_lead_time),
    *(schedule.prune, lifecycle_schedule.prune_inventory),
)
PACE = timedelta(seconds=5)
ENDED = "the CA certificate of issuing-1 has expired"
TIME = re.compile(r"prim: (UTCTIME|GENERALIZEDTIME) +:(\d+Z)")


@pytest.fixture(autouse=True)
def _counterpart() -> None:
    peer.require("openssl")


@pytest.fixture(autouse=True)
def _no_throttle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Complete lists are made as often as something changes."""
    monkeypatch.setattr("ca.crl.THROTTLE", 0)


class Life:
    """An installation that goes from date to date, and a directory for what OpenSSL is to look at."""

    def __init__(self, world: World, runner: Runner, directory: Path) -> None:
        self.world = world
        self.product = world.product
        self.runner = runner
        self.directory = directory
        self.refused: list[str] = []
        """What the schedule was told while it could not go on."""

    def settle(self, moment: datetime) -> datetime:
        """Run what is scheduled until no rotation is open; returns when that was."""
        calm = 0
        for _ in range(80):
            moment += PACE
            with clock.pinned(moment):
                for beat in BEATS:
                    try:
                        beat(self.product)
                    except Exception as error:
                        self.refused.append(str(error))
                self.runner.drain()
                rotations = self.world.local.get(f"{API}/rotations").raise_for_status().json()["items"]
                calm = calm + 1 if all(row["state"] != "open" for row in rotations) else 0
                if calm == 3:  # the inventory has seen what became of it
                    return moment
        raise AssertionError(f"the rotation does not end: {rotations}")

    def fetch(self, url: str) -> bytes:
        """What a stranger gets."""
        return self.world.nobody.get(url.removeprefix(rig.PUBLIC_URL)).raise_for_status().content

    def issue(self) -> list[bytes]:
        """The chain of a new certificate, DER, its own first."""
        return chain_of(self.world.local.post(f"{API}/certificates", json=wish()))

    def renew(self, leaf: bytes) -> list[bytes]:
        """The same of its successor."""
        return chain_of(self.world.local.post(f"{API}/certificates/{serial(leaf)}/renew", json={"csr": csr(place=1)}))

    def revoke(self, leaf: bytes) -> None:
        """Revoke it, and publish what follows."""
        body = {"reason": "superseded"}
        self.world.local.post(f"{API}/certificates/{serial(leaf)}/revoke", json=body).raise_for_status()
        lifecycle_schedule.publish(self.product)
        self.product.settle()

    def status(self, leaf: bytes, issuer: bytes) -> tuple[ocsp.OCSPResponse, bytes]:
        """The verified answer of the responder, and its bytes."""
        certificate, ca = map(x509.load_der_x509_certificate, (leaf, issuer))
        self.product.responder._fresh_until = float("-inf")
        headers = {"Content-Type": "application/ocsp-request"}
        asked = request_about(certificate, ca)
        body = self.world.nobody.post("/ocsp", content=asked, headers=headers).raise_for_status().content
        return judged(body, ca, certificate.serial_number), body

    def openssl(self, *words: str | Path) -> tuple[int, str]:
        """Exit code and output of an OpenSSL command."""
        done = peer.run("openssl", *words)
        return done.returncode, (done.stdout + done.stderr).decode()

    def file(self, name: str, content: str | bytes) -> Path:
        """A file that it can read."""
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def chain_of(answer: httpx.Response) -> list[bytes]:
    """The certificates of an answer, DER."""
    assert answer.status_code == 201, answer.text
    told = answer.json()
    pems = x509.load_pem_x509_certificates((told["certificate"] + "".join(told["chain"])).encode())
    return [der_of(one) for one in pems]


def der_of(certificate: x509.Certificate) -> bytes:
    """Its DER bytes."""
    return certificate.public_bytes(Encoding.DER)


def serial(leaf: bytes) -> str:
    """Its serial number, as the product writes it."""
    return f"{x509.load_der_x509_certificate(leaf).serial_number:x}"


@contextmanager
def life(directory: Path, plan: InitPlan) -> Iterator[Life]:
    """An installation that was founded on that day, and has been open since."""
    with clock.pinned(FOUNDED):
        initialise(directory / "state", plan)
        product = Product.open(directory / "state")
    with product, asyncio.Runner() as loop:
        runner = lifecycle_schedule.make_runner(product)
        try:
            yield Life(World(product, loop), runner, directory)
        finally:
            runner.stop()


def live(found: Life, moment: datetime, *, settled: bool = True) -> None:
    """One date: everything that a CA does, and what others make of it."""
    moment = found.settle(moment) if settled else moment
    with clock.pinned(moment):
        kept, gone = found.issue(), found.issue()
        renewed = found.renew(kept[0])
        found.revoke(gone[0])
        root = found.product.installation.authorities.get("root").certificate
        for chain in (kept, gone, renewed):
            ends = [x509.load_der_x509_certificate(one).not_valid_after_utc for one in (*chain[:2], root)]
            assert ends == sorted(ends), "a certificate outlives its issuer"
        name = found.product.installation.authorities.get("issuing").name
        lists = [found.fetch(f"/crl/{name}.crl"), found.fetch(shard_of(gone[0])), found.fetch(f"/crl/{name}.delta.crl")]
        for one in lists:
            assert (serial(gone[0]) in listed(one), serial(kept[0]) in listed(one)) == (True, False)
        answers = [found.status(one[0], one[1]) for one in (renewed, gone)]
        assert [one.certificate_status.name for one, _ in answers] == ["GOOD", "REVOKED"]
        openssl_agrees(found, moment, (renewed, gone), root, lists, [body for _, body in answers])
        assert [one.findings for one in completeness.check_all(found.product.installation) if one.wrong] == []
        assert publications(found, root) == []
        assert found.world.nobody.get("/healthz").json() == {"status": "ok", "problems": []}
        last = found.world.local.post(f"{API}/ledger/verify", json={}).raise_for_status().text.splitlines()[-1]
        assert json.loads(last)["is_sound"], last
        alarms = found.world.local.get(f"{API}/alarms").raise_for_status().json()["items"]
        assert [one["message"] for one in alarms if one["kind"] in ("expiring", "rotation-failing")] == []


def listed(crl: bytes) -> set[str]:
    """The serial numbers on a list that is good now."""
    found = x509.load_der_x509_crl(crl)
    assert found.last_update_utc <= clock.now() <= (found.next_update_utc or clock.now())
    return {f"{entry.serial_number:x}" for entry in found}


def shard_of(leaf: bytes) -> str:
    """Where the list of its shard is, by the certificate itself."""
    values = x509.load_der_x509_certificate(leaf).extensions
    (point,) = values.get_extension_for_class(x509.CRLDistributionPoints).value
    return str((point.full_name or [])[0].value)


def publications(found: Life, root: bytes) -> list[str]:
    """Which of the streams nobody could go by who has the root."""
    wrong = []
    for stream in (trust_stream(rig.DOMAIN), crl_stream(rig.DOMAIN)):
        with found.product.installation.store.read() as connection:
            row = published.newest(connection, stream)
        assert row is not None
        signed, now = bytes(row.signed), clock.timestamp()
        manifest = open_signed(signed, [root], trust_domain=rig.DOMAIN, stream=stream, now=now, held=None)
        ends = [entry.next_update for entry in manifest.lists]
        if not (manifest.anchors or ends) or min(ends, default=now + 1) <= now:
            wrong.append(stream)
    return wrong


def openssl_agrees(
    found: Life,
    moment: datetime,
    chains: tuple[Sequence[bytes], Sequence[bytes]],
    root: bytes,
    lists: Sequence[bytes],
    answers: Sequence[bytes],
) -> None:
    """The one verifies, the other is revoked: by the complete list, the shard, base and delta, and OCSP answers."""
    complete, shard, delta = lists
    trusted = found.file("root.pem", pem_certificate(root))
    untrusted = found.file("chain.pem", pem_chain(chains[0][1:]))
    good, gone = (found.file(f"{n}.pem", pem_certificate(c[0])) for n, c in zip(("good", "gone"), chains, strict=True))
    at = ("-attime", f"{int(moment.timestamp())}", "-CAfile", trusted)
    strict = ("verify", "-x509_strict", *at, "-untrusted", untrusted)
    assert found.openssl(*strict, good)[0] == 0
    for name, given in (("complete", [complete]), ("delta", [complete, delta]), ("shard", [shard])):
        crls = found.file(f"{name}.pem", "".join(map(pem_crl, given)))
        deltas = ("-use_deltas",) if name == "delta" else ()
        more = ("-crl_check", "-extended_crl", *deltas, "-CRLfile", crls)
        code, said = found.openssl(*strict, *more, gone)
        assert (code != 0, "certificate revoked" in said) == (True, True), f"{name}: {said}"
        if name != "shard":
            assert found.openssl(*strict, *more, good)[0] == 0, name
    issuer = found.file("issuer.pem", pem_certificate(chains[0][1]))
    for crl in lists:
        path = found.file("list.der", crl)
        _, said = found.openssl("crl", "-inform", "DER", "-in", path, "-noout", "-CAfile", issuer)
        assert "verify OK" in said
        times_are_right(found, path, moment)
    for chain in chains:
        times_are_right(found, found.file("leaf.der", chain[0]), moment)
    for answer, leaf, word in zip(answers, (good, gone), ("good", "revoked"), strict=True):
        about = ("-respin", found.file("answer.der", answer), "-issuer", issuer, "-cert", leaf, "-no_nonce")
        _, said = found.openssl("ocsp", *about, *at, "-verify_other", untrusted)  # it holds status times against today
        assert "Response verify OK" in said
        assert re.findall(r"\b(good|revoked|unknown)$", said, re.MULTILINE) == [word]


def times_are_right(found: Life, path: Path, moment: datetime) -> None:
    """UTCTime through 2049, GeneralizedTime from 2050 on, with seconds and Z, as OpenSSL reads the bytes."""
    _, said = found.openssl("asn1parse", "-inform", "DER", "-in", path)
    times = TIME.findall(said)
    assert len(times) >= 2
    for kind, text in times:
        year = int(text[:4]) if kind == "GENERALIZEDTIME" else 2000 + int(text[:2])
        assert len(text) == (15 if kind == "GENERALIZEDTIME" else 13)
        assert (kind == "GENERALIZEDTIME") == (year >= 2050), (kind, text)
        assert abs(year - moment.year) <= 1, text


def test_ten_years_without_anybody(tmp_path: Path) -> None:
    """+30 days, +1, +5 and +10 years: what ended meanwhile is said, and followed, without a restart."""
    with life(tmp_path, PLAN) as found:
        live(found, FOUNDED + timedelta(days=30))
        live(found, FOUNDED.replace(year=2027))
        assert found.refused == []
        an_hour_before_its_end(found)
        with clock.pinned(FOUNDED.replace(year=2031)):
            refused = found.world.local.post(f"{API}/certificates", json=wish())
            assert (refused.status_code, refused.json()["code"]) == (503, "authority-expired")
            assert (refused.json()["detail"], refused.json()["hint"]) == (ENDED, "certwright ca rotate issuing")
            assert ENDED in found.world.nobody.get("/healthz").json()["problems"]
        live(found, FOUNDED.replace(year=2031))
        live(found, FOUNDED.replace(year=2036))
        assert set(found.refused) == {ENDED, ENDED.replace("-1", "-2")}
        rows = found.product.installation.authorities.all()
        assert {row.name for row in rows if row.state == "active"} == {"root-3", "issuing-3"}
        assert all(row.state == "retired" for row in rows if row.state != "active")


def test_a_rotation_that_slept_longer_than_what_it_made(tmp_path: Path) -> None:
    """The process ends in the middle of it, and is back when the next generation has expired, too: it makes another."""
    with life(tmp_path, PLAN) as found:
        with clock.pinned(FOUNDED.replace(year=2031)):
            lifecycle_schedule.rotate_due(found.product)
            found.runner.drain()
            rows = {row.name: row.state for row in found.product.installation.authorities.all()}
            assert (rows["issuing-2"], rows["root-2"]) == ("prepared", "prepared")
        live(found, FOUNDED.replace(year=2037))
        rows = {row.name: row.state for row in found.product.installation.authorities.all()}
        assert {name for name, state in rows.items() if state == "active"} == {"root-3", "issuing-4"}
        assert set(rows.values()) == {"active", "retired"}


def an_hour_before_its_end(found: Life) -> None:
    """What the issuing CA signs then ends with it, to the second: leaves, lists, answers."""
    row = found.product.installation.authorities.get("issuing")
    end = clock.from_timestamp(row.not_after)
    with clock.pinned(end - timedelta(hours=1)):
        chain = found.issue()
        assert x509.load_der_x509_certificate(chain[0]).not_valid_after_utc == end
        found.product.settle()
        for url in (f"/crl/{row.name}.crl", shard_of(chain[0]), f"/crl/{row.name}.delta.crl"):
            assert x509.load_der_x509_crl(found.fetch(url)).next_update_utc == end
        assert found.status(chain[0], chain[1])[0].next_update_utc == end


def test_leap_days_and_the_end_of_utc_time(tmp_path: Path) -> None:
    """A root for a hundred years; 2100 has no 29 February."""
    with life(tmp_path, InitPlan(name="Test", root_lifetime=timedelta(days=36500), changes=PLAN.changes)) as found:
        live(found, datetime(2028, 2, 29, 12, tzinfo=UTC))
        live(found, datetime(2032, 2, 29, 0, 0, tzinfo=UTC))
        last = found.settle(datetime(2049, 12, 31, 23, 40, tzinfo=UTC))
        live(found, datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), settled=False)
        assert last.year == 2049
        live(found, datetime(2050, 1, 1, tzinfo=UTC), settled=False)
        live(found, datetime(2050, 1, 1, 0, 1, 1, tzinfo=UTC))
        found.settle(datetime(2100, 2, 28, 23, 40, tzinfo=UTC))
        live(found, datetime(2100, 2, 28, 23, 59, 59, tzinfo=UTC), settled=False)
        live(found, datetime(2100, 3, 1, tzinfo=UTC))

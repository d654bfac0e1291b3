"""An installation whose root is offline: by command from the key that leaves to the CA that takes over."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate, ocsp
from structlog.testing import capture_logs

from ca import clock, external, revocation
from ca.ceremony import asking, due, leaving
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.secret import Secret
from ca.x509.bundle import read_certificates
from ca.x509.revocation_list import RevocationReason
from pki import backup, restoring, schedule
from pki.initialise import InitPlan, initialise
from pki.product import Product
from pki.web.app import measure
from tests import peer, rig
from tests.pki.conftest import Warm, World
from tests.pki.test_authority_requests import chain_for
from tests.pki.test_cli import Cli

WORDS = "correct horse battery staple"


def openssl(*argv: object) -> str:
    """What OpenSSL says; it has to be content."""
    command = [peer.require("openssl"), *map(str, argv)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def take_offline(world: World) -> None:
    pem = leaving.export(world.installation, rig.ADMIN, "root", Secret(WORDS))
    leaving.leave(world.installation, rig.ADMIN, "root", pem, Secret(WORDS))


@pytest.mark.peer("openssl")
def test_from_the_key_that_leaves_to_the_ca_that_takes_over(warm: Warm, state: Path, tmp_path: Path) -> None:
    """Two files are carried; OpenSSL takes the new CA's leaf with the offline root's list; the key comes back."""
    alone, offline = Cli(warm, "--state", state, directory=tmp_path), Cli(warm, directory=tmp_path)
    (tmp_path / "words").write_text(f"{WORDS}\n")
    (tmp_path / "words").chmod(0o600)
    words = ("--passphrase-file", "words")
    row = alone.json("ca", "take-offline", "root-1", "--out", "root.key", *words, "--yes")
    assert row["key"] == "offline"
    assert (tmp_path / "root.key").stat().st_mode & 0o777 == 0o600
    assert WORDS not in (tmp_path / "root.key").read_text()
    assert "BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "root.key").read_text()
    openssl("pkey", "-in", tmp_path / "root.key", "-passin", f"pass:{WORDS}", "-noout")
    refused = alone.run("ca", "create", "issuing", "--subject", "CN=Next", code=1)
    assert "certwright ceremony request root-1" in refused.stderr

    ask = ("root-1", "--line", "issuing", "--subject", "CN=Carried CA", "--out", "request.json")
    sheet = alone.run("ceremony", "request", *ask).stdout
    assert offline.run("ceremony", "show", "request.json").stdout == sheet
    assert "CN=Carried CA" in sheet
    by = ("--by", "Ada", "--by", "Grace", "--out", "answer.json", "--key", "root.key", "--yes")
    offline.run("ceremony", "sign", "request.json", *by, "--key-passphrase-file", "words")
    assert [one["state"] for one in alone.json("ceremony", "list")] == ["waits"]
    done = alone.json("ceremony", "accept", "answer.json")
    assert (done["state"], done["transcript"]["present"]) == ("completed", ["Ada", "Grace"])
    assert "Ada, Grace" in alone.run("ceremony", "show", done["name"]).stdout
    alone.run("ceremony", "show", done["name"], "--out", "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "request.json").read_bytes()

    alone.run("ca", "activate", "issuing-2")
    alone.run("cert", "issue", "--profile", "server", "dns:db.example.internal", "--out", "leaf")
    alone.run("ca", "export", "--roots", "--out", "root.pem")
    alone.run("ca", "export", "issuing-2", "--out", "issuing.pem")
    alone.run("ca", "crl", "--out", "lists.pem")
    (leaf,) = (tmp_path / "leaf").glob("*cert*.pem")
    openssl("verify", "-x509_strict", "-crl_check_all", "-CRLfile", tmp_path / "lists.pem", "-CAfile",
            tmp_path / "root.pem", "-untrusted", tmp_path / "issuing.pem", leaf)  # fmt: skip
    assert "sound" in alone.run("ledger", "verify").stderr

    alone.run("ceremony", "request", "root-1", "--out", "request.json")
    assert alone.json("ceremony", "withdraw", "root-1-ceremony-2", "--yes")["state"] == "withdrawn"
    assert alone.json("ca", "bring-back", "root-1", "--key", "root.key", *words)["key"] == "here"
    alone.run("ca", "create", "third", "--subject", "CN=Third CA")


def test_another_root_and_a_last_list_by_command(warm: Warm, state: Path, tmp_path: Path) -> None:
    """`--cross` and `--list-lifetime last`: what a rotation of an offline root names is what is typed."""
    alone, offline = Cli(warm, "--state", state, directory=tmp_path), Cli(warm, directory=tmp_path)
    (tmp_path / "words").write_text(f"{WORDS}\n")
    (tmp_path / "words").chmod(0o600)
    alone.run("ca", "take-offline", "root-1", "--out", "root.key", "--passphrase-file", "words", "--yes")
    alone.run("ca", "rotate", "root", "--reason", "the root gets old, as roots do", "--yes")
    alone.run("renew", "run")
    sign = ("--by", "Ada", "--key", "root.key", "--key-passphrase-file", "words", "--yes")
    wanted = "certwright ceremony request root-1 --cross root-2"
    assert wanted in str(alone.json("rotation", "show", "1")["waits_for"])
    alone.run(*wanted.split()[1:], "--out", "request.json")
    offline.run("ceremony", "sign", "request.json", *sign, "--out", "answer.json")
    assert alone.json("ceremony", "accept", "answer.json")["asks_for"] == "a certificate of root-2, a CRL"
    (cross,) = alone.json("ca", "crosses")
    assert (cross["authority"], cross["by"], cross["is_served"]) == ("root-2", "root-1", True)
    assert "is offline" in alone.run("ca", "cross-sign", "root-2", "--by", "root-1", code=1).stderr
    alone.run("ceremony", "request", "root-1", "--list-lifetime", "last", "--out", "last.json")
    offline.run("ceremony", "sign", "last.json", *sign, "--out", "signed.json")
    alone.run("ceremony", "accept", "signed.json")
    ends = {each["next_update"] for each in alone.json("ca", "crl")["root-1"]}
    assert ends == {alone.json("ca", "show", "root-1")["not_after"]}


def test_an_alarm_says_when_somebody_has_to_walk(world: World) -> None:
    """While all is well it is silent; a CA that was revoked, and the last quarter of the list's life, are not."""
    take_offline(world)

    def said() -> list[tuple[str, str]]:
        with capture_logs() as logs:
            schedule.watch_crls(world.product)
        return [(one["authority"], one["reason"]) for one in logs if one["event"] == "ceremony-due"]

    assert said() == []
    with clock.pinned(clock.now() + timedelta(days=299)):
        assert said() == []
    with clock.pinned(clock.now() + timedelta(days=301)):
        assert said() == [("root-1", "its CRL ends")]
    serial = world.installation.authorities.get("issuing").serial
    revocation.revoke(world.installation, rig.ADMIN, serial, RevocationReason.SUPERSEDED)
    ((name, reason),) = said()
    assert (name, reason.startswith("something was revoked")) == ("root-1", True)
    assert gauges(world, "certwright_ceremonies_due", "certwright_ceremonies_waiting") == [1, 0]
    asking.request(world.installation, rig.ADMIN, "root", list_lifetime=timedelta(days=3650 * 9))
    assert gauges(world, "certwright_ceremonies_due", "certwright_ceremonies_waiting") == [1, 1]


def gauges(world: World, *names: str) -> list[float]:
    """What Prometheus would read."""
    measure(world.product)
    return [world.product.metrics.registry.get_sample_value(name) or 0.0 for name in names]


def test_a_last_list_calls_nobody(world: World) -> None:
    """It ends with its CA: until something is revoked after it, there is no other to carry."""
    pem = leaving.export(world.installation, rig.ADMIN, "root", Secret(WORDS))
    leaving.leave(world.installation, rig.ADMIN, "root", pem, Secret(WORDS), list_lifetime=timedelta(days=73000))
    end = world.installation.authorities.get("root").not_after
    with clock.pinned(clock.from_timestamp(end - 60)):
        assert due.lists(world.installation) == []
    with clock.pinned(clock.from_timestamp(end + 60)):
        assert due.lists(world.installation) == []
    serial = world.installation.authorities.get("issuing").serial
    revocation.revoke(world.installation, rig.ADMIN, serial, RevocationReason.SUPERSEDED)
    assert [one.authority for one in due.lists(world.installation)] == ["root-1"]


def test_the_rest_goes_on(world: World) -> None:
    """Ready, and healthy; OCSP about what the root has signed is not for us; about leaves it is as ever."""
    take_offline(world)
    leaf = rig.issue(world.installation)
    assert world.nobody.get("/readyz").status_code == 200
    assert world.nobody.get("/healthz").status_code == 200
    root, issuing = (
        load_der_x509_certificate(world.installation.authorities.get(name).certificate) for name in ("root", "issuing")
    )

    def status(certificate: bytes, issuer: bytes) -> ocsp.OCSPResponseStatus:
        asked = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA256()).build()  # type: ignore[arg-type]
        headers = {"Content-Type": "application/ocsp-request"}
        answer = world.nobody.post("/ocsp", content=asked.public_bytes(Encoding.DER), headers=headers)
        return ocsp.load_der_ocsp_response(answer.content).response_status

    assert status(issuing, root) == ocsp.OCSPResponseStatus.UNAUTHORIZED  # type: ignore[arg-type]
    assert status(rig.parsed(leaf), issuing) == ocsp.OCSPResponseStatus.SUCCESSFUL  # type: ignore[arg-type]


def test_a_backup_is_restored_without_the_keys_that_are_elsewhere(tmp_path: Path) -> None:
    """An offline root's, and that of somebody else's root above one of ours."""
    recipient = backup.make_key(tmp_path / "key.pem", Secret(WORDS))
    changes = {"backup.to": '"../backups"', "backup.recipient": f'"{recipient}"', "crl.shards": "2"}
    initialise(tmp_path / "state", InitPlan(changes=changes))
    with Product.open(tmp_path / "state") as product:
        plan = Plan("mesh", rig.common_name("Mesh beneath Company"), KeyType.P256, crl_shards=2)
        asked = external.request(product.installation, rig.ADMIN, plan)
        chain = read_certificates(chain_for(asked.csr).encode())
        external.accept(product.installation, rig.ADMIN, asked.name, chain)
        pem = leaving.export(product.installation, rig.ADMIN, "root", Secret(WORDS))
        leaving.leave(product.installation, rig.ADMIN, "root", pem, Secret(WORDS))
        product.settle()
        made, _ = backup.create(product, "local:test")
    words = tmp_path / "state" / "key-passphrase"
    key = backup.load_key(tmp_path / "key.pem", Secret(WORDS))
    restoring.restore(made.path, key, tmp_path / "again", passphrase_file=words)
    (tmp_path / "again" / "key-passphrase").write_bytes(words.read_bytes())
    (tmp_path / "again" / "key-passphrase").chmod(0o400)
    with Product.open(tmp_path / "again") as product:
        labels = {row.name: row.key_label for row in product.installation.authorities.all()}
        assert (labels["root-1"], labels["external-1"]) == ("offline", "")
        rig.issue(product.installation, "spiffe://certwright.internal/ns/payments/sa/api")

"""A CA of ours beneath a root that OpenSSL holds: the request goes out, the chain comes in, and OpenSSL judges."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from ca import external, hierarchy
from ca.authority import KEYLESS, State
from ca.errors import BadRequest, Conflict, Forbidden, KeyUnavailable, NotFound
from ca.founding import Plan
from ca.installation import Installation
from ca.keys.algorithms import KeyType
from ca.ledger.reconcile import audit
from ca.models import Authority, AuthorityRequest, RevocationList
from ca.x509.bundle import pem_certificate, pem_chain
from tests import peer, rig
from tests.ca.test_hierarchy import labels
from tests.ca.world import count, publish, rows

pytestmark = pytest.mark.peer("openssl")

LIMITED = "basicConstraints=critical,CA:TRUE,pathlen:{length}\nkeyUsage=critical,keyCertSign,cRLSign\n{more}"


class Company:
    """Somebody else's CA, by command line."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.run(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"),
            *("-keyout", "root.key", "-out", "root.pem", "-subj", "/O=Company/CN=Company Root"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def run(self, *argv: str, code: int = 0) -> str:
        command = (peer.require("openssl"), *argv)
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout

    def sign(self, csr: str, name: str, *options: str, by: str = "root", length: int = 0, more: str = "") -> None:
        """Sign a request as a CA: `name.pem`."""
        (self.directory / f"{name}.csr").write_text(csr)
        (self.directory / f"{name}.ext").write_text(LIMITED.format(length=length, more=more))
        self.run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-out", f"{name}.pem"),
            *("-extfile", f"{name}.ext", *(options or ("-days", "1000"))),
        )

    def middle(self, name: str, **choices: object) -> None:
        """A CA between the root and ours."""
        self.run(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes"),
            *("-keyout", f"{name}.key", "-out", f"{name}.out", "-subj", f"/O=Company/CN={name}"),
        )
        self.sign((self.directory / f"{name}.out").read_text(), name, length=1, **choices)  # type: ignore[arg-type]

    def chain(self, *names: str) -> list[x509.Certificate]:
        text = "".join((self.directory / f"{name}.pem").read_text() for name in names)
        return x509.load_pem_x509_certificates(text.encode())


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path)


@pytest.fixture
def wanted(installation: Installation) -> external.Requested:
    """A CA that waits."""
    plan = Plan("issuing", rig.common_name("Mesh under Company"), KeyType.P256, crl_shards=2)
    return external.request(installation, rig.ADMIN, plan)


def test_a_leaf_beneath_it_is_taken_by_who_trusts_that_root_alone(
    installation: Installation, company: Company, wanted: external.Requested
) -> None:
    """Over a CA between: the whole chain is served, the root stands in the bundle, the lists are ours alone."""
    company.middle("middle")
    company.sign(wanted.csr, "ours", by="middle")
    row = external.accept(installation, rig.ADMIN, wanted.name, company.chain("root", "ours", "middle"))
    assert (row.name, row.state) == ("issuing-2", State.PREPARED)
    above = installation.authorities.ancestors(row)
    assert [one.name for one in above] == ["external-2", "external-1"]
    assert {one.key_label for one in above} == {KEYLESS}
    assert above[-1] in installation.authorities.roots()
    assert external.requests(installation) == []
    listed = rows(installation.store, RevocationList)
    assert {one.authority_id for one in listed}.isdisjoint({one.id for one in above})

    with pytest.raises(KeyUnavailable, match="not here"):
        plan = Plan("next", rig.common_name("Next"), KeyType.P256)
        hierarchy.create_subordinate(installation, rig.ADMIN, "sub-ca", plan, parent="external-1")
    hierarchy.transition(installation, rig.ADMIN, row.name, State.ACTIVE)
    publish(installation)
    issued = rig.issue(installation)
    (company.directory / "between.pem").write_text(pem_chain(issued.chain))
    (company.directory / "leaf.pem").write_text(pem_certificate(issued.certificate))
    company.run("verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "between.pem", "leaf.pem")
    assert audit(installation.store, installation.ledger.verifier).is_sound


def test_the_root_is_recorded_once(installation: Installation, company: Company, wanted: external.Requested) -> None:
    """A second CA beneath it finds it there; trust in it is ended like in any other."""
    company.sign(wanted.csr, "ours")
    external.accept(installation, rig.ADMIN, wanted.name, company.chain("ours", "root"))
    plan = Plan("devices", rig.common_name("Devices under Company"), KeyType.P384)
    again = external.request(installation, rig.ADMIN, plan)
    company.sign(again.csr, "again")
    external.accept(installation, rig.ADMIN, again.name, company.chain("again", "root"))
    assert [row.name for row in rows(installation.store, Authority) if row.key_label == KEYLESS] == ["external-1"]
    hierarchy.transition(installation, rig.ADMIN, "external-1", State.RETIRED)
    assert "external-1" not in {row.name for row in installation.authorities.roots()}
    assert audit(installation.store, installation.ledger.verifier).is_sound


BROKEN: dict[str, tuple[Callable[[Company, str], list[x509.Certificate]], str]] = {}


def broken(reason: str) -> Callable[[Callable[[Company, str], list[x509.Certificate]]], None]:
    def keep(make: Callable[[Company, str], list[x509.Certificate]]) -> None:
        BROKEN[make.__name__.strip("_")] = (make, reason)

    return keep


@broken("whose certificate is missing")
def _no_root(company: Company, csr: str) -> list[x509.Certificate]:
    company.sign(csr, "ours")
    return company.chain("ours")


@broken("none of the certificates is for the key")
def _another_key(company: Company, csr: str) -> list[x509.Certificate]:
    company.middle("middle")
    return company.chain("middle", "root")


@broken("is not a CA's")
def _no_ca(company: Company, csr: str) -> list[x509.Certificate]:
    (company.directory / "leaf.csr").write_text(csr)
    argv = ("x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-out", "leaf.pem")
    company.run(*argv, "-days", "9")
    return company.chain("leaf", "root")


@broken("allows 0 CAs beneath it")
def _too_deep(company: Company, csr: str) -> list[x509.Certificate]:
    company.middle("middle")
    company.run("req", "-new", "-key", "middle.key", "-subj", "/O=Company/CN=middle", "-out", "again.out")
    company.sign((company.directory / "again.out").read_text(), "middle", length=0)
    company.sign(csr, "ours", by="middle")
    return company.chain("ours", "middle", "root")


@broken("does not hold")
def _weak(company: Company, csr: str) -> list[x509.Certificate]:
    company.sign(csr, "ours", "-days", "9", "-sha1")
    return company.chain("ours", "root")


@broken("has expired")
def _over(company: Company, csr: str) -> list[x509.Certificate]:
    company.sign(csr, "ours", "-days", "-1")
    return company.chain("ours", "root")


@pytest.mark.parametrize("how", BROKEN)
def test_a_chain_that_nobody_would_accept_is_refused(
    installation: Installation, company: Company, wanted: external.Requested, how: str
) -> None:
    """With the reason, and nothing has changed: the request waits on."""
    before = count(installation.store, Authority)
    make, reason = BROKEN[how]
    with pytest.raises(BadRequest, match=reason):
        external.accept(installation, rig.ADMIN, wanted.name, make(company, wanted.csr))
    assert count(installation.store, Authority) == before
    assert [one.name for one in external.requests(installation)] == [wanted.name]


def test_a_request_is_settled_once(installation: Installation, company: Company, wanted: external.Requested) -> None:
    """Accepted or withdrawn, not both; withdrawn, its key is gone. Only admins do either."""
    company.sign(wanted.csr, "ours")
    chain = company.chain("ours", "root")
    with pytest.raises(Forbidden):
        external.accept(installation, rig.OPERATOR, wanted.name, chain)
    with pytest.raises(Conflict):
        external.request(installation, rig.ADMIN, Plan("issuing", rig.common_name("Twin"), KeyType.P256))
    label = rows(installation.store, AuthorityRequest)[0].key_label
    assert label in labels(installation)
    external.withdraw(installation, rig.ADMIN, wanted.name)
    assert label not in labels(installation)
    with pytest.raises(NotFound):
        external.withdraw(installation, rig.ADMIN, wanted.name)
    with pytest.raises(NotFound):
        external.accept(installation, rig.ADMIN, wanted.name, chain)
    assert audit(installation.store, installation.ledger.verifier).is_sound

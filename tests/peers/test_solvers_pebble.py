"""Every solver before a real CA: Pebble looks at our listeners, at a web server's files, and asks a real BIND.

What Pebble validates by, it finds where the world would: on the ports of http-01 and tls-alpn-01, in the zones of a
name server that is updated by RFC 2136.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

import pytest
from sqlalchemy import select

from ca.errors import CertwrightError
from ca.store import Store
from renewers.issuers.acme import AcmeIssuer
from renewers.models import AcmeAccount
from renewers.solvers import Solver
from renewers.solvers.dns01 import Dns01
from renewers.solvers.dns_persist01 import DnsPersist01, record_for
from renewers.solvers.http01 import Http01Listener
from renewers.solvers.rfc2136 import Rfc2136Writer
from renewers.solvers.tls_alpn01 import TlsAlpn01Listener
from renewers.solvers.webroot import Webroot
from renewers.solvers.zoned import Zoned
from renewers.solvers.zones import Zones
from tests import acme_rig, peer
from tests.acme_rig import Remembered, names_of, wanted
from tests.bind import Bind, Zone, bind
from tests.pebble import Pebble, pebble

pytestmark = pytest.mark.peer("pebble")
RECORDS = ["@ A 127.0.0.1", "* A 127.0.0.1", "_acme-challenge.far CNAME far.acme.test."]
NGINX = Template("""
daemon off; pid nginx.pid; worker_processes 1; error_log error.log; events { worker_connections 32; }
http {
  access_log off;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  server { listen 127.0.0.1:$port; root $root; }
}
""")


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bind]:
    """A zone for the names, a zone that challenges are delegated to."""
    zones = [Zone("example.test", records=RECORDS), Zone("acme.test")]
    with bind(tmp_path_factory.mktemp("bind"), zones, is_resolver=True) as running:
        yield running


@pytest.fixture(scope="module")
def ca(named: Bind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """A Pebble that asks BIND."""
    with pebble(tmp_path_factory.mktemp("pebble"), dns=named.place, retry_after=0) as running:
        yield running


@pytest.fixture
def writer(named: Bind) -> Rfc2136Writer:
    """Signed updates."""
    return Rfc2136Writer(named.address, named.port, named.key_name, named.secret, named.algorithm)


def asking(ca: Pebble, store: Store, solver: Solver) -> AcmeIssuer:
    """The ACME issuer with this solver and no other."""
    return acme_rig.issuer(ca, store, [solver], challenges=(solver.kind,))


def test_a_wildcard_and_its_name_over_bind(ca: Pebble, named: Bind, writer: Rfc2136Writer, store: Store) -> None:
    """Two values at one name at one time, each seen at the authoritative server before the CA looks; then none."""
    solver = Dns01([Zoned("example.test", writer)], Zones(named.nameservers, port=named.port))
    obtained = asking(ca, store, solver).obtain(wanted("*.wild.example.test", "wild.example.test"), Remembered())
    assert names_of(obtained) == {"*.wild.example.test", "wild.example.test"}
    log = named.log.read_text()
    assert log.count("adding an RR at '_acme-challenge.wild.example.test' TXT") == 2
    assert log.count("deleting an RR at _acme-challenge.wild.example.test TXT") == 2
    assert named.texts("_acme-challenge.wild.example.test") == []


def test_a_wildcard_through_a_delegated_challenge(ca: Pebble, named: Bind, writer: Rfc2136Writer, store: Store) -> None:
    """The alias leads the CA where it led us; the zone of the name itself is never written."""
    solver = Dns01([Zoned("acme.test", writer, ("far.example.test",))], Zones(named.nameservers, port=named.port))
    assert names_of(asking(ca, store, solver).obtain(wanted("*.far.example.test"), Remembered())) == {
        "*.far.example.test"
    }
    assert "adding an RR at 'far.acme.test' TXT" in named.log.read_text()
    assert named.texts("far.acme.test") == []


def test_names_and_addresses_over_our_own_http_listener(ca: Pebble, store: Store) -> None:
    """Several at once over one port, an address among them."""
    names = [*(f"h{number}.example.test" for number in range(5)), "127.0.0.1"]
    issuer = asking(ca, store, Http01Listener("127.0.0.1", ca.http_port))
    assert names_of(issuer.obtain(wanted(*names), Remembered())) == set(names)
    assert not peer.listens(ca.http_port)()


def test_names_and_addresses_over_our_own_tls_listener(ca: Pebble, store: Store) -> None:
    """By server name, an address by its reverse name; the port is closed afterwards."""
    names = [*(f"t{number}.example.test" for number in range(5)), "127.0.0.1"]
    issuer = asking(ca, store, TlsAlpn01Listener("127.0.0.1", ca.tls_port))
    assert names_of(issuer.obtain(wanted(*names), Remembered())) == set(names)
    assert not peer.listens(ca.tls_port)()


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that other users can enter; pytest's cannot be."""
    with tempfile.TemporaryDirectory(prefix="certwright-nginx-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_name_over_the_document_root_of_nginx(ca: Pebble, store: Store, place: Path) -> None:
    """nginx runs as another user, and can read what we wrote."""
    program, root, config = peer.require("nginx"), place / "root", place / "nginx.conf"
    root.mkdir(mode=0o755)
    config.write_text(NGINX.substitute(port=ca.http_port, root=root))
    argv = [program, "-p", f"{place}/", "-c", config, "-e", "error.log"]
    with peer.running(argv, ready=peer.listens(ca.http_port), log=place / "log"):
        obtained = asking(ca, store, Webroot({"example.test": root})).obtain(wanted("w.example.test"), Remembered())
    assert names_of(obtained) == {"w.example.test"}
    assert list((root / ".well-known" / "acme-challenge").iterdir()) == []


def test_a_wildcard_by_a_record_that_stands(ca: Pebble, named: Bind, writer: Rfc2136Writer, store: Store) -> None:
    """Without it, the error tells the record to make; made as it says, it proves the name now and the next time."""
    solver = DnsPersist01(Zones(named.nameservers, port=named.port))
    issuer = asking(ca, store, solver)
    with pytest.raises(CertwrightError) as failed:
        issuer.obtain(wanted("*.stand.example.test"), Remembered())
    with store.read() as connection:
        account = connection.execute(select(AcmeAccount)).one().url
    text = record_for("pebble.letsencrypt.org", account, is_wildcard=True)
    owner = "_validation-persist.stand.example.test"
    assert failed.value.hint == f'make this record: {owner} TXT "{text}"'
    writer.add(owner, text, deadline=float("inf"))
    for _ in range(2):
        obtained = issuer.obtain(wanted("*.stand.example.test"), Remembered())
        assert names_of(obtained) == {"*.stand.example.test"}
    assert named.texts(owner) == [text]

"""What a handshake proves: servers that trust what they were brought, or something older, or everybody.

The servers are real ones, Python's own TLS; each makes its context anew for every connection, from the files that a
memory publisher has put into use, as after a reload.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import select, update
from sqlmodel import col

from ca import hierarchy
from ca.authority import State
from ca.crl import CrlPolicy, CrlPublisher
from ca.errors import BadRequest, NotDelivered
from ca.founding import Plan
from ca.keys.algorithms import KeyType
from ca.keys.sealed import Sealer
from ca.publication.signer import Signer
from ca.revocation import revoke
from ca.secret import Secret
from ca.store import Store
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import canaries, consumers, latency, leaves, probing, publishing, spreading
from renewers.distribution.consumers import ConsumerPlan
from renewers.distribution.probing import Expected, expectations
from renewers.lifecycle import Lifecycle, Policy
from renewers.models import Alarm, Holding, ProbeLeaf, Work
from renewers.mutual import Identity, meet
from renewers.publishers.memory import PLACES, make_memory
from renewers.runner import Duty, Runner
from tests import peer, rig
from tests.rig import ADMIN

DUTIES = {"spread": Duty(spreading.spread, spreading.failed), "probe": Duty(probing.probe, probing.failed)}
WHOLE, LEAF = ssl.VERIFY_CRL_CHECK_CHAIN, ssl.VERIFY_CRL_CHECK_LEAF


@dataclass
class World:
    """A CA, one consumer, and the server that it is."""

    lifecycle: Lifecycle
    port: int

    def publish(self) -> None:
        """Lists, publications."""
        CrlPublisher(self.lifecycle.installation, CrlPolicy()).publish_due()
        publishing.publish_due(self.lifecycle)

    def run(self, *kinds: str) -> None:
        """Do the due work of these kinds, all of them by default."""
        runner = Runner(self.lifecycle, {kind: DUTIES[kind] for kind in kinds or DUTIES})
        runner.drain()
        runner.stop()

    def probe(self) -> None:
        """Shake hands now."""
        probing.plan_due(self.lifecycle)
        self.run("probe")

    def settle(self) -> None:
        """Publish, bring, send a canary, publish and bring that, and look."""
        self.publish()
        self.run()
        canaries.send_due(self.lifecycle)
        self.publish()
        self.run("spread")
        self.probe()

    def holds(self) -> set[str]:
        """Of which streams the newest version is proved to be held."""
        with self.lifecycle.store.read() as connection:
            rows = connection.execute(select(Holding)).all()
        return {row.stream.partition(":")[0] for row in rows if row.held_version == row.sent_version > 0}

    def alarms(self) -> dict[str, str]:
        """What is wrong, by kind."""
        with self.lifecycle.store.read() as connection:
            return {row.kind: row.message for row in connection.execute(select(Alarm))}

    def make(self, line: str, name: str, parent: str | None = None) -> None:
        """The next generation of a line, prepared."""
        plan = Plan(line, rig.common_name(name), KeyType.P256)
        if line == "root":
            hierarchy.create_root(self.lifecycle.installation, ADMIN, plan, cross_by="root-1")
        else:
            hierarchy.create_subordinate(self.lifecycle.installation, ADMIN, "sub-ca", plan, parent=parent)

    def move(self, name: str, *states: State) -> None:
        """Take a CA through states."""
        for state in states:
            hierarchy.transition(self.lifecycle.installation, ADMIN, name, state)


def own_certificate(home: Path) -> Path:
    """A certificate that nobody looks at, with its key."""
    file = home / "server.pem"
    argv = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=server")
    done = peer.run("openssl", *argv, "-keyout", home / "key.pem", "-out", home / "certificate.pem")
    assert done.returncode == 0, done.stderr
    file.write_text((home / "key.pem").read_text() + (home / "certificate.pem").read_text())
    return file


@contextmanager
def serving(place: str, home: Path, flags: ssl.VerifyFlags | None) -> Iterator[int]:
    """An HTTPS server that trusts what lies in a place, and checks its lists by `flags`; None: it lets in everybody."""
    leaf = own_certificate(home)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    over = threading.Event()

    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(leaf)
        live = PLACES[place].live
        if flags is not None and live is not None:
            made.verify_mode = ssl.CERT_REQUIRED
            made.verify_flags |= flags
            made.load_verify_locations(cadata=live.files["bundle.pem"].decode())
            lists = home / "lists.pem"
            lists.write_bytes(live.files["crl.pem"])
            made.load_verify_locations(lists)
        return made

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(10)
                with connection, context().wrap_socket(connection, server_side=True) as tls:
                    tls.recv(1000)
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        thread.join(20)
        listener.close()


@contextmanager
def world(store: Store, home: Path, flags: ssl.VerifyFlags | None = WHOLE, **choices: str) -> Iterator[World]:
    """One consumer, brought everything that there is."""
    place = str(home)
    installation = rig.make_installation(store)
    lifecycle = Lifecycle(
        installation=installation,
        sealer=Sealer(Secret("only for tests"), bytes(16)),
        publishers={"memory": make_memory},
        policy=Policy(workers=1, canary_every=0),
        trust_domain=rig.DOMAIN,
        sign_manifest=Signer(installation, rig.DOMAIN).sign,
    )
    with serving(place, home, flags) as port:
        probe = f"https:127.0.0.1:{port}"
        plan = ConsumerPlan("edge-1", publisher="memory", settings={"place": place}, probe=probe, needs=choices)
        consumers.add(lifecycle, ADMIN, plan)
        yield World(lifecycle, port)
    PLACES.clear()


def test_who_lets_in_and_refuses_as_it_should_holds_the_newest(store: Store, tmp_path: Path) -> None:
    """Both streams: the leaf of the CA is let in, the canary is refused; nothing is wrong."""
    with world(store, tmp_path) as found:
        found.settle()
        assert found.holds() == {"trust", "crl"}
        assert found.alarms() == {}
        with store.read() as connection:
            taken = latency.percentiles(connection, stream=probing.REFUSED)
        assert taken is not None
        assert (taken.count, taken.longest > 0) == (1, True)


def test_a_list_that_was_not_read_is_not_held(store: Store, tmp_path: Path) -> None:
    """What was brought and not put into use proves nothing: the canary is let in until it is."""
    with world(store, tmp_path) as found:
        found.settle()
        place = PLACES[str(tmp_path)]
        before = place.live
        leaf = rig.issue(found.lifecycle.installation)
        revoke(found.lifecycle.installation, rig.OPERATOR, leaf.serial, RevocationReason.SUPERSEDED)
        found.publish()
        found.run("spread")
        assert canaries.send_due(found.lifecycle)
        found.publish()
        found.run("spread")
        after, place.live = place.live, before  # it did not reload
        found.probe()
        assert found.holds() == {"trust"}
        place.live = after
        found.probe()
        assert found.holds() == {"trust", "crl"}


def test_a_new_ca_is_held_when_its_leaves_are_let_in(store: Store, tmp_path: Path) -> None:
    """Before it signs anything else: a server without its root, or without its list, refuses its leaf."""
    with world(store, tmp_path) as found:
        found.settle()
        place = PLACES[str(tmp_path)]
        before = place.live
        found.make("root", "Root 2")
        found.make("issuing", "Issuing 2", "root-2")
        found.publish()
        found.run("spread")
        after, place.live = place.live, before
        found.probe()
        assert "trust" not in found.holds()
        assert "issuing-2" in found.alarms()["consumer-keeps-out"]
        place.live = after
        found.probe()
        assert "trust" in found.holds()
        assert "consumer-keeps-out" not in found.alarms()


def test_an_old_root_is_gone_when_its_leaves_are_refused(store: Store, tmp_path: Path) -> None:
    """A server that goes on trusting it is named, and holds nothing new until it has stopped."""
    with world(store, tmp_path) as found:
        found.make("root", "Root 2")
        found.make("issuing", "Issuing 2", "root-2")
        found.settle()
        place = PLACES[str(tmp_path)]
        before = place.live
        found.move("root-2", State.ACTIVE)
        found.move("issuing-2", State.ACTIVE)
        found.move("issuing-1", State.DISTRUSTED)
        found.move("root-1", State.DISTRUSTED)
        found.publish()
        found.run("spread")
        after, place.live = place.live, before
        found.probe()
        assert "trust" not in found.holds()
        assert "issuing-1" in found.alarms()["consumer-lets-in"]
        place.live = after
        found.probe()
        assert "trust" in found.holds()
        assert "consumer-lets-in" not in found.alarms()


def test_who_checks_the_lists_of_leaves_alone_holds_them_and_is_told_of(store: Store, tmp_path: Path) -> None:
    """A revoked CA beneath a root that stays: some servers let its leaves in for ever, though they hold the list."""
    with world(store, tmp_path, LEAF) as found:
        found.make("issuing", "Issuing 2", "root-1")
        found.settle()
        found.move("issuing-2", State.ACTIVE)
        found.move("issuing-1", State.DISTRUSTED)
        old = found.lifecycle.installation.authorities.get("issuing-1")
        revoke(found.lifecycle.installation, ADMIN, old.serial, RevocationReason.SUPERSEDED)
        found.settle()
        assert found.holds() == {"trust", "crl"}
        assert "issuing-1" in found.alarms()["consumer-lets-in"]
        assert "rotate the root" in str(hint_of(found, "consumer-lets-in"))


def hint_of(found: World, kind: str) -> str | None:
    """What an alarm tells to do."""
    with found.lifecycle.store.read() as connection:
        return connection.execute(select(col(Alarm.hint)).where(col(Alarm.kind) == kind)).scalar()


def test_who_lets_in_everybody_holds_no_list(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It breaks nobody, so a new CA may sign; that it refuses what is revoked is never proved, and is an alarm."""
    with world(store, tmp_path, None) as found:
        found.settle()
        assert found.holds() == {"trust"}
        monkeypatch.setattr(canaries, "OVERDUE", -1)
        found.probe()
        assert "a revoked leaf" in found.alarms()["consumer-lets-in"]


def test_nobody_there_proves_nothing_and_is_said(store: Store, tmp_path: Path) -> None:
    """From the second time on; and that it is there again."""
    with world(store, tmp_path) as found:
        found.settle()
        there = ConsumerPlan(
            "edge-1", publisher="memory", settings={"place": str(tmp_path)}, probe=f"https:127.0.0.1:{found.port}"
        )
        consumers.change(found.lifecycle, ADMIN, replace(there, probe="https:127.0.0.1:1"))
        for attempt in range(2):
            revive(found)
            found.run("probe")
            assert ("consumer-not-probed" in found.alarms()) is (attempt > 0)
        consumers.change(found.lifecycle, ADMIN, there)
        revive(found)
        found.run("probe")
        assert found.alarms() == {}


def revive(found: World) -> None:
    """Have what failed looked at again without forgetting that it did."""
    now = update(Work).where(col(Work.kind) == "probe").values(due_at=0)
    found.lifecycle.store.write(lambda tx: tx.execute(now) and None)


def test_a_canary_counts_from_the_list_that_has_it(store: Store, tmp_path: Path) -> None:
    """A revocation that no published list names yet proves nothing, whoever refuses it."""
    with world(store, tmp_path) as found:
        found.publish()
        authority = found.lifecycle.installation.authorities.get("issuing-1")
        leaf = leaves.send_canary(found.lifecycle, authority)
        assert canaries.listed(found.lifecycle) is None
        publishing.publish_due(found.lifecycle)  # the list was not made anew
        assert canaries.listed(found.lifecycle) is None
        found.publish()
        listed = canaries.listed(found.lifecycle)
        assert listed is not None
        assert listed.serial == leaf.serial
        newest = found.lifecycle.store.write(lambda tx: canaries.listed_in(tx, listed.id))
        with found.lifecycle.store.read() as connection:
            head = publishing.head(connection, f"crl:{rig.DOMAIN}")
        assert head is not None
        assert newest == head.version


def test_without_a_leaf_to_show_nothing_is_proved(store: Store, tmp_path: Path) -> None:
    """A CA that signs no more and has left no leaf behind says nothing of who trusts it."""
    with world(store, tmp_path) as found:
        found.publish()
        found.run("spread")
        found.move("issuing-1", State.TAINTED)
        found.probe()
        assert found.holds() == set()


def test_leaves_are_kept_while_their_ca_signs_no_more(store: Store, tmp_path: Path) -> None:
    """One a CA, made again at half of its life and never by one that is tainted; canaries are revoked for good."""
    with world(store, tmp_path) as found:
        row = found.lifecycle.installation.authorities.get("issuing-1")
        first, again = (leaves.good_leaf(found.lifecycle, row) for _ in range(2))
        assert first is not None
        assert again is not None
        assert first.serial == again.serial
        found.make("issuing", "Issuing 2", "root-1")
        found.move("issuing-2", State.ACTIVE)
        old = found.lifecycle.installation.authorities.get("issuing-1")
        kept = leaves.good_leaf(found.lifecycle, old)
        assert kept is not None
        assert kept.serial == first.serial
        with found.lifecycle.store.read() as connection:
            assert len(connection.execute(select(ProbeLeaf)).all()) == 1


@pytest.mark.parametrize(
    ("old", "revoked", "checks_lists", "expected"),
    [
        (State.ACTIVE, False, True, Expected.IN),
        (State.PREPARED, False, True, Expected.IN),
        (State.TAINTED, False, True, Expected.IN),
        (State.DISTRUSTED, False, True, None),
        (State.DISTRUSTED, True, True, Expected.OUT_BY_LIST),
        (State.DISTRUSTED, True, False, None),
        (State.RETIRED, True, True, None),
    ],
)
def test_what_is_expected_of_a_leaf(
    store: Store, old: State, revoked: bool, checks_lists: bool, expected: Expected | None
) -> None:
    """By the state of its CA beneath a root in force."""
    rows = rig.make_installation(store).authorities.all()
    issuing = next(row for row in rows if row.name == "issuing-1")
    issuing.state = old
    found = expectations(rows, {issuing.serial} if revoked else set(), checks_lists=checks_lists)
    assert found.get("issuing-1") == expected
    next(row for row in rows if row.name == "root-1").state = State.DISTRUSTED
    cut_off = expectations(rows, set(), checks_lists=checks_lists).get("issuing-1")
    assert cut_off == (None if old is State.RETIRED else Expected.OUT)


def test_what_is_no_tls_teaches_nothing(store: Store) -> None:
    """Neither does an unknown protocol, nor a server that hangs up: no proof either way."""
    (pair,) = rig.issue_pairs(rig.make_installation(store), 1)
    chain = [x509.load_der_x509_certificate(der) for der in pair.issued.chain]
    identity = Identity(rig.parsed(pair.issued), chain, pair.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def hang_up() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(100)
                connection.close()

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        for protocol in ("https", "tls"):
            with pytest.raises(NotDelivered):
                meet(protocol, "127.0.0.1", port, identity)
        thread.join(20)
    with pytest.raises(BadRequest):
        meet("gopher", "127.0.0.1", port, identity)

"""Consumers: from one revocation to the last of 1,000 acknowledgements; bytes and time of one among 1,000,000."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import update
from sqlmodel import col

from ca import clock, crl, delta, revocation
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.keys.sealed import Sealer
from ca.models import Fact
from ca.publication.signer import Signer
from ca.secret import Secret
from ca.store import Store, open_store
from ca.x509.revocation_list import RevocationReason
from renewers.distribution import acknowledging, consumers, probing, published, publishing, spreading, streams
from renewers.distribution.consumers import ConsumerPlan
from renewers.lifecycle import Lifecycle, Policy
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, signature_of
from renewers.publishers.memory import PLACES, make_memory
from renewers.runner import Duty, Runner
from tests import rig
from tests.bench import crls
from tests.bench.issuing import fresh_installation
from tests.bench.report import Figure, cpu, heading, show, wall

COUNT = 1_000
VOICES = 8
ROUNDS = 3
POLICY = CrlPolicy()


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("Consumers: publish, bring it to all, hear a signed acknowledgement of each (SQLite, one process)")
    with _founded(100 if quick else COUNT) as (lifecycle, secrets):
        _measure_spreading(lifecycle, secrets)
    size = 100_000 if quick else 1_000_000
    heading(f"One revocation among {size:,} that are revoked: what consumers have to fetch, and what it costs to make")
    _measure_one(size)


@contextmanager
def _founded(count: int) -> Iterator[tuple[Lifecycle, dict[str, str]]]:
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
        store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
        installation = rig.make_installation(store, shards=4)
        lifecycle = Lifecycle(
            installation=installation,
            sealer=Sealer(Secret("bench"), bytes(16)),
            publishers={"memory": make_memory},
            policy=Policy(workers=VOICES),
            trust_domain=rig.DOMAIN,
            sign_manifest=Signer(installation, rig.DOMAIN).sign,
        )
        secrets = {}
        for number in range(count):
            plan = ConsumerPlan(f"c{number}", publisher="memory", settings={"place": f"c{number}"}, makes_secret=True)
            added = consumers.add(lifecycle, rig.ADMIN, plan)
            secrets[plan.name] = "" if added.secret is None else added.secret.reveal()
        yield lifecycle, secrets
        PLACES.clear()
        store.close()


def _measure_spreading(lifecycle: Lifecycle, secrets: dict[str, str]) -> None:
    runner = Runner(lifecycle, {"spread": Duty(spreading.spread, spreading.failed), probing.WORK: Duty(probing.probe)})
    publisher, stream = CrlPublisher(lifecycle.installation, POLICY), streams.crl_stream(lifecycle.trust_domain)
    publisher.publish_due()
    publishing.publish_due(lifecycle)
    runner.drain()
    made, brought, heard, spent = [], [], [], []
    for _ in range(ROUNDS):
        spent.append(-cpu())
        leaf = rig.issue(lifecycle.installation)
        before = time.perf_counter()
        revocation.revoke(lifecycle.installation, rig.OPERATOR, leaf.serial, RevocationReason.SUPERSEDED)
        publisher.publish_due()
        publishing.publish_due(lifecycle)
        made.append(time.perf_counter() - before)
        brought.append(wall(runner.drain))
        heard.append(wall(lambda: _acknowledge(lifecycle, secrets, stream)))
        spent[-1] += cpu()
    runner.stop()
    count = len(secrets)
    floor = wall(lambda: _floor(lifecycle.store, 2 * count))
    whole = min(a + b + c for a, b, c in zip(made, brought, heard, strict=True))
    show(Figure("revoked, lists made and published", min(made) * 1e3, "ms"))
    show(Figure(f"brought to {count:,} consumers in memory", min(brought), "s", note=f"{count / min(brought):,.0f}/s"))
    show(Figure(f"{count:,} signed acknowledgements taken", min(heard), "s", note=f"{count / min(heard):,.0f}/s"))
    show(Figure("CPU for each consumer, both ways", min(spent) / count * 1e3, "ms"))
    show(Figure("revocation to last acknowledgement", whole, "s"))
    show(Figure("ratio to two durable rows for each consumer", whole / floor, "x", note=f"floor {floor:.2f} s"))


def _acknowledge(lifecycle: Lifecycle, secrets: dict[str, str], stream: str) -> None:
    with lifecycle.store.read() as connection:
        head = published.head(connection, stream)
    assert head is not None
    now = clock.timestamp()

    def tell(name: str) -> None:
        said = {"consumer": name, "stream": stream, "version": head.version, "sha256": head.sha256, "at": now}
        body = json.dumps({**said, "state": "loaded"}).encode()
        headers = {ID: name, TIMESTAMP: str(now), SIGNATURE: signature_of(secrets[name], name, now, body)}
        acknowledging.acknowledge_signed(lifecycle, headers, body)

    _all(tell, list(secrets))


def _floor(store: Store, rows: int) -> None:
    """As many durable changes of one row, from as many threads."""
    name = str(threading.get_ident())
    store.write(lambda tx: tx.add(Fact, {"name": name, "value": "0"}))
    one = update(Fact).where(col(Fact.name) == name).values(value="1")
    _all(lambda _: store.write(lambda tx: tx.execute(one) and None), range(rows))


def _all(work: Any, items: Sequence[Any]) -> None:
    with ThreadPoolExecutor(VOICES) as threads:
        for _ in threads.map(work, items):
            pass


def _measure_one(size: int) -> None:
    with fresh_installation() as installation:
        crls.fill(installation, size)
        publisher = CrlPublisher(installation, POLICY)
        publisher.publish_due()
        delta.publish_due(installation, POLICY)
        leaf = rig.issue(installation)
        revocation.revoke(installation, rig.OPERATOR, leaf.serial, RevocationReason.SUPERSEDED)
        taken = wall(lambda: delta.publish_due(installation, POLICY))
        shards = wall(publisher.publish_due)
        name = installation.authorities.issuer_for("issuing").name
        newest, whole = delta.load(installation, name), crl.load(installation, name, COMPLETE)
        shard = crl.load(installation, name, int(leaf.serial, 16) % installation.authorities.get(name).crl_shards)
        assert newest is not None
        assert whole is not None
        assert shard is not None
        show(Figure("delta CRL: bytes to fetch", len(newest.crl), "B", note=f"{newest.entries} entries"))
        show(Figure("delta CRL: time to make it", taken * 1e3, "ms"))
        show(Figure("its shard: bytes to fetch", len(shard.crl) / 1e3, "kB", note=f"{shard.entries} entries"))
        show(Figure("its shard, and the complete list: time to make them", shards, "s"))
        show(Figure("complete list: bytes to fetch", len(whole.crl) / 1e6, "MB", note=f"{whole.entries} entries"))

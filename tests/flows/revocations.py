"""From revoked to refused: how long real servers go on letting in a certificate after its revocation was answered.

`python -m tests.flows.revocations [REVOCATIONS] [STORED]` prints the percentiles at nginx and at Mosquitto, with that
many certificates stored. Each is issued over the API, is let in by every server, is revoked over the API, and is shown
to every server again and again until that refuses it.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from ca.keys.algorithms import KeyType
from ca.x509 import names
from ca.x509.request import make_request
from pki.product import Product
from renewers.mutual import Identity, meet
from tests.bench.growth import fill
from tests.flows.mesh import DOMAIN, Mesh, Place, mesh
from tests.flows.rotations import until_current

PATIENCE = 60.0
PAUSE = 0.02


@dataclass
class Report:
    """Seconds from the answer to a revocation until the first refusal, by server; and what went wrong."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def percentile(self, name: str, part: float) -> float:
        """The value that this part of them does not exceed."""
        found = sorted(self.seconds[name])
        return found[min(int(part * len(found)), len(found) - 1)]


def campaign(home: Path, *, revocations: int, stored: int = 0) -> Report:
    """Revoke one after the other."""
    report = Report()

    def furnish(state: Path) -> None:
        if stored:
            with Product.open(state) as product:
                fill(product.installation, stored)

    with mesh(home, clients=0, furnish=furnish) as found:
        servers = [place for place in found.places if place.protocol]
        report.seconds = {place.name: [] for place in servers}
        until_current(found)
        for number in range(revocations):
            _one(found, servers, number, report)
    return report


def _one(found: Mesh, servers: list[Place], number: int, report: Report) -> None:
    serial, identity = _issued(found, number)
    for place in servers:
        if not _is_let_in(place, identity):
            report.wrong.append(f"{place.name} refuses a certificate that is valid")
    found.ask("POST", f"/certificates/{serial}/revoke", {"reason": "superseded"})
    answered = time.monotonic()
    waiting = [threading.Thread(target=_until_refused, args=(place, identity, answered, report)) for place in servers]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()


def _issued(found: Mesh, number: int) -> tuple[str, Identity]:
    key = KeyType.P256.generate()
    name = names.parse(f"uri:spiffe://{DOMAIN}/ns/gone/sa/w{number}")
    answer = found.ask("POST", "/certificates", {"profile": "mesh", "csr": make_request(key, None, [name])})
    chain = x509.load_pem_x509_certificates(answer["chain"].encode()) if answer["chain"] else []
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    return str(answer["serial"]), Identity(certificate, chain, key)


def _is_let_in(place: Place, identity: Identity) -> bool:
    return meet(place.protocol, "127.0.0.1", place.port, identity, server_name=place.server_name).is_let_in


def _until_refused(place: Place, identity: Identity, answered: float, report: Report) -> None:
    while _is_let_in(place, identity):
        if time.monotonic() - answered > PATIENCE:
            report.wrong.append(f"{place.name} lets in a revoked certificate after {PATIENCE} s")
            return
        time.sleep(PAUSE)
    report.seconds[place.name].append(time.monotonic() - answered)


def main() -> None:
    """The full campaign."""
    revocations = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    stored = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    with tempfile.TemporaryDirectory() as home:
        report = campaign(Path(home), revocations=revocations, stored=stored)
    for name in report.seconds:
        middle, most, last = (report.percentile(name, part) for part in (0.5, 0.99, 1.0))
        count = len(report.seconds[name])
        print(f"{name}: {count} revoked, refused after {middle:.2f} s (p50), {most:.2f} s (p99), {last:.2f} s at most")
    print(f"{stored} certificates stored, {len(report.wrong)} wrong")
    for one in report.wrong[:20]:
        print(one)
    sys.exit(1 if report.wrong else 0)


if __name__ == "__main__":
    main()

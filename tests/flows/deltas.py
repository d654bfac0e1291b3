"""A delta with its base says what the complete list says, to OpenSSL, about every certificate: so many revocations.

`python -m tests.flows.deltas [COUNT]`: COUNT certificates are revoked, half of them before the base is made; some were
on hold then, or are held afterwards, released, held again, or revoked for good. OpenSSL judges each with the base and
the delta, with a list from between and the delta, and with the complete list that is made in the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from cryptography import x509

from ca import crl, delta, holding, revocation
from ca.crl import COMPLETE, CrlPolicy, CrlPublisher
from ca.installation import Installation
from ca.issuance import Issued
from ca.store import open_store
from ca.x509.bundle import pem_certificate, pem_chain, pem_crl
from ca.x509.revocation_list import RevocationReason
from tests import peer, rig

GOOD, REVOKED, HELD = "good", "revoked", "held"
BATCH = 500
"""How many certificates one `openssl verify` judges."""
POLICY = CrlPolicy()


@dataclass
class World:
    """What there is, and what has become of it."""

    installation: Installation
    chance: Random
    issued: dict[str, Issued] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def revoke(self, serials: Sequence[str]) -> None:
        """For good, many at once."""
        for start in range(0, len(serials), 100):
            page = serials[start : start + 100]
            revocation._revoke_all(self.installation, rig.OPERATOR, page, RevocationReason.SUPERSEDED)
        self.states |= dict.fromkeys(serials, REVOKED)
        self.done["revoked"] += len(serials)

    def turn(self, serials: Sequence[str]) -> None:
        """Hold what is good, release what is held."""
        for serial in serials:
            if self.states[serial] == HELD:
                holding.release(self.installation, rig.OPERATOR, serial)
                self.states[serial], word = GOOD, "released"
            else:
                holding.hold(self.installation, rig.OPERATOR, serial)
                self.states[serial], word = HELD, "held"
            self.done[word] += 1

    def some(self, state: str, share: float) -> list[str]:
        """A share of those that are in a state."""
        found = [serial for serial, each in self.states.items() if each == state]
        return self.chance.sample(found, int(len(found) * share))

    def complete(self) -> bytes:
        """The complete list, made now."""
        publisher = CrlPublisher(self.installation, POLICY)
        publisher.publish_due()
        row = crl.load(self.installation, "issuing-1", COMPLETE)
        assert row is not None
        return row.crl

    def delta(self) -> bytes:
        """The delta, made now."""
        delta.publish_due(self.installation, POLICY)
        row = delta.load(self.installation, "issuing-1")
        assert row is not None
        return row.crl


@dataclass
class Outcome:
    """What OpenSSL said of each certificate, by what it was given."""

    expected: Mapping[str, str]
    verdicts: Mapping[str, Mapping[str, str]]
    entries: Mapping[str, int]
    sizes: Mapping[str, int]
    done: Counter[str]
    seconds: float


def run(count: int, directory: Path, seed: int = 1) -> Outcome:
    """Live through it, and ask OpenSSL about all of it."""
    with _world(directory, seed) as world:
        for _ in range(count + count // 5):
            one = rig.issue(world.installation, key=rig.pooled_key())
            world.issued[one.serial], world.states[one.serial] = one, GOOD
        world.delta()  # the numbers are shared: what comes first must not be what is tested
        world.turn(world.some(GOOD, 0.2))
        world.revoke(world.some(GOOD, 0.45))
        base = world.complete()
        with _counted_from_one_base():
            _live_on(world)
            between = world.complete()
            _live_on(world)
            world.revoke(world.some(HELD, 0.3))
            world.revoke(world.some(GOOD, max(0.0, 1 - count / 5 / max(1, len(world.some(GOOD, 1))))))
            newest = world.delta()
        full = world.complete()
        lists = {"base and delta": [base, newest], "between and delta": [between, newest], "complete": [full]}
        started = time.monotonic()
        verdicts = {name: ask(world, directory, found) for name, found in lists.items()}
        seconds = time.monotonic() - started
        entries = {name: len(x509.load_der_x509_crl(found[-1])) for name, found in lists.items()}
        sizes = {"base": len(base), "delta": len(newest), "complete": len(full)}
        expected = {serial: GOOD if state == GOOD else REVOKED for serial, state in world.states.items()}
        return Outcome(expected, verdicts, entries, sizes, world.done, seconds)


def _live_on(world: World) -> None:
    """Release a part of what is held, hold others, and some of those again; revoke some."""
    world.turn(world.some(HELD, 0.5))
    world.turn(world.some(GOOD, 0.3))
    world.turn(world.some(HELD, 0.2))
    world.revoke(world.some(HELD, 0.1))
    world.revoke(world.some(GOOD, 0.2))


@contextmanager
def _world(directory: Path, seed: int) -> Iterator[World]:
    store = open_store(f"sqlite:///{directory}/certwright.db")
    try:
        yield World(rig.make_installation(store), Random(seed))
    finally:
        store.close()


@contextmanager
def _counted_from_one_base() -> Iterator[None]:
    """However large the delta grows, it goes on counting from where it does."""
    share, delta.SHARE = delta.SHARE, 1
    small, delta.SMALL = delta.SMALL, 1 << 40
    try:
        yield
    finally:
        delta.SHARE, delta.SMALL = share, small


def ask(world: World, directory: Path, lists: Sequence[bytes]) -> dict[str, str]:
    """What `openssl verify` says of every certificate with these lists."""
    first = next(iter(world.issued.values()))
    root = world.installation.authorities.get("root").certificate
    files = {"root": pem_certificate(root), "chain": pem_chain(first.chain), "crls": "".join(map(pem_crl, lists))}
    for name, content in files.items():
        (directory / f"{name}.pem").write_text(content)
    for serial, one in world.issued.items():
        path = directory / f"{serial}.crt"
        if not path.exists():
            path.write_text(pem_certificate(one.certificate))
    serials, verdicts = list(world.issued), dict[str, str]()
    for start in range(0, len(serials), BATCH):
        verdicts |= _judged(directory, serials[start : start + BATCH])
    return verdicts


def _judged(directory: Path, serials: Sequence[str]) -> dict[str, str]:
    given = (
        "-CRLfile",
        directory / "crls.pem",
        "-CAfile",
        directory / "root.pem",
        "-untrusted",
        directory / "chain.pem",
    )
    done = peer.run(
        *(peer.require("openssl"), "verify", "-x509_strict", "-crl_check", "-extended_crl", "-use_deltas", *given),
        *(directory / f"{serial}.crt" for serial in serials),
    )
    found: dict[str, str] = {}
    errors = done.stderr.decode()
    for line in done.stdout.decode().splitlines():
        name, _, verdict = line.partition(": ")
        if verdict == "OK":
            found[Path(name).stem] = GOOD
    for line in errors.splitlines():
        if line.startswith("error ") and line.endswith(": verification failed"):
            found[Path(line.split(" ", 1)[1].partition(": ")[0]).stem] = REVOKED
    refused = errors.count("certificate revoked")
    assert refused == sum(verdict == REVOKED for verdict in found.values()), errors[-2000:]
    return found


def judge(outcome: Outcome) -> None:
    """All three ways say the same of every certificate, and it is what was done."""
    for name, verdicts in outcome.verdicts.items():
        wrong = {serial for serial, state in outcome.expected.items() if verdicts.get(serial) != state}
        assert not wrong, f"with {name}: {len(wrong)} of {len(outcome.expected)}, {sorted(wrong)[:3]}"
    assert {"revoked", "held", "released"} <= set(outcome.done)


def main() -> None:
    """Run the campaign and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        outcome = run(asked.count, Path(directory), asked.seed)
    judge(outcome)
    refused = sum(state == REVOKED for state in outcome.expected.values())
    print(f"{len(outcome.expected)} certificates, {refused} of them refused; {dict(outcome.done)}")
    print(f"entries {dict(outcome.entries)}; bytes {dict(outcome.sizes)}")
    print(f"openssl says the same of all of them, three ways, in {outcome.seconds:.0f} s")
    sys.exit(0)


if __name__ == "__main__":
    main()

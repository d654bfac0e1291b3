"""Damaged certification requests, by the million: `python -m tests.fuzz.csr COUNT [--seed N]`.

Each goes the way of a request: it is read, its possession is asked for, an authoriser decides about it, and what was
decided is built, checked and sealed by the test installation's issuing CA (nothing is recorded). Whatever happens, the
only errors are refusals, and whatever certificate results is judged by rules that are written out here by hand.

A decision does not depend on possession, so requests that prove nothing are decided about as well; only those that
prove it are signed. The damage itself is done in `damage.py`.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ca import clock, enrolment, signing
from ca.authority import Issuer
from ca.enrolment import Decision, Wish
from ca.errors import PolicyRefusal, Refusal
from ca.installation import Installation
from ca.issuance import new_serial
from ca.keys.algorithms import key_type_of
from ca.signing import Order
from ca.store import open_store
from ca.x509.certificate import spki_of
from ca.x509.request import Request, read_request
from tests import rig
from tests.fuzz.damage import Mutator, make_seeds

PROFILES = ("mesh", "server")
CALLERS = (rig.OPERATOR, rig.REQUESTER)
MOST_KEPT = 1000
"""How many violations are remembered; more are only counted."""


@dataclass
class Report:
    """What came of a campaign."""

    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """What policy objected to."""
    escapes: list[tuple[str, bytes]] = field(default_factory=list)
    """Errors that are no refusals, each with the request that provoked it."""
    unsound: list[tuple[str, bytes]] = field(default_factory=list)
    """Certificates that should not be, each with what is wrong and the request."""
    pushed: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.pushed / max(self.seconds, 1e-9)


class Door:
    """The way of a request, up to a certificate that nobody records."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._issuer: Issuer = installation.authorities.issuer_for("issuing")
        self._turn = 0

    def push(self, data: bytes, report: Report) -> None:
        """Take one request all the way that it gets, and count how it ended."""
        try:
            report.outcomes[self._push(data, report)] += 1
        except PolicyRefusal as error:
            report.outcomes[error.code] += 1
            report.reasons.update({reason.code for reason in error.reasons})
        except Refusal as error:
            report.outcomes[error.code] += 1
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the parser's panics are not even Exceptions
            report.outcomes["ESCAPED"] += 1
            _keep(report.escapes, f"{type(error).__name__}: {error}"[:200], data)

    def _push(self, data: bytes, report: Report) -> str:
        request = read_request(data)
        is_proved = True
        try:
            request.prove_possession()
        except Refusal:
            is_proved = False
        self._turn += 1
        caller, profile = CALLERS[self._turn // 2 % 2], PROFILES[self._turn % 2]
        decision = enrolment.authorise_issue(self._installation, caller, profile, request, Wish())
        certificate = self._certify(decision, is_signed=is_proved)
        wrong = [] if certificate is None else faults(x509.load_der_x509_certificate(certificate), decision, request)
        if wrong:
            report.outcomes["UNSOUND"] += 1
            _keep(report.unsound, "; ".join(wrong), data)
        return "issued" if is_proved else "unproved"

    def _certify(self, decision: Decision, *, is_signed: bool) -> bytes | None:
        serial, not_before = new_serial(), clock.timestamp()
        order = Order(
            profile=decision.profile,
            serial=serial,
            spki=decision.request.spki,
            key_type=decision.key_type,
            names=decision.names,
            subject=None,
            not_before=not_before,
            not_after=not_before + decision.lifetime - 1,
            path_length=decision.path_length,
            shard=self._issuer.shard_of(serial),
            role=decision.role,
            attributes=decision.attributes,
        )
        tbs = signing.build(order, self._issuer)
        signing.check(tbs, order, self._issuer)
        return signing.seal(tbs, self._issuer)[1] if is_signed else None


def _keep(found: list[tuple[str, bytes]], what: str, data: bytes) -> None:
    if len(found) < MOST_KEPT:
        found.append((what, data))


SERVER_NETWORKS = [
    *map(ip_network, ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"))
]
USAGES = {
    "mesh": {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH},
    "server": {ExtendedKeyUsageOID.SERVER_AUTH},
}


def faults(certificate: x509.Certificate, decision: Decision, request: Request) -> list[str]:
    """Everything about a leaf that should not be, by rules that know nothing of the product's."""
    found = []
    values = {type(e.value): e.value for e in certificate.extensions}
    names = list(values.get(x509.SubjectAlternativeName, ()))
    profile, namespace = decision.profile.name, decision.caller.attributes.get("namespace")
    found += [f"{profile} for {namespace} has {name}" for name in names if not _is_allowed(name, profile, namespace)]
    if not names or len(names) != len(set(names)):
        found.append("it has no name, or one twice")
    asked = {(name.kind.value, name.value) for name in request.names}
    if len(asked) != len(names):
        found.append("it has other names than were asked for")
    if values[x509.BasicConstraints].ca or values[x509.BasicConstraints].path_length is not None:
        found.append("it is a CA")
    usage = values[x509.KeyUsage]
    if usage.key_cert_sign or usage.crl_sign or set(values[x509.ExtendedKeyUsage]) != USAGES[profile]:
        found.append("it is good for more than the profile says")
    if spki_of(certificate.tbs_certificate_bytes) != decision.request.spki or certificate.public_key() != (
        request.public_key
    ):
        found.append("it has another public key")
    if key_type_of(request.public_key) not in decision.profile.keys:
        found.append("its key is of a kind that the profile does not have")
    dns = [name.value for name in names if isinstance(name, x509.DNSName)]
    expected = [] if profile == "mesh" else dns[:1]
    if [attribute.value for attribute in certificate.subject] not in ([], expected):
        found.append(f"its subject is {certificate.subject.rfc4514_string()}")
    return found


def _is_allowed(name: x509.GeneralName, profile: str, namespace: str | None) -> bool:
    space = r"[A-Za-z0-9._~-]+" if namespace is None else re.escape(namespace)
    labels = r"([a-z0-9-]{1,63}\.)+"
    match name, profile:
        case x509.UniformResourceIdentifier(value=value), "mesh":
            parts = re.fullmatch(rf"spiffe://example\.internal/ns/({space})/sa/([A-Za-z0-9._-]+)", value)
            return parts is not None and not {".", ".."} & set(parts.groups())
        case x509.DNSName(value=value), "mesh":
            domain = r"svc\.example\.internal" if namespace is None else rf"{space}\.svc\.example\.internal"
            return re.fullmatch(labels + domain, value) is not None
        case x509.DNSName(value=value), "server":
            return value == "localhost" or re.fullmatch(labels + r"example\.internal", value) is not None
        case x509.IPAddress(value=value), "server":
            return any(value in network for network in SERVER_NETWORKS)
    return False


@contextmanager
def door() -> Iterator[Door]:
    """A door of a test installation on a temporary SQLite store."""
    with tempfile.TemporaryDirectory(prefix="certwright-fuzz-") as directory:
        store = open_store(f"sqlite:///{Path(directory) / 'certwright.db'}")
        try:
            yield Door(rig.make_installation(store))
        finally:
            store.close()


def campaign(count: int, seed: int, *, say: Callable[[str], None] = lambda line: None) -> Report:
    """Push `count` requests through the door; `say` hears how it goes."""
    mutator, report = Mutator(make_seeds(), random.Random(seed)), Report()
    step = max(1, min(count // 25, 1_000_000))
    with door() as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parser's opinions about a stranger's subject
        start = time.monotonic()
        for done in range(1, count + 1):
            target.push(mutator.next(), report)
            report.pushed = done
            if done % step == 0 or done == count:
                report.seconds = time.monotonic() - start
                most = ", ".join(f"{code} {number}" for code, number in report.outcomes.most_common())
                say(f"{done / count:4.0%} {done:>10,} {report.rate:>7,.0f}/s  {most}")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.csr", description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int)
    parser.add_argument("--seed", type=int, default=0)
    choice = parser.parse_args(argv)
    report = campaign(choice.count, choice.seed, say=lambda line: print(line, flush=True))
    for title, found in (("not a refusal", report.escapes), ("not sound", report.unsound)):
        shown: Counter[str] = Counter()
        for what, data in found:
            shown[what.partition(":")[0]] += 1
            if shown[what.partition(":")[0]] <= 3:
                print(f"{title}: {what}\n  {data.hex()}")
    bad = report.outcomes["ESCAPED"] + report.outcomes["UNSOUND"]
    print("reasons of policy: " + ", ".join(f"{code} {number}" for code, number in report.reasons.most_common()))
    print(
        f"{choice.count:,} requests, seed {choice.seed}, {report.seconds:.1f} s, {report.rate:,.0f}/s: {bad} violations"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

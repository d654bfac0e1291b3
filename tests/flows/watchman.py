"""Looks all the time whether what some hold vouches for what others show, with OpenSSL, GnuTLS and Python.

Each look takes one place's certificate with its chain and another place's bundle and CRLs, as they lie there at this
moment, and has all three judge. It also sees to it that no bundle and no list is ever missing, empty or half-written.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.x509 import verification

from tests import peer

PACE = 0.05


@dataclass
class Watch:
    """What was looked at, and what was wrong."""

    looks: int = 0
    wrong: list[str] = field(default_factory=list)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    """Versions of certificates and of trust that were held against each other."""


@contextmanager
def watching(
    certificates: Sequence[Path], trusts: Sequence[Path], scratch: Path, pace: float = PACE
) -> Iterator[Watch]:
    """Look every `pace` seconds until the block ends, into directories of the `files` publisher with `live` links."""
    found, over = Watch(), threading.Event()
    thread = threading.Thread(target=_watch, args=(found, certificates, trusts, scratch, over, pace), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join(60)


def _watch(
    found: Watch,
    certificates: Sequence[Path],
    trusts: Sequence[Path],
    scratch: Path,
    over: threading.Event,
    pace: float,
) -> None:
    draw = random.Random(4)
    scratch.mkdir(exist_ok=True)
    while not over.wait(pace):
        shown, held = draw.choice(certificates), draw.choice(trusts)
        # Bundle and certificate are read at one moment: first what is shown, then what is held, and once more.
        for _ in range(3):
            mine, theirs = _version(shown), _version(held)
            with suppress(FileNotFoundError):
                _copy(mine, theirs, scratch)
                if (mine, theirs) == (_version(shown), _version(held)):
                    break
        else:
            continue
        if problem := judge(scratch):
            found.wrong.append(f"{time.time():.1f} {mine.name} by {theirs.name} of {held.parent.name}: {problem}")
        found.looks += 1
        found.pairs.add((mine.name, theirs.name))


def _version(directory: Path) -> Path:
    return Path(os.path.realpath(directory / "live"))


def _copy(mine: Path, theirs: Path, scratch: Path) -> None:
    for name in ("cert.pem", "chain.pem"):
        shutil.copyfile(mine / name, scratch / name)
    for name in ("bundle.pem", "crl.pem"):
        shutil.copyfile(theirs / name, scratch / name)


def judge(scratch: Path) -> str | None:
    """What is wrong about it, by whoever finds something first."""
    bundle, crls = (scratch / "bundle.pem").read_bytes(), (scratch / "crl.pem").read_bytes()
    if b"END CERTIFICATE" not in bundle or not crls.rstrip().endswith(b"-----END X509 CRL-----"):
        return "the bundle or the list is empty or cut"
    return _openssl(scratch) or _gnutls(scratch) or _python(scratch)


def _openssl(scratch: Path) -> str | None:
    chain = ("-untrusted", scratch / "chain.pem") if (scratch / "chain.pem").read_bytes().strip() else ()
    trust = ("-CAfile", scratch / "bundle.pem", "-CRLfile", scratch / "crl.pem", "-crl_check_all", "-x509_strict")
    done = peer.run("openssl", "verify", *trust, *chain, scratch / "cert.pem")
    return None if done.returncode == 0 else f"openssl: {done.stderr.decode()[-300:]}"


def _gnutls(scratch: Path) -> str | None:
    whole = scratch / "whole.pem"
    whole.write_bytes((scratch / "cert.pem").read_bytes() + (scratch / "chain.pem").read_bytes())
    trust = ("--load-ca-certificate", scratch / "bundle.pem", "--load-crl", scratch / "crl.pem")
    done = peer.run("certtool", "--verify", *trust, "--infile", whole)
    return None if done.returncode == 0 else f"gnutls: {(done.stdout + done.stderr).decode()[-300:]}"


def _python(scratch: Path) -> str | None:
    anchors = x509.load_pem_x509_certificates((scratch / "bundle.pem").read_bytes())
    leaf = x509.load_pem_x509_certificate((scratch / "cert.pem").read_bytes())
    text = (scratch / "chain.pem").read_bytes()
    chain = x509.load_pem_x509_certificates(text) if text.strip() else []
    policy = verification.PolicyBuilder().store(verification.Store(anchors))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    hosts = names.get_values_for_type(x509.DNSName)
    try:
        if hosts:
            policy.build_server_verifier(x509.DNSName(hosts[0])).verify(leaf, chain)
        else:
            policy.build_client_verifier().verify(leaf, chain)
    except verification.VerificationError as error:
        return f"python: {error}"
    lists = [
        x509.load_pem_x509_crl(block + b"-----END X509 CRL-----\n")
        for block in (scratch / "crl.pem").read_bytes().split(b"-----END X509 CRL-----\n")
        if block.strip()
    ]
    own = [one for one in lists if one.issuer == leaf.issuer]
    if not own:
        return "python: there is no list of its issuer"
    revoked = any(one.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None for one in own)
    return "python: it is revoked" if revoked else None

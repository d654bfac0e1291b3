"""Do strangers get the lists that certificates name? The name is resolved, and a list of each CA fetched and compared.

Asked are the places of `installation.public_url` alone, the way everybody asks them: past caches, proxies and whoever
holds the name in DNS. What comes back is believed if a CA of ours has signed it. The newest list of each CA is the one
that a stale copy shows on; the largest ones are left to others.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from urllib.parse import urlsplit

from cryptography import x509

from ca import clock, crl
from ca.authority import KEYLESS
from ca.crl import COMPLETE, Status, StoredList
from ca.errors import NotDelivered
from ca.keys.algorithms import PublicKey, key_type_of, scheme_of
from ca.models import Authority
from pki.client.where import answers
from pki.doctor.finding import Finding, Level
from pki.product import Product

CDP = "cdp"
SECONDS = 5.0
MOST_ENTRIES = 100_000
"""Lists with more are not fetched: 4 MB is what a look may cost."""
MOST = 16 << 20
PATIENCE = 600
"""Seconds for which caches may have the list before: twice what they are told."""
STALE = "whatever copies lists there has stopped, or a cache keeps them for longer than their headers say"
SERVED = "certwright serve serves them on listen.plain; whatever stands before it has to pass /crl/ on"


def distribution(product: Product) -> Iterator[Finding]:
    """The host's name, then a list of each CA that publishes any."""
    from renewers.addresses import resolve
    from renewers.urls import is_loopback

    url = product.settings.installation.public_url
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host):
        message = f"certificates name {url}, which is another machine to everybody else"
        advice = "set installation.public_url to what others reach before they are issued certificates"
        yield Finding(CDP, Level.WARNING, message, advice)
        if not answers(product.socket):
            return
    try:
        found = resolve(host, parts.port or (443 if parts.scheme == "https" else 80), SECONDS)
    except NotDelivered as error:
        advice = f"make a DNS record for {host}: it stands in every certificate, and consumers look there for CRLs"
        yield Finding(CDP, Level.PROBLEM, error.message, advice)
        return
    yield Finding(CDP, Level.OK, f"{host} is {' and '.join(found)}")
    yield from _lists(product)


def _lists(product: Product) -> Iterator[Finding]:
    statuses = crl.statuses(product.installation)
    for row in product.installation.authorities.standing():
        own = [one for one in statuses if one.authority == row.name and one.number]
        if row.key_label == KEYLESS or not own:
            continue
        status = max(own, key=lambda one: (one.entries <= MOST_ENTRIES, one.this_update, -one.entries))
        if status.entries > MOST_ENTRIES:
            yield Finding(CDP, Level.SKIPPED, f"the lists of {row.name} are too large to be fetched for a look")
            continue
        finding = _served(product, row, status)
        yield finding
        if finding.level is Level.PROBLEM:
            return  # the others are at the same place


def _served(product: Product, row: Authority, status: Status) -> Finding:
    from renewers.egress import fetch

    shard = None if status.shard == COMPLETE else status.shard
    url = product.installation.authorities.urls.crl(row.name, shard)
    try:
        served = fetch(url, most=MOST, seconds=SECONDS)
    except NotDelivered as error:
        return Finding(CDP, Level.PROBLEM, f"{url}: {error.message}", SERVED)
    ours = crl.load(product.installation, row.name, status.shard)  # after it: others publish meanwhile
    if ours is None or sha256(served).digest() == ours.sha256:
        return Finding(CDP, Level.OK, f"{url} is the list that was published last")
    return _judged(url, served, ours, row, product.settings.crl.backdate.total_seconds())


def _judged(url: str, served: bytes, ours: StoredList, row: Authority, backdate: float) -> Finding:
    """What it means that something else is served than was published."""
    try:
        found = x509.load_der_x509_crl(served)
        number = found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        ends = found.next_update_utc
        is_ours = _is_signed(found, row)
    except (ValueError, x509.ExtensionNotFound):
        return Finding(CDP, Level.PROBLEM, f"{url} is no list of ours: it cannot be read", SERVED)
    if not is_ours:
        return Finding(CDP, Level.PROBLEM, f"{url} is signed by somebody else than {row.name}", SERVED)
    if ends is not None and ends <= clock.now():
        return Finding(CDP, Level.PROBLEM, f"{url} is a list that ended at {ends:%Y-%m-%d %H:%M}Z", STALE)
    if number > ours.number:
        advice = "an older backup was restored, or this database is a copy: which one is in use?"
        return Finding(CDP, Level.PROBLEM, f"{url} has the number {number}, the database {ours.number}", advice)
    age = int(clock.timestamp() - ours.this_update - backdate)
    if age <= PATIENCE:
        return Finding(CDP, Level.OK, f"{url} is the list before the one that was made {max(0, age)} s ago")
    return Finding(CDP, Level.WARNING, f"{url} is still a list from before {age // 60} minutes ago", STALE)


def _is_signed(found: x509.CertificateRevocationList, row: Authority) -> bool:
    key: PublicKey = x509.load_der_x509_certificate(row.certificate).public_key()  # type: ignore[assignment]
    key_type = key_type_of(key)
    return key_type is not None and scheme_of(key_type).verify(key, found.signature, found.tbs_certlist_bytes)

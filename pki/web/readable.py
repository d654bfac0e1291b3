"""Which certificates a caller may know of: all of them, or its own. Every route about one certificate asks here."""

from __future__ import annotations

from ca import certificates
from ca.access import Caller, Operation
from ca.certificates import Stored
from ca.errors import Forbidden
from pki.product import Product


def find_readable(product: Product, caller: Caller, serial: str) -> Stored:
    """The certificate, if this caller may know of it at all."""
    stored = certificates.find(product.installation.store, serial)
    if caller.may(Operation.READ_ANY):
        return stored
    caller.must(Operation.READ_OWN)
    if stored.serial != caller.certificate and stored.requested_by != caller.identity:
        raise Forbidden(f"certificate {stored.serial} does not belong to {caller.identity}", code="not-yours")
    return stored

"""The place of a key that is kept offline: everything about a CA is known here but how to sign."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from cryptography import x509

from ca.errors import KeyUnavailable
from ca.keys.algorithms import PrivateKey, PublicKey
from ca.models import Authority


class AbsentKey:
    """Stands where a private key would, so that what is to be signed is built as ever; it never signs."""

    def __init__(self, owner: str, public_key: PublicKey) -> None:
        self._owner = owner
        self._public_key = public_key

    def public_key(self) -> PublicKey:
        """The public half, from the CA's certificate."""
        return self._public_key

    def check_reachable(self) -> NoReturn:
        """`KeyUnavailable`, before anything is written for a signature that cannot be made."""
        raise KeyUnavailable(
            f"the key of {self._owner} is offline",
            code="key-offline",
            hint=f"certwright ceremony request {self._owner} writes what is carried to it",
        )

    def sign(self, *_: object) -> NoReturn:
        """The same: nothing is signed here."""
        self.check_reachable()


def absent_key(row: Authority) -> PrivateKey:
    """What stands for the key of an authority that is kept offline."""
    public_key: Any = x509.load_der_x509_certificate(row.certificate).public_key()
    return cast("PrivateKey", AbsentKey(row.name, public_key))

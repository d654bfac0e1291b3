"""Two key stores as one: the CAs' keys in hardware, and beside them, in software, what signs often and matters less.

The signers of publications and of OCSP answers are certified by the CAs, live for weeks, and can be revoked.
The ledger's key signs every second, with an algorithm that few tokens have; whoever steals it can lie about the ledger,
which every kept head shows, and cannot issue. What belongs where is told by the label alone: no table has to say it.
"""

from __future__ import annotations

import re

from ca.errors import BadRequest, Misconfigured
from ca.keys import KeyImport, KeyStore, check_label
from ca.keys.algorithms import KeyType, PrivateKey

_WORKING = re.compile(r"(publication|ocsp)-[0-9a-f]{8,64}")
_LEDGER = re.compile(r"ledger-[0-9a-f]{8}")
"""A CA's label has its generation in it, `ledger-1-0badcafe`, and so is never one of these."""


class DividedKeyStore:
    """A `KeyStore`, and a `KeyImport` for the keys that are in software."""

    def __init__(self, hardware: KeyStore, software: KeyStore, *, ledger_in_hardware: bool) -> None:
        if not isinstance(software, KeyImport):
            raise Misconfigured("the key store beside the hardware takes no keys in")
        self._hardware = hardware
        self._software = software
        self._importing = software
        self._patterns = (_WORKING,) if ledger_in_hardware else (_WORKING, _LEDGER)

    def create(self, label: str, key_type: KeyType) -> PrivateKey:
        """Make a key where keys with such a label are."""
        return self._place(label).create(label, key_type)

    def put(self, label: str, key: PrivateKey) -> None:
        """Keep an existing key, if its label is one of those in software; a CA's cannot be brought to hardware."""
        if self._place(label) is not self._software:
            raise BadRequest(
                "hardware makes its own keys and takes none in",
                code="key-import-unsupported",
                hint='take the CA over with keys.store = "software", or make a new one here',
            )
        self._importing.put(label, key)

    def load(self, label: str) -> PrivateKey:
        """The key, from where keys with such a label are."""
        return self._place(label).load(label)

    def destroy(self, label: str) -> None:
        """Make the key unusable for ever."""
        self._place(label).destroy(label)

    def _place(self, label: str) -> KeyStore:
        is_working = any(pattern.fullmatch(check_label(label)) for pattern in self._patterns)
        return self._software if is_working else self._hardware

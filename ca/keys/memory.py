"""Keys in memory: for tests and for hierarchies that live as long as the process."""

from __future__ import annotations

import threading

from ca.errors import Conflict, KeyUnavailable
from ca.keys import check_label
from ca.keys.algorithms import KeyType, PrivateKey


class MemoryKeyStore:
    """A `KeyStore` and `KeyImport` that forgets everything when the process ends."""

    def __init__(self) -> None:
        self._keys: dict[str, PrivateKey] = {}
        self._lock = threading.Lock()

    def create(self, label: str, key_type: KeyType) -> PrivateKey:
        """Make a key under a new label."""
        key = key_type.generate()
        self.put(label, key)
        return key

    def put(self, label: str, key: PrivateKey) -> None:
        """Keep a key under a new label."""
        with self._lock:
            if check_label(label) in self._keys:
                raise Conflict(f"there is already a key {label!r}", code="key-exists")
            self._keys[label] = key

    def load(self, label: str) -> PrivateKey:
        """The key under this label."""
        with self._lock:
            if label not in self._keys:
                raise KeyUnavailable(f"there is no key {label!r}")
            return self._keys[label]

    def destroy(self, label: str) -> None:
        """Forget the key."""
        with self._lock:
            self._keys.pop(label, None)

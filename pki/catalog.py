"""The one list of implementations: which adapter a setting means. A new adapter is one file and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from ca.keys import KeyStore
from ca.keys.passphrase import find_passphrase
from ca.keys.software import SoftwareKeyStore
from pki.settings import KeySettings


def _software(state: Path, settings: KeySettings) -> KeyStore:
    return SoftwareKeyStore(state / "keys", find_passphrase(state / settings.passphrase_file))


KEY_STORES: Mapping[str, Callable[[Path, KeySettings], KeyStore]] = {
    "software": _software,
}

"""The newest head that was seen, kept outside of the database: who cuts the ledger's tail there does not cut this one.

Nobody can make up a signed head, and no tree can be given the root of another one. Whoever holds one head can therefore
say whether the ledger still begins with what it was then, in a few hashes (RFC 9162 section 2.1.4), whatever else the
database says. The file lies in the state directory, with the keys: who writes there can sign heads anyway. Heads that
were told elsewhere are looked at, too: a state directory may go with its machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ca import files
from ca.errors import Refusal
from ca.ledger.checkpoint import Head, Verifier, open_head
from ca.ledger.log import Ledger
from ca.ledger.proofs import check_consistency
from ca.ledger.proving import prove_consistency
from ca.store import Store

HEAD_FILE = "ledger-head"
"""Its name in the state directory."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A head, and the signed text that shows it to anybody."""

    head: Head
    checkpoint: str


class Witness:
    """Holds the newest head, and says whether the ledger continues it. It never goes back by itself.

    `elsewhere` are files into which others, or we, write heads of this ledger.
    """

    def __init__(self, store: Store, ledger: Ledger, path: Path, *elsewhere: Path) -> None:
        self._store, self._ledger, self._path, self._elsewhere = store, ledger, path, elsewhere
        self._kept: Kept | None = None
        self._is_written = False

    def look(self) -> bool:
        """Whether the ledger continues the heads that are kept. If so, its newest one is kept from now on."""
        seen, newest = self.kept(), self._newest()  # in this order: else one that was told meanwhile would be beyond it
        if not all(self._continues(kept, newest) for kept in seen):
            return False
        if newest is not None:
            self._keep(newest)
        return True

    def is_continued(self, kept: Kept) -> bool:
        """Whether the ledger continues this head."""
        return self._continues(kept, self._newest())

    def kept(self) -> Sequence[Kept]:
        """The head that is kept; from the file, if this process has seen none; and those elsewhere.

        What nobody signed is none.
        """
        if self._kept is None:
            self._kept = self._read(self._path)
            self._is_written = self._kept is not None
        return [kept for kept in (self._kept, *map(self._read, self._elsewhere)) if kept is not None]

    def _newest(self) -> Kept | None:
        """The ledger's newest head, if it was signed."""
        row = self._ledger.head()
        return None if row is None else opened(row.checkpoint, self._ledger.verifier)

    def _read(self, path: Path) -> Kept | None:
        text = read(path)
        return None if text is None else opened(text, self._ledger.verifier)

    def _continues(self, kept: Kept, newest: Kept | None) -> bool:
        return newest is not None and continues(self._store, kept.head, newest.head)

    def _keep(self, newest: Kept) -> None:
        if newest != self._kept:
            self._kept, self._is_written = newest, False
        if not self._is_written:
            with suppress(OSError):  # a full disk is told of elsewhere: it is in memory, and written by the next look
                files.replace(self._path, newest.checkpoint.encode(), mode=0o600)
                self._is_written = True


def read(path: Path) -> str | None:
    """What a file with a checkpoint says; None if there is none that can be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def opened(checkpoint: str, verifier: Verifier) -> Kept | None:
    """A head with its checkpoint, or None if `verifier` did not sign it."""
    with suppress(Refusal):
        return Kept(open_head(checkpoint, verifier), checkpoint)
    return None


def continues(store: Store, kept: Head, newest: Head) -> bool:
    """Whether the tree of the newest head begins with that of `kept`: by proof, not by what any row says."""
    if newest.size < kept.size:
        return False
    try:
        proof = prove_consistency(store, kept.size, newest.size).proof
        check_consistency(kept.size, kept.root, newest.size, newest.root, proof)
    except Refusal:  # tiles that are still being made are none: that is no answer
        return False
    return True

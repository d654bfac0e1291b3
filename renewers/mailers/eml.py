"""Messages as files that end in `.eml`, one a message: a dry run, to be opened in any mail program.

A file is there whole or not at all, is never written over, and only its owner reads it. The same message (by its
Message-ID) to the same recipient is written once, however often it is sent. Read `envelope.py` next.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from ca import files
from ca.errors import NotDelivered
from renewers.mailers import Outgoing
from renewers.mailers.envelope import Signed, bytes_of, checked, unsigned


class EmlMailer:
    """A `Mailer` into a directory, which is made if it is missing. `Misconfigured` if others can look into it."""

    def __init__(self, directory: Path, signed: Signed = unsigned) -> None:
        self._directory = files.private_directory(directory)
        self._signed = signed

    def send(self, outgoing: Outgoing) -> str:
        """Write it, durably."""
        checked(outgoing)
        raw = self._signed(bytes_of(outgoing.message))
        path = self._directory / _name(outgoing)
        try:
            files.write_new(path, raw, mode=0o600)
        except FileExistsError:
            return f"was written before, as {path.name}"
        except OSError as error:
            raise NotDelivered(f"a message cannot be written into {self._directory}: {error.strerror}") from None
        return f"written as {path.name}"

    def close(self) -> None:
        """There is nothing to let go of."""


def _name(outgoing: Outgoing) -> str:
    """A plain file name: neither a slash nor a leading dot of an address gets into it."""
    who = re.sub(r"[^A-Za-z0-9@._-]", "_", outgoing.recipient)[:100]
    which = sha256(f"{outgoing.message['Message-ID']}\n{outgoing.recipient}".encode()).hexdigest()[:16]
    return f"to-{who}-{which}.eml"

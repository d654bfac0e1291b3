"""Which installation is meant, and with which credential: what the options before the noun said."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Where:
    """Nothing set means the installation on this machine, in its usual place."""

    state: Path | None = None
    server: str | None = None
    token: str | None = None
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def here(self, state: Path) -> None:
        """Mean the installation in a state directory of this machine, and nothing else."""
        self.state = state
        self.server = self.token = self.ca_file = self.certificate = self.key = None


where = Where()
"""Filled once a process, by the callback in `pki/cli/app.py`."""


def answers(path: Path) -> bool:
    """Whether a server listens on its socket: a file alone may be left from one that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

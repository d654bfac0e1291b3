"""Telling systemd how far this process is (sd_notify(3)), where it was started by it with `Type=notify`."""

from __future__ import annotations

import os
import socket

from pki.logs import logger

log = logger(__name__)
VARIABLE = "NOTIFY_SOCKET"


def notify(state: str) -> None:
    """Say `READY=1` or `STOPPING=1`; nothing without a supervisor that listens."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]  # an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.sendto(state.encode(), address)
    except OSError as error:
        log.warning("supervisor-not-told", state=state, reason=error.strerror)

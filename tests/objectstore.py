"""A real S3 server on loopback: versitygw over a directory of its own, with throwaway credentials. From `make peers`.

Started by a test and stopped by process id. Its buckets are directories, its objects files; what S3 knows beside them
lies in a directory next to it, so that any file system will do.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ca.secret import Secret
from tests import peer
from tests.pebble import TlsFiles, loopback_tls

REGION = "eu-north-1"


@dataclass(frozen=True)
class ObjectStore:
    """An S3 server that runs."""

    port: int
    endpoint: str
    access_key_id: str
    secret: Secret
    ca_file: Path | None
    home: Path
    log: Path

    def bucket(self, name: str) -> str:
        """Make an empty bucket; returns its name."""
        (self.home / "buckets" / name).mkdir()
        return name


@contextmanager
def object_store(home: Path, *, over_tls: bool = False) -> Iterator[ObjectStore]:
    """Run it. With TLS, its certificate is by a CA made for the occasion."""
    program = peer.require("versitygw")
    for name in ("buckets", "beside"):
        (home / name).mkdir(parents=True)
    tls: TlsFiles | None = loopback_tls(home / "tls") if over_tls else None
    port, log = peer.free_port(), home / "log"
    key_id, secret = f"AK{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30)
    argv: list[str | Path] = [program, "--port", f"127.0.0.1:{port}", "--region", REGION]
    if tls is not None:
        argv += ["--cert", tls.certificate, "--key", tls.key]
    argv += ["posix", "--sidecar", home / "beside", home / "buckets"]
    env = {**os.environ, "ROOT_ACCESS_KEY": key_id, "ROOT_SECRET_KEY": secret}
    with peer.running(argv, ready=peer.listens(port), log=log, env=env):
        endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        ca_file = None if tls is None else tls.ca_file
        yield ObjectStore(port, endpoint, key_id, Secret(secret), ca_file, home, log)

"""SoftHSM2 as the token: a directory of its own, tokens that are made, taken away and put back."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ca.keys.pkcs11 import Pkcs11KeyStore
from ca.keys.pkcs11_module import open_module
from ca.keys.pkcs11_uri import TokenUri, read_token_uri
from ca.secret import Secret
from tests import peer

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so")
PIN, SO_PIN = "correct-horse", "battery-staple"
LABEL = "certwright"


@dataclass(frozen=True)
class SoftToken:
    """A token in a directory."""

    directory: Path
    module: Path

    @property
    def uri(self) -> str:
        """The token, with its module."""
        return f"pkcs11:token={LABEL}?module-path={self.module}"

    @property
    def parsed(self) -> TokenUri:
        """The same, read."""
        return read_token_uri(self.uri)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it."""
        return {"SOFTHSM2_CONF": str(self.directory / "softhsm2.conf")}

    def store(self, pin: str = PIN) -> Pkcs11KeyStore:
        """A key store over it."""
        return Pkcs11KeyStore(self.parsed, lambda: Secret(pin))

    def take_away(self) -> None:
        """Pull it out: the directory with the token is elsewhere."""
        (self.directory / "tokens").rename(self.directory / "drawer")
        (self.directory / "tokens").mkdir()

    def put_back(self) -> None:
        """Put it in again."""
        (self.directory / "tokens").rmdir()
        (self.directory / "drawer").rename(self.directory / "tokens")

    def kill_sessions(self) -> None:
        """C_CloseAllSessions behind the back of whoever has some (PKCS#11 section 5.6).

        Between two of their calls: SoftHSM frees a session that another thread is in, and takes the process with it.
        """
        loaded = ctypes.CDLL(str(self.module))
        ids, count = (ctypes.c_ulong * 16)(), ctypes.c_ulong(16)
        assert loaded.C_GetSlotList(ctypes.c_ubyte(1), ids, ctypes.byref(count)) in (0, 0x190)
        with open_module(self.module).alone():
            for slot in ids[: count.value]:
                loaded.C_CloseAllSessions(ctypes.c_ulong(slot))


@contextmanager
def soft_token(directory: Path) -> Iterator[SoftToken]:
    """A fresh token, the only one that this process sees meanwhile."""
    module = next((Path(path) for path in MODULES if Path(path).exists()), None)
    if module is None:
        peer.missing("softhsm2 is not installed (make peers)")
    assert module is not None
    (directory / "tokens").mkdir(parents=True)
    token = SoftToken(directory, module)
    config = f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"
    (directory / "softhsm2.conf").write_text(config)
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ.update(token.environment)
    try:
        done = peer.run(
            *(peer.require("softhsm2-util"), "--init-token", "--free", "--label", LABEL),
            *("--pin", PIN, "--so-pin", SO_PIN),
        )
        assert done.returncode == 0, done.stderr
        yield token
    finally:
        os.environ.pop("SOFTHSM2_CONF")
        if before is not None:
            os.environ["SOFTHSM2_CONF"] = before
        shutil.rmtree(directory)

"""Would a process that alone holds the keys pay? Its signatures over a Unix socket, on one core and on two.

The shortest protocol that there can be: a length, the bytes, a signature. What a real one costs comes on top.
"""

from __future__ import annotations

import os
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from ca.installation import Installation
from ca.keys.algorithms import KeyType, PrivateKey, scheme_of
from ca.keys.memory import MemoryKeyStore
from ca.store import open_store
from tests import rig
from tests.bench.issuing import SHARDS, issue_many
from tests.bench.report import Figure, cpu_per_call, heading, show, wall

MOST_FILES = 4096
ROUNDS = 3
PAYS = 1.2
"""What a second process has to bring, or it is not worth its socket, its start and its death."""


def run(*, quick: bool) -> None:
    """Print the figures."""
    heading("A signer process over a Unix socket, beside signing in this process (P-256)")
    key, scheme, data = KeyType.P256.generate(), scheme_of(KeyType.P256), bytes(1500)
    with _process(key) as asked:
        here = cpu_per_call(lambda: scheme.sign(key, data), calls=2000)
        ours = cpu_per_call(lambda: scheme.sign(asked, data), calls=2000)
        there = wall(lambda: [scheme.sign(asked, data) for _ in range(2000)]) / 2000
    show(Figure("a signature in this process, CPU", here * 1e6, "us"))
    show(Figure("one by the process, our CPU", ours * 1e6, "us"))
    show(Figure("one by the process, until it is here", there * 1e6, "us"))
    count = 1600 if quick else 4800
    _issued(320, is_apart=True)  # what is made once is made before
    cores = sorted(os.sched_getaffinity(0))
    for used in ({cores[0]}, set(cores[:2])):
        os.sched_setaffinity(0, used)
        try:
            rounds = [(_issued(count, is_apart=False)[0], _issued(count, is_apart=True)[0]) for _ in range(ROUNDS)]
        finally:
            os.sched_setaffinity(0, cores)
        alone, apart = (statistics.median(each[side] for each in rounds) for side in (0, 1))
        brings = statistics.median(there / here for here, there in rounds)
        name = f"{len(used)} core" + "s" * (len(used) > 1)
        show(Figure(f"certificates with the key here, {name}", alone, "/s"))
        show(Figure(f"certificates with a signer process, {name}", apart, "/s"))
        show(Figure(f"what it brings, {name}", brings, "x", PAYS, at_least=True))
    _, each = _issued(count, is_apart=False)
    show(Figure("a certificate, CPU", each * 1e6, "us"))
    show(Figure("at best, were all of the signature elsewhere", each / (each - here + ours), "x", PAYS, at_least=True))


def _issued(count: int, *, is_apart: bool) -> tuple[float, float]:
    """Certificates a second, and CPU seconds of this process for each."""
    with tempfile.TemporaryDirectory(prefix="certwright-bench-") as directory:
        store = open_store(f"sqlite:///{Path(directory)}/certwright.db")
        keys = _Apart() if is_apart else MemoryKeyStore()
        try:
            installation: Installation = rig.make_installation(store, keys=keys, shards=SHARDS)
            issue_many(installation, 320)
            begun = time.perf_counter()
            each = issue_many(installation, count)
            return count / (time.perf_counter() - begun), each
        finally:
            if isinstance(keys, _Apart):
                keys.close()
            store.close()


class _Apart(MemoryKeyStore):
    """A store whose keys sign in a process of their own."""

    def __init__(self) -> None:
        super().__init__()
        self._open: list[Any] = []

    def load(self, label: str) -> PrivateKey:
        held = _process(super().load(label))
        self._open.append(held)
        return held.__enter__()

    def close(self) -> None:
        for held in self._open:
            held.__exit__(None, None, None)


class _Asked:
    """Acts as a private key, by asking."""

    def __init__(self, key: PrivateKey, side: socket.socket) -> None:
        self._public_key = key.public_key()
        self._side = side

    def public_key(self) -> object:
        return self._public_key

    def sign(self, data: bytes, *_: object) -> bytes:
        self._side.sendall(struct.pack(">I", len(data)) + data)
        return self._side.recv(4096)


@contextmanager
def _process(key: PrivateKey) -> Iterator[PrivateKey]:
    """A process that signs with this key until its socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if (child := os.fork()) == 0:
        mine = theirs.fileno()
        os.closerange(3, mine)  # the sides of other processes, too, which would never see theirs closed
        os.closerange(mine + 1, MOST_FILES)
        _serve(key, theirs)
        os._exit(0)
    theirs.close()
    try:
        yield cast("PrivateKey", _Asked(key, ours))
    finally:
        ours.close()
        os.waitpid(child, 0)


def _serve(key: PrivateKey, side: socket.socket) -> None:
    kind = next(kind for kind in (KeyType.P256, KeyType.ED25519) if type(kind.generate()) is type(key))
    scheme = scheme_of(kind)
    with side.makefile("rb") as asked:
        while head := asked.read(4):
            side.sendall(scheme.sign(key, asked.read(struct.unpack(">I", head)[0])))

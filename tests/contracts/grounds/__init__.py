"""Where publishers are asked to keep their contract: one `Ground` for each kind of place, and what all of them share.

A new adapter adds a module here with a context manager `opened(home)` that yields a `Ground`, and its line in `GROUNDS`
(in `ROLLING` too, if it can go back). `tests/contracts/test_publishers.py` then asks it everything. Read `Ground`
first, then `files.py` for a place on this machine or `webhook.py` for one behind a network, where `relay.py` cuts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ca.secret import Secret
from renewers.publishers import Material, Publisher, RollsBack

GROUNDS: Mapping[str, str] = {
    "configmap": "tests.contracts.grounds.configmap",
    "files": "tests.contracts.grounds.files",
    "kubernetes": "tests.contracts.grounds.kubernetes",
    "memory": "tests.contracts.grounds.memory",
    "mqtt": "tests.contracts.grounds.mqtt",
    "objects": "tests.contracts.grounds.objects",
    "webhook": "tests.contracts.grounds.webhook",
}
"""Every kind of place, and the module that opens a ground of it."""

ROLLING = ("files", "memory")
"""Those whose publisher can go back, and whose user is made to read: their ground is a `RollingGround`."""

RETURNING = (*ROLLING, "configmap", "kubernetes")
"""Those whose publisher can go back, whether or not anybody is made to read."""


class Ground(Protocol):
    """One place of one kind, empty at first, as its publisher and its user see it.

    Several grounds of a kind may be open at once and must not see each other: give each a directory, a topic, a bucket
    or a name of its own, and start a server that is worth sharing through `shared`.
    """

    settings: dict[str, Any]
    """What a row would say about it: valid settings. Each of them, replaced by `{}`, has to be refused."""

    hidden: Sequence[str] = ()
    """What no message may show: passwords, tokens, signing secrets, a URL that is a secret."""

    tells_staged: bool = True
    """Whether its publisher can tell that something was not staged, and then refuses to swap it."""

    @abstractmethod
    def make(self, settings: Mapping[str, Any]) -> Publisher:
        """A publisher of these settings, as a fresh process makes it: nothing is kept from one call to the next."""

    @abstractmethod
    def live(self) -> dict[str, bytes] | None:
        """The files that are in use (secrets among them), as its user finds them in one look; None if there are none.

        Called from a second thread while the publisher works. A user that has to look twice (at a pointer, then at
        what it names) does here just what it would do, and does it again if what was named is gone meanwhile.
        """

    @abstractmethod
    def unreachable(self) -> AbstractContextManager[None]:
        """While it lasts, nothing can be brought here."""

    @abstractmethod
    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        """Have `work` done by somebody who ends at the `step`-th thing that it does to the place (from 1).

        False if the work came to its end before that. Whatever is behind a network uses `relay.Relay.cut`; what writes
        to this machine is done in a child that is killed (`dying.killed`).
        """


class RollingGround(Ground, Protocol):
    """A ground whose user is made to read what was swapped."""

    @abstractmethod
    def read(self) -> list[str]:
        """The versions that the user has read, each time that it was made to."""

    @abstractmethod
    def break_reload(self, *, broken: bool) -> None:
        """Have the user refuse to read, or no longer."""


@contextmanager
def opened(kind: str, home: Path) -> Iterator[Any]:
    """An empty ground of a kind; `home` is a directory of its own, made if need be."""
    home.mkdir(exist_ok=True)
    with import_module(GROUNDS[kind]).opened(home) as ground:
        yield ground


# Servers that grounds share.

T = TypeVar("T")
_SERVERS: dict[str, Any] = {}
_RUNNING = ExitStack()


def shared(name: str, start: Callable[[], AbstractContextManager[T]]) -> T:
    """A server for all grounds of a kind: started when one asks for it, stopped when the session ends."""
    if name not in _SERVERS:
        _SERVERS[name] = _RUNNING.enter_context(start())
    found: T = _SERVERS[name]
    return found


def stop_shared() -> None:
    """Stop all of them (`tests/contracts/conftest.py` does)."""
    _SERVERS.clear()
    _RUNNING.close()


# What is brought, and by whom.


def material(number: int, *, with_key: bool) -> Material:
    """What a place gets; publishers do not look into it. Every file of a version says which one it is of."""
    digest = sha256(f"{number} {with_key}".encode()).hexdigest()
    files = {"bundle.pem": f"bundle {number}\n" * 300, "crl.pem": f"crl {number}\n", "trust.jws": f"{{}} {number}\n"}
    secrets = {"key.pem": Secret(f"key {number}\n" * 100)} if with_key else {}
    return Material("edge", f"edge-{number}-{digest[:12]}", digest, {n: t.encode() for n, t in files.items()}, secrets)


def materials(ground: Ground) -> tuple[Material, Material, Material]:
    """Three versions for this place, with a key where it keeps them."""
    with_key = publisher(ground).keeps_secrets
    return material(1, with_key=with_key), material(2, with_key=with_key), material(3, with_key=with_key)


def seen(wanted: Material) -> dict[str, bytes]:
    """What a user sees of material."""
    return {**wanted.files, **{name: secret.reveal().encode() for name, secret in wanted.secrets.items()}}


def publisher(ground: Ground) -> Publisher:
    """A publisher of the ground, as a fresh process makes it."""
    return ground.make(ground.settings)


def bring(ground: Ground, *all_of_it: Material) -> None:
    """Stage and swap, each call by a process of its own."""
    for one in all_of_it:
        publisher(ground).stage(one)
        publisher(ground).swap(one)


def restore(ground: Ground, one: Material) -> None:
    """Take it back, where that can be done."""
    rolling = publisher(ground)
    assert isinstance(rolling, RollsBack)
    rolling.restore(one)

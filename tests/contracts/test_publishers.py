"""The `Publisher` port's contract (`renewers/publishers/__init__.py`), asked of every adapter: a new one adds one line.

Every call is made by a publisher of its own, as another process would make it. Those that write to this machine are
killed at every system call that changes something, and then asked the same again.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca.errors import BadRequest, NotDelivered
from ca.secret import Secret
from renewers.delivering.material import laid_out
from renewers.publishers import Material, Publisher, RollsBack
from renewers.publishers.files import make_files
from renewers.publishers.memory import PLACES, make_memory


def material(number: int, *, key: bool = True) -> Material:
    """What a destination gets; publishers do not look into it."""
    certificate = f"-----BEGIN CERTIFICATE-----\n{str(number) * 300}\n-----END CERTIFICATE-----\n"
    fingerprint = sha256(certificate.encode()).hexdigest()
    chain = certificate.replace(str(number), "c")
    secret = Secret(f"-----BEGIN PRIVATE KEY-----\n{str(number) * 100}\n-----END PRIVATE KEY-----\n") if key else None
    return laid_out("edge", f"edge-{number}-{fingerprint[:12]}", fingerprint, certificate, chain, secret)


A, B, C = material(1), material(2), material(3)


class Ground(Protocol):
    """A destination of one kind, as its user sees it."""

    @abstractmethod
    def publisher(self) -> Publisher:
        """A publisher as a fresh process makes it."""

    @abstractmethod
    def live(self) -> tuple[str, str, str | None] | None:
        """Certificate, chain and key that are in use."""

    @abstractmethod
    def read(self) -> list[str]:
        """The versions that the user has read, each time that it was made to."""

    @abstractmethod
    def break_reload(self, *, broken: bool) -> None:
        """Have the user refuse to read, or no longer."""


class FilesGround:
    """A directory whose user is a script that notes which version it finds."""

    def __init__(self, home: Path) -> None:
        self.directory, self.log, self.broken = home / "certs", home / "reloads", home / "broken"
        script = home / "reload"
        script.write_text('#!/bin/sh\ntest -e "$2" && exit 1\nreadlink "$1/live" >> "$3"\n')
        script.chmod(0o755)
        self.settings: dict[str, Any] = {"directory": str(self.directory), "keep": 100}
        self.settings["reload"] = [str(script), str(self.directory), str(self.broken), str(self.log)]

    def publisher(self) -> Publisher:
        return make_files(self.settings)

    def live(self) -> tuple[str, str, str | None] | None:
        if not (self.directory / "live").is_symlink():
            return None
        live = self.directory / "live"
        key = (live / "key.pem").read_text() if (live / "key.pem").exists() else None
        certificate, chain = (live / "cert.pem").read_text(), (live / "chain.pem").read_text()
        assert (live / "fullchain.pem").read_text() == certificate + chain
        if key is not None:
            assert (live / "combined.pem").read_text() == key + certificate + chain
        return certificate, chain, key

    def read(self) -> list[str]:
        text = self.log.read_text() if self.log.exists() else ""
        return [line.removeprefix("versions/").partition("+")[0] for line in text.splitlines()]

    def break_reload(self, *, broken: bool) -> None:
        self.broken.touch() if broken else self.broken.unlink()


class MemoryGround:
    """A place in memory."""

    def __init__(self, home: Path) -> None:
        self.settings: dict[str, Any] = {"place": str(home)}

    def publisher(self) -> Publisher:
        return make_memory(self.settings)

    def live(self) -> tuple[str, str, str | None] | None:
        live = PLACES[self.settings["place"]].live if self.settings["place"] in PLACES else None
        return None if live is None else seen(live)

    def read(self) -> list[str]:
        return PLACES[self.settings["place"]].reloads

    def break_reload(self, *, broken: bool) -> None:
        self.settings["fail_reload"] = -1 if broken else 0


GROUNDS: dict[str, Callable[[Path], Ground]] = {"files": FilesGround, "memory": MemoryGround}


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    """An empty destination of each kind."""
    yield GROUNDS[request.param](tmp_path)
    PLACES.clear()


def seen(wanted: Material) -> tuple[str, str, str | None]:
    """What a user sees of material."""
    key = wanted.secrets.get("key.pem")
    certificate, chain = wanted.files["cert.pem"].decode(), wanted.files["chain.pem"].decode()
    return certificate, chain, key.reveal() if key is not None else None


def bring(ground: Ground, *all_of_it: Material) -> None:
    """Stage and swap."""
    for one in all_of_it:
        ground.publisher().stage(one)
        ground.publisher().swap(one)


def restore(publisher: Publisher, material: Material) -> None:
    """Take it back, where that can be done."""
    assert isinstance(publisher, RollsBack)
    publisher.restore(material)


def test_what_is_staged_is_not_in_use(ground: Ground) -> None:
    """Staging touches nothing that is in use, and has nobody read anything."""
    ground.publisher().stage(A)
    assert ground.live() is None
    bring(ground, A)
    ground.publisher().stage(B)
    ground.publisher().stage(B)
    assert (ground.live(), ground.read()) == (seen(A), [A.version])


def test_a_swap_puts_it_into_use_and_has_it_read(ground: Ground) -> None:
    """Certificate, chain and key of one version, and the user has read it."""
    bring(ground, A, B)
    assert (ground.live(), ground.read()) == (seen(B), [A.version, B.version])


def test_a_key_that_its_holder_made_is_not_missed(ground: Ground) -> None:
    """Material without a key is brought as it is, and does not leave another's key beside it."""
    bring(ground, A, material(4, key=False))
    assert ground.live() == seen(material(4, key=False))


def test_what_was_not_staged_is_not_swapped(ground: Ground) -> None:
    """It is refused with a reason, and what is in use stays."""
    bring(ground, A)
    with pytest.raises(NotDelivered, match=B.version):
        ground.publisher().swap(B)
    assert (ground.live(), ground.read()) == (seen(A), [A.version])


def test_swapping_what_is_in_use_loses_nothing(ground: Ground) -> None:
    """It is read once more, and what was in use before is still known."""
    bring(ground, A, B)
    ground.publisher().swap(B)
    bring(ground, B)
    assert ground.read() == [A.version, B.version, B.version, B.version]
    restore(ground.publisher(), B)
    assert ground.live() == seen(A)


def test_restoring_goes_back_and_has_it_read(ground: Ground) -> None:
    """However often it is asked; and the way forward is open again."""
    bring(ground, A, B)
    restore(ground.publisher(), B)
    restore(ground.publisher(), B)
    assert (ground.live(), ground.read()[-1]) == (seen(A), A.version)
    bring(ground, B)
    assert ground.live() == seen(B)
    restore(ground.publisher(), B)
    assert ground.live() == seen(A)


def test_what_is_not_in_use_cannot_be_taken_back(ground: Ground) -> None:
    """A late call for an old version changes nothing and has nobody read anything."""
    bring(ground, A, B, C)
    read = list(ground.read())
    restore(ground.publisher(), B)
    assert (ground.live(), ground.read()) == (seen(C), read)


def test_where_nothing_was_before_it_stays(ground: Ground) -> None:
    """Nothing at all would be worse than what there is."""
    bring(ground, A)
    restore(ground.publisher(), A)
    assert ground.live() == seen(A)


def test_a_user_that_does_not_read_is_a_failure(ground: Ground) -> None:
    """The swap says so; it can be taken back once its user reads again, and repeated."""
    bring(ground, A)
    ground.publisher().stage(B)
    ground.break_reload(broken=True)
    with pytest.raises(NotDelivered):
        ground.publisher().swap(B)
    with pytest.raises(NotDelivered):
        restore(ground.publisher(), B)
    assert ground.live() == seen(A)
    ground.break_reload(broken=False)
    restore(ground.publisher(), B)
    assert (ground.live(), ground.read()[-1]) == (seen(A), A.version)
    bring(ground, B)
    assert (ground.live(), ground.read()[-1]) == (seen(B), B.version)


def test_an_unknown_setting_is_refused(ground: Ground) -> None:
    """And named."""
    make = {"FilesGround": make_files, "MemoryGround": make_memory}[type(ground).__name__]
    with pytest.raises(BadRequest, match="'colour' is not a setting"):
        make({**ground.settings, "colour": "red"})  # type: ignore[attr-defined]


CALLS = st.lists(st.tuples(st.sampled_from(["stage", "swap", "restore"]), st.sampled_from([A, B, C])), max_size=12)


@pytest.mark.parametrize("kind", GROUNDS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_any_calls_in_any_order(kind: str, tmp_path: Path, calls: list[tuple[str, Material]]) -> None:
    """What is in use is what a few lines of model say, after every call."""
    home = tmp_path / os.urandom(6).hex()
    home.mkdir()
    ground = GROUNDS[kind](home)
    staged: set[str] = set()
    live: Material | None = None
    before: Material | None = None
    for call, one in calls:
        if call == "swap" and one.version not in staged:
            with pytest.raises(NotDelivered):
                ground.publisher().swap(one)
            continue
        getattr(ground.publisher(), call)(one)
        if call == "stage":
            staged.add(one.version)
        elif call == "swap" and live is not one:
            live, before = one, live
        elif call == "restore" and live is one and before is not None:
            live = before
        assert ground.live() == (None if live is None else seen(live))


# Killed at every step.

CHANGING = ("mkdir", "fchmod", "fchown", "write", "fsync", "rename", "symlink", "unlink", "rmdir")


def killed(work: Callable[[], None], step: int) -> bool:
    """Run in a child that kills itself at its `step`-th changing system call; False if it came to its end before.

    A write is killed half way.
    """
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)
    try:
        _arm(step)
        work()
    except BaseException as error:
        sys.__stderr__.write(repr(error))
        os._exit(3)
    os._exit(0)


def _arm(step: int) -> None:
    count = 0

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step_or_die(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            if name != "open" or arguments[1] & os.O_CREAT:
                count += 1
                if count == step:
                    if name == "write":
                        call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return step_or_die

    for name in (*CHANGING, "open"):
        setattr(os, name, watched(name, getattr(os, name)))


def at_every_step(tmp_path: Path, prepare: Callable[[FilesGround], None], work: Callable[[Publisher], None]) -> Any:
    """Yield a ground for each step at which the work can be killed, after it was."""
    step = 0
    while True:
        step += 1
        home = tmp_path / f"step-{step}"
        home.mkdir()
        ground = FilesGround(home)
        prepare(ground)
        was_killed = killed(lambda ground=ground: work(ground.publisher()), step)  # type: ignore[misc]
        yield ground
        if not was_killed:
            return


def forward(publisher: Publisher) -> None:
    """Stage and swap B."""
    publisher.stage(B)
    publisher.swap(B)


def test_killed_anywhere_and_repeated_it_ends_right(tmp_path: Path) -> None:
    """At no step is there anything but the old or the new, whole; and the same calls again end with the new."""
    steps = 0
    for ground in at_every_step(tmp_path, lambda ground: bring(ground, C, A), forward):
        steps += 1
        assert ground.live() in (seen(A), seen(B))
        forward(ground.publisher())
        assert (ground.live(), ground.read()[-1]) == (seen(B), B.version)
        left = {path.name for path in (*ground.directory.iterdir(), *(ground.directory / "versions").iterdir())}
        assert not [name for name in left if name.startswith(".stage")]
        restore(ground.publisher(), B)
        assert (ground.live(), ground.read()[-1]) == (seen(A), A.version)
    assert steps > 30


def test_killed_anywhere_it_can_be_taken_back(tmp_path: Path) -> None:
    """Whoever gives up instead has the old one back, and its user has read it."""
    for ground in at_every_step(tmp_path, lambda ground: bring(ground, C, A), forward):
        restore(ground.publisher(), B)
        assert (ground.live(), ground.read()[-1]) == (seen(A), A.version)


def test_killed_anywhere_the_first_time_it_ends_right(tmp_path: Path) -> None:
    """The same where nothing was before, not even the directory; and it can be entered by others in the end."""
    for ground in at_every_step(tmp_path, lambda _: None, forward):
        assert ground.live() in (None, seen(B))
        forward(ground.publisher())
        assert ground.live() == seen(B)
        modes = [stat.S_IMODE((ground.directory / name).stat().st_mode) for name in (".", "versions", "live")]
        assert modes == [0o755] * 3


def test_killed_while_it_is_founded_others_can_enter_in_the_end(tmp_path: Path) -> None:
    """Though the umask of our process keeps everybody out of what it makes."""
    before = os.umask(0o077)
    try:
        for ground in at_every_step(tmp_path, _found, lambda publisher: publisher.stage(B)):
            forward(ground.publisher())
            modes = [stat.S_IMODE((ground.directory / name).stat().st_mode) for name in ("versions", "live")]
            assert modes == [0o755] * 2
    finally:
        os.umask(before)


def _found(ground: FilesGround) -> None:
    ground.directory.mkdir()


def test_killed_while_going_back_it_ends_right(tmp_path: Path) -> None:
    """A repeated restore ends with the old one, and its user has read it, though the link may have been old before."""
    for ground in at_every_step(tmp_path, lambda ground: bring(ground, A, B), lambda publisher: restore(publisher, B)):
        assert ground.live() in (seen(A), seen(B))
        before = len(ground.read())
        restore(ground.publisher(), B)
        assert (ground.live(), ground.read()[before:]) == (seen(A), [A.version])

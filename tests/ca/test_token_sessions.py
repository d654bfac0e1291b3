"""What the sessions with a token never do: send a PIN twice that was refused, or a request that may have been done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pkcs11
import pytest
from pkcs11 import TokenFlag

from ca.errors import KeyUnavailable, Misconfigured
from ca.keys import pkcs11_sessions
from ca.keys.pkcs11_sessions import Sessions
from ca.keys.pkcs11_uri import read_token_uri
from ca.secret import Secret

URI = read_token_uri("pkcs11:token=a")


class FakeToken:
    """A token that counts how often somebody tries to log in."""

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.right = "right"
        self.flags = TokenFlag(0)

    def open(self, rw: bool = False, user_pin: str | None = None) -> Any:
        """A session, or the refusal of a PIN."""
        if user_pin is not None:
            self.tries.append(user_pin)
            if user_pin != self.right:
                raise pkcs11.PinIncorrect
        return FakeSession(self)


class FakeSession:
    """A session of it."""

    def __init__(self, token: FakeToken) -> None:
        self.token = token


class FakeModule:
    """A module with that token in it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.token = FakeToken()

    def restart(self) -> None:
        """Count."""
        self.epoch += 1

    def find(self, uri: object) -> FakeToken:
        """The token."""
        return self.token

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Nobody else is here."""
        yield

    alone = entered


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """A token that is looked for again at once."""
    monkeypatch.setattr(pkcs11_sessions, "PAUSE", 0.0)
    return FakeModule()


def sessions(module: FakeModule, pin: Callable[[], Secret] = lambda: Secret("right")) -> Sessions:
    """Sessions with it."""
    return Sessions(module, URI, pin)  # type: ignore[arg-type]


def test_a_refused_pin_is_never_sent_again(module: FakeModule) -> None:
    """However often somebody wants to sign, from however many threads; another PIN is tried, once."""
    pins = ["wrong"]
    pool = sessions(module, lambda: Secret(pins[0]))

    def refused() -> None:
        with pytest.raises(KeyUnavailable, match="refuses the PIN"):
            pool.use(lambda lease: None)

    threads = [threading.Thread(target=refused) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused()
    assert module.token.tries == ["wrong"]
    pins[0] = "right"
    assert pool.use(lambda lease: "done") == "done"
    assert module.token.tries == ["wrong", "right"]


def test_the_last_try_is_not_ours(module: FakeModule) -> None:
    """A token that would lock itself with one more wrong PIN is left alone."""
    module.token.flags = TokenFlag.USER_PIN_FINAL_TRY
    with pytest.raises(KeyUnavailable, match="one more wrong PIN"):
        sessions(module).use(lambda lease: None)
    assert module.token.tries == []


def test_a_pin_that_cannot_be_read_later_is_unavailable(module: FakeModule) -> None:
    """The credential went away: that is no defect of the settings any more, and it may come back."""

    def gone() -> Secret:
        raise Misconfigured("cannot read /run/pin: No such file or directory")

    with pytest.raises(KeyUnavailable, match="/run/pin"):
        sessions(module, gone).use(lambda lease: None)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        *((kind, 2) for kind in pkcs11_sessions._NOTHING_DONE),
        *((kind, 1) for kind in (pkcs11.DeviceError, pkcs11.DeviceRemoved, pkcs11.FunctionFailed)),
        (pkcs11.GeneralError, 1),
    ],
)
def test_what_may_have_been_done_is_not_asked_for_again(module: FakeModule, error: type[Exception], times: int) -> None:
    """Twice only where the device says that it did nothing; and each failure makes the next call begin anew."""
    pool, asked = sessions(module), []

    def work(lease: object) -> None:
        asked.append(lease)
        raise error

    with pytest.raises(KeyUnavailable):
        pool.use(work)
    assert len(asked) == times
    before = module.epoch
    assert pool.use(lambda lease: "done") == "done"
    assert module.epoch == before + 1


def test_sessions_are_bounded_and_used_again(module: FakeModule) -> None:
    """Never more at once than the bound; and one after the other all use the same."""
    pool, gate = sessions(module), threading.Barrier(pkcs11_sessions.SESSIONS)
    at_once, seen = [], set()
    lock = threading.Lock()

    def work(lease: pkcs11_sessions.Lease) -> None:
        with lock:
            seen.add(id(lease.session))
            at_once.append(1)
        gate.wait(60)

    threads = [threading.Thread(target=pool.use, args=(work,)) for _ in range(2 * pkcs11_sessions.SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(at_once) == 2 * pkcs11_sessions.SESSIONS
    assert len(seen) == pkcs11_sessions.SESSIONS


def test_a_token_that_does_not_open_is_left_alone_for_a_while(
    module: FakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers are refused at once meanwhile, with the same reason."""
    monkeypatch.setattr(pkcs11_sessions, "PAUSE", 3600.0)
    looked: list[object] = []

    def nothing(uri: object) -> FakeToken:
        looked.append(uri)
        raise pkcs11.NoSuchToken

    monkeypatch.setattr(module, "find", nothing)
    pool = sessions(module)
    for _ in range(5):
        with pytest.raises(KeyUnavailable, match="not there"):
            pool.use(lambda lease: None)
    assert len(looked) == 2  # before and after a restart of the module

"""Sessions with a token: a bounded number, logged in, and opened again by themselves when the token was away.

Whatever fails in the device ends all sessions; the next call starts the module again, logs in and goes on, so that a
token that was restarted, or pulled out and put back, needs no restart of ours. A signature is made a second time only
if the device said that it did nothing. A PIN that was refused is never sent again: tokens lock themselves.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pkcs11
from pkcs11 import Attribute, ObjectClass, TokenFlag

from ca import clock
from ca.errors import KeyUnavailable, Misconfigured
from ca.keys.pkcs11_module import PATIENCE, Module
from ca.keys.pkcs11_uri import TokenUri
from ca.secret import Secret

SESSIONS = 8
"""How many are open at once, besides the one that holds the login: tokens have few, and this machine few cores."""
PAUSE = 1.0
"""Seconds for which a token that could not be opened is left alone; callers are refused at once meanwhile."""
REPEATS = 3
"""How often what does no harm twice is tried again."""
_NOTHING_DONE = (
    pkcs11.KeyHandleInvalid,
    pkcs11.NoSuchKey,
    pkcs11.ObjectHandleInvalid,
    pkcs11.SessionClosed,
    pkcs11.SessionHandleInvalid,
    pkcs11.TokenNotPresent,
    pkcs11.UserNotLoggedIn,
)
"""What PKCS#11 section 5.1 answers only before the work was begun. DeviceRemoved and the like may come after it."""
_REFUSED = (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange)
_UNUSABLE = {
    pkcs11.PinLocked: "its PIN is locked",
    pkcs11.PinExpired: "its PIN has expired",
    pkcs11.UserPinNotInitialized: "it has no PIN yet",
}
_Result = TypeVar("_Result")


@dataclass(eq=False, slots=True)
class Lease:
    """A session, for one caller at a time, with the keys that were found in it."""

    session: pkcs11.Session
    epoch: int
    keys: dict[tuple[str, bytes], Any] = field(default_factory=dict)

    def private(self, label: str, identifier: bytes) -> Any:
        """The handle of a private key. `NoSuchKey` if the token has it no more."""
        place = (label, identifier)
        if place not in self.keys:
            found = self.find(ObjectClass.PRIVATE_KEY, label, identifier)
            if len(found) != 1:
                raise pkcs11.NoSuchKey
            self.keys[place] = found[0]
        return self.keys[place]

    def find(self, kind: ObjectClass, label: str, identifier: bytes | None = None) -> list[pkcs11.Object]:
        """The objects of one kind under a label."""
        with suppress(pkcs11.RandomNoRNG, pkcs11.FunctionNotSupported):
            self.session.generate_random(64)  # a search in a dead session says so where nobody can catch it
        wanted: dict[Attribute, object] = {Attribute.CLASS: kind, Attribute.LABEL: label}
        if identifier is not None:
            wanted[Attribute.ID] = identifier
        return list(self.session.get_objects(wanted))


class Sessions:
    """The sessions of one process with one token. Safe to call from several threads."""

    def __init__(self, module: Module, uri: TokenUri, pin: Callable[[], Secret]) -> None:
        self._module = module
        self._uri = uri
        self._pin = pin
        self._places = threading.BoundedSemaphore(SESSIONS)
        self._connecting = threading.Lock()
        self._lock = threading.Lock()
        self._epoch = -1
        self._is_lost = True
        self._login: pkcs11.Session | None = None
        self._idle: list[Lease] = []
        self._refusal: KeyUnavailable | None = None
        self._refused_until = 0.0
        self._wrong_pin: Secret | None = None

    def use(self, work: Callable[[Lease], _Result], *, repeatable: bool = False) -> _Result:
        """Do something in a session. `KeyUnavailable` if the token does not.

        It is done once more only if the first time did nothing. What is `repeatable` does no harm when it is done
        twice, and is tried several times: SoftHSM fails a search while another session removes what it comes to.
        """
        left = REPEATS if repeatable else 1
        while True:
            try:
                return self._attempt(work)
            except pkcs11.PKCS11Error as error:
                if not left or not (repeatable or isinstance(error, _NOTHING_DONE)):
                    raise self._unavailable(error) from None
            left -= 1

    def check(self) -> None:
        """`KeyUnavailable` if the token was away a moment ago, or cannot be opened now."""
        if not self._is_open():
            self._connect()

    def _attempt(self, work: Callable[[Lease], _Result]) -> _Result:
        with self._place():
            self.check()
            with self._module.entered():
                lease = self._take()
                try:
                    result = work(lease)
                except pkcs11.PKCS11Error:
                    self._lose(lease.epoch)
                    raise
                except BaseException:
                    self._give_back(lease)
                    raise
                self._give_back(lease)
                return result

    @contextmanager
    def _place(self) -> Iterator[None]:
        if not self._places.acquire(timeout=PATIENCE):
            raise KeyUnavailable(f"all {SESSIONS} sessions with {self._uri.text} are busy", hint="send it again")
        try:
            yield
        finally:
            self._places.release()

    def _is_open(self) -> bool:
        with self._lock:
            return not self._is_lost and self._epoch == self._module.epoch

    def _take(self) -> Lease:
        with self._lock:
            if self._is_lost or self._epoch != self._module.epoch or self._login is None:
                raise pkcs11.SessionClosed  # somebody else lost it since we looked
            if self._idle:
                return self._idle.pop()
            token, epoch = self._login.token, self._epoch
        try:
            return Lease(token.open(), epoch)
        except pkcs11.PKCS11Error:
            self._lose(epoch)
            raise pkcs11.SessionClosed from None  # nothing was asked of the key yet

    def _give_back(self, lease: Lease) -> None:
        with self._lock:
            if lease.epoch == self._epoch and not self._is_lost:
                self._idle.append(lease)

    def _lose(self, epoch: int) -> None:
        """What is dropped here is not closed: its handles end with the restart, and until then may be anybody's."""
        with self._lock:
            if epoch == self._epoch:
                self._is_lost = True
                self._idle = []

    def _connect(self) -> None:
        with self._connecting:
            if self._is_open():
                return
            if self._refusal is not None and clock.monotonic() < self._refused_until:
                raise KeyUnavailable(self._refusal.message, hint=self._refusal.hint)
            try:
                self._open()
            except KeyUnavailable as error:
                self._refusal, self._refused_until = error, clock.monotonic() + PAUSE
                raise
            self._refusal = None

    def _open(self) -> None:
        with self._module.alone():
            if self._epoch == self._module.epoch:
                self._module.restart()
            try:
                login = self._log_in()
            except pkcs11.PKCS11Error:
                self._module.restart()
                try:
                    login = self._log_in()
                except pkcs11.PKCS11Error as error:
                    raise self._unavailable(error) from None
            with self._lock:
                self._epoch, self._is_lost = self._module.epoch, False
                self._login, self._idle = login, []

    def _log_in(self) -> pkcs11.Session:
        token = self._module.find(self._uri)
        pin = self._current_pin(token)
        try:
            return token.open(user_pin=pin.reveal())
        except pkcs11.UserAlreadyLoggedIn:  # the login is the process's
            return token.open()
        except _REFUSED:
            self._wrong_pin = pin
            raise self._pin_refused() from None
        except tuple(_UNUSABLE) as error:
            reason = _UNUSABLE[type(error)]
            raise KeyUnavailable(f"the token {self._uri.text} cannot be used: {reason}", hint=_TOOL) from None

    def _current_pin(self, token: pkcs11.Token) -> Secret:
        """The PIN, unless sending it would do harm."""
        try:
            pin = self._pin()
        except Misconfigured as error:
            raise KeyUnavailable(error.message, hint=error.hint) from None
        if self._wrong_pin is not None and hmac.compare_digest(
            pin.reveal().encode(), self._wrong_pin.reveal().encode()
        ):
            raise self._pin_refused()
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            reason = "one more wrong PIN locks it, so that we do not try ours"
            raise KeyUnavailable(f"the token {self._uri.text} is not opened: {reason}", hint=_TOOL)
        return pin

    def _pin_refused(self) -> KeyUnavailable:
        return KeyUnavailable(
            f"the token {self._uri.text} refuses the PIN; it is not sent again until it is another one",
            hint="put the right PIN into keys.pin_file or the systemd credential; no restart is needed for a file",
        )

    def _unavailable(self, error: pkcs11.PKCS11Error) -> KeyUnavailable:
        if isinstance(error, pkcs11.NoSuchToken | pkcs11.TokenNotPresent | pkcs11.DeviceRemoved):
            message, hint = f"the token {self._uri.text} is not there", "is it plugged in, switched on, reachable?"
        elif isinstance(error, pkcs11.NoSuchKey):
            message, hint = f"the token {self._uri.text} does not have the key any more", _TOOL
        else:
            message = f"the token {self._uri.text} does not answer ({type(error).__name__})"
            hint = "it is opened again at the next call"
        return KeyUnavailable(message, hint=hint)


_TOOL = "look with the token's own tool, such as pkcs11-tool --list-token-slots, and log in once with the right PIN"

"""A PKCS#11 module in this process: loaded once, started for several threads, restarted when a token comes back.

The library that we use starts modules for a single thread (`C_Initialize` without arguments) and calls them from
several; therefore they are started here, with the operating system's locks (PKCS#11 section 5.4). Modules see tokens
that were exchanged only when they are started again, which ends every session in this process: so it is done while
nobody is inside, and counted, so that nobody uses a session of the time before.

A module may share OpenSSL with Python's `ssl`, and leaves errors in the thread's queue that a TLS connection would then
take for its own: they are forgotten whenever somebody comes out.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
from pkcs11._pkcs11 import lib as Library  # noqa: N812 - a class, though it has a small letter

from ca import clock
from ca.errors import KeyUnavailable, Misconfigured
from ca.keys.pkcs11_uri import TokenUri

PATIENCE = 10.0
"""Seconds to wait for calls that are under way, or for a restart by another thread."""
_OS_LOCKING = 2
_ALREADY = 0x191
_CALL = ctypes.CFUNCTYPE(ctypes.c_ulong, ctypes.c_void_p)


class _Functions(ctypes.Structure):
    """The beginning of CK_FUNCTION_LIST."""

    _fields_ = (("version", ctypes.c_ubyte * 2), ("initialize", _CALL), ("finalize", _CALL))


class _Arguments(ctypes.Structure):
    """CK_C_INITIALIZE_ARGS."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("create", "destroy", "lock", "unlock")),
        ("flags", ctypes.c_ulong),
        ("reserved", ctypes.c_void_p),
    )


class _Started(Library):
    """The library's view of a module that was started already."""

    def initialize(self) -> None:
        """Done by `Module`."""


class Module:
    """One shared object. Calls into it are made inside `entered()`; `alone()` keeps them out."""

    def __init__(self, path: Path) -> None:
        try:
            loaded = ctypes.CDLL(str(path))
            functions = ctypes.POINTER(_Functions)()
            answer = loaded.C_GetFunctionList(ctypes.byref(functions))
        except (OSError, AttributeError) as error:
            raise Misconfigured(f"{path} is not a PKCS#11 module that can be loaded: {error}", hint=_HINT) from None
        if answer != 0:
            raise Misconfigured(f"the PKCS#11 module {path} does not give its functions (error {answer:#x})")
        self._path = path
        self._forget_errors = getattr(loaded, "ERR_clear_error", int)
        self._functions = functions.contents
        self._gate = threading.Condition()
        self._inside = 0
        self._is_closed = False
        self.epoch = 0
        """How often it was started. Sessions and objects of an earlier epoch must not be touched any more."""
        self._start()
        self._library = _Started(str(path))
        self._forget_errors()

    def _start(self) -> None:
        arguments = _Arguments(flags=_OS_LOCKING)
        answer = self._functions.initialize(ctypes.byref(arguments))
        if answer not in (0, _ALREADY):
            raise KeyUnavailable(f"the PKCS#11 module {self._path} does not start (error {answer:#x})", hint=_HINT)

    def restart(self) -> None:
        """End every session of this process and look at the slots anew. Only for who is `alone()`."""
        self.epoch += 1
        self._functions.finalize(None)
        self._start()

    def find(self, uri: TokenUri) -> pkcs11.Token:
        """The one token that is meant. `NoSuchToken` if it is not there, `KeyUnavailable` if there are several."""
        found = []
        for slot in self._library.get_slots(token_present=True):
            try:
                token = slot.get_token()
            except pkcs11.PKCS11Error:  # an empty slot, or somebody else's trouble
                continue
            names = {name: getattr(token, name) for name in ("label", "manufacturer_id", "model")}
            if uri.matches(slot.slot_id, {**names, "serial": token.serial.decode("ascii", "replace").strip()}):
                found.append(token)
        if not found:
            raise pkcs11.NoSuchToken
        if len(found) > 1:
            raise KeyUnavailable(f"{len(found)} tokens match {uri.text}", hint="name it by its serial=, too")
        return found[0]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be one of those that use the module."""
        with self._gate:
            if not self._gate.wait_for(lambda: not self._is_closed, PATIENCE):
                raise _stuck(self._path)
            self._inside += 1
        try:
            yield
        finally:
            self._forget_errors()
            with self._gate:
                self._inside -= 1
                self._gate.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody uses the module, and keep everybody out. Never from inside `entered()`."""
        end = clock.monotonic() + PATIENCE
        with self._gate:
            if not self._gate.wait_for(lambda: not self._is_closed, PATIENCE):
                raise _stuck(self._path)
            self._is_closed = True
            is_empty = self._gate.wait_for(lambda: self._inside == 0, end - clock.monotonic())
        try:
            if not is_empty:
                raise _stuck(self._path)
            yield
        finally:
            self._forget_errors()
            with self._gate:
                self._is_closed = False
                self._gate.notify_all()


def _stuck(path: Path) -> KeyUnavailable:
    return KeyUnavailable(f"the PKCS#11 module {path} does not come back from a call", hint="is the device reachable?")


_HINT = "keys.pkcs11_module, or module-path in keys.pkcs11_uri, is the vendor's shared object, with its configuration"
_MODULES: dict[Path, Module] = {}
_LOADING = threading.Lock()


def open_module(path: Path) -> Module:
    """The module of this process for a shared object: there can be only one."""
    with _LOADING:
        place = path.resolve()
        if place not in _MODULES:
            _MODULES[place] = Module(place)
        return _MODULES[place]

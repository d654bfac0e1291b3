"""TXT records at hosted DNS providers, through dns-lexicon (the extra `dns-providers`).

The zone is the one in the settings, and nothing else: Lexicon's own client guesses it from a list of public suffixes,
which it fetches, and which knows no delegated subzones; so its providers are used without it. Many of them know no
time-out and say too much in their errors: each call runs in a thread that is given up on, and of an error only its
kind is told. Where there is a choice, RFC 2136 (`rfc2136.py`) and a delegated zone are better.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ca import clock
from ca.errors import Misconfigured, NotDelivered
from ca.secret import Secret
from renewers.solvers.zoned import domain_of, is_below

if TYPE_CHECKING:
    from lexicon.interfaces import Provider

MOST_CALLS = 4
"""Calls at a time, those included that were given up on and have not come back."""
GUESSING = ("auto",)
GENERAL = ("ttl",)
"""Options of Lexicon's own; all others are the provider's."""

Action = Callable[["Provider"], bool]


class LexiconWriter:
    """Writes to one zone at one provider. `options` are the provider's, such as `auth_token`."""

    def __init__(self, provider: str, options: Mapping[str, Secret | str], *, zone: str) -> None:
        """`Misconfigured` if there is no such provider, or Lexicon or what the provider needs is not installed."""
        self._provider, self._options, self._zone = provider, dict(options), domain_of(zone)
        self._kind: Any = _kind_of(provider)
        self._places = threading.BoundedSemaphore(MOST_CALLS)

    def add(self, name: str, value: str, *, deadline: float) -> None:
        """Add one TXT record; again: nothing changes."""
        self._call(name, deadline, lambda provider: provider.create_record("TXT", name, value))

    def remove(self, name: str, value: str, *, deadline: float) -> None:
        """Remove the record with that very value, found by listing: some providers remove the whole set if let."""
        self._call(name, deadline, lambda provider: _remove(provider, name, value))

    def _call(self, name: str, deadline: float, action: Action) -> None:
        if not is_below(name, self._zone):
            raise Misconfigured(f"{name} is not in the zone {self._zone} at {self._provider}")
        if not self._places.acquire(timeout=max(deadline - clock.monotonic(), 0)):
            raise NotDelivered(f"{self._provider} has not answered to {MOST_CALLS} calls yet", code="provider-silent")
        outcomes: queue.SimpleQueue[bool | Exception] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(action, outcomes), name=self._provider, daemon=True).start()
        try:
            outcome = outcomes.get(timeout=max(deadline - clock.monotonic(), 0.05))
        except queue.Empty:
            raise NotDelivered(f"{self._provider} does not answer for {name}", code="provider-silent") from None
        if isinstance(outcome, Exception):
            raise self._failed(outcome, name)
        if not outcome:
            raise NotDelivered(f"{self._provider} did not change {name}, and says no reason", code="provider-refused")

    def _run(self, action: Action, outcomes: queue.SimpleQueue[bool | Exception]) -> None:
        try:
            provider = self._kind(self._config())
            try:
                provider.authenticate()
                outcomes.put(action(provider))
            finally:
                provider.cleanup()
        except Exception as error:  # noqa: BLE001 - ninety providers raise whatever they like; it is told by its kind
            outcomes.put(error)
        finally:
            self._places.release()

    def _config(self) -> object:
        shown = {key: value.reveal() if isinstance(value, Secret) else value for key, value in self._options.items()}
        own = {key: shown.pop(key) for key in GENERAL if key in shown}
        named = {"provider_name": self._provider, "domain": self._zone, self._provider: shown}
        resolver: Any = import_module("lexicon.config").ConfigResolver()
        return resolver.with_dict({**own, **named})

    def _failed(self, error: Exception, name: str) -> NotDelivered:
        """Never with the error's text: it may be a URL with a token in it."""
        kind, status = type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)
        said = f"{kind} {status}" if isinstance(status, int) else kind
        hint = "see its credentials, and whether the zone is of that account"
        return NotDelivered(f"{self._provider} did not change {name}: {said}", code="provider-refused", hint=hint)


def _kind_of(provider: str) -> type[Provider]:
    """The provider's class."""
    try:
        discovery = import_module("lexicon._private.discovery")
    except ImportError:
        hint = "pip install 'certwright[dns-providers]'"
        raise Misconfigured("DNS providers need dns-lexicon, which is not installed", hint=hint) from None
    known = discovery.find_providers()
    if provider not in known or provider in GUESSING:
        raise Misconfigured(f"dns-lexicon knows no provider {provider!r}", hint=f"one of {', '.join(known)}")
    if not known[provider]:
        hint = f"pip install 'dns-lexicon[{provider}]'"
        raise Misconfigured(f"the provider {provider} needs a package that is not installed", hint=hint)
    kind: type[Provider] = discovery.load_provider_module(provider).Provider
    return kind


def _remove(provider: Provider, name: str, value: str) -> bool:
    for record in provider.list_records("TXT", name):
        if str(record.get("content", "")).strip('"') == value and _is_at(record, name):
            identifier = record.get("id")
            provider.delete_record(None if identifier is None else str(identifier), "TXT", name, value)
    return True


def _is_at(record: Mapping[str, Any], name: str) -> bool:
    """Providers that filter nothing give the whole zone; some say names with a dot at their end, some none at all."""
    said = str(record.get("name") or name).rstrip(".").lower()
    return said == name

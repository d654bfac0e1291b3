"""A public CA as an `Issuer`: the story of one certificate over ACME, which may be told in several attempts.

Every step can be the last one before a crash. The next attempt reads the order that the `Memory` holds and goes on
where it is: pending, ready, processing or valid. There are never two orders of one renewal that were finalized.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ca import clock
from ca.errors import IssuerRefusal, IssuerUnavailable
from ca.keys.algorithms import PrivateKey
from ca.keys.sealed import Sealer
from ca.store import Store
from ca.x509.names import Name
from renewers.issuers import Memory, Obtained, Wanted, Window, budget
from renewers.issuers.acme import orders
from renewers.issuers.acme.account import Accounts
from renewers.issuers.acme.authorizations import ValidationFailed, prove
from renewers.issuers.acme.chains import download
from renewers.issuers.acme.config import AcmeConfig
from renewers.issuers.acme.conversation import Conversation, conversation
from renewers.issuers.acme.orders import Order
from renewers.issuers.acme.renewal_info import ask_window
from renewers.issuers.acme.rollover import exchange, sign_in
from renewers.issuers.budget import Scope
from renewers.solvers import Solver

PATIENCE = 30.0
"""Seconds for what is not an order: asking whether it is there, for a window, for another account key."""
PROVED = frozenset({"ready", "processing", "valid"})
SIGNED = frozenset({"valid"})


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at one certificate."""

    ca: Conversation
    wanted: Wanted
    memory: Memory


class AcmeIssuer:
    """An `Issuer` that also `SuggestsWindow` and `RollsItsKey`. Safe to call from several threads."""

    def __init__(self, config: AcmeConfig, *, store: Store, sealer: Sealer, solvers: Sequence[Solver]) -> None:
        self.config = config
        self._store = store
        self._solvers = tuple(solvers)
        self._accounts = Accounts(config, store, sealer)

    def obtain(self, wanted: Wanted, memory: Memory) -> Obtained:
        """One certificate: order, prove, finalize, fetch; whatever of it is not done yet."""
        with self._signed_in(wanted.deadline) as ca:
            attempt = _Attempt(ca, wanted, memory)
            order = orders.resume(ca, wanted, memory) or self._begin(attempt)
            if order.status == "pending":
                order = self._prove(attempt, order)
            if order.status == "ready":
                order = self._finalize(attempt, order)
            order = orders.settle(ca, order, wanted, until=SIGNED)
            if order.status == "invalid":
                orders.dead(ca, order, memory)
            return download(ca, order, wanted.csr)

    def check(self) -> None:
        """Whether its directory can be read."""
        with conversation(self.config, clock.monotonic() + PATIENCE):
            pass

    def window(self, certificate: bytes, issuer: bytes | None) -> Window | None:
        """When it would like that certificate renewed."""
        with conversation(self.config, clock.monotonic() + PATIENCE) as ca:
            return ask_window(ca, certificate)

    def roll_key(self, key: PrivateKey | None = None) -> None:
        """Exchange our account's key there."""
        with conversation(self.config, clock.monotonic() + PATIENCE) as ca:
            exchange(ca, self._accounts, key)

    @contextmanager
    def _signed_in(self, deadline: float) -> Iterator[Conversation]:
        """A conversation in our name. A refusal of a key that was exchanged meanwhile is none: it is tried again."""
        with conversation(self.config, deadline) as ca:
            account = sign_in(ca, self._accounts)
            try:
                yield ca
            except IssuerRefusal as error:
                if self._accounts.is_current(account):
                    raise
                message = f"{self.config.name}: the account's key was exchanged meanwhile"
                raise IssuerUnavailable(message, code="not-now") from error

    def _begin(self, attempt: _Attempt) -> Order:
        """A new order, remembered as soon as it is there. As a replacement it is exempt from the CA's limits."""
        ca, wanted = attempt.ca, attempt.wanted
        replaces = orders.replacement(ca, wanted)
        self._foresee(wanted.names, budget.FAILED)
        order = None if replaces is None else orders.begin(ca, wanted, replaces)
        if order is None:
            self._foresee(wanted.names, budget.ORDERED | budget.ISSUED)
            order = orders.begin(ca, wanted, None)
            assert order is not None
        attempt.memory.keep(order.url)
        if not order.is_replacement:
            self._spend(wanted.names, budget.ORDERED)
        return order

    def _prove(self, attempt: _Attempt, order: Order) -> Order:
        ca, wanted, memory = attempt.ca, attempt.wanted, attempt.memory
        try:
            prove(ca, order.authorizations, wanted.names, self._solvers)
        except ValidationFailed as error:
            memory.keep(None)
            self._spend((error.name,), budget.FAILED)
            if error.final is not None:
                error.final.about = error.about
            raise error.final or error from None
        order = orders.settle(ca, order, wanted, until=PROVED)
        if order.status == "invalid":
            orders.dead(ca, order, memory)
        return order

    def _finalize(self, attempt: _Attempt, order: Order) -> Order:
        """Have it signed. The order is the one that the memory holds, now as before."""
        wanted, memory = attempt.wanted, attempt.memory
        if not memory.is_finalized:
            memory.commit()
            if not order.is_replacement:
                self._spend(wanted.names, budget.ISSUED)
        return orders.finalize(attempt.ca, order, wanted)

    def _foresee(self, names: Sequence[Name], scopes: frozenset[Scope]) -> None:
        """Not to ask for what would be refused: the CA would count that too."""
        now = clock.timestamp()
        foreseen = budget.foresee(self._store, self.config.name, self.config.limits, names, now, only=scopes)
        if foreseen is not None:
            limit = foreseen.limit
            raise IssuerUnavailable(
                f"{self.config.name} takes at most {limit.count} in {limit.period_seconds} s of {limit.name}"
                f" ({foreseen.subject}): it was not asked",
                code="budget-exhausted",
                retry_after=foreseen.wait_seconds,
            )

    def _spend(self, names: Sequence[Name], scopes: frozenset[Scope]) -> None:
        if self.config.limits:
            now, limits = clock.timestamp(), self.config.limits
            self._store.write(lambda tx: budget.spend(tx, self.config.name, limits, names, now, only=scopes))

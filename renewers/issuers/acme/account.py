"""Our account at a CA: made when it is first needed, the same for all replicas, its key sealed.

The key is durable before the CA hears of it: whoever comes second, or again after a crash, registers with the same key
and is answered with the same account (RFC 8555 section 7.3.1). Exchanging the key is `rollover.py`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from acme import messages
from sqlalchemy import insert, select, update
from sqlmodel import col

from ca import clock
from ca.errors import Conflict, IssuerRefusal, Misconfigured
from ca.keys.algorithms import PrivateKey
from ca.keys.sealed import Sealer
from ca.ledger import log
from ca.store import Store, Transaction
from renewers.issuers.acme.config import AcmeConfig
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.network import Message
from renewers.issuers.acme.replies import Reply
from renewers.models import AcmeAccount
from renewers.telling.alarms import BY


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is written down. `url` is None until the CA has told it."""

    url: str | None
    sealed_key: bytes
    key: PrivateKey
    next_sealed_key: bytes | None
    next_key: PrivateKey | None
    """The key of an exchange that was begun and not seen to end."""


class Accounts:
    """The account of one issuer, in the store."""

    def __init__(self, config: AcmeConfig, store: Store, sealer: Sealer) -> None:
        self.config = config
        self._store = store
        self._sealer = sealer
        self._purpose = f"acme-account:{config.name}"

    def load(self) -> Account:
        """The account; a new key for one if there is none. `Misconfigured` if it is one at another directory."""
        row = self._row() or self._make()
        if row.directory != self.config.directory:
            raise Misconfigured(
                f"the account of {self.config.name} is at {row.directory}, not at {self.config.directory}",
                hint="give the other CA another name in the settings: a key is never shown to two CAs",
            )
        pending = None if row.next_sealed_key is None else self._sealer.unwrap(row.next_sealed_key, self._purpose)
        key = self._sealer.unwrap(row.sealed_key, self._purpose)
        return Account(row.url, row.sealed_key, key, row.next_sealed_key, pending)

    def is_current(self, account: Account) -> bool:
        """Whether its key is still the one that is written down."""
        row = self._row()
        return row is not None and row.sealed_key == account.sealed_key

    def registered(self, account: Account, url: str) -> None:
        """The CA has told its URL."""

        def unit(tx: Transaction) -> None:
            if self._update(tx, account, url=url):
                log.append(tx, "acme-account-registered", self.config.name, BY, url=url)

        self._store.write(unit)

    def exchanging(self, account: Account, key: PrivateKey) -> bool:
        """An exchange for that key is about to begin. False if another has begun, or ended, meanwhile."""
        sealed = self._sealer.wrap(key, self._purpose)

        def unit(tx: Transaction) -> bool:
            row = tx.execute(select(AcmeAccount).where(self._is_ours()).with_for_update()).one()
            return row.next_sealed_key is None and self._update(tx, account, next_sealed_key=sealed)

        return self._store.write(unit)

    def exchanged(self, account: Account) -> None:
        """The CA knows the next key, and the old one no longer. Again: nothing changes."""
        values = {"sealed_key": account.next_sealed_key, "next_sealed_key": None, "key_made_at": clock.timestamp()}

        def unit(tx: Transaction) -> None:
            if self._update(tx, account, **values):
                log.append(tx, "acme-account-key-changed", self.config.name, BY)

        self._store.write(unit)

    def not_exchanged(self, account: Account) -> None:
        """The CA does not take the next key."""

        def unit(tx: Transaction) -> None:
            row = tx.execute(select(AcmeAccount).where(self._is_ours()).with_for_update()).one()
            if row.next_sealed_key == account.next_sealed_key:
                self._update(tx, account, next_sealed_key=None)

        self._store.write(unit)

    def _row(self) -> Any:
        with self._store.read() as connection:
            return connection.execute(select(AcmeAccount).where(self._is_ours())).first()

    def _make(self) -> Any:
        """Write down a new key, unless another replica was faster."""
        now = clock.timestamp()
        row = {
            "issuer": self.config.name,
            "directory": self.config.directory,
            "sealed_key": self._sealer.wrap(self.config.account_key_type.generate(), self._purpose),
            "key_made_at": now,
            "created_at": now,
        }

        def unit(tx: Transaction) -> None:
            if tx.execute(select(col(AcmeAccount.issuer)).where(self._is_ours())).first() is None:
                tx.execute(insert(AcmeAccount).values(**row))

        with suppress(Conflict):  # another replica was faster; its row is there now
            self._store.write(unit)
        return self._row()

    def _update(self, tx: Transaction, account: Account, **values: Any) -> bool:
        """Change the row, if the account's key is still the one that is written down."""
        where = (self._is_ours(), col(AcmeAccount.sealed_key) == account.sealed_key)
        return tx.execute(update(AcmeAccount).where(*where).values(**values)).rowcount > 0

    def _is_ours(self) -> Any:
        return col(AcmeAccount.issuer) == self.config.name


def register(ca: Conversation, accounts: Accounts, account: Account) -> None:
    """Make the account, or find it: the CA knows it by its key. From then on the conversation is in its name."""
    config, key = ca.config, account.key
    if ca.directory.terms is not None and not config.terms_agreed:
        raise IssuerRefusal(
            f"{config.name} has terms of service that nobody has agreed to: {ca.directory.terms}",
            code="terms-not-agreed",
            hint="read them, then set terms_agreed",
        )
    ca.network.speak_as(key, None)
    payload: dict[str, Any] = {"contact": config.contacts} if config.contact else {}
    if ca.directory.terms is not None:
        payload["termsOfServiceAgreed"] = True
    if (bound := _binding(ca)) is not None:
        payload["externalAccountBinding"] = bound
    reply = ca.post(ca.directory.new_account, Message(**payload), "an account")
    url = _account_url(ca, reply)
    accounts.registered(account, url)
    ca.account = url
    ca.network.speak_as(key, url)


def find(ca: Conversation, key: PrivateKey) -> str | None:
    """The URL of the account that the CA knows by this key; None if it knows none (RFC 8555 section 7.3.1)."""
    ca.network.speak_as(key, None)
    reply = ca.post(ca.directory.new_account, Message(onlyReturnExisting=True), "our account")
    problem = reply.problem
    if problem is not None and problem.kind == "accountDoesNotExist":
        return None
    return _account_url(ca, reply)


def _account_url(ca: Conversation, reply: Reply) -> str:
    found = reply.document()
    if (status := found.optional("status", 40)) not in (None, "valid"):
        raise IssuerRefusal(
            f"{ca.config.name}: our account there is {status}",
            code="account-closed",
            hint="give the CA another name in the settings to begin with a new account",
        )
    return ca.network.place(reply.location, "our account")


def _binding(ca: Conversation) -> dict[str, Any] | None:
    """The external account binding, if the settings have one; `IssuerRefusal` if the CA wants one and they have not."""
    secret, public = ca.config.eab_key, ca.network.key
    if secret is None:
        if ca.directory.wants_binding:
            raise IssuerRefusal(
                f"{ca.config.name} takes only accounts that were made with it beforehand",
                code="account-binding",
                hint="get a key id and a key from the CA and set eab_kid and eab_key_file",
            )
        return None
    assert public is not None
    directory = messages.Directory({"newAccount": ca.directory.new_account})
    try:
        return messages.ExternalAccountBinding.from_data(
            public.public_key(), ca.config.eab_kid, secret.reveal().strip(), directory
        )
    except ValueError:
        raise IssuerRefusal(
            f"{ca.config.name}: the key in eab_key_file is not base64url", code="account-binding"
        ) from None

"""Exchanging an account's key (RFC 8555 section 7.3.5), and finding out how an exchange that was cut short ended.

The next key is durable before the CA is asked; the old one goes only when the CA was seen to know the next. A crash in
between leaves two keys: the CA knows exactly one of them, and the next conversation asks it which.
"""

from __future__ import annotations

from ca.errors import IssuerRefusal, IssuerUnavailable
from ca.keys.algorithms import PrivateKey, spki
from renewers.issuers.acme.account import Account, Accounts, find, register
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.network import Message, as_jwk
from renewers.issuers.acme.replies import nonsense


def sign_in(ca: Conversation, accounts: Accounts) -> Account:
    """Speak in the name of our account from now on; it is made if there is none."""
    account = accounts.load()
    if account.next_key is not None and find(ca, account.next_key) is not None:
        accounts.exchanged(account)
        account = accounts.load()
    if account.url is None:
        register(ca, accounts, account)
    else:
        ca.account = account.url
        ca.network.speak_as(account.key, account.url)
    ca.sign_in_again = lambda: register(ca, accounts, account)
    return account


def exchange(ca: Conversation, accounts: Accounts, key: PrivateKey | None) -> None:
    """Exchange the account's key, by `key` or a new one. An exchange that was begun and cut short is ended first."""
    account = sign_in(ca, accounts)
    if account.next_key is not None:
        _end(ca, accounts, account)
        if key is None:
            return
        account = sign_in(ca, accounts)
    wanted = key or ca.config.account_key_type.generate()
    if spki(wanted.public_key()) == spki(account.key.public_key()):
        return
    if not accounts.exchanging(account, wanted):
        raise IssuerUnavailable(f"{ca.config.name}: somebody else is exchanging our account's key", code="not-now")
    _end(ca, accounts, accounts.load())


def _end(ca: Conversation, accounts: Accounts, account: Account) -> None:
    """Ask the CA to take the next key, and write down what became of it."""
    url, key = ca.directory.key_change, account.next_key
    if url is None:
        accounts.not_exchanged(account)
        raise IssuerRefusal(f"{ca.config.name} does not exchange account keys", code="no-rollover")
    if key is None:  # somebody else has ended it meanwhile
        return
    content = Message(account=ca.account, oldKey=as_jwk(account.key).public_key().to_json())
    reply = ca.ask(url, ca.network.proof_of(key, content, url), "another key for our account")
    known_by = find(ca, key)  # a yes alone is not believed: Pebble says it to a key that it does not take
    if known_by == ca.account:
        accounts.exchanged(account)
        ca.network.speak_as(key, ca.account)
        return
    if reply.status < 500:
        accounts.not_exchanged(account)
    if known_by is not None:
        raise IssuerRefusal(f"{ca.config.name}: another account has that key already", code="key-in-use")
    reply.check()
    raise nonsense(reply.what, "a yes, and does not know that key")

"""Proving that names are ours (RFC 8555 sections 7.5 and 8): a challenge for each, answered while the CA looks.

Which challenge is taken follows the settings' order, the solvers that there are, and the rules: a wildcard is proved in
the DNS alone, an address never there. A CA can only have us answer for names that we ordered, and with tokens that are
tokens: they end in paths and records of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from josepy.json_util import encode_b64jose

from ca.errors import BadRequest, IssuerRefusal, IssuerUnavailable
from ca.x509 import names
from ca.x509.names import Kind, Name
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.network import Message
from renewers.issuers.acme.problems import Problem, of_a_validation, plain
from renewers.issuers.acme.replies import Document, Reply, nonsense
from renewers.solvers import Challenge, Solver

TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}", re.ASCII)
IN_THE_DNS = ("dns-01", "dns-persist-01")
MOST_CHALLENGES, MOST_ISSUERS = 20, 10
AT_ONCE = 8
"""How many answers are put in place at the same time: each may have to wait for all servers of a zone."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One challenge that a CA offers, as far as it is one of the kinds that we know."""

    kind: str
    url: str
    status: str
    token: str
    issuers: tuple[str, ...]
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Authorization:
    """One name's authorization."""

    url: str
    name: Name
    is_wildcard: bool
    status: str
    offers: tuple[Offer, ...]

    @property
    def shown_as(self) -> str:
        """The name as it was ordered."""
        return f"*.{self.name.value}" if self.is_wildcard else self.name.value


@dataclass(frozen=True, slots=True)
class Task:
    """A challenge that was chosen, and who answers it."""

    authorization: Authorization
    offer: Offer
    challenge: Challenge
    solver: Solver


class ValidationFailed(IssuerUnavailable):
    """The CA looked and did not find the answer, or never will. `name` is the one that failed."""

    code = "validation-failed"

    def __init__(self, message: str, name: Name, *, final: IssuerRefusal | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.about = str(name)
        self.final = final
        """The refusal that it amounts to, where time mends nothing."""


def prove(ca: Conversation, urls: Sequence[str], ordered: Sequence[Name], solvers: Sequence[Solver]) -> None:
    """Prove all that is still to be proved. `ValidationFailed` names the first name that could not be."""
    found = [_load(ca, url, ordered) for url in urls]
    for authorization in found:
        _check_alive(ca, authorization)
    tasks = [_task(ca, each, solvers) for each in found if each.status == "pending"]
    if not tasks:
        return
    contexts = [task.solver.answer(task.challenge, deadline=ca.deadline) for task in tasks]
    with all_in_place(contexts):
        for task in tasks:
            if task.offer.status == "pending":  # else it was begun by an attempt that was cut short
                _have_looked(ca, task, ordered)
        for task in tasks:
            _wait(ca, task, ordered)


def _load(ca: Conversation, url: str, ordered: Sequence[Name]) -> Authorization:
    return read_authorization(ca, ca.read(url, "an authorization"), url, ordered)


def read_authorization(ca: Conversation, reply: Reply, url: str, ordered: Sequence[Name]) -> Authorization:
    """Read one, which must be for a name that was ordered."""
    found = reply.document()
    name, is_wildcard = found.document("identifier").name(), found.fields.get("wildcard") is True
    if name.is_wildcard:  # some CAs leave the label in place
        name, is_wildcard = names.make(Kind.DNS, name.value.removeprefix("*.")), True
    shown = names.make(Kind.DNS, f"*.{name.value}") if is_wildcard and name.kind is Kind.DNS else name
    if shown not in ordered:
        raise nonsense(reply.what, f"a name that was not ordered: {shown}")
    offers = [_offer(ca, each) for each in found.documents("challenges", MOST_CHALLENGES)]
    return Authorization(url, name, is_wildcard, found.text("status", 40), tuple(filter(None, offers)))


def _offer(ca: Conversation, found: Document) -> Offer | None:
    """One challenge; None if it is of a kind that we do not know. The library knows two kinds of them only."""
    kind = found.text("type", 60)
    if kind not in ca.config.challenges:
        return None
    token, issuers = "", found.texts("issuer-domain-names", MOST_ISSUERS)
    if kind != "dns-persist-01":
        token = found.text("token")
        if TOKEN.fullmatch(token) is None:
            raise nonsense(found.what, f"a token that is none: {plain(token, 40)}")
    return Offer(
        kind,
        ca.network.place(found.text("url"), "a challenge"),
        found.optional("status", 40) or "pending",
        token,
        tuple(_domain(found, each) for each in issuers),
        found.problem("error"),
    )


def _domain(found: Document, text: str) -> str:
    try:
        return names.make(Kind.DNS, text).value
    except BadRequest:
        raise nonsense(found.what, "an odd issuer domain name") from None


def _check_alive(ca: Conversation, found: Authorization) -> None:
    if found.status in ("pending", "valid"):
        return
    failed = next((offer for offer in found.offers if offer.problem is not None), None)
    if failed is None or failed.problem is None:
        message = f"{ca.config.name}: the authorization of {found.shown_as} is {plain(found.status, 40)}"
        raise ValidationFailed(message, found.name)
    what = f"{ca.config.name} could not validate {found.shown_as} by {failed.kind}"
    error = of_a_validation(failed.problem, what, ValidationFailed.code)
    raise ValidationFailed(error.message, found.name, final=error if isinstance(error, IssuerRefusal) else None)


def _task(ca: Conversation, found: Authorization, solvers: Sequence[Solver]) -> Task:
    """The challenge to answer: one that was begun, else the first by the settings' order that somebody can answer."""
    for offer in sorted(found.offers, key=lambda offer: _rank(ca, offer)):
        if offer.status not in ("pending", "processing") or not _fits(offer.kind, found):
            continue
        for solver in solvers:
            if solver.kind == offer.kind and solver.solves(found.name, is_wildcard=found.is_wildcard):
                return Task(found, offer, _challenge(ca, found, offer), solver)
    offered = ", ".join(sorted({offer.kind for offer in found.offers})) or "nothing that we know"
    raise IssuerRefusal(
        f"{ca.config.name} wants {found.shown_as} proved by {offered}, and nothing here can do that",
        code="no-solver",
        hint="set up a solver for that name; a wildcard takes one that writes DNS, an address one that does not",
    )


def _rank(ca: Conversation, offer: Offer) -> tuple[bool, int]:
    return offer.status != "processing", ca.config.challenges.index(offer.kind)


def _fits(kind: str, found: Authorization) -> bool:
    if found.is_wildcard:
        return kind in IN_THE_DNS
    return found.name.kind is not Kind.IP or kind not in IN_THE_DNS


def _challenge(ca: Conversation, found: Authorization, offer: Offer) -> Challenge:
    key = ca.network.key
    assert key is not None
    thumbprint = encode_b64jose(key.thumbprint(hash_function=hashes.SHA256))
    proof = f"{offer.token}.{thumbprint}" if offer.token else ""
    return Challenge(offer.kind, found.name, found.is_wildcard, offer.token, proof, offer.issuers, ca.account)


def _have_looked(ca: Conversation, task: Task, ordered: Sequence[Name]) -> None:
    """Have the CA look now. If it does not want to, it may have looked already."""
    reply = ca.ask(task.offer.url, Message(), f"a validation of {task.authorization.shown_as}")
    if not reply.is_good and _load(ca, task.authorization.url, ordered).status == "pending":
        reply.check()


def _wait(ca: Conversation, task: Task, ordered: Sequence[Name]) -> None:
    """Wait until the CA has looked."""
    url = task.authorization.url
    found = ca.poll(
        url,
        f"the validation of {task.authorization.shown_as}",
        lambda reply: read_authorization(ca, reply, url, ordered),
        lambda now: now.status != "pending",
    )
    _check_alive(ca, found)


@contextmanager
def all_in_place(contexts: Sequence[AbstractContextManager[None]]) -> Iterator[None]:
    """All of these at once, several at a time. If one cannot be entered none is; each that was is left, always."""
    with ThreadPoolExecutor(min(len(contexts), AT_ONCE), thread_name_prefix="acme-answers") as pool:
        entering = [pool.submit(context.__enter__) for context in contexts]
        errors = [future.exception() for future in entering]
        entered = [context for context, error in zip(contexts, errors, strict=True) if error is None]
        try:
            for error in errors:
                if error is not None:
                    raise error
            yield
        finally:
            leaving = [pool.submit(context.__exit__, None, None, None) for context in entered]
            left = [future.exception() for future in leaving]
        for error in left:
            if error is not None:
                raise error

"""Orders (RFC 8555 section 7.4): begun once a renewal, gone on with after a crash, finalized once.

What a renewal must not forget is in its `Memory`: the order's URL as soon as the CA has told it, and that it is about
to sign before it is asked to. An order that is dead is forgotten; one that may have been signed never is.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn

from ca import clock
from ca.errors import IssuerRefusal, IssuerUnavailable
from ca.x509.names import Kind, Name
from renewers.issuers import Memory, Wanted
from renewers.issuers.acme.conversation import Conversation
from renewers.issuers.acme.network import Message
from renewers.issuers.acme.problems import Problem, of_a_validation, plain
from renewers.issuers.acme.renewal_info import certificate_id
from renewers.issuers.acme.replies import Reply, nonsense

STATES = ("pending", "ready", "processing", "valid", "invalid")
GONE = (404, 410)


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the CA shows it, its URLs within the pin."""

    url: str
    status: str
    expires: int | None
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None
    problem: Problem | None
    is_replacement: bool
    """Whether it was taken as the renewal of a certificate, which costs nothing."""


def read_order(ca: Conversation, reply: Reply, url: str, wanted: Wanted) -> Order:
    """Read one, which must be for the names that are wanted."""
    found = reply.document()
    status = found.text("status", 40)
    if status not in STATES:
        raise nonsense(reply.what, f"a status {plain(status, 40)}")
    most = len(wanted.names)
    if (named := found.documents("identifiers", most)) and {each.name() for each in named} != set(wanted.names):
        raise nonsense(reply.what, "other names than were ordered")
    certificate = found.optional("certificate")
    return Order(
        url=url,
        status=status,
        expires=found.time("expires"),
        authorizations=tuple(
            ca.network.place(each, "an authorization") for each in found.texts("authorizations", most)
        ),
        finalize=ca.network.place(found.text("finalize"), "finalizing"),
        certificate=None if certificate is None else ca.network.place(certificate, "the certificate"),
        problem=found.problem("error"),
        is_replacement=found.optional("replaces", 200) is not None,
    )


def load(ca: Conversation, wanted: Wanted, url: str) -> Order:
    """The order as it is now."""
    return read_order(ca, ca.read(url, "our order"), url, wanted)


def resume(ca: Conversation, wanted: Wanted, memory: Memory) -> Order | None:
    """The order that was begun, if one was. Raises if it is dead: it is forgotten, and the next attempt begins anew."""
    url = memory.order_url
    if url is None:
        return None
    reply = ca.read(ca.network.place(url, "the order that was begun there"), "our order")
    problem = reply.problem
    is_others = problem is not None and problem.kind == "unauthorized" and not memory.is_finalized
    if reply.status in GONE or is_others:
        _gone(ca, memory)
    order = read_order(ca, reply, url, wanted)
    is_over = order.expires is not None and order.expires + ca.config.clock_skew < clock.timestamp()
    if order.status in ("pending", "ready") and is_over:
        memory.keep(None)
        raise IssuerUnavailable(f"{ca.config.name}: the order that was begun has expired", code="order-expired")
    if order.status == "invalid":
        dead(ca, order, memory)
    return order


def _gone(ca: Conversation, memory: Memory) -> NoReturn:
    """The CA knows the order no more. If it may have been signed, only time or a person can tell."""
    if memory.is_finalized:
        raise IssuerUnavailable(
            f"{ca.config.name}: the order that was finalized is not known there now; it may have been signed",
            code="order-lost",
            hint="look for the certificate in the CA's log or a CT log before another is ordered",
        )
    memory.keep(None)
    raise IssuerUnavailable(f"{ca.config.name}: the order that was begun is no longer known there", code="order-lost")


def dead(ca: Conversation, order: Order, memory: Memory) -> NoReturn:
    """An invalid order is never signed (RFC 8555 section 7.1.6): it is forgotten, and its reason raised."""
    memory.keep(None)
    what = f"{ca.config.name}: our order failed"
    if order.problem is None:
        raise IssuerUnavailable(f"{what}, without a reason", code="order-failed")
    raise of_a_validation(order.problem, what, "order-failed")


def begin(ca: Conversation, wanted: Wanted, replaces: str | None) -> Order | None:
    """Order anew. None if the CA does not take it as a replacement of that certificate: it may as an order like any."""
    reply = ca.ask(ca.directory.new_order, _order(ca, wanted, replaces), "a new order")
    problem = reply.problem
    if replaces is not None and problem is not None and problem.kind != "rateLimited":
        return None
    reply.check()
    url = ca.network.place(reply.location, "our order")
    return read_order(ca, reply, url, wanted)


def replacement(ca: Conversation, wanted: Wanted) -> str | None:
    """What to say the order replaces (RFC 9773 section 5): None for a first certificate, or a CA that does not ask."""
    if wanted.replaces is None or ca.directory.renewal_info is None:
        return None
    return certificate_id(wanted.replaces)


def _order(ca: Conversation, wanted: Wanted, replaces: str | None) -> Message:
    fields: dict[str, object] = {"identifiers": [_identifier(ca, name) for name in wanted.names]}
    if wanted.profile:
        _check_profile(ca, wanted.profile)
        fields["profile"] = wanted.profile
    if wanted.lifetime is not None:
        end = datetime.fromtimestamp(clock.timestamp() + wanted.lifetime, UTC)
        fields["notAfter"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
    if replaces is not None:
        fields["replaces"] = replaces
    return Message(**fields)


def _identifier(ca: Conversation, name: Name) -> dict[str, str]:
    if name.kind not in (Kind.DNS, Kind.IP):
        raise IssuerRefusal(
            f"{ca.config.name} cannot be asked for {name}",
            code="unsupported-name",
            hint="over ACME there are DNS names and addresses alone",
        )
    return {"type": name.kind.value, "value": name.value}


def _check_profile(ca: Conversation, profile: str) -> None:
    if profile not in ca.directory.profiles:
        offered = ", ".join(ca.directory.profiles) or "none"
        raise IssuerRefusal(f"{ca.config.name} has no profile {profile}", code="no-profile", hint=f"it has: {offered}")


def finalize(ca: Conversation, order: Order, wanted: Wanted) -> Order:
    """Have a ready order signed."""
    csr = base64.urlsafe_b64encode(wanted.csr).rstrip(b"=").decode()
    reply = ca.ask(order.finalize, Message(csr=csr), "finalizing our order")
    problem = reply.problem
    if problem is not None and problem.kind == "orderNotReady":  # another attempt may have been faster
        return load(ca, wanted, order.url)
    return read_order(ca, reply, order.url, wanted)


def settle(ca: Conversation, order: Order, wanted: Wanted, *, until: frozenset[str]) -> Order:
    """The order once it is in one of these states, or invalid."""
    ends = until | {"invalid"}
    if order.status in ends:
        return order
    return ca.poll(
        order.url, "our order", lambda reply: read_order(ca, reply, order.url, wanted), lambda now: now.status in ends
    )

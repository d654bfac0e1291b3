"""Admission before issuance: who waits, who goes first, who is turned away, and that nothing else ever waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from ca import certificates, clock
from ca.access import Caller, Role
from pki.metrics import Metrics
from pki.web.admission import Admission
from pki.web.app import create_app
from pki.web.gate import CALLER
from pki.web.identity import CERTIFICATE
from tests import rig
from tests.pki.conftest import API, World, bearer, problem, wish

PATHS = (f"{API}/certificates", "/renew")


class Inner:
    """What issues: it notes who comes, and answers when it is told to."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.bodies: list[bytes] = []
        self.go = asyncio.Semaphore(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.order.append(scope["who"])
        message = await receive()
        self.bodies.append(message["body"])
        await self.go.acquire()
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Desk:
    """An admission with one place, and clients."""

    def __init__(self, *, at_once: int = 1, waiting: int = 3) -> None:
        self.inner = Inner()
        self.metrics = Metrics()
        product: Any = type("Product", (), {"metrics": self.metrics})
        self.admission = Admission(self.inner, product, PATHS, at_once=at_once, waiting=waiting)
        self.tasks: dict[str, asyncio.Task[list[Message]]] = {}
        self.hangups: dict[str, asyncio.Event] = {}

    async def ask(self, who: str, identity: str = "", *, path: str = PATHS[0], more: Scope | None = None) -> None:
        """A request, which is left alone until it waits or goes on."""
        caller = Caller(identity or who, Role.REQUESTER)
        scope: Scope = {"type": "http", "method": "POST", "path": path, "headers": [], "who": who, CALLER: caller}
        scope.update(more or {})
        self.hangups[who] = hangup = asyncio.Event()
        sent: list[Message] = []
        parts = iter([(b"{", True), (b"}", False)])

        async def receive() -> Message:
            for body, has_more in parts:
                return {"type": "http.request", "body": body, "more_body": has_more}
            await hangup.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)

        async def run() -> list[Message]:
            await self.admission(scope, receive, send)
            return sent

        self.tasks[who] = asyncio.create_task(run())
        await self.settle()

    async def settle(self) -> None:
        for _ in range(12):
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Answer everybody, one after the other."""
        for _ in range(len(self.tasks) + 5):
            self.inner.go.release()
            await self.settle()

    def status(self, who: str) -> int | None:
        sent = self.tasks[who].result()
        return sent[0]["status"] if sent else None


def lived(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that is a story of tasks."""

    def test() -> None:
        asyncio.run(story())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


@lived
async def test_a_crowd_does_not_keep_the_others_waiting() -> None:
    """One of the crowd is served between any two others; bodies come through whole, whatever parts they came in."""
    desk = Desk(waiting=20)
    for number in range(6):
        await desk.ask(f"crowd {number}", "crowd")
    await desk.ask("ada")
    await desk.ask("grace")
    await desk.finish()
    assert desk.inner.order[:4] == ["crowd 0", "crowd 1", "ada", "grace"]
    assert len(desk.inner.order) == 8
    assert {desk.status(who) for who in desk.tasks} == {201}
    assert set(desk.inner.bodies) == {b"{"}


@lived
async def test_a_full_queue_says_when_to_come_again() -> None:
    """503 with a time; whoever has the most waiting gives way for who has nothing waiting."""
    desk = Desk(waiting=2)
    for number in range(4):
        await desk.ask(f"crowd {number}", "crowd")
    await desk.ask("ada")
    await desk.finish()
    assert [desk.status(who) for who in ("crowd 0", "crowd 1", "crowd 2", "crowd 3", "ada")] == [
        201,
        201,
        503,
        503,
        201,
    ]
    start, body = desk.tasks["crowd 3"].result()
    headers = dict(start["headers"])
    assert 1 <= int(headers[b"retry-after"]) <= 60
    assert json.loads(body["body"])["code"] == "busy"
    assert desk.admission.waiting == 0
    waited = next(iter(desk.metrics.admission_waited.collect())).samples
    assert next(each.value for each in waited if each.name.endswith("_count")) == 2  # crowd 1 and ada; no other did


@lived
async def test_whoever_hangs_up_leaves_the_queue() -> None:
    """Nothing is done for it, and the next one has its place; at whatever moment it goes."""
    desk = Desk()
    for who in ("first", "gone", "ada"):
        await desk.ask(who)
    desk.hangups["gone"].set()
    await desk.settle()
    assert desk.admission.waiting == 1
    desk.tasks["ada"].cancel()
    await desk.settle()
    assert desk.admission.waiting == 0
    await desk.ask("late")
    await desk.finish()
    assert desk.inner.order == ["first", "late"]
    assert desk.status("gone") is None


@lived
async def test_a_turn_that_comes_as_one_hangs_up_is_not_lost() -> None:
    """The place goes to the next."""
    desk = Desk()
    for who in ("first", "gone", "ada"):
        await desk.ask(who)
    desk.inner.go.release()
    desk.tasks["gone"].cancel()
    await desk.finish()
    assert desk.inner.order[-1] == "ada"
    assert desk.status("ada") == 201
    await desk.ask("next")
    await desk.finish()
    assert desk.status("next") == 201


@lived
async def test_nothing_else_waits() -> None:
    """Reading, revoking and what is none of ours go past a full queue."""
    desk = Desk(waiting=1)
    for who in ("first", "second"):
        await desk.ask(who)
    for number, path in enumerate((f"{API}/certificates/1a/revoke", f"{API}/certificates/revocations", "/healthz")):
        await desk.ask(f"other {number}", path=path)
    await desk.ask("reader", more={"method": "GET"})
    assert desk.inner.order == ["first", "other 0", "other 1", "other 2", "reader"]
    await desk.finish()


def test_a_certificate_about_to_end_goes_first(world: World) -> None:
    """By the certificate that was shown in the handshake, and for that very one; nothing that is said counts."""
    near = rig.issue(world.installation, lifetime=timedelta(hours=8))
    later = clock.now() + timedelta(hours=7, minutes=30)
    with clock.pinned(later - timedelta(minutes=10)):
        short = rig.issue(world.installation, lifetime=timedelta(hours=1))  # ends soon, and has lived a sixth
    far = rig.issue(world.installation, "spiffe://example.internal/ns/payments/sa/web")
    stored = certificates.find(world.installation.store, near.serial)

    def shows(serial: str, der: bytes, path: str) -> tuple[str, Scope]:
        caller = Caller(f"certificate:{serial}", Role.HOLDER, certificate=serial)
        return path, {CERTIFICATE: der, CALLER: caller}

    async def story() -> list[str]:
        desk = Desk(waiting=20)
        own = f"{API}/certificates/{{}}/renew"
        for who in ("first", "ada", "grace"):
            await desk.ask(who)
        for who, (path, more) in {
            "far": shows(far.serial, far.certificate, own.format(far.serial)),
            "another's": shows(far.serial, far.certificate, own.format(near.serial)),
            "short": shows(short.serial, short.certificate, own.format(short.serial)),
            "issues": shows(near.serial, near.certificate, PATHS[0]),
            "near": shows(stored.serial, stored.der, own.format(stored.serial)),
        }.items():
            await desk.ask(who, path=path, more=more)
        await desk.finish()
        return desk.inner.order

    with clock.pinned(later):
        order = asyncio.run(story())
    assert order[:2] == ["first", "near"]
    assert set(order[2:4]) == {"ada", "grace"}


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_real_application_answers_all_that_it_admits(world: World, at_once: int) -> None:
    """Every request is answered once, with a certificate or with when to come again, and those are recorded."""
    settings = world.product.settings
    limits = settings.limits.model_copy(update={"issuing": at_once, "waiting": 5})
    world.product.settings = settings.model_copy(update={"limits": limits})
    token = world.secret(Role.REQUESTER, profiles=["mesh"], attributes={"namespace": "payments"})

    async def story() -> list[httpx.Response]:
        transport, headers = httpx.ASGITransport(create_app(world.product)), bearer(token).headers
        async with httpx.AsyncClient(transport=transport, base_url="https://ca", headers=dict(headers)) as client:
            return list(await asyncio.gather(*(client.post(PATHS[0], json=wish()) for _ in range(20))))

    answers = asyncio.run(story())
    done = [answer for answer in answers if answer.status_code == 201]
    assert len(done) >= 5 + at_once
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, 503, "busy")
            assert int(answer.headers["retry-after"]) >= 1
    assert len({answer.json()["serial"] for answer in done}) == len(done)

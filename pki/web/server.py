"""The listeners of `certwright serve`: TLS, plain HTTP and the Unix socket, in one process and one event loop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp, Receive, Scope, Send

from ca.errors import Unavailable
from pki.beats import Beat
from pki.logs import logger
from pki.product import Product
from pki.schedule import Schedule
from pki.supervisor import notify
from pki.web.app import create_app, create_public_app
from pki.web.peer import GuardedProtocol, LocalProtocol, TlsProtocol
from pki.web.problems import shown_path
from pki.web.tls import ListenerTls

log = logger(__name__)
BACKLOG = 2048
PARTS = ("api", "schedule")


class _Listener(uvicorn.Server):
    """A uvicorn server that leaves the process's signals alone: there are three of them and one process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured here."""
        yield


def serve(product: Product, *, only: str | None = None, ready: Callable[[dict[str, str]], None] | None = None) -> None:
    """Listen and run the schedule until SIGTERM or SIGINT. `ready` is told the addresses once all of them answer."""
    log.debug("settings", **product.settings.model_dump(mode="json"))  # what is secret in them does not show itself
    if recovered := product.recover():
        log.warning("issuance-abandoned", intents=recovered, hint="certwright cert list --state abandoned")
    # What is there now stays, and a request leaves hardly any circles: looking for them less often saves a twentieth.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    uvloop.run(_serve(product, only, ready))


async def _serve(product: Product, only: str | None, ready: Callable[[dict[str, str]], None] | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _heard, number, product, stop, loop)
    sockets = [] if only == "schedule" else _bind(product)
    tls = ListenerTls(product) if sockets else None
    extra = (Beat("listener-certificate", 2, lambda _: tls.refresh()),) if tls is not None else ()
    schedule = Schedule(product, extra, is_whole=only != "api")
    await asyncio.to_thread(schedule.start)
    listeners = _listeners(product, tls) if tls is not None else []
    running = [asyncio.create_task(listener.serve([s])) for listener, s in zip(listeners, sockets, strict=True)]
    try:
        while listeners and not all(listener.started for listener in listeners):  # noqa: ASYNC110 - uvicorn tells no one
            await asyncio.sleep(0.005)
        addresses = {name: _address(s) for name, s in zip(("tls", "plain", "socket"), sockets, strict=False)}
        log.info("serving", **addresses)
        if ready is not None:
            ready(addresses)
        notify("READY=1")
        await stop.wait()
    finally:
        notify("STOPPING=1")
        for listener in listeners:
            listener.should_exit = True
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.to_thread(schedule.stop)
        product.socket.unlink(missing_ok=True)
        log.info("stopped")


def _heard(number: int, product: Product, stop: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    """On SIGTERM say at `/readyz` that nobody should be sent here, and go on until they have heard it.

    On SIGINT, and on a second signal, end now: a person waits.
    """
    drain = product.settings.listen.drain.total_seconds()
    if number == signal.SIGTERM and drain and not product.readiness.is_draining:
        log.info("draining", seconds=drain)
        loop.call_later(drain, stop.set)
    else:
        stop.set()
    product.readiness.drain()


def _listeners(product: Product, tls: ListenerTls) -> list[_Listener]:
    app, public = create_app(product), create_public_app(product)
    patience = int(product.settings.listen.finish.total_seconds())
    return [
        _listener(app, TlsProtocol, tls.context, patience),
        _listener(public, GuardedProtocol, None, patience),
        _listener(app, LocalProtocol, None, patience),
    ]


def _listener(
    app: ASGIApp, protocol: type[GuardedProtocol], context: ssl.SSLContext | None, patience: int
) -> _Listener:
    config = uvicorn.Config(
        _given_up_in_the_end(app),
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=patience,
    )
    config.load()
    config.ssl = context
    return _Listener(config)


def _given_up_in_the_end(app: ASGIApp) -> ASGIApp:
    """A request that still runs when the server has to end is cancelled: one line in the log, no error of ours."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            log.info("request-given-up", path=shown_path(scope.get("path", "")), reason="the server ends")

    return call


def _bind(product: Product) -> list[socket.socket]:
    settings = product.settings.listen
    return [_tcp(settings.tls), _tcp(settings.plain), _unix(product.socket)]


def _tcp(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        return socket.create_server(
            (host.strip("[]"), int(port)),
            family=socket.AF_INET6 if ":" in host or not host else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=not host,
        )
    except OSError as error:
        hint = "another program listens there? see the settings listen.tls and listen.plain"
        # Python puts the address into its text once more; errors of the resolver have negative numbers of their own.
        reason = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else error.strerror
        raise Unavailable(f"cannot listen on {address}: {reason}", code="address-in-use", hint=hint) from None


def _unix(path: Path) -> socket.socket:
    """The admin socket: made with mode 0600 from the first moment, in a directory that only the owner can enter."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        hint = "a socket's path has at most 107 characters: choose a shorter state directory"
        raise Unavailable(f"cannot listen on {path}: {error}", code="address-in-use", hint=hint) from None
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    if listener.family == socket.AF_UNIX:
        return str(listener.getsockname())
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("::", "0.0.0.0") else host  # noqa: S104 - shown, not bound
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"

"""A mail server on loopback, in a process of its own: TLS, passwords, DSN, and whatever misery it is told to bring.

`serving_mail` starts it and hands out a `MailServer`, the test's end of it: what it took, byte for byte, with envelope;
and `will`, by which it refuses, drops, stalls or trickles at a stage of its next conversations, while it runs. The
process ends with its standard input, so that it outlives nobody. It is aiosmtpd, which is not of our making.
"""

# ruff: noqa: N802 - the library calls methods by these names

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from functools import partial
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from ca.x509.bundle import pem_certificate
from tests.renewers.listeners import make, serving
from tests.source import ROOT

DROP, STALL, TRICKLE, GARBAGE = "drop", "stall", "trickle", "garbage"
"""What it may do at a stage; anything else is a reply, such as `451 4.7.1 later`."""
CONNECT, HELLO, TLS, AUTH = "CONNECT", "EHLO", "STARTTLS", "AUTH"
MAIL, RCPT, DATA, DOT, TAKEN = "MAIL", "RCPT", "DATA", "DOT", "TAKEN"
"""The stages: DOT is when it has the whole message, TAKEN when it has written it down and has not yet said so."""
DSN = ("RET=", "ENVID=", "NOTIFY=", "ORCPT=")


@dataclass(frozen=True)
class Wanted:
    """How the server is made."""

    security: str = "starttls"
    user: str = ""
    password: str = ""
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    size: int = 33_554_432
    has_dsn: bool = True
    has_8bit: bool = True
    offers_tls: bool = True
    greylists: bool = False
    port: int = 0


@dataclass(frozen=True)
class Taken:
    """A message that it took, or has at least written down."""

    sender: str
    recipients: tuple[str, ...]
    mail: str
    rcpt: tuple[str, ...]
    user: str
    tls: str
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        """Parsed as a mail program does."""
        return BytesParser(policy=policy.default).parsebytes(self.raw)  # type: ignore[return-value]


@dataclass
class MailServer:
    """The test's end of it."""

    port: int
    ca_file: Path
    directory: Path
    process: subprocess.Popen[str]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def will(self, at: str, do: str, *, recipient: str = "", times: int = 1) -> None:
        """From now on: at a stage, to that recipient or to anybody, so many times (0: always)."""
        self._order({"at": at, "do": do, "recipient": recipient, "times": times})

    def behave(self) -> None:
        """No misery any more."""
        self._order({"at": "", "do": "", "recipient": "", "times": 0})

    def taken(self) -> list[Taken]:
        """All messages so far, oldest first."""
        return [
            Taken(
                **{
                    **row,
                    "recipients": tuple(row["recipients"]),
                    "rcpt": tuple(row["rcpt"]),
                    "raw": (self.directory / row["raw"]).read_bytes(),
                }
            )
            for row in self._journal()
            if "raw" in row
        ]

    def counted(self) -> int:
        """How many messages those are, without reading them."""
        return sum("raw" in row for row in self._journal())

    def done(self, stage: str) -> int:
        """How often a stage was reached."""
        return sum(row.get("stage") == stage for row in self._journal())

    def _journal(self) -> list[dict[str, Any]]:
        text = (self.directory / "journal").read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def _order(self, order: dict[str, Any]) -> None:
        with self._lock:
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
            assert self.process.stdout.readline() == "ok\n"


@contextmanager
def serving_mail(directory: Path, wanted: Wanted = Wanted(), *names: str) -> Iterator[MailServer]:
    """Serve until the block ends, under a certificate for these names, or `localhost`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = make("ca.example", is_ca=True)
    ca_file = directory / "ca.pem"
    ca_file.write_text(pem_certificate(authority.der))
    leaf = make(*(names or ("localhost",)), issuer=authority)
    serving(directory, leaf)
    chain = directory / f"{leaf.certificate.serial_number:x}.pem"
    (directory / "journal").touch()
    argv = [sys.executable, "-m", "tests.mailserver", str(directory), str(chain), json.dumps(asdict(wanted))]
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(argv, stdin=-1, stdout=-1, stderr=log, text=True, cwd=ROOT)
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            assert first.strip(), (directory / "log").read_text()
            yield MailServer(int(first), ca_file, directory, process)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


class _Post:
    """The other end: what it was told to do, and where it writes down what it takes."""

    def __init__(self, directory: Path, wanted: Wanted) -> None:
        self.wanted = wanted
        self._directory = directory
        self._journal = (directory / "journal").open("a")
        self._orders: list[dict[str, Any]] = []
        self._seen: set[str] = set()
        self._count = 0

    def order(self, order: dict[str, Any]) -> None:
        self._orders = [*self._orders, order] if order["at"] else []

    def deed(self, stage: str, recipient: str = "") -> str:
        self.write({"stage": stage})
        for order in self._orders:
            if order["at"] == stage and order["recipient"] in ("", recipient):
                order["times"] -= 1
                if order["times"] == 0:
                    self._orders.remove(order)
                return str(order["do"])
        if stage == RCPT and self.wanted.greylists and recipient not in self._seen:
            self._seen.add(recipient)
            return "450 4.2.0 greylisted"
        return ""

    def keep(self, row: dict[str, Any], content: bytes) -> None:
        self._count += 1
        name = f"{self._count:06}.eml"
        (self._directory / name).write_bytes(content)
        self.write({**row, "raw": name})

    def write(self, row: dict[str, Any]) -> None:
        self._journal.write(json.dumps(row) + "\n")
        self._journal.flush()


class _Server(SMTP):
    """One connection."""

    def __init__(self, post: _Post, context: ssl.SSLContext | None) -> None:
        self._post = post
        wanted = post.wanted
        self._said: list[str] = []
        super().__init__(
            self,
            data_size_limit=wanted.size,
            hostname="localhost",
            tls_context=context if wanted.security == "starttls" and wanted.offers_tls else None,
            auth_required=bool(wanted.user),
            auth_require_tls=wanted.security == "starttls",
            auth_exclude_mechanism=[one for one in ("PLAIN", "LOGIN") if one not in wanted.mechanisms],
            authenticator=self._authenticate_us,
            loop=asyncio.get_running_loop(),
        )

    def _authenticate_us(self, _server: Any, _session: Any, _envelope: Any, _how: str, said: Any) -> AuthResult:
        wanted = self._post.wanted
        is_right = said == LoginPassword(wanted.user.encode(), wanted.password.encode())
        return AuthResult(success=is_right, handled=False, auth_data=said)

    async def _does(self, stage: str, recipient: str = "") -> bool:
        """Whether it did what it was told to, and nothing is left to be said."""
        deed = self._post.deed(stage, recipient)
        if deed == DROP:
            self.transport.abort()
            raise ConnectionResetError
        if deed == STALL:
            await asyncio.sleep(3600)
        elif deed == TRICKLE:
            while True:
                self._writer.write(b"2")
                await self._writer.drain()
                await asyncio.sleep(0.05)
        elif deed == GARBAGE:
            await self.push("\x00 no SMTP at all")
        elif deed:
            await self.push(deed)
            if deed.startswith("421"):
                self.transport.close()
        return bool(deed)

    async def _handle_client(self) -> None:
        with suppress(ConnectionResetError):
            if not await self._does(CONNECT):
                await super()._handle_client()
            elif self.transport is not None:
                self.transport.close()

    async def handle_EHLO(self, _server: Any, session: Any, _envelope: Any, name: str, lines: list[str]) -> list[str]:
        wanted, session.host_name = self._post.wanted, name
        kept = [line for line in lines if wanted.has_8bit or "8BITMIME" not in line]
        return [*kept[:-1], *(["250-DSN"] if wanted.has_dsn else []), kept[-1]]

    async def smtp_EHLO(self, hostname: str) -> None:
        if not await self._does(HELLO):
            await super().smtp_EHLO(hostname)

    async def smtp_STARTTLS(self, arg: str) -> None:
        if not await self._does(TLS):
            await super().smtp_STARTTLS(arg)

    async def smtp_AUTH(self, arg: str) -> None:
        if not await self._does(AUTH):
            await super().smtp_AUTH(arg)

    async def smtp_MAIL(self, arg: str | None) -> None:
        self._said = [arg or ""]
        if not await self._does(MAIL):
            await super().smtp_MAIL(self._without_dsn(arg))

    async def smtp_RCPT(self, arg: str | None) -> None:
        recipient = (arg or "").partition("<")[2].partition(">")[0]
        self._said.append(arg or "")
        if not await self._does(RCPT, recipient):
            await super().smtp_RCPT(self._without_dsn(arg))

    async def smtp_DATA(self, arg: str) -> None:
        if not await self._does(DATA):
            await super().smtp_DATA(arg)

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str | None:
        recipient = envelope.rcpt_tos[0]
        if await self._does(DOT, recipient):
            return None
        tls = self.transport.get_extra_info("ssl_object")
        row = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "mail": self._said[0],
            "rcpt": self._said[1:],
            "user": session.login_data.decode() if session.login_data else "",
            "tls": tls.version() if tls is not None else "",
        }
        self._post.keep(row, envelope.original_content)
        return None if await self._does(TAKEN, recipient) else "250 2.0.0 taken"

    async def push(self, status: Any) -> None:
        if status is not None:
            await super().push(status)

    def _without_dsn(self, arg: str | None) -> str | None:
        """aiosmtpd knows nothing of RFC 3461."""
        if arg is None or not self._post.wanted.has_dsn:
            return arg
        return " ".join(word for word in arg.split(" ") if not word.upper().startswith(DSN))


async def _serve(directory: Path, chain: str, wanted: Wanted) -> None:
    loop, post = asyncio.get_running_loop(), _Post(directory, wanted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    direct = context if wanted.security == "tls" else None
    server = await loop.create_server(lambda: _Server(post, context), "127.0.0.1", wanted.port, ssl=direct, backlog=64)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()

    def listen() -> None:
        for line in sys.stdin:
            done = threading.Event()
            loop.call_soon_threadsafe(partial(_obey, post, json.loads(line), done))
            done.wait(60)
            print("ok", flush=True)
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=listen, daemon=True).start()
    await over.wait()


def _obey(post: _Post, order: dict[str, Any], done: threading.Event) -> None:
    post.order(order)
    done.set()


def main() -> None:
    """Serve until standard input ends."""
    directory, chain, wanted = sys.argv[1:]
    made = json.loads(wanted)
    made["mechanisms"] = tuple(made["mechanisms"])
    asyncio.run(_serve(Path(directory), chain, Wanted(**made)))


if __name__ == "__main__":
    main()

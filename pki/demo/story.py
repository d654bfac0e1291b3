"""The story that the demo tells: each step does one thing, shows it, and fails if it went otherwise.

Here certificates are issued, refused, revoked and proved; `upkeep.py` goes on with what is renewed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rich.markup import escape

from ca import files
from ca.errors import Defect, Unavailable
from ca.keys.algorithms import KeyType, PrivateKey
from ca.x509.request import make_request
from pki.client.rest import Client, connect
from pki.demo.gateway import Gateway, knock
from pki.demo.letters import Letters
from pki.demo.succession import Holder, Succession
from pki.demo.trust import Trust
from pki.demo.upkeep import SHOP, Upkeep
from pki.demo.voice import Screens, Voice
from pki.demo.website import Website, home
from pki.demo.world import DOMAIN, World
from pki.initialise import Initialised
from pki.settings import PREFIX

WORKLOAD = f"spiffe://{DOMAIN}/ns/payments/sa/api"
DEVICE = f"sensor-17.devices.{DOMAIN}"


def tell(directory: Path, screens: Screens, *, once: bool) -> None:
    """Tell the story in `directory`; afterwards keep the world alive until Ctrl-C, unless `once`.

    Variables that configure an installation are forgotten first: they are meant for another one, perhaps a real one.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the server would outlive the demo
    with closing(World(directory)) as world:
        Teller(world, screens).tell(once=once)


class Teller:
    """Tells the steps in order; what one made, the next ones use."""

    def __init__(self, world: World, screens: Screens) -> None:
        self._world = world
        self._voice = Voice(screens)
        self._title, self._say, self._command = self._voice.title, self._voice.say, self._voice.command

    def tell(self, *, once: bool) -> None:
        """The whole story."""
        started = time.monotonic()
        self._voice.frame("[bold]Certwright[/]: a CA that issues, revokes, publishes, proves, and renews")
        self._hierarchy(self._world.make())
        with self._world.serving() as process, connect() as client:
            self._serving()
            workload = self._issue(client, "mesh", WORKLOAD, "a mesh workload: mutual TLS, a SPIFFE identity, one day")
            device = self._issue(client, "device", DEVICE, "an IoT device: a name of its own, ninety days")
            server = self._issue(client, "server", "localhost", "the gateway: a TLS server that asks for certificates")
            self._refusal(client)
            with ExitStack() as open_until_the_end:
                gateway = self._consumer(client, server, open_until_the_end)
                self._accepted(gateway, workload)
                self._keep_head(client)
                self._trust(client).refused(gateway, workload, self._revoked(client, workload))
                self._later(client, gateway, Holder("device", device), Holder("gateway", server), open_until_the_end)
                letters = Letters(self._world, self._voice, client)
                letters.told()
                self._verified(client)
                link = None if once else letters.page()  # later, nobody answers there
                self._next(time.monotonic() - started, link)
                if not once:
                    self._stay(process)

    def _consumer(self, client: Client, own: Path, until: ExitStack) -> Gateway:
        """The gateway, and what it has to trust."""
        files.replace(self._world.trusted, client.fetch("/bundles/roots.pem"))
        directory = until.enter_context(home(self._world.directory.resolve() / "gateway"))
        gateway = until.enter_context(closing(Gateway(directory, own)))
        self._trust(client).brought(gateway)
        return gateway

    def _later(self, client: Client, gateway: Gateway, device: Holder, server: Holder, until: ExitStack) -> None:
        """What is renewed, who holds what, and a root that is followed by the next one."""
        top = self._world.directory.resolve()
        host_directory, directory = (until.enter_context(home(top / name)) for name in ("host", "website"))
        website = until.enter_context(closing(Website(directory)))
        trust = self._trust(client)
        host = until.enter_context(closing(trust.follows(host_directory)))
        upkeep = Upkeep(self._world, self._voice, client, website)
        upkeep.begin(host.trusted)
        trust.shown()
        succession = Succession(self._voice, client, lambda own, new: self._renew(client, own, new))
        succession.rotated(gateway, website, host, device, server)
        succession.shown()
        upkeep.end(gateway.port)

    def _trust(self, client: Client) -> Trust:
        return Trust(self._world, self._voice, client)

    def _hierarchy(self, made: Initialised) -> None:
        self._title("A root and an issuing CA")
        self._command(f"init --domain {DOMAIN}")
        self._say(f"[green]{made.root.name}[/] signs [green]{made.issuing.name}[/], which signs everything else")
        self._say(f"keys are encrypted files in {escape(str(self._world.state / 'keys'))}")

    def _serving(self) -> None:
        self._title("The server")
        self._command("serve")
        self._say(f"API on https://127.0.0.1:{self._world.tls}, CRLs on http://127.0.0.1:{self._world.plain}")

    def _issue(self, client: Client, profile: str, name: str, what: str) -> Path:
        """Make a key here, have it certified, write the three files; returns their directory."""
        self._title(f"A certificate for {what}")
        self._command(f"cert issue {name} --profile {profile} --out {profile}")
        key = KeyType.P256.generate()
        body = {"profile": profile, "csr": make_request(key), "names": [name]}
        issued = client.post("/certificates", body)
        directory = self._world.directory / profile
        _write(directory, key, issued)
        self._say(f"[green]{escape(name)}[/] until {issued['not_after']}, serial {issued['serial'][:16]}...")
        return directory

    def _renew(self, client: Client, own: Path, new: Path) -> None:
        """The same for a renewal: a new key, the same names, a directory beside the old one."""
        key = KeyType.P256.generate()
        serial = (own / "serial.txt").read_text()
        _write(new, key, client.post(f"/certificates/{serial}/renew", {"csr": make_request(key)}))

    def _refusal(self, client: Client) -> None:
        from pki.client.rest import Problem

        self._title("What policy forbids is refused, with all reasons at once")
        name = "spiffe://elsewhere.example/ns/payments/sa/api"
        self._command(f"cert issue {name} --profile mesh --lifetime 90d")
        csr = make_request(KeyType.P256.generate())
        try:
            client.post("/certificates", {"profile": "mesh", "csr": csr, "names": [name], "lifetime": "90d"})
        except Problem as problem:
            for reason in problem.document["reasons"]:
                self._say(f"[yellow]refused[/]: {escape(reason['message'])}")
        else:
            raise Defect("a certificate was issued that policy forbids")

    def _accepted(self, gateway: Gateway, workload: Path) -> None:
        self._title("A TLS server accepts the workload")
        answer = knock(gateway.port, self._world.trusted, workload)
        if answer is not None:
            raise Defect(f"the gateway refused a valid certificate: {answer}")
        self._say(f"127.0.0.1:{gateway.port} [green]let it in[/]: certificate, chain and CRLs hold")

    def _keep_head(self, client: Client) -> None:
        self._title("Keep a signed head of the ledger somewhere else")
        self._command("ledger head --out kept-head.txt")
        head = client.get("/ledger/head")
        files.write_new(self._world.head, head["checkpoint"].encode())
        self._say(f"{head['size']} entries; whoever rewrites one of them cannot make this head fit again")

    def _revoked(self, client: Client, workload: Path) -> float:
        """Revoke it; returns when that was."""
        self._title("Revoke the workload")
        serial = (workload / "serial.txt").read_text()
        self._command(f"cert revoke {serial[:16]}... --reason key-compromise")
        client.post(f"/certificates/{serial}/revoke", {"reason": "key-compromise"})
        revoked_at = time.monotonic()
        self._say("its key is blocked for ever, and its CRL is being rebuilt and published")
        return revoked_at

    def _verified(self, client: Client) -> None:
        self._title("Prove that nothing was issued behind your back")
        self._command("ledger verify --head kept-head.txt")
        *_, report = client.lines("/ledger/verify", {"checkpoint": self._world.head.read_text()})
        if not report["is_sound"]:
            raise Defect(f"the ledger is not sound: {json.dumps(report)}")
        entries, certificates = report["entries"], report["certificates"]
        self._say(f"[green]sound[/]: {entries} entries and {certificates} certificates agree with the kept head")

    def _next(self, took: float, link: str | None) -> None:
        state = escape(str(self._world.state))
        in_environment = sys.prefix != sys.base_prefix
        commands = (
            *([f"  source {escape(sys.prefix)}/bin/activate"] if in_environment else []),
            f"  export CERTWRIGHT_STATE={state}",
            "  certwright cert list",
            f"  certwright cert show $(cat {escape(str(self._world.directory))}/mesh/serial.txt)",
            f"  certwright track show {SHOP}",
            *([f"  certwright renew now {SHOP}"] if link else []),  # later, its website is no more
            "  certwright renew plan            what the coming months bring",
            "  certwright consumer list         who holds the newest, and who is behind",
            "  certwright ca rotate root --plan",
            "  certwright report list           who was written to, and what became of it",
            "  certwright profile list          what may be issued, and to whom",
            "  certwright profile test mesh     policy is tested like code",
            "  certwright token create ci --role requester --profile mesh --attribute namespace=payments",
            f"  curl http://127.0.0.1:{self._world.plain}/crl/issuing-2.crl | openssl crl -inform DER -text",
            *([f"The pages (your browser does not know this CA): {escape(link)}"] if link else []),
        )
        self._voice.frame(f"[bold]All of this took {took:.1f} s.[/] Try next, in another terminal:")
        self._voice.to_copy(commands)

    def _stay(self, process: subprocess.Popen[bytes]) -> None:
        self._voice.aside("the server runs until Ctrl-C")
        try:
            process.wait()
        except KeyboardInterrupt:
            self._voice.aside("stopped")
        else:
            raise Unavailable("the server has stopped", hint=f"see {self._world.log}")


def _write(directory: Path, key: PrivateKey, issued: Mapping[str, Any]) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    directory.mkdir()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.write_new(directory / "key.pem", private, mode=0o600)
    files.write_new(directory / "cert.pem", (issued["certificate"] + issued["chain"]).encode())
    files.write_new(directory / "serial.txt", issued["serial"].encode())

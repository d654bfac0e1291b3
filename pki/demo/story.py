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
from contextlib import closing
from pathlib import Path

from rich.markup import escape

from ca import files
from ca.errors import Defect, Unavailable
from ca.keys.algorithms import KeyType
from ca.x509.request import make_request
from pki.client.rest import Client, connect
from pki.demo.gateway import Gateway, knock
from pki.demo.upkeep import SHOP, Upkeep
from pki.demo.voice import Voice
from pki.demo.website import Website, home
from pki.demo.world import DOMAIN, World
from pki.initialise import Initialised
from pki.settings import PREFIX

WORKLOAD = f"spiffe://{DOMAIN}/ns/payments/sa/api"
DEVICE = f"sensor-17.devices.{DOMAIN}"
CRL_PATIENCE = 10.0


def tell(directory: Path, *, once: bool) -> None:
    """Tell the story in `directory`; afterwards keep the world alive until Ctrl-C, unless `once`.

    Variables that configure an installation are forgotten first: they are meant for another one, perhaps a real one.
    """
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the server would outlive the demo
    with closing(World(directory)) as world:
        Teller(world).tell(once=once)


class Teller:
    """Tells the steps in order; what one made, the next ones use."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._voice = Voice()
        self._title, self._say, self._command = self._voice.title, self._voice.say, self._voice.command

    def tell(self, *, once: bool) -> None:
        """The whole story."""
        started = time.monotonic()
        self._voice.frame("[bold]Certwright[/]: a CA that issues, revokes, publishes, proves, and renews")
        self._hierarchy(self._world.make())
        with self._world.serving() as process, connect() as client:
            self._serving()
            workload = self._issue(client, "mesh", WORKLOAD, "a mesh workload: mutual TLS, a SPIFFE identity, one day")
            self._issue(client, "device", DEVICE, "an IoT device: a name of its own, ninety days")
            server = self._issue(client, "server", "localhost", "the gateway: a TLS server that asks for certificates")
            self._refusal(client)
            self._publish(client)
            files_of_gateway = (server / "cert.pem", server / "key.pem", self._world.trusted, self._world.crls)
            with (
                closing(Gateway(*files_of_gateway)) as gateway,
                home(self._world.directory.resolve() / "website") as directory,
                closing(Website(directory)) as website,
            ):
                self._accepted(gateway, workload)
                self._keep_head(client)
                self._revoked(client, workload)
                self._refused(client, gateway, workload)
                Upkeep(self._world, self._voice, client, website).tell(gateway.port)
                self._verified(client)
                self._next(time.monotonic() - started, once=once)
                if not once:
                    self._stay(process)

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
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        self._title(f"A certificate for {what}")
        self._command(f"cert issue {name} --profile {profile} --out {profile}")
        key = KeyType.P256.generate()
        body = {"profile": profile, "csr": make_request(key), "names": [name]}
        issued = client.post("/certificates", body)
        directory = self._world.directory / profile
        directory.mkdir()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files.write_new(directory / "key.pem", private, mode=0o600)
        files.write_new(directory / "cert.pem", (issued["certificate"] + issued["chain"]).encode())
        files.write_new(directory / "serial.txt", issued["serial"].encode())
        self._say(f"[green]{escape(name)}[/] until {issued['not_after']}, serial {issued['serial'][:16]}...")
        return directory

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

    def _publish(self, client: Client) -> None:
        self._title("Trust bundle and CRLs, as files that servers load")
        self._command("ca export --roots --out trusted.pem; certwright ca crl --out crls.pem")
        files.replace(self._world.trusted, client.fetch("/bundles/roots.pem"))
        self._fetch_crls(client)
        self._say("complete CRLs of the root and the issuing CA; certificates themselves name one shard of 128")

    def _fetch_crls(self, client: Client) -> None:
        names = [row["name"] for row in client.get("/authorities")]
        files.replace(self._world.crls, b"".join(client.fetch(f"/crl/{name}.pem") for name in names))

    def _accepted(self, gateway: Gateway, workload: Path) -> None:
        self._title("A TLS server accepts the workload")
        answer = knock(gateway.port, self._world.trusted, workload / "cert.pem", workload / "key.pem")
        if answer is not None:
            raise Defect(f"the gateway refused a valid certificate: {answer}")
        self._say(f"127.0.0.1:{gateway.port} [green]let it in[/]: certificate, chain and CRLs hold")

    def _keep_head(self, client: Client) -> None:
        self._title("Keep a signed head of the ledger somewhere else")
        self._command("ledger head --out kept-head.txt")
        head = client.get("/ledger/head")
        files.write_new(self._world.head, head["checkpoint"].encode())
        self._say(f"{head['size']} entries; whoever rewrites one of them cannot make this head fit again")

    def _revoked(self, client: Client, workload: Path) -> None:
        self._title("Revoke the workload")
        serial = (workload / "serial.txt").read_text()
        self._command(f"cert revoke {serial[:16]}... --reason key-compromise")
        client.post(f"/certificates/{serial}/revoke", {"reason": "key-compromise"})
        self._say("its key is blocked for ever, and its CRL shard is being rebuilt")

    def _refused(self, client: Client, gateway: Gateway, workload: Path) -> None:
        self._title("The same TLS server refuses it")
        started = time.monotonic()
        answer = None
        while answer is None and time.monotonic() - started < CRL_PATIENCE:
            self._fetch_crls(client)
            gateway.reload()
            answer = knock(gateway.port, self._world.trusted, workload / "cert.pem", workload / "key.pem")
        if answer is None:
            raise Defect("the gateway still accepts a revoked certificate")
        took = time.monotonic() - started
        self._say(f"[red]refused[/]: {escape(answer)}, {took:.1f} s after the revocation")

    def _verified(self, client: Client) -> None:
        self._title("Prove that nothing was issued behind your back")
        self._command("ledger verify --head kept-head.txt")
        *_, report = client.lines("/ledger/verify", {"checkpoint": self._world.head.read_text()})
        if not report["is_sound"]:
            raise Defect(f"the ledger is not sound: {json.dumps(report)}")
        entries, certificates = report["entries"], report["certificates"]
        self._say(f"[green]sound[/]: {entries} entries and {certificates} certificates agree with the kept head")

    def _next(self, took: float, *, once: bool) -> None:
        state = escape(str(self._world.state))
        in_environment = sys.prefix != sys.base_prefix
        commands = (
            *([f"  source {escape(sys.prefix)}/bin/activate"] if in_environment else []),
            f"  export CERTWRIGHT_STATE={state}",
            "  certwright cert list",
            f"  certwright cert show $(cat {escape(str(self._world.directory))}/mesh/serial.txt)",
            f"  certwright track show {SHOP}",
            *([f"  certwright renew now {SHOP}"] if not once else []),  # later, its website is no more
            "  certwright renew plan            what the coming months bring",
            "  certwright profile list          what may be issued, and to whom",
            "  certwright profile test mesh     policy is tested like code",
            "  certwright token create ci --role requester --profile mesh --attribute namespace=payments",
            f"  curl http://127.0.0.1:{self._world.plain}/crl/issuing-1.crl | openssl crl -inform DER -text",
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

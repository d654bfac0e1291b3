"""Exim on loopback: a mail server as people run one, with TLS, a password, delivery into files, and its own bounces.

It has a spool and a configuration of its own, as a user that may do nothing else; the mail system of the machine, if it
has one, is not touched.
"""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

from ca.x509.bundle import pem_certificate
from tests import peer
from tests.renewers.listeners import make, serving

USER, PASSWORD = "certwright", "a password, with / + and ="
ACCOUNT = "Debian-exim"
CONFIG = Template(r"""
primary_hostname = localhost
qualify_domain = web.example
spool_directory = $home/spool
log_file_path = $home/%slog
pid_file_path = $home/exim.pid
keep_environment =
local_interfaces = 127.0.0.1
daemon_smtp_ports = $port
tls_advertise_hosts = *
tls_certificate = $chain
tls_privatekey = $chain
dsn_advertise_hosts = *
message_size_limit = 20M
deliver_drop_privilege = true
errors_reply_to = postmaster@web.example
acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt

begin acl
acl_mail:
  deny !authenticated = *
       message = 5.7.0 sign in first
  accept
acl_rcpt:
  deny local_parts = nobody
       message = 5.1.1 there is no nobody
  defer local_parts = later
       message = 4.2.1 not now
  deny !domains = web.example : pki.example
       message = relay not permitted
  accept

begin routers
gone:
  driver = redirect
  local_parts = moved
  allow_fail
  data = :fail: 5.1.6 the mailbox has moved
kept:
  driver = accept
  transport = files

begin transports
files:
  driver = appendfile
  directory = $home/mail
  maildir_format
  envelope_to_add
  return_path_add

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = $${if def:tls_in_cipher}
  server_prompts = :
  server_condition = $${if and{{eq{$$auth2}{$user}}{eq{$$auth3}{$password}}}}
  server_set_id = $$auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_advertise_condition = $${if def:tls_in_cipher}
  server_prompts = User : Password
  server_condition = $${if and{{eq{$$auth1}{$user}}{eq{$$auth2}{$password}}}}
  server_set_id = $$auth1
""")


@dataclass
class Exim:
    """A running one."""

    port: int
    ca_file: Path
    home: Path

    def mailbox(self, name: str) -> list[bytes]:
        """What was delivered to one, oldest first. It lies in one place: Exim makes no path of what others say."""
        everything = [path.read_bytes() for path in sorted((self.home / "mail" / "new").glob("*"))]
        return [raw for raw in everything if f"Envelope-to: {name}@".encode() in raw]

    @property
    def log(self) -> str:
        """What it says happened."""
        return "".join(path.read_text() for path in sorted(self.home.glob("*log")))


@contextmanager
def running(directory: Path) -> Iterator[Exim]:
    """Run it until the block ends. Without it, or without the right to start it, the test is skipped."""
    program = peer.require("exim4")
    if os.getuid() != 0:
        peer.missing("exim4 starts as root")
    account = pwd.getpwnam(ACCOUNT)
    authority, home = make("ca.example", is_ca=True), Path(tempfile.mkdtemp(prefix="certwright-exim-"))
    try:
        home.chmod(0o755)
        leaf = make("localhost", issuer=authority)
        serving(home, leaf)
        chain = home / f"{leaf.certificate.serial_number:x}.pem"
        for name in ("spool", "mail"):
            (home / name).mkdir()
        ca_file = directory / "exim-ca.pem"
        ca_file.write_text(pem_certificate(authority.der))
        port, config = peer.free_port(), home / "exim.conf"
        config.write_text(CONFIG.substitute(home=home, port=port, chain=chain, user=USER, password=PASSWORD))
        for path in (home, *home.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        os.chown(config, 0, account.pw_gid)
        config.chmod(0o640)
        argv = [program, "-C", config, "-bdf", "-q1m"]
        with peer.running(argv, ready=peer.listens(port), log=home / "out"):
            yield Exim(port, ca_file, home)
    finally:
        shutil.rmtree(home, ignore_errors=True)

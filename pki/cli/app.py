"""The command, put together: options before the noun, what needs none, and how errors end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pki.cli import demo, doctor, init, serve
from pki.cli.nouns import Nouns
from pki.client.where import where

EPILOG = """
Start here: certwright demo shows everything in half a minute, in a directory of its own.
Then: certwright init, certwright serve, certwright cert issue --profile mesh spiffe://...
"""

app = typer.Typer(
    name="certwright",
    cls=Nouns,
    help="An internal CA that issues, revokes, publishes and proves; what is tracked is renewed, and a CA is rotated.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"certwright {version('certwright')}")
        raise typer.Exit


@app.callback()
def options(
    state: Annotated[
        Path | None,
        typer.Option(envvar="CERTWRIGHT_STATE", help="State directory of the installation on this machine."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(envvar="CERTWRIGHT_SERVER", help="URL of a remote installation, https://...")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="CERTWRIGHT_TOKEN", help="API token or JWT for it. Better in the environment.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_CA_FILE", help="Root certificate that it has to chain to, PEM.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_CERTIFICATE", help="Client certificate, PEM, instead of a token.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_KEY", help="The private key of the client certificate, PEM.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Where the installation is: nothing for the one on this machine, --server for one elsewhere."""
    where.state, where.server, where.token = state, server, token
    where.ca_file, where.certificate, where.key = ca_file, certificate, key


def run() -> None:
    """Run the command; a refusal ends with one line, a hint and exit code 1."""
    as_json = "--json" in sys.argv
    try:
        app()
    except Exception as error:  # noqa: BLE001 - sorted below; what is not ours goes on
        _end(error, as_json=as_json)


def _end(error: Exception, *, as_json: bool) -> None:
    from ca.errors import CertwrightError
    from pki.cli.output import refuse
    from pki.client.rest import Problem, document_of

    if isinstance(error, Problem):
        document = dict(error.document)
    elif isinstance(error, CertwrightError):
        document = document_of(error)
    elif isinstance(error, OSError):
        place = "" if error.filename is None else f": {error.filename}"
        document = {"code": "file", "detail": f"{error.strerror or error}{place}"}
    elif isinstance(error, UnicodeDecodeError):
        document = {"code": "not-text", "detail": "a file is not UTF-8 text", "hint": "was one saved by an old editor?"}
    else:
        raise error
    try:
        refuse(document, as_json=as_json)
    except typer.Exit as end:
        sys.exit(end.exit_code)

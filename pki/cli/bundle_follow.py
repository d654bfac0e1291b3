"""`certwright bundle follow`: be a consumer on this host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki.cli.bundle import app
from pki.cli.options import Json

if TYPE_CHECKING:
    from pki.following import Following, Taken

PAUSE = 5.0
"""Seconds after a failure until it is tried again."""


@app.command()
def follow(
    base: Annotated[str, typer.Argument(metavar="URL", help="The plain listener: http://ca.example.org:8080")],
    trust_domain: Annotated[str, typer.Option(help="Whose bundle: example.internal")],
    root: Annotated[Path, typer.Option(help="The root to begin with, PEM.", exists=True, dir_okay=False)],
    directory: Annotated[Path, typer.Option(help="Where it goes: DIRECTORY/live/bundle.pem, crl.pem", file_okay=False)],
    crl: Annotated[bool, typer.Option("--crl/--no-crl", help="Whether CRLs are fetched, too.")] = True,
    reload: Annotated[
        str | None, typer.Option(help="Run afterwards, without a shell: '/usr/sbin/nginx -s reload'.")
    ] = None,
    consumer: Annotated[str, typer.Option(help="Which consumer this is: certwright consumer add --secret")] = "",
    secret_file: Annotated[
        Path | None, typer.Option(help="File with the secret that it acknowledges with.", exists=True, dir_okay=False)
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Take what is newest, and end.")] = False,
    json: Json = False,
) -> None:
    """Fetch bundle and CRLs, check them offline, put them into use, acknowledge; again whenever there are newer ones.

    It begins with one root, needs no server on this machine, and refuses what is older, cut off, or signed by others.
    """
    from pki.client.fetching import base_of
    from pki.following import Following
    from pki.secret_files import read_secret

    if bool(consumer) != (secret_file is not None):
        raise typer.BadParameter("--consumer and --secret-file go together", param_hint="--consumer")
    secret = None if secret_file is None else read_secret(secret_file)
    program = _words(reload)
    plan = Following(base_of(base), trust_domain, root, directory, crl, program, consumer, secret)
    _keep(plan, once=once, as_json=json)


def _keep(plan: Following, *, once: bool, as_json: bool) -> None:
    """Take what is newest, once or for ever; the same trouble is said once."""
    import time

    from ca.errors import CertwrightError
    from pki.cli.output import say
    from pki.following import WAIT, follow

    is_first, failing = True, ""
    while True:
        try:
            taken = follow(plan, wait=0 if is_first or once else WAIT)
        except CertwrightError as error:
            if once:
                raise
            if error.message != failing:
                say(error.message)
            failing = error.message
            time.sleep(PAUSE)
            continue
        is_first, failing = False, ""
        if taken is not None:
            _say(taken, as_json=as_json)
        elif once:
            say("what is held is the newest")
        if once:
            return


def _say(taken: Taken, *, as_json: bool) -> None:
    from pki.cli.output import print_json, say

    if as_json:
        print_json({"versions": dict(taken.versions), "is_acknowledged": taken.is_acknowledged})
        return
    versions = ", ".join(f"{stream} {version}" for stream, version in taken.versions.items())
    say(f"in use: {versions}{', acknowledged' if taken.is_acknowledged else ''}")


def _words(command: str | None) -> tuple[str, ...]:
    import shlex

    try:
        return tuple(shlex.split(command)) if command else ()
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--reload") from None

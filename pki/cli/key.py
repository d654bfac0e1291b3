"""`certwright key`: block public keys."""

from __future__ import annotations

from typing import Annotated

import typer

from pki.cli.options import Json

app = typer.Typer(help="Public keys that must never be certified again.", no_args_is_help=True)


@app.command()
def block(
    key: Annotated[str, typer.Argument(help="SHA-256 of the public key, hex; or a PEM file that holds it.")],
    reason: Annotated[str, typer.Option(help="Why.")] = "key-compromise",
    json: Json = False,
) -> None:
    """Never certify a key again. Revokes nothing: certwright cert revoke --key does both."""
    from pki.cli.material import key_hash
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    with connect() as client:
        done = client.post("/keys/block", {"key": key_hash(key), "reason": reason})
    if json:
        print_json(done)
    else:
        say("blocked" if done["was_new"] else "it was blocked already")

"""`certwright ca take-offline` and `bring-back`: how the key of a CA leaves this machine, and returns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pki.cli.ca import app
from pki.cli.options import Json, Yes

PassphraseFile = Annotated[Path | None, typer.Option(help="File with its passphrase; else it is asked for.")]


@app.command("take-offline")
def take_offline(
    name: Annotated[str, typer.Argument(help="A root, or another CA without CRL shards.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file for the key, on the medium that is taken away.")],
    passphrase_file: PassphraseFile = None,
    list_lifetime: Annotated[str, typer.Option(help="How long the CRL is good that it signs before.")] = "400d",
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Have the key of a CA leave: written encrypted, read back, and only then destroyed here."""
    from ca import files
    from ca.errors import Conflict
    from pki.cli.ca import shown
    from pki.cli.output import ask, say
    from pki.client.rest import connect, named

    if out.exists():
        raise Conflict(f"{out} exists already", hint="name another file with --out")
    ask(f"the key of {name} will be in {out} alone: go on?", yes=yes)
    words = _passphrase(passphrase_file, out, confirm=True)
    with connect() as client:
        place = f"{named('/authorities', name)}/key"
        exported = client.post(f"{place}/export", {"passphrase": words})
        files.write_new(out, exported["key"].encode(), mode=0o600)
        body = {"key": out.read_text(), "passphrase": words, "list_lifetime": list_lifetime}
        row = client.post(f"{place}/leave", body)
    shown(row, as_json=json)
    if not json:
        say(f"the key of {row['name']} is in {out}; the server had it in memory: restart it")
        say(f"replicas have copies of their own: remove keys/{row['name']}-*.pem there, and restart them")
        say("backups from before still hold it, encrypted with the installation's passphrase")


@app.command("bring-back")
def bring_back(
    name: Annotated[str, typer.Argument(help="An offline CA.")],
    key: Annotated[Path, typer.Option("--key", help="The file of its key.", exists=True, dir_okay=False)],
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Take the key of an offline CA in again: it signs here from now on."""
    from pki.cli.ca import shown
    from pki.cli.paths import read_text
    from pki.client.rest import connect, named

    text = read_text(key)
    body = {"key": text, "passphrase": _passphrase(passphrase_file, key)}
    with connect() as client:
        shown(client.post(f"{named('/authorities', name)}/key/return", body), as_json=json)


def _passphrase(file: Path | None, of: Path, *, confirm: bool = False) -> str:
    from ca.keys.passphrase import read_passphrase_file

    if file is not None:
        return read_passphrase_file(file).reveal()
    words: str = typer.prompt(f"passphrase of {of}", hide_input=True, confirmation_prompt=confirm, err=True)
    return words

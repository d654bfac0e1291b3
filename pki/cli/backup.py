"""`certwright backup`: key, create, list, verify, restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from ca.secret import Secret

app = typer.Typer(help="Backups: made while it runs, sealed to a key that is kept elsewhere.", no_args_is_help=True)
BackupFile = Annotated[Path, typer.Argument(help="The backup.", exists=True, dir_okay=False)]
PrivateKeyFile = Annotated[
    Path, typer.Option("--key", help="The recipient's private key, by `backup key`.", exists=True, dir_okay=False)
]
KeyPassphrase = Annotated[
    Path | None, typer.Option("--key-passphrase-file", help="File with its passphrase; else it is asked for.")
]


@app.command()
def key(
    out: Annotated[Path, typer.Option("--out", "-o", help="File for the private key, better on another machine.")],
    passphrase_file: KeyPassphrase = None,
    json: Json = False,
) -> None:
    """Make the key that alone opens backups. Prints the recipient, which the settings name."""
    from pki import backup
    from pki.cli.output import print_json, say

    recipient = backup.make_key(out, _passphrase(passphrase_file, out, confirm=True))
    if json:
        print_json({"recipient": recipient, "file": str(out)})
        return
    typer.echo(recipient)
    say(f"the private key is in {out}: keep it and its passphrase away from the installation, twice")
    say('next: [backup] recipient = "..." and to = "..." in certwright.toml')


@app.command()
def create(json: Json = False) -> None:
    """Make a backup now, in the directory that the settings name."""
    from pki.cli.output import counted, print_json, say
    from pki.cli.progress import bar
    from pki.client.rest import Problem, connect

    made: dict[str, Any] = {"error": "nothing was answered"}
    with connect() as client, bar("reading the database", is_quiet=json) as update:
        for made in client.lines("/backups", {}):
            if "done" in made:
                update(made["done"], made["of"])
    if "file" not in made:
        raise Problem({"code": "backup-failed", "detail": f"no backup was made: {made.get('error')}"})
    if json:
        print_json(made)
        return
    typer.echo(made["file"])
    say(f"{counted(made['rows'], 'row')}, {made['bytes']} bytes, ledger head {made['ledger_size']}")


@app.command("list")
def listing(json: Json = False) -> None:
    """Show the backups that are there, the newest first."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        found = client.get("/backups")
    if json:
        print_json(found)
        return
    rows = [(item["file"], item["made_at"], item["bytes"]) for item in found["items"]]
    table(("file", "made at", "bytes"), rows, empty="there are no backups: see [backup] in the settings")


@app.command()
def verify(
    file: BackupFile,
    key: PrivateKeyFile,
    key_passphrase_file: KeyPassphrase = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the installation's passphrase: shows that its keys open.")
    ] = None,
    json: Json = False,
) -> None:
    """Read all of a backup: chunks, hashes, the ledger against its head. Exit code 1 if it is not whole."""
    from pki import backup
    from pki.cli.output import fields, print_json
    from pki.cli.progress import bar

    private = backup.load_key(key, _passphrase(key_passphrase_file, key))
    size = file.stat().st_size
    with bar(f"reading {file.name}", is_quiet=json) as update:
        found, keys = backup.verify(file, private, passphrase_file, lambda done: update(done, size))
    values = {
        "made_at": backup.moment(found.begin.get("made_at")),
        "database": found.begin.get("dialect"),
        "revision": found.begin.get("revision"),
        "rows": sum(found.tables.values()),
        "certificates": found.tables.get("certificate", 0),
        "revocations": found.tables.get("revocation", 0),
        "ledger_size": None if found.head is None else found.head.size,
        "files": len(found.files),
        "keys": keys,
    }
    if json:
        print_json(values | {"is_whole": True})
    else:
        fields(values)


@app.command()
def restore(
    file: BackupFile,
    key: PrivateKeyFile,
    state: Annotated[Path, typer.Option("--state", help="The state directory to make or to replace.")],
    key_passphrase_file: KeyPassphrase = None,
    store: Annotated[str | None, typer.Option(help="URL of an empty PostgreSQL database.")] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="File with the installation's passphrase, where no state is left."),
    ] = None,
    head: Annotated[
        Path | None, typer.Option("--head", help="A checkpoint that was kept elsewhere.", exists=True, dir_okay=False)
    ] = None,
    accept_fork: Annotated[
        bool, typer.Option("--accept-fork", help="Go on although newer heads of the ledger were published.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Restore into a sandbox, prove it, then put it in place; what was there is kept beside it."""
    from pki import backup, restoring
    from pki.cli.output import ask, fields, print_json, say
    from pki.cli.paths import read_text
    from pki.cli.progress import bars

    ask(f"Replace the installation in {state} by {file.name}?", yes=yes or json or not state.exists())
    private = backup.load_key(key, _passphrase(key_passphrase_file, key))
    kept = None if head is None else read_text(head)
    with bars(is_quiet=json) as progress:
        done = restoring.restore(
            file,
            private,
            state,
            url=store,
            head=kept,
            accept_fork=accept_fork,
            passphrase_file=passphrase_file,
            progress=progress,
        )
    values = {name: value for name, value in done.as_dict().items() if name != "files"}
    if json:
        print_json(values)
        return
    fields(values)
    if done.is_fork:
        say("the ledger forks here: tell whoever follows it, they will see it")


def _passphrase(file: Path | None, of: Path, *, confirm: bool = False) -> Secret:
    from ca.keys.passphrase import read_passphrase_file
    from ca.secret import Secret

    if file is not None:
        return read_passphrase_file(file)
    return Secret(typer.prompt(f"passphrase of {of}", hide_input=True, confirmation_prompt=confirm, err=True))

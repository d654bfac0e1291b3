"""`certwright replace`: plan, start, list, show, certificates, report, stop, drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from pki.client.rest import Client

app = typer.Typer(
    help="Replace certificates in numbers, each with a new key: after a compromise, by a filter, and as a drill of it.",
    no_args_is_help=True,
)

Id = Annotated[int, typer.Argument(help="A replacement's number: certwright replace list", min=1)]
Reason = Annotated[str, typer.Option(help="Why, in at least ten characters; it goes to the ledger.")]
Authority = Annotated[list[str] | None, typer.Option(help="What this CA has issued; may be given again.")]
Key = Annotated[list[str] | None, typer.Option(help="SHA-256 of a public key; may be given again.")]
KeyType = Annotated[str | None, typer.Option(help="Keys of this type: RSA-2048.")]
Host = Annotated[str | None, typer.Option(help="Seen at this host, or named so: it, or one beneath it.")]
Profile = Annotated[str | None, typer.Option(help="Issued under this profile.")]
Owner = Annotated[str | None, typer.Option(help="What belongs to this owner.")]
Serial = Annotated[list[str] | None, typer.Option(help="A serial number; may be given again.")]
Lineage = Annotated[list[str] | None, typer.Option(help="A lineage; may be given again.")]
PerMinute = Annotated[int | None, typer.Option(help="How many renewals begin in a minute.", min=1)]
Revokes = Annotated[bool, typer.Option("--revoke", help="Revoke each old one once the new one was seen.")]
Because = Annotated[str, typer.Option(help="The reason of these revocations: superseded, key-compromise ...")]
Deadline = Annotated[str | None, typer.Option(help="Revoke what is left after this, replaced or not: 24h")]


@app.command()
def plan(
    authority: Authority = None,
    key: Key = None,
    key_type: KeyType = None,
    host: Host = None,
    profile: Profile = None,
    owner: Owner = None,
    serial: Serial = None,
    lineage: Lineage = None,
    per_minute: PerMinute = None,
    json: Json = False,
) -> None:
    """Show how many certificates that are, how long it takes, in which order, and who else has to act."""
    from pki.cli.output import print_json
    from pki.cli.replace_view import preview
    from pki.client.rest import connect

    chosen = _selection(authority, key, key_type, host, profile, owner, serial, lineage)
    with connect() as client:
        found = client.post("/replacements/plan", _body(chosen, "only to look at it", per_minute))
    if json:
        print_json(found)
    else:
        preview(found)


@app.command()
def start(
    reason: Reason,
    authority: Authority = None,
    key: Key = None,
    key_type: KeyType = None,
    host: Host = None,
    profile: Profile = None,
    owner: Owner = None,
    serial: Serial = None,
    lineage: Lineage = None,
    per_minute: PerMinute = None,
    revoke: Revokes = False,
    because: Because = "superseded",
    deadline: Deadline = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Replace them; a criterion narrows, and at least one is needed."""
    from pki.cli.output import ask
    from pki.cli.replace_view import preview, shown
    from pki.client.rest import connect

    chosen = _selection(authority, key, key_type, host, profile, owner, serial, lineage)
    body = _body(chosen, reason, per_minute)
    body |= {"revokes": revoke, "revocation_reason": because}
    body |= {} if deadline is None else {"deadline": deadline}
    with connect() as client:
        if not (yes or json):
            preview(client.post("/replacements/plan", body))
        ask("replace them?", yes=yes or json)
        shown(client.post("/replacements", body), as_json=json)


@app.command("list")
def listing(
    state: Annotated[str | None, typer.Option(help="open, done or stopped.")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List the replacements, newest first."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.cli.replace_view import far, selected
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/replacements", limit or None, state=state))
    if json:
        print_json(rows)
        return
    columns = ("replacement", "state", "accounted for", "started", "selected by", "reason")
    rest = [
        [row["id"], row["state"], far(row), moment(row["started_at"]), selected(row), row["reason"]] for row in rows
    ]
    table(columns, rest, empty="nothing was ever replaced in numbers: certwright replace plan --help")
    say_if_cut(rows, limit)


@app.command()
def show(
    replacement: Id,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay until it ends, or Ctrl-C; it goes on without you.")
    ] = False,
    json: Json = False,
) -> None:
    """Show one with its account."""
    from pki.cli.replace_view import follow, shown
    from pki.client.rest import connect

    with connect() as client:
        found = follow(client, replacement, is_quiet=json) if watch else client.get(f"/replacements/{replacement}")
    shown(found, as_json=json)


@app.command()
def certificates(
    replacement: Id,
    state: Annotated[str | None, typer.Option(help="waiting, renewing, replaced, verified, revoked or ended.")] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List its certificates, what became of each, and why."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages(f"/replacements/{replacement}/certificates", limit or None, state=state))
    if json:
        print_json(rows)
        return
    rest = [
        [row["state"], row["shown_as"], row["serial"], moment(row["changed_at"]), row["note"] or None] for row in rows
    ]
    table(("state", "certificate", "serial", "since", "note"), rest, empty="none")
    say_if_cut(rows, limit)


@app.command()
def report(replacement: Id, json: Json = False) -> None:
    """Print the report: counts, times, owners, what is left and why, and what proves it."""
    from pki.cli.output import print_json
    from pki.client.rest import connect

    with connect() as client:
        found = client.get(f"/replacements/{replacement}/report")
    if json:
        print_json(found)
    else:
        typer.echo(found["text"], nl=False)


@app.command()
def stop(replacement: Id, reason: Reason, json: Json = False) -> None:
    """Replace no more; what is replaced stays so."""
    from pki.cli.replace_view import shown
    from pki.client.rest import connect

    with connect() as client:
        shown(client.post(f"/replacements/{replacement}/stop", {"reason": reason}), as_json=json)


@app.command()
def drill(
    authority: Authority = None,
    key: Key = None,
    key_type: KeyType = None,
    host: Host = None,
    profile: Profile = None,
    owner: Owner = None,
    serial: Serial = None,
    lineage: Lineage = None,
    per_minute: PerMinute = None,
    count: Annotated[int | None, typer.Option(help="How many; else as many as there are.", min=1)] = None,
    json: Json = False,
) -> None:
    """Do the same in a sandbox like this installation, and say how long the real one takes."""
    from pki.cli.output import print_json
    from pki.cli.replace_view import drilled
    from pki.client.rest import connect

    chosen = _selection(authority, key, key_type, host, profile, owner, serial, lineage)
    body = _body(chosen, "a drill of a mass replacement", per_minute) | ({} if count is None else {"count": count})
    with connect() as client:
        found = _drill(client, body, is_quiet=json)
    if json:
        print_json(found)
    else:
        drilled(found)
    if found["error"] is not None or found["progress"]["left"]:
        raise typer.Exit(1)


def _drill(client: Client, body: dict[str, Any], *, is_quiet: bool) -> dict[str, Any]:
    from pki.cli.progress import bar

    line: dict[str, Any] = {"error": "nothing was answered"}
    with bar("drill", is_quiet=is_quiet) as update:
        for line in client.lines("/replacements/drill", body):
            update(line["done"], line["of"])
    return line


def _selection(
    authority: list[str] | None,
    key: list[str] | None,
    key_type: str | None,
    host: str | None,
    profile: str | None,
    owner: str | None,
    serial: list[str] | None,
    lineage: list[str] | None,
) -> dict[str, Any]:
    lists = {"authorities": authority, "spki_sha256": key, "serials": serial, "lineages": lineage}
    texts = {"key_type": key_type, "host": host, "profile": profile, "owner": owner}
    return {name: value for name, value in {**lists, **texts}.items() if value}


def _body(selection: dict[str, Any], reason: str, per_minute: int | None) -> dict[str, Any]:
    return {"selection": selection, "reason": reason} | ({} if per_minute is None else {"per_minute": per_minute})

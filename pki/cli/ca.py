"""`certwright ca`: the authorities, and how fresh their CRLs are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from pki.client.rest import Client

app = typer.Typer(help="Authorities: roots and issuing CAs, their states and their CRLs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An authority such as issuing-1, or a line such as issuing: its active one.")]
BEGIN = "-----BEGIN CERTIFICATE-----"
Out = Annotated[Path | None, typer.Option("--out", "-o", help="File to write; standard output if left out.")]

Permit = Annotated[
    list[str] | None,
    typer.Option(
        help="Names that it may certify, and no other: dns:internal.example, ip:10.0.0.0/8, uri:.mesh, email:..."
    ),
]
Exclude = Annotated[list[str] | None, typer.Option(help="Names that it may not certify, written like those.")]


@app.command("list")
def listing(json: Json = False) -> None:
    """List the authorities."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/authorities")
    if json:
        print_json(rows)
        return
    columns = ("name", "state", "parent", "key_type", "key")
    lines = [[*(row[column] for column in columns), moment(row["not_after"]), row["subject"]] for row in rows]
    table(("name", "state", "beneath", "key", "is", "ends", "subject"), lines, empty="there are no authorities")


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show one authority."""
    from pki.cli.output import fields, print_json
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.get(named("/authorities", name))
    if json:
        print_json(row)
        return
    certificate = row.pop("certificate")
    fields(row)
    typer.echo(certificate, nl=False)


@app.command()
def create(
    line: Annotated[str, typer.Argument(help="The line it belongs to: an existing one for its next generation.")],
    subject: Annotated[str, typer.Option(help="RFC 4514, such as 'CN=Factory CA,O=Example'.")],
    profile: Annotated[str, typer.Option(help="Profile of kind authority; it names the CA above.")] = "sub-ca",
    root: Annotated[bool, typer.Option("--root", help="Make a self-signed root instead.")] = False,
    key_type: Annotated[str, typer.Option(help="Key of the new CA.")] = "P-256",
    lifetime: Annotated[str | None, typer.Option(help="Such as 1825d; the profile's if left out.")] = None,
    shards: Annotated[int | None, typer.Option(help="CRL shards; the setting crl.shards if left out.")] = None,
    permit: Permit = None,
    exclude: Exclude = None,
    json: Json = False,
) -> None:
    """Make an authority. A second generation of a line starts as prepared: activate it when it is known everywhere."""
    from pki.client.rest import connect

    body = {
        "line": line,
        "subject": subject,
        "profile": None if root else profile,
        "key_type": key_type,
        "lifetime": lifetime,
        "crl_shards": shards,
        "permit": permit or [],
        "exclude": exclude or [],
    }
    with connect() as client:
        shown(client.post("/authorities", body), as_json=json)


@app.command("import")
def import_existing(
    line: Annotated[str, typer.Argument(help="The line it shall belong to.")],
    cert: Annotated[Path, typer.Option(help="Its certificate, PEM.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option(help="Its private key, PEM, encrypted or not.", exists=True, dir_okay=False)],
    shards: Annotated[int | None, typer.Option(help="CRL shards; the setting crl.shards if left out.")] = None,
    json: Json = False,
) -> None:
    """Take over a CA that exists. On the machine itself only: private keys do not travel."""
    from pki.cli.paths import read_text
    from pki.client.rest import connect

    text, certificate = read_text(key), read_text(cert)
    passphrase = None
    if "ENCRYPTED" in text:
        passphrase = typer.prompt(f"passphrase of {key}", hide_input=True, err=True)
    body = {"line": line, "certificate": certificate, "key": text, "passphrase": passphrase, "crl_shards": shards}
    with connect() as client:
        shown(client.post("/authorities/import", body), as_json=json)


@app.command()
def export(
    name: Annotated[str | None, typer.Argument(help="An authority or a line.")] = None,
    roots: Annotated[bool, typer.Option("--roots", help="The trust bundle: every root in force.")] = False,
    chain: Annotated[bool, typer.Option("--chain", help="With the CAs above it, root included.")] = False,
    out: Out = None,
    json: Json = False,
) -> None:
    """Write CA certificates as PEM: one, its chain, or the trust bundle. Never a private key."""
    from pki.cli.output import counted, print_json, say
    from pki.cli.paths import write_or_print
    from pki.client.rest import connect

    if roots == (name is not None):
        raise typer.BadParameter("say either which authority, or --roots")
    with connect() as client:
        text = client.fetch("/bundles/roots.pem").decode() if name is None else _certificates(client, name, chain)
    if out is not None or not json:
        write_or_print(text, out)
    if json:
        print_json({"certificates": text, "file": None if out is None else str(out)})
    elif out is not None:
        say(f"{counted(text.count(BEGIN), 'certificate')} written to {out}")


def _certificates(client: Client, name: str, chain: bool) -> str:
    from pki.client.rest import named

    row = client.get(named("/authorities", name))
    text: str = row["certificate"]
    while chain and row["parent"] is not None:
        row = client.get(named("/authorities", row["parent"]))
        text += row["certificate"]
    return text


@app.command()
def crl(
    name: Annotated[str | None, typer.Argument(help="An authority or a line; all of them if left out.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the complete CRLs, PEM, for servers that load one file.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Hold every list, as it is served, against what is revoked; 1 if one is wrong."),
    ] = False,
    json: Json = False,
) -> None:
    """Show how fresh CRLs are; with --out, write the complete ones (nginx: ssl_crl, Mosquitto: crlfile)."""
    from pki.cli.output import counted, print_json, say, table
    from pki.cli.paths import write_or_print
    from pki.client.rest import connect, named

    with connect() as client:
        if name is None:
            rows = client.get("/authorities")
            names = [row["name"] for row in rows if row["state"] != "retired" and row["key"] != "elsewhere"]
        else:
            names = [client.get(named("/authorities", name))["name"]]
        if check:
            found = [one for each in names for one in client.post(f"{named('/authorities', each)}/crls/check", {})]
            _say_checked(found, as_json=json)
            return
        if out is not None:
            write_or_print("".join(client.fetch(f"/crl/{each}.pem").decode() for each in names), out)
            if not json:
                say(f"{counted(len(names), 'complete CRL')} written to {out}")
        lists = {each: client.get(f"/authorities/{each}/crls") for each in names} if out is None or json else {}
    if json:
        print_json(lists)
    elif out is None:
        columns = ("authority", "lists", "entries", "oldest", "first to end", "overdue")
        table(columns, [_summary(each, rows) for each, rows in lists.items()], empty="there are no CRLs")


def _say_checked(found: list[dict[str, Any]], *, as_json: bool) -> None:
    from pki.cli.output import counted, print_json, say

    wrong = [one for one in found if one["wrong"]]
    if as_json:
        print_json(found)
    else:
        for one in wrong:
            for finding in one["findings"]:
                say(finding)
        entries = sum(one["entries"] for one in found)
        say(f"{counted(len(found), 'list')} with {counted(entries, 'entry')} checked, {len(wrong)} wrong")
    if wrong:
        raise typer.Exit(1)


@app.command()
def activate(name: Name, json: Json = False) -> None:
    """Let an authority sign; the one of its line that was active before is tainted."""
    _change(name, "active", as_json=json)


@app.command()
def taint(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Stop an authority from signing new certificates. It stays trusted and keeps its CRLs."""
    from pki.cli.output import ask

    ask(f"{name} will sign no new certificates: go on?", yes=yes)
    _change(name, "tainted", as_json=json)


@app.command()
def distrust(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Take a tainted authority out of what consumers trust. It keeps its CRLs; certwright ca rotate waits for proof."""
    from pki.cli.output import ask

    ask(f"whoever is shown what {name} has signed will refuse it: go on?", yes=yes)
    _change(name, "distrusted", as_json=json)


@app.command()
def retire(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Let a tainted or distrusted authority go, for ever: it signs its last CRLs, and this CA accepts nothing of it."""
    from pki.cli.output import ask

    ask(f"{name} will never be trusted again, nor what it has signed: go on?", yes=yes)
    _change(name, "retired", as_json=json)


def _change(name: str, state: str, *, as_json: bool) -> None:
    from pki.client.rest import connect, named

    with connect() as client:
        shown(client.post(f"{named('/authorities', name)}/state", {"state": state}), as_json=as_json)


def shown(row: dict[str, object], *, as_json: bool) -> None:
    """Print one authority."""
    from pki.cli.output import fields, print_json

    if as_json:
        print_json(row)
    else:
        fields({key: value for key, value in row.items() if key != "certificate"})


def _summary(name: str, rows: list[dict[str, object]]) -> list[object]:
    from pki.cli.output import moment

    complete = next(row for row in rows if row["shard"] is None)
    overdue = sum(bool(row["is_overdue"]) for row in rows)
    oldest, first = min(str(row["this_update"]) for row in rows), min(str(row["next_update"]) for row in rows)
    return [name, len(rows), complete["entries"], moment(oldest), moment(first), overdue]

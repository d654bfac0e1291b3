"""`certwright ca request`, `requests`, `accept`, `withdraw`: a CA of ours beneath somebody else's root."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.ca import Exclude, Out, Permit, app
from pki.cli.options import Json, Yes

Waiting = Annotated[str, typer.Argument(help="A CA that waits for its certificate, such as issuing-2.")]


@app.command()
def request(
    line: Annotated[str, typer.Argument(help="The line it shall belong to.")],
    subject: Annotated[str, typer.Option(help="RFC 4514, such as 'CN=Mesh CA,O=Example'.")],
    key_type: Annotated[str, typer.Option(help="Key of the new CA.")] = "P-256",
    shards: Annotated[int | None, typer.Option(help="CRL shards; the setting crl.shards if left out.")] = None,
    permit: Permit = None,
    exclude: Exclude = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Make the key of a CA and a request for whoever runs the CA above it; certwright ca accept takes the answer in."""
    from pki.client.rest import connect

    body = {
        "line": line,
        "subject": subject,
        "key_type": key_type,
        "crl_shards": shards,
        "permit": permit or [],
        "exclude": exclude or [],
    }
    with connect() as client:
        _shown(client.post("/authority-requests", body), out, as_json=json)


@app.command()
def requests(
    name: Annotated[str | None, typer.Argument(help="Show this one's request again.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """List the CAs that wait for their certificate, or show one's request."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect, named

    with connect() as client:
        if name is not None:
            _shown(client.get(named("/authority-requests", name)), out, as_json=json)
            return
        rows = client.get("/authority-requests")
    if json:
        print_json(rows)
        return
    shown = [[row["name"], row["subject"], moment(row["created_at"]), row["created_by"]] for row in rows]
    table(("name", "subject", "requested", "by"), shown, empty="no CA waits for its certificate")


@app.command()
def accept(
    name: Waiting,
    chain: Annotated[Path, typer.Argument(help="Its certificate, those above and the root, PEM.", exists=True)],
    json: Json = False,
) -> None:
    """Take in the chain of a CA that was requested, after checking it as relying parties will."""
    from pki.cli.ca import shown
    from pki.cli.paths import read_text
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.post(f"{named('/authority-requests', name)}/chain", {"certificates": read_text(chain)})
    shown(row, as_json=json)


@app.command()
def withdraw(name: Waiting, yes: Yes = False, json: Json = False) -> None:
    """Give a requested CA up: its key is destroyed."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"the key of {name} will be destroyed, and a certificate for it will be of no use: go on?", yes=yes)
    with connect() as client:
        row = client.delete(named("/authority-requests", name))
    if json:
        print_json(row)
    else:
        say(f"{name} is withdrawn")


def _shown(row: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    from pki.cli.output import fields, print_json, say
    from pki.cli.paths import write_or_print

    if as_json:
        print_json(row)
        if out is None:
            return
    text = str(row.pop("csr"))
    if not as_json:
        fields(row)
    write_or_print(text, out)
    if out is not None and not as_json:
        say(f"have {out} signed as a CA, then: certwright ca accept {row['name']} CHAIN.pem")

"""`certwright ceremony`: what an offline CA is asked to sign, by two files that somebody carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.ca import Exclude, Permit
from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from ca.ceremony.offline import Judged

app = typer.Typer(help="Offline CAs: two files are carried to the key and back.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A ceremony, such as root-1-ceremony-1.")]
NO_LIST, LAST_LIST = "none", "last"
LONGEST_LIST = "73000d"
"""As long as anything lives: a list ends with its CA."""


@app.command()
def request(
    authority: Annotated[str, typer.Argument(help="The offline CA, such as root-1.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to carry.")],
    line: Annotated[str | None, typer.Option(help="Have it certify a new CA of this line; else only a list.")] = None,
    subject: Annotated[str | None, typer.Option(help="Its subject, RFC 4514, such as 'CN=Mesh CA 2'.")] = None,
    profile: Annotated[str, typer.Option(help="Its profile, of kind authority.")] = "sub-ca",
    key_type: Annotated[str, typer.Option(help="Its key.")] = "P-256",
    lifetime: Annotated[str | None, typer.Option(help="Such as 1825d; the profile's if left out.")] = None,
    shards: Annotated[int | None, typer.Option(help="Its CRL shards; the setting crl.shards if left out.")] = None,
    permit: Permit = None,
    exclude: Exclude = None,
    cross: Annotated[str | None, typer.Option(help="Have it certify another root instead, such as root-2.")] = None,
    list_lifetime: Annotated[
        str, typer.Option(help="How long its next CRL is good; `last`: until its end; `none`: no CRL.")
    ] = "400d",
    json: Json = False,
) -> None:
    """Draw up what an offline CA is to sign. What it says is printed: print it on paper, and take both along."""
    from ca.ceremony import script
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    body = {
        "authority": authority,
        "line": line,
        "subject": subject,
        "profile": profile,
        "key_type": key_type,
        "lifetime": lifetime,
        "crl_shards": shards,
        "permit": permit or [],
        "exclude": exclude or [],
        "crosses": cross,
        "list_lifetime": {NO_LIST: None, LAST_LIST: LONGEST_LIST}.get(list_lifetime, list_lifetime),
    }
    with connect() as client:
        row = client.post("/ceremonies", body)
    document = _write(row, out)
    if json:
        print_json(row | {"file": str(out)})
        return
    typer.echo(script.write(_judged(document), request=out.name), nl=False)
    say(f"{out} is what is carried to the key of {row['authority']}; print what is above and compare it there")


@app.command("list")
def listing(json: Json = False) -> None:
    """Show ceremonies, the newest first."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/ceremonies")
    if json:
        print_json(rows)
        return
    shown = [[row["name"], row["asks_for"], row["state"], moment(row["created_at"]), row["created_by"]] for row in rows]
    table(("name", "asks for", "state", "asked", "by"), shown, empty="no offline CA was asked for anything")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A ceremony; or a request's file, on the machine without a network.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the request's file again.")] = None,
    json: Json = False,
) -> None:
    """Show what a request would have signed, or what became of a ceremony."""
    from ca.ceremony import script
    from pki.cli.output import fields, print_json, say
    from pki.client.rest import connect, named

    if (file := Path(name)).is_file():
        judged = _judged(file.read_bytes())
        sheet = script.write(judged, request=file.name)
        if json:
            print_json({"ceremony": judged.asked.ceremony, "sha256": judged.sha256, "sheet": sheet})
        else:
            typer.echo(sheet, nl=False)
        return
    with connect() as client:
        row = client.get(named("/ceremonies", name))
    if out is not None:
        _write(row, out)
    if json:
        print_json(row)
        return
    transcript = row["transcript"] or {}
    fields({key: value for key, value in row.items() if key not in ("document", "transcript")} | _said(transcript))
    if out is not None:
        say(f"{out} is the request as it was given out")


@app.command()
def sign(
    request: Annotated[Path, typer.Argument(help="The file that was carried here.", exists=True, dir_okay=False)],
    key: Annotated[Path, typer.Option("--key", help="The CA's key, PEM, as it is kept.", exists=True, dir_okay=False)],
    present: Annotated[list[str], typer.Option("--by", help="Who stands by; say it for each.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to carry back; it must not exist.")],
    key_passphrase_file: Annotated[Path | None, typer.Option(help="File with its passphrase; else asked for.")] = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Sign a request, on the machine without a network: no installation, no settings, nothing but these two files."""
    from importlib.metadata import version

    from ca import files
    from ca.ceremony import offline, script
    from ca.errors import Conflict
    from pki.cli.output import ask, print_json, say

    judged = _judged(request.read_bytes())
    if out.exists():
        raise Conflict(f"{out} exists already", hint="name another file with --out")
    if not json:
        typer.echo(script.write(judged, request=request.name), nl=False)
    ask(f"sign {len(judged.asked.tasks)} of these with the key in {key}?", yes=yes)
    private = _open(key, key_passphrase_file)
    answer = offline.answer(judged, private, present=present, program=f"certwright {version('certwright')}")
    files.write_new(out, answer.encode())
    if json:
        print_json({"ceremony": answer.ceremony, "file": str(out), "signatures": len(answer.signatures)})
    else:
        say(f"carry {out} back, then: certwright ceremony accept {out.name}")


@app.command()
def accept(
    answer: Annotated[Path, typer.Argument(help="The file that came back.", exists=True, dir_okay=False)],
    json: Json = False,
) -> None:
    """Take in what an offline CA has signed: the new CA is real, the new list is published."""
    from ca.ceremony.documents import read_answer
    from pki.cli.output import fields, print_json
    from pki.cli.paths import read_text
    from pki.client.rest import connect, named

    text = read_text(answer)
    name = read_answer(text.encode()).ceremony
    with connect() as client:
        row = client.post(f"{named('/ceremonies', name)}/answer", {"answer": text})
    row.pop("document")
    if json:
        print_json(row)
    else:
        fields({key: value for key, value in row.items() if key != "transcript"} | _said(row["transcript"]))


@app.command()
def withdraw(name: Name, yes: Yes = False, json: Json = False) -> None:
    """Give a ceremony up that waits: the key of the CA that it asked for is destroyed."""
    from pki.cli.output import ask, print_json, say
    from pki.client.rest import connect, named

    ask(f"{name} will be of no use, whatever has been signed for it: go on?", yes=yes)
    with connect() as client:
        row = client.delete(named("/ceremonies", name))
    if json:
        print_json(row)
    else:
        say(f"{name} is withdrawn")


def _judged(document: bytes) -> Judged:
    from ca.ceremony import offline
    from ca.ceremony.documents import read_request

    return offline.judge(read_request(document))


def _write(row: dict[str, Any], out: Path) -> bytes:
    from ca import files

    document = str(row["document"]).encode()
    files.replace(out, document)
    return document


def _open(key: Path, passphrase_file: Path | None) -> Any:
    from ca.keys.passphrase import read_passphrase_file
    from ca.secret import Secret
    from ca.x509.bundle import read_private_key

    content = key.read_bytes()
    if passphrase_file is not None:
        return read_private_key(content, read_passphrase_file(passphrase_file))
    if b"ENCRYPTED" not in content:
        return read_private_key(content, None)
    return read_private_key(content, Secret(typer.prompt(f"passphrase of {key}", hide_input=True, err=True)))


def _said(transcript: dict[str, Any]) -> dict[str, str]:
    """What was said at the offline machine, as it can be shown."""
    if not transcript:
        return {}
    present = transcript.get("present")
    names = ", ".join(map(str, present)) if isinstance(present, list) else str(present)
    return {"present, as said": names, "signed by": str(transcript.get("program"))}

"""`certwright bundle` of an installation: list, history, show, fetch, publish. What is offline is in `bundle.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pki.cli.bundle import app
from pki.cli.options import Json

if TYPE_CHECKING:
    from ca.publication.manifest import Manifest

Stream = Annotated[str, typer.Argument(help="trust:DOMAIN or crl:DOMAIN: certwright bundle list")]


@app.command("list")
def listing(json: Json = False) -> None:
    """List the streams: what is newest, and how many consumers hold it."""
    from pki.cli.output import moment, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/streams")["items"]
    if json:
        print_json(rows)
        return
    shown = []
    for row in rows:
        newest = row["newest"] or {}
        held = f"{row['current']} of {row['consumers']}"
        shown.append(
            [row["stream"], newest.get("version"), held, moment(newest.get("expires_at")), newest.get("cause")]
        )
    table(("stream", "newest", "held by", "ends", "for"), shown, empty="nothing was published yet: certwright serve")


@app.command()
def history(
    stream: Stream,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 20,
    json: Json = False,
) -> None:
    """List the versions of a stream, newest first, with what each was made for."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/publications", limit or None, stream=stream))
    if json:
        print_json(rows)
        return
    shown = [[row["version"], row["cause"], moment(row["issued_at"]), row["sha256"][:16]] for row in rows]
    table(("version", "for", "made", "sha256"), shown, empty="nothing was published under this name")
    say_if_cut(rows, limit)


@app.command()
def show(
    stream: Stream,
    version: Annotated[int | None, typer.Argument(help="The newest if left out.", min=1)] = None,
    json: Json = False,
) -> None:
    """Show what a version says: anchors, CA certificates, lists and their hashes."""
    from ca import clock
    from pki.cli.output import fields, moment, table
    from pki.client.rest import connect, named
    from renewers.distribution.published import manifest_of

    with connect() as client:
        path = named("/publications", stream) + (f"/{version}" if version else "")
        manifest = manifest_of(client.fetch(path))
    if json:
        typer.echo(manifest.encode().decode())
        return
    previous = None if manifest.previous is None else manifest.previous.version
    fields(
        {
            "stream": manifest.stream,
            "version": manifest.version,
            "after": previous,
            "sha256": manifest.sha256,
            "made": moment(clock.from_timestamp(manifest.issued_at).isoformat()),
            "ends": moment(clock.from_timestamp(manifest.expires_at).isoformat()),
        }
    )
    typer.echo("")
    rows: list[list[object]] = [[entry.name, "anchor", entry.sha256[:16], None] for entry in manifest.anchors]
    rows += [[entry.name, "CA certificate", entry.sha256[:16], None] for entry in manifest.authorities]
    rows += _lists(manifest)
    rows += [[item.name, "file", item.sha256[:16], item.size] for item in manifest.items]
    table(("name", "what", "sha256", "bytes"), rows, empty="it is empty")


def _lists(manifest: Manifest) -> list[list[object]]:
    """Each complete list and delta; the shards of a CA in one line, since there are a hundred and more."""
    from ca.publication.manifest import ListKind

    whole = [entry for entry in manifest.lists if entry.kind is not ListKind.SHARD]
    rows: list[list[object]] = [[entry.key, f"{entry.kind} CRL", entry.sha256[:16], entry.size] for entry in whole]
    for authority in dict.fromkeys(entry.authority for entry in manifest.lists):
        shards = [one for one in manifest.lists if one.authority == authority and one.kind is ListKind.SHARD]
        if shards:
            span = f"{authority}/{min(one.shard for one in shards)}-{max(one.shard for one in shards)}"
            rows.append([span, f"{len(shards)} shard CRLs", None, sum(one.size for one in shards)])
    return rows


@app.command()
def fetch(
    file: Annotated[str, typer.Argument(help="bundle.pem, cas.pem, bundle.p7b, spiffe.json, jwks.json or NAME.cer")],
    trust_domain: Annotated[str | None, typer.Option(help="Of another trust domain; else of ours.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; standard output if left out.")] = None,
    json: Json = False,
) -> None:
    """Fetch a file of a trust bundle as it is published."""
    import base64
    import sys

    from ca import files
    from pki.cli.output import print_json
    from pki.client.rest import connect, named

    with connect() as client:
        if trust_domain is None:
            streams = [row["stream"] for row in client.get("/streams")["items"]]
            trust_domain = next(name.partition(":")[2] for name in streams if name.startswith("crl:"))
        content = client.fetch(named(named("/bundles", trust_domain), file))
    if out is not None:
        files.replace(out, content)
    elif not json:
        sys.stdout.buffer.write(content)
    if json:
        print_json({"content": base64.b64encode(content).decode(), "file": None if out is None else str(out)})


@app.command()
def publish(json: Json = False) -> None:
    """Publish what has changed now: CRLs that are due, then every stream. The running server does so by itself."""
    from pki.cli.output import print_json, say
    from pki.client.rest import connect

    with connect() as client:
        made = client.post("/publications", {})["items"]
    if json:
        print_json(made)
        return
    for one in made:
        say(f"{one['stream']} version {one['version']}: {one['cause']}")
    if not made:
        say("nothing has changed")

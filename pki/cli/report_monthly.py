"""`certwright report monthly`: the report of a month, in the terminal or in files."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.options import Force, Json
from pki.cli.report import app


class Format(StrEnum):
    """What it can be written as."""

    HTML = "html"
    PDF = "pdf"
    JSON = "json"


@app.command()
def monthly(
    month: Annotated[str | None, typer.Option(help="Such as 2026-11; the last one that is over if left out.")] = None,
    out: Annotated[Path | None, typer.Option(help="A directory to write it into.")] = None,
    format: Annotated[  # noqa: A002 - the word that people type
        list[Format] | None, typer.Option("--format", help="html, pdf or json; again for more. All three if left out.")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show the report of a month, or write it to files for whoever signs it."""
    from pki.cli.output import print_json, say
    from pki.client.rest import API, connect

    wanted = tuple(dict.fromkeys(format or (Format if out is not None else ())))
    if out is None and len(wanted) > 1:
        raise typer.BadParameter("several forms need a directory: --out", param_hint="--format")
    with connect() as client:
        found = client.get("/reports/monthly", month=month, format="json")
        where = f"{API}/reports/monthly?month={found['month']}&format="
        contents = {one: client.fetch(where + one) for one in wanted}
    written = [] if out is None else _write(contents, out, str(found["month"]), force=force)
    if out is None and contents and not json:
        _printed(contents)
        return
    if json:
        print_json({**found, "files": [str(path) for path in written]})
        return
    if out is None:
        _summary(found)
    for path in written:
        say(f"written: {path}")


def _write(contents: dict[Format, bytes], out: Path, month: str, *, force: bool) -> list[Path]:
    from ca import files

    out.mkdir(parents=True, exist_ok=True)
    paths = {one: out / f"certificates-{month}.{one}" for one in contents}
    for one, path in paths.items():
        (files.replace if force else files.write_new)(path, contents[one])
    return list(paths.values())


def _printed(contents: dict[Format, bytes]) -> None:
    """To standard output, for a pipe."""
    import sys

    sys.stdout.buffer.write(next(iter(contents.values())))


def _summary(found: dict[str, Any]) -> None:
    """The figures of the first page, and where the rest is."""
    from pki.cli.output import fields, say
    from renewers.reports.monthly import chapters
    from renewers.reports.monthly.months import parse
    from renewers.reports.monthly.snapshots import Kept

    figures = found["figures"]
    report = chapters.compose(Kept(parse(found["month"]), figures["taken_at"], found["sha256"], figures))
    about = dict(report.about)
    summary = {fact.label: f"{fact.value} ({fact.note})" if fact.note else fact.value for fact in report.summary.items}
    fields({"report": report.title, **about, **summary})
    for remark in report.remarks:
        say(remark.text)
    say(f"all of it: certwright report monthly --month {found['month']} --out DIR")

"""`certwright track import, scan`: bringing in what others issued, and looking for what nobody has told us of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json
from pki.cli.track import app

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ca.secret import Secret
    from pki.cli.gathering import Part
    from pki.client.rest import Client

Owner = Annotated[str | None, typer.Option(help="Whose it is: certwright owner list")]
NAMED = 10
"""Up to so many places that showed nothing are named each with its reason; more are counted."""


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files and directories: PEM, DER, PKCS#7, PKCS#12.", exists=True)],
    owner: Owner = None,
    lineage: Annotated[
        str | None, typer.Option(help="The lineage that it continues: of one certificate alone.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase of PKCS#12 files.", exists=True, dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Track certificates that others issued. Files are read here, and private keys never leave this machine."""
    from pki.cli.output import counted, print_json, say
    from pki.client.rest import connect

    with connect() as client:
        done = _bring(client, paths, {"owner": owner, "lineage": lineage}, passphrase_file, quiet=json)
    if json:
        print_json(done)
    else:
        for refused in done["refused"]:
            say(f"not taken: {refused['file']}: {refused['why']}")
        new, known = counted(len(done["tracked"]), "new certificate"), len(done["known"])
        say(f"{new} tracked, {known} known already, {counted(len(done['refused']), 'refusal')}")
    if done["refused"] and not (done["tracked"] or done["known"]):
        raise typer.Exit(1)


@app.command()
def scan(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="api.example, 10.0.0.0/24:443,8443, smtp://mail.example; - reads them from a list. "
            "Or one directory of the server's own machine: /etc/ssl."
        ),
    ],
    owner: Owner = None,
    json: Json = False,
) -> None:
    """Look at endpoints, or beneath a directory: what is there is tracked, and endpoints are looked at again."""
    from pki.cli.output import print_json
    from pki.client.rest import Problem, connect

    wanted = _wanted(targets)
    with connect() as client:
        report = _watched(client, {**wanted, "owner": owner}, quiet=json)
    if report.get("error"):
        raise Problem({"code": "scan-failed", "detail": f"the scan was not finished: {report['error']}"})
    if json:
        print_json(report)
    elif "directory" in wanted:
        _report_files(report)
    else:
        _report(report)


def _bring(
    client: Client, paths: Sequence[Path], target: dict[str, Any], passphrase: Path | None, *, quiet: bool
) -> dict[str, Any]:
    """Read the files and send what is in them, showing how far it is."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    from pki.cli.gathering import batches, gather

    done: dict[str, Any] = {"tracked": [], "known": [], "refused": []}
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    is_hidden = quiet or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_hidden) as progress:
        task = progress.add_task("files read", total=None)
        for parts, useless in batches(gather(paths, _asking(passphrase))):
            done["refused"] += [{"file": str(one.path), "why": one.why} for one in useless]
            answers = _sent(client, parts, target) if parts else []
            for part, answer in zip(parts, answers, strict=True):
                done["tracked"] += answer["tracked"]
                done["known"] += answer["known"]
                done["refused"] += [
                    {"file": str(part.path), "why": f"{one['what']}: {one['why']}"} for one in answer["refused"]
                ]
            progress.advance(task, len({one.path for one in parts} | {one.path for one in useless}))
    new = list(dict.fromkeys(done["tracked"]))
    known = [identity for identity in dict.fromkeys(done["known"]) if identity not in set(new)]
    return {**done, "tracked": new, "known": known}


def _sent(client: Client, parts: Sequence[Part], target: dict[str, Any]) -> list[dict[str, Any]]:
    items = [{"name": f"item {number}", "pem": part.pem} for number, part in enumerate(parts, start=1)]
    return list(client.post("/tracked", {"items": items, **target}))


def _asking(file: Path | None) -> Any:
    """Where the passphrases of PKCS#12 files come from: a file, else whoever sits at the terminal."""
    import sys

    from ca.secret import Secret
    from pki.cli.paths import read_text

    known = None if file is None else Secret(read_text(file).rstrip("\r\n"))

    def ask(path: Path) -> Secret | None:
        if known is not None or not sys.stdin.isatty():
            return known
        return Secret(typer.prompt(f"passphrase of {path}", hide_input=True, err=True))

    return ask


def _wanted(targets: Sequence[str]) -> dict[str, str]:
    """The endpoints, or the one directory, as a request names them."""
    from pki.cli.paths import STANDARD_INPUT, read_text

    if not any(target.startswith("/") for target in targets):
        return {"targets": "\n".join(read_text(STANDARD_INPUT) if target == "-" else target for target in targets)}
    if len(targets) > 1:
        raise typer.BadParameter("a directory is scanned by itself, without endpoints and without another one")
    return {"directory": targets[0]}


def _watched(client: Client, body: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Have the scan done, showing how far it is; returns the report, which is the last line."""
    from pki.cli.progress import bar

    report: dict[str, Any] = {}
    label = "reading files" if "directory" in body else "looking at endpoints"
    with bar(label, is_quiet=quiet) as update:
        for line in client.lines("/scans", body):
            update(line["done"], line["of"])
            report = line
    return report


def _report(report: dict[str, Any]) -> None:
    """What a scan came to: endpoints with findings first, then how many showed nothing and why."""
    from pki.cli.output import counted, say
    from pki.cli.story import endpoint_table

    troubled = [row for row in report["endpoints"] if row["findings"]]
    shown = report["endpoints"] if len(report["endpoints"]) <= NAMED else troubled
    if shown:
        endpoint_table(shown)
    say(f"{counted(report['seen'], 'endpoint')} of {report['of']} showed a certificate, {len(troubled)} with findings")
    _say_why(report, "nothing at ")


def _report_files(report: dict[str, Any]) -> None:
    """What a directory came to: the certificates in it, then what could not be read and why."""
    from pki.cli.output import counted, say
    from pki.cli.story import endpoint_table

    if report["endpoints"]:
        endpoint_table(report["endpoints"])
    troubled = sum(bool(row["findings"]) for row in report["endpoints"])
    found, files = counted(report["seen"], "certificate"), counted(report["of"], "file")
    say(f"{found} found in {files}, {troubled} with findings")
    _say_why(report, "not taken: ")


def _say_why(report: dict[str, Any], what: str) -> None:
    """One reason each, as long as they are few; else how often each reason was given."""
    from pki.cli.output import say

    if len(report["unseen"]) <= NAMED:
        for one in report["unseen"]:
            say(f"{what}{one['place']}: {one['reason']}")
        return
    for reason, count in report["reasons"].items():
        say(f"{count} times: {reason}")

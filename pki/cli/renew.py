"""`certwright renew`: now, due, run, plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json

if TYPE_CHECKING:
    from pki.client.rest import Client

app = typer.Typer(help="Renewals: what is due, doing it now, and what the coming days bring.", no_args_is_help=True)

WAIT = 60


@app.command()
def now(
    name: Annotated[str, typer.Argument(help="A lineage's name: certwright track lineages")],
    wait: Annotated[int, typer.Option(help="Seconds to wait for what becomes of it; 0 not to.", min=0)] = WAIT,
    json: Json = False,
) -> None:
    """Renew a lineage now, whatever the plan; overrides a back-off and a stop. Exit code 1 if it fails."""
    from pki.cli.output import fields, print_json, say
    from pki.client.rest import connect, named

    path = named("/lineages", name)
    with connect() as client:
        before = client.get(path)
        asked = client.post(f"{path}/renew", {})
        row = _awaited(client, path, before, wait)
    error = (row["work"] or {}).get("error")
    if json:
        print_json({**asked, **row})
    elif error:
        say(f"{row['name']} was not renewed: {error}")
    elif row["current"] == before["current"]:
        say(f"{row['name']} is being renewed: certwright track show {row['name']}")
    else:
        brought = [f"{one['name']}: {one['state']}" for one in row["destinations"]]
        fields({"name": row["name"], "current": row["current"], "not_after": row["not_after"], "destinations": brought})
    if error:
        raise typer.Exit(1)


@app.command()
def due(
    kind: Annotated[str | None, typer.Option(help="renew, ask-window, deliver, look or notify.")] = None,
    planned: Annotated[bool, typer.Option("--planned", help="What is merely planned, too.")] = False,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List what is due, what fails and since when, and what only a person gets going again."""
    from pki.cli.output import print_json, say_if_cut
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/renewals", limit or None, kind=kind))
        if planned:
            known = {(row["kind"], row["about"]) for row in rows}
            others = client.pages("/renewals", limit or None, kind=kind, standing="planned")
            rows += [row for row in others if (row["kind"], row["about"]) not in known]
    rows.sort(key=lambda row: str(row["due_at"]))
    if json:
        print_json(rows)
    else:
        _table(rows, empty="nothing is due, and nothing fails")
        say_if_cut(rows, limit)


@app.command()
def run(json: Json = False) -> None:
    """Do everything that is due now. Harmless while a server does the same; exit code 1 if something has trouble."""
    from pki.cli.output import counted, print_json, say
    from pki.client.rest import Problem, connect

    with connect() as client:
        report = _run(client, quiet=json)
    if report["error"]:
        raise Problem({"code": "run-failed", "detail": f"not all of it was done: {report['error']}"})
    troubled = [row for row in report["troubled"] if row["standing"] in ("failing", "stopped")]
    if json:
        print_json(report)
    else:
        if troubled:
            _table(troubled, empty="")
        say(f"{counted(report['done'], 'piece')} of work done, {len(troubled)} with trouble")
    if troubled:
        raise typer.Exit(1)


@app.command()
def plan(
    lifetimes: Annotated[
        str, typer.Option(help="Longest lifetimes in days to look ahead under; now is as it is today.")
    ] = "now,200,100,64,45,6",
    days: Annotated[int, typer.Option(help="How far ahead.", min=1, max=400)] = 91,
    issuer: Annotated[str | None, typer.Option(help="Hold it against the rate limits of this issuer.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="With what others renew: were it all ours.")] = False,
    json: Json = False,
) -> None:
    """Look ahead: how many renewals the coming days bring, now and under shorter lifetimes, and what would break."""
    from pki.cli.chart import draw
    from pki.cli.output import print_json
    from pki.client.rest import connect

    with connect() as client:
        found = client.get(
            "/renewals/plan", lifetimes=lifetimes, days=days, issuer=issuer, everything=everything or None
        )
    if json:
        print_json(found)
    else:
        draw(found)


def _awaited(client: Client, path: str, before: dict[str, Any], wait: int) -> dict[str, Any]:
    """How the lineage stands when its renewal has ended, or time is over. Without a server, it is done here and now."""
    import time

    if client.is_alone and wait:
        _run(client, quiet=True)
    end = time.monotonic() + wait
    while True:
        row: dict[str, Any] = client.get(path)
        if time.monotonic() >= end or _has_ended(row, before):
            return row
        time.sleep(0.5)


def _has_ended(row: dict[str, Any], before: dict[str, Any]) -> bool:
    """It fails, or has a new certificate that is wherever it shall be, or cannot be brought there."""
    if (row["work"] or {}).get("attempts"):
        return True
    if row["current"] == before["current"]:
        return False
    return all(one["state"] != "waiting" for one in row["destinations"])


def _run(client: Client, *, quiet: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn

    report: dict[str, Any] = {}
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("doing what is due", total=None)
        for line in client.lines("/renewals/run", {}):
            progress.update(task, description=f"doing what is due: {line['done']} done")
            report = line
    return report


def _table(rows: list[dict[str, Any]], *, empty: str) -> None:
    from pki.cli.output import moment, table

    for row in rows:
        is_stopped = row["standing"] == "stopped"  # until a person says so, there is no next time
        row |= {"next": None if is_stopped else moment(row["due_at"]), "since": moment(row["failing_since"])}
    columns = ("standing", "kind", "about", "next", "attempts", "since", "error")
    shown = [[row[column] for column in columns] for row in rows]
    table(("state", "kind", "about", "next", "attempts", "fails since", "error"), shown, empty=empty)

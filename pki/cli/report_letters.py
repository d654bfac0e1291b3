"""`certwright report send`, `list`, `show`, `explain`: letters that were sent, sending what is due, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.options import Json
from pki.cli.report import app


@app.command()
def send(json: Json = False) -> None:
    """Send the letters that are due now, and those that wait. Exit code 1 if some still wait for a mail server."""
    from pki.cli.output import counted, print_json, say
    from pki.client.rest import Problem, connect

    report: dict[str, Any] = {}
    with connect() as client:
        for line in client.lines("/letters/run", {}):
            report = line
    if report["error"]:
        raise Problem({"code": "run-failed", "detail": f"not all of it was done: {report['error']}"})
    if json:
        print_json(report)
    else:
        say(f"{counted(report['sent'], 'letter')} sent, {report['waiting']} waiting")
        if report["waiting"]:
            say("hint: certwright report list --state open says why")
    if report["waiting"]:
        raise typer.Exit(1)


@app.command("list")
def listing(
    owner: Annotated[str | None, typer.Option(help="Only about this owner.")] = None,
    kind: Annotated[str | None, typer.Option(help="digest, daily, urgent, escalation or monthly.")] = None,
    state: Annotated[
        str | None, typer.Option(help="open, sent, refused, bounced or overtaken; all but the last if left out.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List letters, newest first."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/letters", limit or None, owner=owner, kind=kind, state=state))
    if json:
        print_json(rows)
        return
    for row in rows:
        row |= {"opened": moment(row["opened_at"]), "sent": moment(row["sent_at"]), "about": row["subject"]}
    columns = ("id", "kind", "state", "owner", "recipient", "opened", "sent", "about", "error")
    table(columns, [[row[column] for column in columns] for row in rows], empty="there are no letters")
    say_if_cut(rows, limit)


@app.command()
def show(
    letter: Annotated[int, typer.Argument(help="Its number: certwright report list", min=1)], json: Json = False
) -> None:
    """Show a letter: to whom and why, what became of it, and what it tells of."""
    from pki.cli.output import fields, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        found = client.get(f"/letters/{letter}")
    if json:
        print_json(found)
        return
    told = found.pop("crossings")
    fields({name: value for name, value in found.items() if value is not None})
    columns = ("threshold", "urgency", "certificate", "message")
    table(columns, [[row[column] for column in columns] for row in told], empty="it tells of nothing in particular")


@app.command()
def explain(
    what: Annotated[str, typer.Argument(help="A serial number, #id, SHA-256, or a lineage's name.")],
    at: Annotated[str | None, typer.Option(help="A day, or a moment such as 2027-01-04T09:00:00Z.")] = None,
    json: Json = False,
) -> None:
    """Explain why somebody was told of a certificate, or was not; as of now, or of any day."""
    from pki.cli.output import fields, print_json, table
    from pki.client.rest import connect

    with connect() as client:
        found = client.get("/letters/explain", what=what, at=at)
    if json:
        print_json(found)
        return
    about = {"subject": found["subject"], "certificate": found["certificate"], "as of": found["at"]}
    fields({**about, "owner": found["owner"], "why": " ".join(found["summary"])})
    steps = [*found["steps"], *found["others"]]
    table(("state", "what was said"), [[step["state"], step["sentence"]] for step in steps], empty="nothing ends here")

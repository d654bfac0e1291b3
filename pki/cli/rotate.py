"""`certwright ca rotate`: show what a rotation would do, start it, and watch it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.ca import app
from pki.cli.options import Json, Yes


@app.command()
def rotate(
    line: Annotated[str, typer.Argument(help="A line such as root or issuing; a root takes the CAs beneath it along.")],
    reason: Annotated[str, typer.Option(help="Why, in at least ten characters; it goes to the ledger.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Only show what it would do, and what would break.")] = False,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="The key is not ours alone: wait an hour at most, revoke in the end.")
    ] = False,
    key_type: Annotated[str | None, typer.Option(help="Key of the new CAs; the old one's kind if left out.")] = None,
    subject: Annotated[str | None, typer.Option(help="RFC 4514; else the old one's with the next number.")] = None,
    lifetime: Annotated[str | None, typer.Option(help="How long the new CA lives: 3650d")] = None,
    cross: Annotated[bool, typer.Option("--cross/--no-cross", help="Whether the old root certifies the new.")] = True,
    patience: Annotated[str | None, typer.Option(help="How long a stage waits for proof: 2h. Else: for ever.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="How many certificates are replaced a minute.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show how it goes, until its end.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let a CA be followed by its next generation, by evidence: trust is introduced first and removed last."""
    from pki.cli.output import ask, say
    from pki.cli.rotation import follow, shown
    from pki.client.rest import connect

    body: dict[str, Any] = {"line": line, "reason": reason, "compromised": compromised, "cross": cross}
    more = {"key_type": key_type, "subject": subject, "lifetime": lifetime, "patience": patience}
    body |= {name: value for name, value in {**more, "per_minute": per_minute}.items() if value is not None}
    with connect() as client:
        if plan or not (yes or json):
            preview = client.post("/rotations/plan", body | {"reason": reason or "only to look at it"})
            _preview(preview, as_json=plan and json)
            if plan:
                return
        ask(f"rotate {line} so?", yes=yes)
        started = client.post("/rotations", body)
        if watch:
            started = follow(client, started["id"], is_quiet=json)
        elif client.is_alone and not json:
            say("no server runs here: it goes on with certwright serve, or a piece with each certwright renew run")
    shown(started, as_json=json)


def _preview(found: dict[str, Any], *, as_json: bool) -> None:
    from pki.cli.durations import lasting
    from pki.cli.evidence import summed
    from pki.cli.output import counted, fields, moment, print_json, say, table

    if as_json:
        print_json(found)
        return
    impact = found["impact"]
    makes = [
        [one["takes"] or "a new one", one["follows"], one["subject"], one["key_type"], one["lifetime"], one["beneath"]]
        for one in found["makes"]
    ]
    table(("comes", "after", "subject", "key", "life", "beneath"), makes, empty="nothing can be made")
    typer.echo("")
    fields(
        {
            "stages": " > ".join(found["stages"]),
            "waits for": counted(found["gating"], "consumer"),
            "behind now": summed(list(dict.fromkeys(f"{one['name']}: {one['why']}" for one in found["lacking"]))),
            "live certificates beneath": impact["leaves"],
            "by profile": [f"{name} {count}" for name, count in impact["by_profile"].items()],
            "by owner": [f"{name} {count}" for name, count in impact["by_owner"].items()],
            "the last ends": moment(impact["last_end"]),
            "seen at endpoints": impact["endpoints"],
            "brought to destinations": impact["destinations"],
            "re-issuing takes": lasting(found["seconds_of_reissue"]),
        }
    )
    typer.echo("")
    broken = f"{counted(impact['leaves'], 'certificate')} at {counted(impact['endpoints'], 'endpoint')}"
    say(f"distrusted now, {', '.join(found['outgoing'])} would take {broken} along")
    for objection in found["objections"]:
        say(f"it cannot start: {objection}")

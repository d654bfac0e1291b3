"""`certwright rotation`: list, show, watch, pause, resume, hurry, override, abort."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.options import Json, Yes

if TYPE_CHECKING:
    from pki.client.rest import Client

app = typer.Typer(
    help="Rotations: how far a CA is on its way to the next one, what it waits for; certwright ca rotate starts one.",
    no_args_is_help=True,
)

Id = Annotated[int, typer.Argument(help="A rotation's number: certwright rotation list", min=1)]
Reason = Annotated[str, typer.Option(help="Why, in at least ten characters; it goes to the ledger.")]
State = Annotated[str | None, typer.Option(help="open, done or aborted.")]
LOOK_EVERY = 1.0


@app.command("list")
def listing(
    state: State = None,
    limit: Annotated[int, typer.Option(help="How many; 0 for all.", min=0)] = 50,
    json: Json = False,
) -> None:
    """List the rotations, newest first."""
    from pki.cli.output import moment, print_json, say_if_cut, table
    from pki.client.rest import connect

    with connect() as client:
        rows = list(client.pages("/rotations", limit or None, state=state))
    if json:
        print_json(rows)
        return
    columns = ("rotation", "line", "state", "stage", "since", "waits for", "reason")
    rest = [
        [*(row["id"], row["line"], _state(row), row["stage"], moment(row["stage_since"])), _waits(row), row["reason"]]
        for row in rows
    ]
    table(columns, rest, empty="no CA was ever rotated: certwright ca rotate root --plan")
    say_if_cut(rows, limit)


@app.command()
def show(rotation: Id, json: Json = False) -> None:
    """Show one: its stages with their evidence, what it waits for, what was overridden."""
    from pki.client.rest import connect

    with connect() as client:
        shown(client.get(f"/rotations/{rotation}"), as_json=json)


@app.command()
def watch(rotation: Id, json: Json = False) -> None:
    """Stay and show how it goes, until it ends or Ctrl-C; it goes on without you."""
    from pki.client.rest import connect

    with connect() as client:
        shown(follow(client, rotation, is_quiet=json), as_json=json)


@app.command()
def pause(rotation: Id, reason: Reason, json: Json = False) -> None:
    """Have it do nothing until it is resumed."""
    _steer(rotation, "pause", {"reason": reason}, json=json)


@app.command()
def resume(rotation: Id, reason: Reason, json: Json = False) -> None:
    """Have it go on where it was paused, or where it had stopped failing."""
    _steer(rotation, "resume", {"reason": reason}, json=json)


@app.command()
def hurry(rotation: Id, reason: Reason, json: Json = False) -> None:
    """Have it look again now. Its gates stay what they are."""
    _steer(rotation, "hurry", {"reason": reason}, json=json)


@app.command()
def override(
    rotation: Id,
    gate: Annotated[str, typer.Argument(help="prove, drain or distrust.")],
    subject: Annotated[str, typer.Argument(help="A consumer, a certificate's serial number, a place, or all.")],
    reason: Reason,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Let it pass a gate without somebody, in writing."""
    from pki.cli.output import ask

    ask(f"{subject} may break when the rotation passes {gate}: go on?", yes=yes)
    _steer(rotation, "override", {"gate": gate, "subject": subject, "reason": reason}, json=json)


@app.command()
def abort(rotation: Id, reason: Reason, yes: Yes = False, json: Json = False) -> None:
    """Turn back: before distrust there is a way back at every stage."""
    from pki.cli.output import ask

    ask("what the new CA has signed is replaced again, and the new CA goes: turn back?", yes=yes)
    _steer(rotation, "abort", {"reason": reason}, json=json)


def follow(client: Client, rotation: int, *, is_quiet: bool) -> dict[str, Any]:
    """Say each step as it happens; the rotation when it has ended, or when somebody has seen enough."""
    import time

    from pki.cli.evidence import in_words, summed
    from pki.cli.output import say

    said = 0
    waiting = ""
    try:
        while True:
            if client.is_alone:
                list(client.lines("/renewals/run", {}))
            found: dict[str, Any] = client.get(f"/rotations/{rotation}")
            for step in found["steps"][said:]:
                if not is_quiet:
                    has_left = step["what"].startswith("to ")
                    words = in_words(step["stage"], step["evidence"]) if has_left else None
                    say(f"{step['stage']}: {words or step['what']}")
            said = len(found["steps"])
            if not is_quiet and (now := "; ".join(summed(found["waits_for"]))) != waiting:
                waiting = now
                if now:
                    say(f"{found['stage']}: waits for {now}")
            if found["state"] != "open":
                return found
            time.sleep(LOOK_EVERY)
    except KeyboardInterrupt:
        say("it goes on without you: certwright rotation show")
        return found


def shown(row: dict[str, Any], *, as_json: bool) -> None:
    """One rotation as a person or a program reads it."""
    from pki.cli.evidence import in_words, summed
    from pki.cli.output import fields, moment, print_json, say, table

    if as_json:
        print_json(row)
        return
    hidden = ("stages", "steps", "overrides", "replacement", "is_paused", "is_reverting", "is_compromise", "state")
    kept = {name: value for name, value in row.items() if name not in hidden}
    replaced = row["replacement"]
    told = None if replaced is None else f"{replaced['total'] - replaced['pending']} of {replaced['total']} replaced"
    waits = summed(row["waits_for"]) if row["state"] == "open" else None
    fields({"id": row["id"], "state": _state(row), **kept, "waits_for": waits, "replacement": told})
    typer.echo("")
    stages = [
        [_standing(one), one["stage"], moment(one["entered_at"]), _took(one), in_words(one["stage"], one["evidence"])]
        for one in row["stages"]
        if one["stage"] != "done"
    ]
    table(("", "stage", "entered", "took", "by what right"), stages, empty="")
    for one in row["overrides"]:
        say(f"{one['by']} lets it pass {one['gate']} without {one['subject']}: {one['reason']}")


def _steer(rotation: int, verb: str, body: dict[str, Any], *, json: bool) -> None:
    from pki.client.rest import connect

    with connect() as client:
        shown(client.post(f"/rotations/{rotation}/{verb}", body), as_json=json)


def _state(row: dict[str, Any]) -> str:
    words = [row["state"] if row["state"] != "open" else "paused" if row["is_paused"] else "open"]
    words += ["on its way back"] if row["is_reverting"] and row["state"] == "open" else []
    return ", ".join([*words, *(["compromise"] if row["is_compromise"] else [])])


def _standing(stage: dict[str, Any]) -> str:
    """A rotation that turns back never comes to some of its stages."""
    return "skipped" if stage["standing"] == "over" and stage["entered_at"] is None else str(stage["standing"])


def _took(stage: dict[str, Any]) -> str | None:
    """How long a stage has taken, or takes already."""
    from datetime import datetime

    from ca import clock
    from pki.cli.durations import lasting

    if stage["entered_at"] is None:
        return None
    until = datetime.fromisoformat(stage["left_at"]) if stage["left_at"] is not None else clock.now()
    took = lasting((until - datetime.fromisoformat(stage["entered_at"])).total_seconds())
    return took if stage["left_at"] is not None else f"{took} so far"


def _waits(row: dict[str, Any]) -> str | None:
    """Who or what it waits for, in a few names; `show` says why."""
    from pki.cli.evidence import names_of

    return names_of(row["waits_for"]) if row["state"] == "open" else None

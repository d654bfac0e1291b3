"""How a mass replacement is shown in a terminal: before it begins, while it runs, and what a drill has come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pki.client.rest import Client

LOOK_EVERY = 1.0


def follow(client: Client, replacement: int, *, is_quiet: bool) -> dict[str, Any]:
    """Show how far it is until it has ended, or somebody has seen enough."""
    import time

    from pki.cli.output import say
    from pki.cli.progress import bar

    with bar("replaced", is_quiet=is_quiet) as update:
        try:
            while True:
                if client.is_alone:
                    list(client.lines("/renewals/run", {}))
                found: dict[str, Any] = client.get(f"/replacements/{replacement}")
                account = found["progress"]
                update(account["total"] - account["left"], account["total"])
                if found["state"] != "open":
                    return found
                time.sleep(LOOK_EVERY)
        except KeyboardInterrupt:
            say("it goes on without you: certwright replace show")
            return found


def shown(row: dict[str, Any], *, as_json: bool) -> None:
    """One replacement as a person or a program reads it."""
    from pki.cli.output import fields, print_json

    if as_json:
        print_json(row)
        return
    hidden = ("progress", "selection", "state")
    kept = {name: value for name, value in row.items() if name not in hidden}
    account = [f"{count} {state}" for state, count in row["progress"].items() if count and state != "total"]
    more = {"selected by": selected(row), "accounted for": far(row), "account": account}
    fields({"id": row["id"], "state": row["state"], **kept, **more})


def preview(found: dict[str, Any]) -> None:
    """What a replacement would do."""
    from pki.cli.durations import lasting
    from pki.cli.output import fields, say
    from pki.cli.revocation_cost import cost_fields

    fields(
        {
            "certificates": found["total"],
            "replaced by us": found["ours"],
            "by our own machinery": found["own"],
            "by somebody else": found["others"],
            "whose those are": [f"{name} {count}" for name, count in found["others_by_owner"].items()],
            "takes at least": lasting(found["seconds"]),
            "first": found["first"],
        }
    )
    if found["cost"] is not None:
        say("the old ones are revoked in the end:")
        fields(cost_fields(found["cost"]))
    for objection in found["objections"]:
        say(f"it cannot begin: {objection}")


def far(row: dict[str, Any]) -> str:
    """How much of it is accounted for."""
    account = row["progress"]
    return f"{account['total'] - account['left']} of {account['total']}"


def selected(row: dict[str, Any]) -> str:
    """What it is about, in words."""
    plain = {name: ", ".join(value) if isinstance(value, list) else value for name, value in row["selection"].items()}
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in plain.items())[:200]


def drilled(found: dict[str, Any]) -> None:
    """What a drill has come to."""
    from pki.cli.durations import lasting
    from pki.cli.output import counted, fields, say

    if found["error"] is not None:
        say(f"the drill has failed: {found['error']}")
        return
    account = found["progress"]
    fields(
        {
            "replaced": f"{account['total'] - account['left']} of {account['total']}",
            "took": lasting(found["seconds"]),
            "a minute": f"{found['per_minute']:.0f}",
            "in reality": f"{counted(found['real'], 'certificate')} in {lasting(found['real_seconds'])}",
            "left": found["left"],
        }
    )

"""How people say where something is brought: options for a directory of files, `--set` for every other publisher."""

from __future__ import annotations

from typing import Annotated, Any

import typer

Directory = Annotated[
    str | None, typer.Option(help="Where the files go: DIRECTORY/live/cert.pem, key.pem, fullchain.pem ...")
]
Reload = Annotated[
    str | None, typer.Option(help="Run afterwards, without a shell: '/usr/sbin/nginx -s reload'. Admins only.")
]
Owner = Annotated[str | None, typer.Option(help="User who owns the files.")]
Group = Annotated[str | None, typer.Option(help="Group of the files.")]
Mode = Annotated[str | None, typer.Option(help="Mode of the files with the key in them: 0600, 0640.")]
Keep = Annotated[int | None, typer.Option(help="How many versions stay.")]
Set = Annotated[list[str] | None, typer.Option("--set", help="key=value of another publisher; again for more.")]


def read_settings(
    directory: str | None,
    reload: str | None,
    owner: str | None,
    group: str | None,
    mode: str | None,
    keep: int | None,
    others: list[str] | None,
) -> dict[str, Any]:
    """The settings of the files publisher that were said, and of others as `key=value`."""
    import shlex

    wanted: dict[str, Any] = {"directory": directory, "owner": owner, "group": group, "mode": mode, "keep": keep}
    if reload is not None:
        try:
            wanted["reload"] = shlex.split(reload)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--reload") from None
    found = {name: value for name, value in wanted.items() if value is not None}
    for text in others or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text} is not of the form key=value", param_hint="--set")
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:
    """A number, true, false or a list, as JSON writes it; anything else is text."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | list) else text

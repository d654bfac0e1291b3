"""`certwright profile`: list, show, lint, test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pki.cli.options import Json

app = typer.Typer(help="Profiles: what may be issued, to whom, under which names.", no_args_is_help=True)

Name = Annotated[str | None, typer.Argument(help="A profile's name, or a .toml file; all profiles if left out.")]
Domain = Annotated[str, typer.Option(help="What {domain} stands for when a file is looked at.")]


@app.command("list")
def listing(json: Json = False) -> None:
    """List the profiles in force."""
    from pki.cli.output import print_json, table
    from pki.client.rest import connect

    with connect() as client:
        rows = client.get("/profiles")
    if json:
        print_json(rows)
        return
    columns = ("name", "issuer", "lifetime", "longest", "description", "roles")
    shown = [[*(row[column] for column in columns), _dangers(row)] for row in rows]
    named = ("name", "issuer", "life", "longest", "what it is for", "for", "accepted dangers")
    table(named, shown, empty="there are no profiles")


@app.command()
def show(name: Annotated[str, typer.Argument(help="A profile's name.")], json: Json = False) -> None:
    """Show a profile's file."""
    from pki.cli.output import print_json
    from pki.client.rest import connect, named

    with connect() as client:
        row = client.get(named("/profiles", name))
    if json:
        print_json(row)
    else:
        typer.echo(row["text"], nl=False)


@app.command()
def lint(name: Name = None, domain: Domain = "example.internal", json: Json = False) -> None:
    """Lint what a profile makes, and list its dangers. With a .toml file, before it is put into service."""
    from pki.cli.output import print_json, table

    path = _file(name)
    found = _lint_installed(name) if path is None else _lint_file(path, domain)
    if json:
        print_json(found)
    else:
        columns = ("profile", "kind", "code", "message")
        rows = [[row[column] for column in columns] for row in found]
        table(columns, rows, empty="nothing found")
    if any(row["kind"] == "error" for row in found):
        raise typer.Exit(1)


@app.command("test")
def run_examples(name: Name = None, domain: Domain = "example.internal", json: Json = False) -> None:
    """Run the table of allowed and refused requests beside a profile; exit code 1 if one is not as expected."""
    from pki.cli.output import print_json, table

    path = _file(name)
    outcomes = _test_installed(name) if path is None else _test_file(path, domain)
    if json:
        print_json(outcomes)
    else:
        rows = [
            [row["profile"], "as expected" if row["is_as_expected"] else "WRONG", row["why"], _verdict(row)]
            for row in outcomes
        ]
        table(("profile", "result", "why", "verdict"), rows, empty="there are no examples")
    if not all(row["is_as_expected"] for row in outcomes):
        raise typer.Exit(1)


def _file(name: str | None) -> Path | None:
    return Path(name) if name is not None and name.endswith(".toml") else None


def _dangers(row: dict[str, Any]) -> list[str]:
    return [danger["code"] for danger in row["dangers"] if danger["is_accepted"]]


def _verdict(row: dict[str, Any]) -> str:
    found = ", ".join(row["found"]) or "allowed"
    return found if row["is_as_expected"] else f"{found} (expected {', '.join(row['expected']) or 'allowed'})"


def _lint_installed(name: str | None) -> list[dict[str, Any]]:
    from pki.client.rest import connect, named

    found = []
    with connect() as client:
        rows = client.get("/profiles") if name is None else [client.get(named("/profiles", name))]
        for row in rows:
            found += [_danger(row["name"], d["code"], d["message"], d["is_accepted"]) for d in row["dangers"]]
            found += [_error(row["name"], e) for e in client.post(f"/profiles/{row['name']}/lint", {})]
    return found


def _lint_file(path: Path, domain: str) -> list[dict[str, Any]]:
    from ca.profiles.dangers import find_dangers
    from ca.specimen import lint_profile

    profile = _read(path, domain)
    accepted = profile.config.dangers.accepted
    found = [
        _danger(profile.name, d.code, d.message, d.code in accepted and not d.is_error) for d in find_dangers(profile)
    ]
    found += [_error(profile.name, {"code": r.code, "message": r.message}) for r in lint_profile(profile)]
    return found


def _danger(profile: str, code: str, message: str, is_accepted: bool) -> dict[str, Any]:
    return {"profile": profile, "kind": "accepted" if is_accepted else "error", "code": code, "message": message}


def _error(profile: str, found: dict[str, Any]) -> dict[str, Any]:
    return {"profile": profile, "kind": "error", "code": found["code"], "message": found["message"]}


def _test_installed(name: str | None) -> list[dict[str, Any]]:
    from pki.client.rest import connect, named

    with connect() as client:
        names = [row["name"] for row in client.get("/profiles")] if name is None else [name]
        tables = {each: client.post(f"{named('/profiles', each)}/test", {}) for each in names}
    return [{"profile": each, **row} for each, rows in tables.items() for row in rows]


def _test_file(path: Path, domain: str) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from ca.profiles.examples import read_examples, run_examples

    profile = _read(path, domain)
    examples = read_examples(path.parent, profile.name, _variables(domain))
    outcomes = run_examples(profile, examples)
    return [{"profile": profile.name, "is_as_expected": o.is_as_expected, **asdict(o)} for o in outcomes]


def _read(path: Path, domain: str) -> Any:
    from ca.profiles.profile import read_profile
    from pki.cli.paths import read_text

    return read_profile(path.stem, read_text(path), _variables(domain))


def _variables(domain: str) -> dict[str, str]:
    return {"domain": domain, "trust_domain": domain}

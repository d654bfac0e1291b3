"""`certwright bundle`: what is published for consumers; `verify` checks it offline, with a root and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from pki.cli.options import Json

if TYPE_CHECKING:
    from ca.publication.manifest import Manifest

app = typer.Typer(help="Bundles and CRLs as they are published for consumers.", no_args_is_help=True)


@app.command()
def verify(
    signed: Annotated[Path, typer.Argument(help="The signed manifest, trust.jws.", exists=True, dir_okay=False)],
    published: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="What came with it: bundle.pem, crl.pem, *.crl.", dir_okay=False),
    ] = None,
    root: Annotated[
        list[Path] | None, typer.Option("--root", help="Root certificates to judge by, PEM.", dir_okay=False)
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="What it has to be, such as trust:example.internal; else whatever it says.")
    ] = None,
    trust_domain: Annotated[str | None, typer.Option(help="Whose publisher has to have signed it.")] = None,
    held: Annotated[
        Path | None, typer.Option(help="File that remembers versions and list numbers, JSON.", dir_okay=False)
    ] = None,
    update: Annotated[bool, typer.Option("--update", help="Remember this version if all is well.")] = False,
    json: Json = False,
) -> None:
    """Check a publication without any server: who signed it, how old it is, and each file that came with it.

    A replay is only found by who remembers: keep a file with --held and --update.
    """
    if not root:
        raise typer.BadParameter("say which root to judge by", param_hint="--root")
    if update and held is None:
        raise typer.BadParameter("say which file remembers", param_hint="--held")
    wanted = {"stream": stream, "trust_domain": trust_domain}
    _show(_checked(signed, published or [], root, **wanted, held=held, update=update), as_json=json)


class _Checked(NamedTuple):
    """A manifest that was accepted, what each file is, and what was held before."""

    manifest: Manifest
    files: list[dict[str, Any]]
    held: int | None
    is_updated: bool


def _checked(
    signed: Path,
    published: list[Path],
    root: list[Path],
    *,
    stream: str | None,
    trust_domain: str | None,
    held: Path | None,
    update: bool,
) -> _Checked:
    from ca import clock
    from ca.publication import opening
    from pki.cli.published import check_published, read_anchors, read_bounded
    from pki.held import key_of, read_held, write_held

    memory = read_held(held, may_be_new=update)
    content, anchors = read_bounded(signed), read_anchors(root)
    claimed = opening.unverified(content)
    wanted, domain = stream or claimed.stream, trust_domain or claimed.trust_domain
    key = key_of(domain, wanted)
    before, numbers = memory.version_of(key), memory.numbers_of(key)
    manifest = opening.open_signed(
        content, anchors, trust_domain=domain, stream=wanted, now=clock.timestamp(), held=before
    )
    opening.check_numbers(manifest, numbers)
    files = check_published(manifest, published, numbers, anchors)
    if held is not None and update:
        write_held(held, memory.after(manifest))
    return _Checked(manifest, files, before.version if before else None, update)


def _show(checked: _Checked, *, as_json: bool) -> None:
    from ca.publication.manifest import ListKind
    from pki.cli.output import fields, print_json

    manifest, held = checked.manifest, checked.held
    times = {name: _moment(getattr(manifest, name)) for name in ("issued_at", "expires_at")}
    head = {"stream": manifest.stream, "version": manifest.version, "sha256": manifest.sha256, **times}
    if as_json:
        named = {
            field: [{"name": entry.name, "sha256": entry.sha256} for entry in getattr(manifest, field)]
            for field in ("anchors", "authorities")
        }
        lists = [{"list": entry.key, "number": entry.number, "sha256": entry.sha256} for entry in manifest.lists]
        done = {"checked": checked.files, "held_before": held, "updated": checked.is_updated}
        print_json({**head, **named, "lists": lists, **done})
        return
    shown = [one for one in manifest.lists if one.kind is not ListKind.SHARD]
    shards = len(manifest.lists) - len(shown)
    fields(
        {
            **head,
            "anchors": [f"{one.name} {one.sha256}" for one in manifest.anchors],
            "authorities": [f"{one.name} {one.sha256}" for one in manifest.authorities],
            "lists": [f"{one.key} number {one.number}" for one in shown] + ([f"{shards} shards"] if shards else []),
            "as_published": [f"{one['file']}: {', '.join(one['is'])}" for one in checked.files],
            "held_before": None if held is None else f"version {held}",
        }
    )


def _moment(seconds: int) -> str:
    from ca import clock

    return clock.from_timestamp(min(seconds, 253402300799)).strftime("%Y-%m-%dT%H:%M:%SZ")

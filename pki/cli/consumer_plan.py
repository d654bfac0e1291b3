"""`certwright consumer add` and `change`: who must hold what, how it gets it, how it proves it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pki.cli.consumer import Name, app, shown
from pki.cli.options import Json
from pki.cli.placing import Directory, Keep, Reload, Set, read_settings

Kind = Annotated[str | None, typer.Option(help="proxy, broker, host, devices, person or other.")]
Owner = Annotated[str | None, typer.Option(help="Who answers for it: certwright owner list")]
Publisher = Annotated[
    str | None,
    typer.Option(
        help="pull (it fetches by itself), files, webhook, mqtt, objects, kubernetes. --directory means files."
    ),
]
Bundle = Annotated[
    list[str] | None,
    typer.Option(help="A format of the bundle: pem, der, pkcs7, pkcs12, spiffe, jwks; again for more."),
]
Crl = Annotated[str | None, typer.Option(help="Which CRLs: none, complete, shards or delta.")]
CrlFormat = Annotated[list[str] | None, typer.Option(help="pem or der; again for both.")]
Domain = Annotated[list[str] | None, typer.Option(help="A trust domain that it trusts; again for more. Default: ours.")]
Probe = Annotated[
    str | None,
    typer.Option(
        help="Where it is shaken hands with: https:host:port/path, tls:host:port, mqtts:host:port; ?name=SERVER-NAME"
    ),
]
Identity = Annotated[
    list[str] | None,
    typer.Option(help="Who acknowledges for it: token:NAME, or name:uri:spiffe://... in its certificate; again."),
]
Gates = Annotated[bool | None, typer.Option("--gates/--no-gates", help="Whether rotations wait for it.")]
Fresh = Annotated[str | None, typer.Option(help="How old what it holds may be before that is an alarm: 1h")]


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is called: edge-1")],
    kind: Kind = None,
    owner: Owner = None,
    publisher: Publisher = None,
    directory: Directory = None,
    reload: Reload = None,
    keep: Keep = None,
    set_: Set = None,
    bundle: Bundle = None,
    crl: Crl = None,
    crl_format: CrlFormat = None,
    trust_domain: Domain = None,
    probe: Probe = None,
    identity: Identity = None,
    gates: Gates = None,
    fresh_within: Fresh = None,
    secret: Annotated[
        bool, typer.Option("--secret", help="Make a secret that it signs acknowledgements with.")
    ] = False,
    json: Json = False,
) -> None:
    """Add whoever must hold trust bundles and CRLs. It is brought at once what it needs."""
    from pki.client.rest import connect

    settings = read_settings(directory, reload, None, None, None, keep, set_)
    body = _said(kind, owner, probe, identity, gates, fresh_within) | {"name": name, "makes_secret": secret}
    body["publisher"] = publisher or ("files" if directory else "pull")
    body |= {"settings": settings, "needs": _needs(bundle, crl, crl_format, trust_domain)}
    with connect() as client:
        shown(client.post("/consumers", body), as_json=json)


@app.command()
def change(
    name: Name,
    kind: Kind = None,
    owner: Owner = None,
    publisher: Publisher = None,
    directory: Directory = None,
    reload: Reload = None,
    keep: Keep = None,
    set_: Set = None,
    bundle: Bundle = None,
    crl: Crl = None,
    crl_format: CrlFormat = None,
    trust_domain: Domain = None,
    probe: Probe = None,
    identity: Identity = None,
    gates: Gates = None,
    fresh_within: Fresh = None,
    json: Json = False,
) -> None:
    """Change a consumer; what is not said stays as it is. In another place, nothing is proved of it."""
    from pki.client.rest import connect, named

    body = _said(kind, owner, probe, identity, gates, fresh_within)
    settings = read_settings(directory, reload, None, None, None, keep, set_)
    needs = _needs(bundle, crl, crl_format, trust_domain)
    with connect() as client:
        before = client.get(named("/consumers", name)) if settings or needs else {}
        if settings:
            body["settings"] = settings if publisher else before["settings"] | settings
        if needs:
            body["needs"] = before["needs"] | needs
        if publisher:
            body["publisher"] = publisher
        shown(client.patch(named("/consumers", name), body), as_json=json)


def _said(
    kind: str | None,
    owner: str | None,
    probe: str | None,
    identities: list[str] | None,
    gates: bool | None,
    fresh_within: str | None,
) -> dict[str, Any]:
    wanted: dict[str, Any] = {"kind": kind, "owner": owner, "probe": probe, "identities": identities}
    wanted |= {"gates": gates, "fresh_within": fresh_within}
    return {name: value for name, value in wanted.items() if value is not None}


def _needs(
    bundle: list[str] | None, crl: str | None, crl_formats: list[str] | None, trust_domains: list[str] | None
) -> dict[str, Any]:
    wanted = {"bundle": bundle, "crl": crl, "crl_formats": crl_formats, "trust_domains": trust_domains}
    return {name: value for name, value in wanted.items() if value}

"""The command, put together: options before the noun, the nouns, and how errors end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pki.cli import (
    alarm,
    anchor,
    answer,
    approval,
    backup,
    bundle,
    bundle_follow,
    bundle_streams,
    ca,
    ca_cross,
    ca_external,
    ca_offline,
    ca_sizes,
    ceremony,
    cert,
    cert_revoking,
    consumer,
    consumer_plan,
    demo,
    destination,
    doctor,
    event,
    identity,
    init,
    issuer,
    key,
    ledger,
    ledger_at,
    mirror,
    monitor,
    owner,
    profile,
    profile_diff,
    prove,
    renew,
    replace,
    report,
    report_bounce,
    report_letters,
    report_monthly,
    report_preview,
    rotate,
    rotation,
    serve,
    token,
    track,
    track_find,
    track_plan,
)
from pki.client.where import where

EPILOG = """
Start here: certwright demo shows everything in half a minute, in a directory of its own.
Then: certwright init, certwright serve, certwright cert issue --profile mesh spiffe://...
"""

app = typer.Typer(
    name="certwright",
    help="An internal CA that issues, revokes, publishes and proves; what is tracked is renewed, and a CA is rotated.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
CA, INVENTORY, TRUST, NEWS = "The CA", "What ends, and is renewed", "Who must trust it", "What happens"

app.command("demo")(demo.demo)
app.command("init")(init.init)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)
ca.app.command("rotate")(rotate.rotate)
for verb in (ca_external.request, ca_external.requests, ca_external.accept, ca_external.withdraw, ca_sizes.sizes):
    ca.app.command()(verb)
ca.app.command("cross-sign")(ca_cross.cross_sign)
ca.app.command("crosses")(ca_cross.crosses)
ca.app.command("take-offline")(ca_offline.take_offline)
ca.app.command("bring-back")(ca_offline.bring_back)
cert.app.command("revoke")(cert_revoking.revoke)
cert.app.command("hold")(cert_revoking.hold)
cert.app.command("release")(cert_revoking.release)
app.add_typer(ca.app, name="ca", rich_help_panel=CA)
app.add_typer(ceremony.app, name="ceremony", rich_help_panel=CA)
app.add_typer(approval.app, name="approval", rich_help_panel=CA)
app.add_typer(rotation.app, name="rotation", rich_help_panel=CA)
app.add_typer(profile.app, name="profile", rich_help_panel=CA)
app.add_typer(cert.app, name="cert", rich_help_panel=CA)
app.add_typer(key.app, name="key", rich_help_panel=CA)
app.add_typer(token.app, name="token", rich_help_panel=CA)
app.add_typer(identity.app, name="identity", rich_help_panel=CA)
profile.app.command("diff")(profile_diff.diff)
ledger.app.command("at")(ledger_at.at)
ledger.app.command("prove")(prove.prove)
ledger.app.command("check")(prove.check)
ledger.app.command("mirror")(mirror.mirror)
ledger.app.command("monitor")(monitor.monitor)
app.add_typer(ledger.app, name="ledger", rich_help_panel=CA)
track.app.command("add")(track_plan.add)
track.app.command("change")(track_plan.change)
track.app.command("remove")(track_plan.remove)
track.app.command("lineages")(track_plan.lineages)
track.app.command("import")(track_find.import_)
track.app.command("scan")(track_find.scan)
track.app.command("acknowledge")(answer.acknowledge)
track.app.command("unacknowledge")(answer.unacknowledge)
track.app.command("acknowledged")(answer.acknowledged)
app.add_typer(track.app, name="track", rich_help_panel=INVENTORY)
app.add_typer(renew.app, name="renew", rich_help_panel=INVENTORY)
app.add_typer(destination.app, name="destination", rich_help_panel=INVENTORY)
app.add_typer(replace.app, name="replace", rich_help_panel=INVENTORY)
owner.app.command("mailboxes")(answer.mailboxes)
owner.app.command("revive")(answer.revive)
owner.app.command("calendar")(answer.calendar)
app.add_typer(owner.app, name="owner", rich_help_panel=INVENTORY)
report.app.command("preview")(report_preview.preview)
report.app.command("send")(report_letters.send)
report.app.command("list")(report_letters.listing)
report.app.command("show")(report_letters.show)
report.app.command("explain")(report_letters.explain)
report.app.command("monthly")(report_monthly.monthly)
report.app.command("bounce")(report_bounce.bounce)
app.add_typer(report.app, name="report", rich_help_panel=INVENTORY)
app.add_typer(issuer.app, name="issuer", rich_help_panel=INVENTORY)
consumer.app.command("add")(consumer_plan.add)
consumer.app.command("change")(consumer_plan.change)
app.add_typer(consumer.app, name="consumer", rich_help_panel=TRUST)
bundle.app.command("list")(bundle_streams.listing)
bundle.app.command("history")(bundle_streams.history)
bundle.app.command("show")(bundle_streams.show)
bundle.app.command("fetch")(bundle_streams.fetch)
bundle.app.command("follow")(bundle_follow.follow)
bundle.app.command("publish")(bundle_streams.publish)
app.add_typer(bundle.app, name="bundle", rich_help_panel=TRUST)
app.add_typer(anchor.app, name="anchor", rich_help_panel=TRUST)
app.add_typer(backup.app, name="backup", rich_help_panel=CA)
app.add_typer(alarm.app, name="alarm", rich_help_panel=NEWS)
app.add_typer(event.app, name="event", rich_help_panel=NEWS)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        typer.echo(f"certwright {version('certwright')}")
        raise typer.Exit


@app.callback()
def options(
    state: Annotated[
        Path | None,
        typer.Option(envvar="CERTWRIGHT_STATE", help="State directory of the installation on this machine."),
    ] = None,
    server: Annotated[
        str | None, typer.Option(envvar="CERTWRIGHT_SERVER", help="URL of a remote installation, https://...")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="CERTWRIGHT_TOKEN", help="API token or JWT for it. Better in the environment.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_CA_FILE", help="Root certificate that it has to chain to, PEM.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_CERTIFICATE", help="Client certificate, PEM, instead of a token.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(envvar="CERTWRIGHT_KEY", help="The private key of the client certificate, PEM.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Where the installation is: nothing for the one on this machine, --server for one elsewhere."""
    where.state, where.server, where.token = state, server, token
    where.ca_file, where.certificate, where.key = ca_file, certificate, key


def run() -> None:
    """Run the command; a refusal ends with one line, a hint and exit code 1."""
    as_json = "--json" in sys.argv
    try:
        app()
    except Exception as error:  # noqa: BLE001 - sorted below; what is not ours goes on
        _end(error, as_json=as_json)


def _end(error: Exception, *, as_json: bool) -> None:
    from ca.errors import CertwrightError
    from pki.cli.output import refuse
    from pki.client.rest import Problem, document_of

    if isinstance(error, Problem):
        document = dict(error.document)
    elif isinstance(error, CertwrightError):
        document = document_of(error)
    elif isinstance(error, OSError):
        place = "" if error.filename is None else f": {error.filename}"
        document = {"code": "file", "detail": f"{error.strerror or error}{place}"}
    elif isinstance(error, UnicodeDecodeError):
        document = {"code": "not-text", "detail": "a file is not UTF-8 text", "hint": "was one saved by an old editor?"}
    else:
        raise error
    try:
        refuse(document, as_json=as_json)
    except typer.Exit as end:
        sys.exit(end.exit_code)

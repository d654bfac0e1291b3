"""The application: the API, what is public, and how errors look. The same one serves TLS, the socket and tests."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

from ca import approval, clock, crl
from ca.access import Operation
from ca.authority import SIGNING
from ca.ceremony import due
from ca.errors import CertwrightError
from pki import backup
from pki.metrics import CONTENT_TYPE
from pki.product import Product
from pki.web import links, public, tiles
from pki.web import publications as fetched_publications
from pki.web.admission import Admission
from pki.web.api import (
    alarms,
    answers,
    approvals,
    authorities,
    authority_requests,
    backups,
    ceremonies,
    certificates,
    consumers,
    crosses,
    destinations,
    doctor,
    endpoints,
    events,
    identity,
    issuers,
    keys,
    ledger,
    ledger_state,
    letters,
    lineages,
    owners,
    profiles,
    proofs,
    publications,
    renewals,
    replacements,
    report_monthly,
    report_preview,
    rotations,
    scans,
    sign_in,
    tokens,
    tracked,
)
from pki.web.arrivals import Arrivals
from pki.web.context import identity_of, product_of
from pki.web.dashboard.browsers import Browsers
from pki.web.dashboard.errors import on_http_error as on_http_error_of_a_browser
from pki.web.dashboard.router import ROUTERS as PAGES
from pki.web.described import REFUSALS, describe, text_of
from pki.web.direct import Direct
from pki.web.gate import Gate, PlainPath
from pki.web.identity import Identity
from pki.web.limits import BodyLimit
from pki.web.ocsp import Ocsp
from pki.web.problems import on_any_error, on_http_error, on_our_error, on_validation_error

API = "/api/v1"
NOUNS = (
    *(
        certificates,
        authorities,
        authority_requests,
        profiles,
        tokens,
        identity,
        sign_in,
        ledger,
        ledger_state,
        proofs,
        keys,
        backups,
        approvals,
        ceremonies,
        crosses,
        doctor,
    ),
    *(consumers, publications, rotations, replacements),
    *(answers, owners, tracked, endpoints, scans, lineages, renewals, destinations, issuers, alarms, events),
    *(letters, report_preview),
    report_monthly,
)
OPENAPI = f"{API}/openapi.json"
VERSION = "0.1.0"


def create_app(product: Product) -> ASGIApp:
    """Everything, for the TLS listener and the Unix socket."""
    return answering(routed(), product)


def routed() -> FastAPI:
    """All routes. They are the same for every installation; `answering` says for which they are."""
    app = _bare("Certwright", OPENAPI)
    api = APIRouter(prefix=API)
    for module in NOUNS:
        api.include_router(module.router)
    app.include_router(certificates.hot, prefix=API)
    app.include_router(api)
    app.include_router(fetched_publications.router)  # first: `NAME.delta.crl` is not the list of `NAME.delta`
    app.include_router(tiles.entries_router)  # first: `entries` is no level
    app.include_router(tiles.router)
    app.include_router(public.router)
    app.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        summary="Prometheus metrics",
        tags=["public"],
        response_class=Response,
        responses=text_of("text/plain"),
    )
    for pages in (*PAGES, links.router):
        app.include_router(pages)
    app.add_exception_handler(HTTPException, on_http_error_of_a_browser)
    return app


def answering(app: FastAPI, product: Product) -> ASGIApp:
    """The routes with an installation behind them, and before them all that every request has to pass."""
    _furnish(app, product)
    app.state.browsers = Browsers(product, app.state.identity)
    app.state.providers = {}
    fast = Direct(app, {f"{API}/certificates": certificates.issue})
    limits = product.settings.limits
    paths = (f"{API}/certificates", "/renew")
    admitted = Admission(PlainPath(fast), product, paths, at_once=limits.issuing, waiting=limits.waiting)
    app.state.admission = admitted
    gate = Gate(admitted, app, API, frozenset({OPENAPI}))
    return Ocsp(BodyLimit(gate, product.settings.limits.body_bytes), product)


def create_public_app(product: Product) -> ASGIApp:
    """What the plain listener serves: nothing secret, nothing that changes anything."""
    app = _bare("Certwright, public", None)
    _furnish(app, product)
    app.include_router(fetched_publications.router)  # first: `NAME.delta.crl` is not the list of `NAME.delta`
    app.include_router(tiles.router)
    app.include_router(public.router)
    return Ocsp(BodyLimit(PlainPath(app), product.settings.limits.body_bytes), product)


def metrics(request: Request) -> Response:
    """For callers that may read metrics; anybody on this machine's socket may."""
    identity_of(request).caller(request).must(Operation.READ_METRICS)
    product = product_of(request)
    measure(product)
    product.metrics.admission_waiting.set(request.app.state.admission.waiting)
    return Response(product.metrics.text(), media_type=CONTENT_TYPE)


def measure(product: Product) -> None:
    """Set the gauges that are looked up rather than counted."""
    now, found = clock.timestamp(), product.metrics
    found.authority_seconds_left.clear()
    for row in product.installation.authorities.trusted():
        found.authority_seconds_left.labels(row.name, row.state).set(row.not_after - now)
    statuses = crl.statuses(product.installation)
    for name in {status.authority for status in statuses}:
        own = [status for status in statuses if status.authority == name]
        found.crl_seconds_left.labels(name).set(min(status.next_update for status in own) - now)
        found.crl_age_seconds.labels(name).set(now - min(status.this_update for status in own))
        found.crl_entries.labels(name).set(sum(status.entries for status in own if status.shard == crl.COMPLETE))
    found.crl_findings.clear()
    found.crl_checked_age_seconds.clear()
    for name, (wrong, age) in product.list_rounds.counts.items():
        found.crl_findings.labels(name).set(wrong)
        found.crl_checked_age_seconds.labels(name).set(age)
    found.ocsp_signer_seconds_left.clear()
    followed = {row.name for row in product.installation.authorities.all() if row.state in SIGNING}
    for name, end in product.responder.signers.ends.items():
        if name in followed:  # that of a tainted CA runs out, and the CA signs itself
            found.ocsp_signer_seconds_left.labels(name).set(end - now)
    found.lifecycle.look_up(product.installation.store)
    found.ledger.look_up(product.installation, product.settings.ledger.audit_every.total_seconds())
    found.backup_age_seconds.set(backup.age(product))
    found.approvals_waiting.set(approval.undecided(product.installation))
    found.ceremonies_waiting.set(due.carried(product.installation))
    found.ceremonies_due.set(len(due.lists(product.installation)))
    found.clock_wrong.set(product.installation.timekeeper.objection is not None)
    found.backup_every_seconds.set(product.settings.backup.every.total_seconds())
    found.commit_batches.set(product.installation.store.commits.batches)
    found.commit_units.set(product.installation.store.commits.units)


def _bare(title: str, openapi: str | None) -> FastAPI:
    app = FastAPI(
        title=title,
        version=VERSION,
        openapi_url=openapi,
        docs_url=None,
        redoc_url=None,
        responses=REFUSALS,
        exception_handlers={
            CertwrightError: on_our_error,
            RequestValidationError: on_validation_error,
            ValidationError: on_validation_error,
            HTTPException: on_http_error,
            Exception: on_any_error,
        },
    )
    describe(app)
    return app


def _furnish(app: FastAPI, product: Product) -> None:
    app.state.product = product
    app.state.identity = Identity(product)
    app.state.arrivals = Arrivals(product)

"""What consumers fetch by themselves: signed publications, the files that they come to, and a way to say what is held.

All of it is public and signed by itself, so it is served without TLS, too. `after` and `wait` make a request for the
newest version a long poll: it is answered when there is one, or with 304 when the time is up. An acknowledgement is
signed with the consumer's own secret (Standard Webhooks), so that it needs no other identity.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ca import delta
from ca.errors import NotFound
from pki.web.answered_consumers import HoldingView
from pki.web.arrivals import Arrivals
from pki.web.asked_consumers import SignedReport
from pki.web.context import ProductDep, product_of
from pki.web.described import bytes_of
from pki.web.fetched import CRL_TYPE, MAX_AGE, cached, fetched
from pki.web.views_consumers import holding_view
from renewers.distribution import acknowledging, formats, published, streams

router = APIRouter(tags=["publications"])
SIGNED_TYPE = "application/jose+json"
"""RFC 7515 section 9.2.2."""
NEWEST_AGE = 5
FOREVER = 86400
FILE_TYPES = {
    ".pem": "application/x-pem-file",
    ".cer": "application/pkix-cert",
    ".p7b": "application/pkcs7-mime",
    ".json": "application/json",
}


def arrivals_of(request: Request) -> Arrivals:
    """Who waits for what, in this process."""
    return cast(Arrivals, request.app.state.arrivals)


@router.get(
    "/publications/{stream}",
    summary="The newest version of a stream, signed",
    response_class=Response,
    responses={**bytes_of(SIGNED_TYPE), 304: {"description": "There is nothing newer than `after`"}},
)
async def newest(
    request: Request,
    stream: str,
    after: Annotated[int, Query(ge=0, lt=1 << 63, description="The version that is held")] = 0,
    wait: Annotated[float, Query(ge=0, le=60, description="Seconds to wait for a newer one")] = 0,
) -> Response:
    """A JWS (RFC 7515) whose payload is the manifest; `trust:DOMAIN` or `crl:DOMAIN`."""
    row = await asyncio.to_thread(_newest, request, stream)  # first of all: nobody waits for what there is not
    if wait and row.version <= after:
        await arrivals_of(request).after(stream, after, wait)
        row = await asyncio.to_thread(_newest, request, stream)
    tag = f"{row.version}-{row.sha256[:16]}"
    headers = {"X-Publication-Version": str(row.version)}
    if row.version <= after:
        return Response(status_code=304, headers={"ETag": f'"{tag}"', **headers})
    return cached(request, row.signed, tag, SIGNED_TYPE, NEWEST_AGE, headers)


router.add_api_route("/publications/{stream}", newest, methods=["HEAD"], include_in_schema=False)


@fetched(router, "/publications/{stream}/{version}", SIGNED_TYPE, summary="One version of a stream, signed")
def version(request: Request, stream: str, version: int) -> Response:
    """As it was signed; old versions of trust streams stay for ever."""
    if not 0 < version < 1 << 63:
        raise NotFound("there is no such version", code="unknown-publication")
    with product_of(request).installation.store.read() as connection:
        signed = published.load(connection, stream, version)
    return cached(request, signed, f"{version}", SIGNED_TYPE, FOREVER)


@fetched(router, "/bundles/{trust_domain}/{file}", *FILE_TYPES.values(), summary="A file of a trust bundle")
def bundle_file(request: Request, trust_domain: str, file: str) -> Response:
    """`bundle.pem`, `cas.pem`, `bundle.p7b`, `spiffe.json`, `jwks.json`, `NAME.cer`; its hash is in the manifest."""
    row = _newest(request, streams.trust_stream(trust_domain))
    manifest = published.manifest_of(row.signed)
    content = formats.trust_files(manifest.anchors, manifest.authorities, row.version).get(file)
    if content is None:
        raise NotFound("there is no such file in this bundle", code="unknown-file")
    found = next((item.sha256 for item in manifest.items if item.name == file), str(row.version))
    kind = FILE_TYPES.get(file[file.rfind(".") :], "application/octet-stream")
    return cached(request, content, found, kind, NEWEST_AGE, {"X-Publication-Version": str(row.version)})


@fetched(router, "/crl/{authority}.delta.crl", CRL_TYPE, summary="The delta CRL of an authority, DER")
def delta_crl(request: Request, authority: str) -> Response:
    """What was revoked since the complete list that it names (RFC 5280 section 5.2.4)."""
    installation = product_of(request).installation
    row = next((row for row in installation.authorities.all() if row.name == authority), None)
    found = None if row is None else delta.load(installation, row.name)
    if found is None:
        raise NotFound("there is no delta CRL of this authority", code="unknown-crl")
    return cached(request, found.crl, found.sha256.hex(), CRL_TYPE, MAX_AGE)


@router.post(
    "/acknowledgements",
    summary="Say which version is held, signed by the consumer",
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": SignedReport.model_json_schema()}}}
    },
)
async def acknowledge(request: Request, product: ProductDep) -> HoldingView:
    """Signed as a Standard Webhook with the consumer's own secret; whatever is wrong about it is refused alike."""
    body = await request.body()
    headers = dict(request.headers)
    holding = await asyncio.to_thread(acknowledging.acknowledge_signed, product.lifecycle, headers, body)
    return holding_view(holding)


def _newest(request: Request, stream: str) -> Any:
    with product_of(request).installation.store.read() as connection:
        row = published.newest(connection, stream)
    if row is None:
        raise NotFound("nothing was published under this name", code="unknown-stream")
    return row

"""Signing in with an OpenID Connect provider: there, and back with a code.

The authorization code flow with PKCE, `state` and `nonce`, for each provider at an address of its own. Who comes back
gets the role of the first entry in the settings that fits what the provider says, and none if none fits.
"""

from __future__ import annotations

from typing import cast

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ca import sessions
from ca.access import Caller
from ca.errors import BadRequest, Forbidden, NotFound
from pki.web.context import product_of
from pki.web.dashboard import flow as flows
from pki.web.dashboard import grants, routes
from pki.web.dashboard.browsers import browsers_of
from pki.web.dashboard.local import local_path
from pki.web.dashboard.provider import Provider
from pki.web.reached import own_url
from renewers import plain
from renewers.inventory import shown

MAX_CODE = 4000
router = routes.open_pages()


@router.get("/sign-in/with/{name}")
def there(request: Request, name: str) -> Response:
    """Send a browser to the provider."""
    provider = _provider(request, name)
    begun = flows.begin(name, local_path(request.query_params.get("next")))
    response = RedirectResponse(provider.where(begun, _back(request, name)), 303)
    return flows.keep(response, begun, product_of(request).lifecycle.sealer)


@router.get("/sign-in/with/{name}/back")
def back(request: Request, name: str) -> Response:
    """Take what the provider has sent a browser back with."""
    provider, product = _provider(request, name), product_of(request)
    asked = request.query_params
    cookie = request.cookies.get(flows.COOKIE)
    flow = flows.read(cookie, product.lifecycle.sealer, provider=name, state=asked.get("state"))
    flows.spend(product.lifecycle.store, flow)
    provider.check_issuer(asked.get("iss"))
    if "error" in asked:
        reason = plain.one_line(asked["error"], 60)
        raise Forbidden(f"{name} has not signed you in: {reason}", code="provider-refused", hint="try once more")
    code = asked.get("code", "")
    if not 0 < len(code) <= MAX_CODE:
        raise BadRequest("the provider sent no code along", code="bad-sign-in")
    claims = provider.claims(code, flow, _back(request, name))
    entry = grants.granted(provider.settings, claims)
    caller = Caller(f"oidc:{name}:{shown.line(str(claims['sub']), 120)}", entry.role)
    rests_on = grants.credential(provider.settings, entry)
    browsers = browsers_of(request)
    secret = sessions.sign_in(product.installation, caller, browsers.terms, how="oidc", credential=rests_on)
    return flows.drop(browsers.begin(request, RedirectResponse(flow.onward, 303), secret))


def _provider(request: Request, name: str) -> Provider:
    """One a process: it remembers the description and the keys."""
    known = cast(dict[str, Provider], request.app.state.providers)
    if name not in known:
        product = product_of(request)
        settings = next((each for each in product.settings.dashboard.oidc if each.name == name), None)
        if settings is None:
            raise NotFound("nobody signs in with that here", code="unknown-provider")
        known.setdefault(name, Provider(settings, product.state))
    return known[name]


def _back(request: Request, name: str) -> str:
    return f"{own_url(product_of(request), request)}/sign-in/with/{name}/back"

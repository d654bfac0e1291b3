"""Signing in and out. Looking at a link to sign in with does nothing; the form on its page spends it.

Scanners of mail and chats follow links, some with a browser of their own: what they get is a page that asks.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ca.errors import Unauthenticated
from pki.web.context import product_of
from pki.web.dashboard import page, routes, visitor
from pki.web.dashboard.browsers import browsers_of, without_cookie
from pki.web.dashboard.local import local_path
from pki.web.problems import shown

router = routes.open_pages()


@router.get("/sign-in")
def ways(request: Request) -> Response:
    """The ways to sign in; whoever is signed in already is led on."""
    onward = local_path(request.query_params.get("next"))
    refusal = None
    try:
        if visitor.recognise(request) is not None:
            return RedirectResponse(onward, 303)
    except Unauthenticated as error:  # such as a certificate that has been revoked: said, or it could not be understood
        refusal = error
    providers = [each.name for each in product_of(request).settings.dashboard.oidc]
    said = None if refusal is None else shown(refusal.message)
    return page.page(request, "sign_in.html", title="Sign in", providers=providers, onward=onward, refusal=said)


@router.get("/sign-in/{link}")
def look(request: Request, link: str) -> Response:
    """What a link would do."""
    row = browsers_of(request).look(link)
    return page.page(request, "sign_in_link.html", title="Sign in?", row=row)


@router.post("/sign-in/{link}")
def spend(request: Request, link: str) -> Response:
    """Sign in by a link, once."""
    browsers = browsers_of(request)
    return browsers.begin(request, RedirectResponse("/", 303), browsers.sign_in_by(link))


@router.post("/sign-out")
def leave(request: Request) -> Response:
    """End the session, whether or not there is one any more."""
    browsers_of(request).sign_out(request)
    return without_cookie(RedirectResponse("/sign-in?said=signed-out", 303))

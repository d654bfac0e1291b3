"""Links that sign somebody in with a browser, once; who is signed in, and ending that."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ca import sessions, sign_in_links
from pki.web.answered import EndedSessions, SessionView, SignInLinkView
from pki.web.asked import SignInLinkRequest
from pki.web.context import CallerDep, ProductDep, identity_of, read_duration
from pki.web.reached import own_url
from pki.web.views import moment, session_view

router = APIRouter(tags=["signing in"])


@router.post("/sign-in-links", status_code=201, summary="Make a link that signs somebody in")
def create(product: ProductDep, caller: CallerDep, body: SignInLinkRequest, request: Request) -> SignInLinkView:
    """For oneself; who manages tokens chooses another role and name, too. It works once, and is shown here alone."""
    lifetime = read_duration(body.lifetime)
    assert lifetime is not None
    row, secret = sign_in_links.make_link(
        product.installation, caller, role=body.role, lifetime=lifetime, name=body.name
    )
    path = f"/sign-in/{secret.reveal()}"
    return SignInLinkView(
        identity=row.identity, role=row.role, expires_at=moment(row.expires_at), path=path, url=own_url(product) + path
    )


@router.get("/sessions", summary="List who is signed in")
def listing(product: ProductDep, caller: CallerDep) -> list[SessionView]:
    """Browsers in which somebody is signed in, newest first, at most 200."""
    return [session_view(row) for row in sessions.list_sessions(product.installation, caller)]


@router.delete("/sessions/{identity:path}", summary="Sign somebody out everywhere")
def end(product: ProductDep, caller: CallerDep, request: Request, identity: str) -> EndedSessions:
    """End every session of an identity. It may sign in again unless its token, certificate or group is taken away."""
    ended = sessions.end_sessions(product.installation, caller, identity)
    identity_of(request).forget()
    return EndedSessions(identity=identity, ended=ended)

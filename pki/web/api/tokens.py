"""Tokens: make, list, revoke. And who the server takes you for."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ca import tokens
from ca.access import Operation
from ca.tokens import Grant
from pki.web.answered import CallerView, CreatedToken, TokenView
from pki.web.asked import TokenRequest
from pki.web.context import CallerDep, ProductDep, identity_of, read_duration
from pki.web.views import caller_view, token_view

router = APIRouter(tags=["tokens"])


@router.get("/me", summary="Who am I")
def me(caller: CallerDep) -> CallerView:
    """The caller as the server sees it, and what it may do."""
    return caller_view(caller)


@router.get("/tokens", summary="List tokens")
def listing(product: ProductDep, caller: CallerDep) -> list[TokenView]:
    """Every token, newest first, never a secret."""
    return [TokenView(**token_view(row)) for row in tokens.list_tokens(product.installation, caller)]


@router.post("/tokens", status_code=201, summary="Make a token")
def create(product: ProductDep, caller: CallerDep, body: TokenRequest) -> CreatedToken:
    """Make a token for a role. The answer shows its secret, once."""
    caller.must(Operation.MANAGE_TOKENS)
    lifetime = read_duration(body.lifetime)
    assert lifetime is not None
    grant = Grant(body.name, body.role, lifetime, body.profiles, body.attributes)
    row, secret = tokens.create_token(product.installation, caller, grant)
    return CreatedToken(**token_view(row), token=secret.reveal())


@router.delete("/tokens/{identity}", summary="Revoke a token")
def revoke(product: ProductDep, caller: CallerDep, request: Request, identity: str) -> TokenView:
    """End a token, by its id or its name."""
    row = tokens.revoke_token(product.installation, caller, identity)
    identity_of(request).forget()
    return TokenView(**token_view(row))

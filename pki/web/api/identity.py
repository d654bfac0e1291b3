"""Who is believed besides tokens and certificates of ours: issuers of JSON Web Tokens, and what one is taken for."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request

from ca.access import Operation
from ca.errors import CertwrightError, Forbidden
from pki.web.answered_identity import ConditionView, ExplainedView, JwtIssuerView, RefusedView
from pki.web.asked import TokenText
from pki.web.context import CallerDep, identity_of
from pki.web.jwt_bearers import Condition, Verified, no_grant
from pki.web.views import moment

SHOWN = 200
router = APIRouter(prefix="/identity", tags=["tokens"])


@router.get("/issuers", summary="List issuers of JSON Web Tokens")
def issuers(caller: CallerDep, request: Request) -> list[JwtIssuerView]:
    """Those that the settings name, and how it stands with their keys in this process."""
    caller.must(Operation.READ_TOKENS)
    return [
        JwtIssuerView(
            name=settings.name,
            issuer=settings.issuer,
            audience=settings.audience,
            algorithms=list(settings.algorithms),
            keys_from=settings.jwks_url or settings.jwks_file,
            keys=keys,
            failure=failure,
            grants=len(settings.grants),
        )
        for settings, keys, failure in identity_of(request).jwt.issuers()
    ]


@router.post("/explain", summary="Explain a JSON Web Token")
def explain(caller: CallerDep, request: Request, body: TokenText) -> ExplainedView:
    """What a token would be taken for: it is verified, the grants are held against it, and nothing is done with it."""
    caller.must(Operation.READ_TOKENS)
    bearers, token = identity_of(request).jwt, body.token.get_secret_value().strip()
    try:
        found = bearers.explain(token)
    except CertwrightError as error:
        return _view(None, bearers.name(token), error)
    return _view(found, found.issuer, no_grant(found) if found.caller is None else None)


def _view(found: Verified | None, issuer: str | None, error: CertwrightError | None) -> ExplainedView:
    caller = None if found is None else found.caller
    return ExplainedView(
        is_let_in=caller is not None,
        issuer=issuer,
        identity=None if found is None else found.identity,
        ends_at=None if found is None else moment(found.ends_at),
        grant=None if found is None else found.grant,
        role=None if caller is None else caller.role,
        profiles=None if caller is None or caller.profiles is None else sorted(caller.profiles),
        attributes={} if caller is None else dict(caller.attributes),
        unset={} if found is None else dict(found.unset),
        conditions=[] if found is None else [_condition(each) for each in found.conditions],
        refused=None if error is None else RefusedView(code=error.code, message=error.message, hint=_hint(error)),
    )


def _condition(each: Condition) -> ConditionView:
    return ConditionView(
        grant=each.grant, claim=each.claim, pattern=each.pattern, said=_shown(each.said), fits=each.fits
    )


def _hint(error: CertwrightError) -> str | None:
    return "the conditions say which claims do not fit" if isinstance(error, Forbidden) else error.hint


def _shown(said: Any) -> str:
    text = json.dumps(said)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

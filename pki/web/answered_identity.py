"""What the API answers about who is believed: issuers of JSON Web Tokens, and what one token is taken for."""

from __future__ import annotations

from pydantic import BaseModel


class JwtIssuerView(BaseModel):
    """An issuer that the settings name. `keys` are known now; `failure` says why they could not be had, if so."""

    name: str
    issuer: str
    audience: str
    algorithms: list[str]
    keys_from: str
    keys: int
    failure: str | None
    grants: int


class ConditionView(BaseModel):
    """One claim that a grant (counted from 1) asks for; `said` is what the token says, as JSON."""

    grant: int
    claim: str
    pattern: str
    said: str
    fits: bool


class RefusedView(BaseModel):
    """Why nobody is let in."""

    code: str
    message: str
    hint: str | None


class ExplainedView(BaseModel):
    """What a token is taken for: of the first grant that fits, or of nobody, and why.

    `attributes` are what `{caller.NAME}` stands for in profiles; `unset` are those that stand for nothing, with
    the claim that says nothing a rule could take.
    """

    is_let_in: bool
    issuer: str | None
    identity: str | None
    ends_at: str | None
    grant: int | None
    role: str | None
    profiles: list[str] | None
    attributes: dict[str, str]
    unset: dict[str, str]
    conditions: list[ConditionView]
    refused: RefusedView | None

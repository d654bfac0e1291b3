"""Profiles: list, show, lint, and run their tables of examples."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter

from ca.access import Operation
from ca.errors import BadRequest, Misconfigured, Reason
from ca.profiles.comparing import compare
from ca.profiles.examples import Outcome, read_examples, run_examples
from ca.profiles.profile import Profile, read_profile
from ca.replay import Change, replay
from ca.specimen import lint_profile
from pki.web.answered import ExampleView, FindingView, ProfileView
from pki.web.answered_profiles import ChangedView, ComparisonView, DifferenceView, ReplayView
from pki.web.asked import CompareRequest
from pki.web.context import CallerDep, ProductDep
from pki.web.views import profile_view

router = APIRouter(prefix="/profiles", tags=["profiles"])


@router.get("", summary="List profiles")
def listing(product: ProductDep, caller: CallerDep) -> list[ProfileView]:
    """Every profile in force."""
    caller.must(Operation.READ_PROFILES)
    return [profile_view(profile) for profile in product.installation.profiles]


@router.get("/{name}", summary="Show a profile")
def show(product: ProductDep, caller: CallerDep, name: str) -> ProfileView:
    """One profile, its file's text included."""
    caller.must(Operation.READ_PROFILES)
    return profile_view(product.installation.profiles[name])


@router.post("/{name}/lint", summary="Lint what a profile makes")
def lint(product: ProductDep, caller: CallerDep, name: str) -> list[FindingView]:
    """Make a specimen with each key type by a throwaway CA, and lint it; empty if all are sound."""
    caller.must(Operation.READ_PROFILES)
    found = lint_profile(product.installation.profiles[name])
    return list(map(_finding, found))


@router.post("/{name}/test", summary="Run a profile's examples")
def test(product: ProductDep, caller: CallerDep, name: str) -> list[ExampleView]:
    """Judge every example in the table beside the profile."""
    caller.must(Operation.READ_PROFILES)
    profiles = product.installation.profiles
    profile = profiles[name]  # first: a name that there is none of is no file's either
    examples = read_examples(profiles.directory_of(name), profile.name, profiles.variables)
    return list(map(_example, run_examples(profile, examples)))


@router.post("/{name}/compare", summary="What a changed profile would change")
def compare_with(product: ProductDep, caller: CallerDep, name: str, body: CompareRequest) -> ComparisonView:
    """Field by field, by the examples of the one in force, and for the last issuances. Nothing comes into force."""
    caller.must(Operation.READ_ANY)  # it tells of the certificates of others
    profiles = product.installation.profiles
    old = profiles[name]
    new = _read(name, body.content, profiles.variables)
    examples = read_examples(profiles.directory_of(name), name, profiles.variables)
    outcomes = zip(run_examples(old, examples), run_examples(new, examples), strict=True)
    found = replay(product.installation, new, body.last)
    return ComparisonView(
        profile=name,
        differences=[
            DifferenceView(field=one.field, before=one.before, after=one.after, effect=one.effect)
            for one in compare(old, new)
        ],
        examples=[_example(after) for before, after in outcomes if before.found != after.found],
        replay=ReplayView(
            looked=found.looked,
            unknown=found.unknown,
            refused=found.refused,
            allowed=found.allowed,
            newly_refused=list(map(_changed, found.newly_refused)),
            newly_allowed=list(map(_changed, found.newly_allowed)),
        ),
    )


def _read(name: str, content: str, variables: Mapping[str, str]) -> Profile:
    try:
        return read_profile(name, content, variables)
    except Misconfigured as error:  # of whoever sent it, not of ours
        raise BadRequest(error.message, code=error.code, hint=error.hint) from None


def _finding(reason: Reason) -> FindingView:
    return FindingView(code=reason.code, message=reason.message, rule=reason.rule)


def _changed(change: Change) -> ChangedView:
    reasons = list(map(_finding, change.reasons))
    return ChangedView(
        serial=change.serial, requested_by=change.requested_by, names=list(change.names), reasons=reasons
    )


def _example(outcome: Outcome) -> ExampleView:
    return ExampleView(
        why=outcome.why,
        is_as_expected=outcome.is_as_expected,
        expected=list(outcome.expected),
        found=list(outcome.found),
        messages=list(outcome.messages),
    )

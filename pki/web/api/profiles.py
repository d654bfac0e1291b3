"""Profiles: list, show, lint, and run their tables of examples."""

from __future__ import annotations

from fastapi import APIRouter

from ca.access import Operation
from ca.profiles.examples import read_examples, run_examples
from ca.specimen import lint_profile
from pki.web.answered import ExampleView, FindingView, ProfileView
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
    return [FindingView(code=reason.code, message=reason.message, rule=reason.rule) for reason in found]


@router.post("/{name}/test", summary="Run a profile's examples")
def test(product: ProductDep, caller: CallerDep, name: str) -> list[ExampleView]:
    """Judge every example in the table beside the profile."""
    caller.must(Operation.READ_PROFILES)
    profiles = product.installation.profiles
    examples = read_examples(profiles.directory_of(name), profiles[name].name, profiles.variables)
    return [
        ExampleView(
            why=outcome.why,
            is_as_expected=outcome.is_as_expected,
            expected=list(outcome.expected),
            found=list(outcome.found),
            messages=list(outcome.messages),
        )
        for outcome in run_examples(profiles[name], examples)
    ]

"""A changed profile before it is in force: what it would allow and refuse, by the judge that issuance has."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ca.access import Role
from ca.profiles.collection import Profiles
from ca.profiles.comparing import Effect, compare
from ca.profiles.profile import Profile, read_profile
from tests import rig
from tests.pki.conftest import API, LOCALLY, Template, Warm, World, problem, wish
from tests.pki.test_serve import home

__all__ = ["home"]

SHIPPED = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)
MESH, SERVER = SHIPPED["mesh"].text, SHIPPED["server"].text


def changed(text: str, before: str, after: str, name: str = "server") -> Profile:
    """A profile whose file is another one."""
    assert before in text
    return read_profile(name, text.replace(before, after), rig.VARIABLES)


@pytest.mark.parametrize("profile", list(SHIPPED), ids=lambda profile: profile.name)
def test_nothing_is_different_from_itself(profile: Profile) -> None:
    """Nor from its own text, read again."""
    assert compare(profile, read_profile(profile.name, profile.text, rig.VARIABLES)) == []


@pytest.mark.parametrize(
    ("before", "after", "effect", "field"),
    [
        ('longest = "90d"', 'longest = "30d"', Effect.NARROWER, "longest"),
        ('longest = "90d"', 'longest = "180d"', Effect.WIDER, "longest"),
        ('lifetime = "30d"', 'lifetime = "7d"', Effect.OTHER, "lifetime"),
        ('"RSA-2048", ', "", Effect.NARROWER, "keys"),
        ('"Ed25519"', '"Ed25519", "ML-DSA-65"', Effect.WIDER, "keys"),
        ("maximum = 25", "maximum = 5", Effect.NARROWER, "names.maximum"),
        ("minimum = 1", "minimum = 2", Effect.NARROWER, "names.minimum"),
        ('"10.0.0.0/8", ', "", Effect.NARROWER, "allow: operator"),
        ('dns.under = ["{domain}"]', 'dns.under = ["{domain}", "example.org"]', Effect.WIDER, "allow: requester"),
        ('roles = ["operator", "requester"]', 'roles = ["operator"]', Effect.NARROWER, "allow: requester"),
        ("internal TLS server", "a TLS server", Effect.NONE, "description"),
    ],
)
def test_each_difference_is_told_with_its_effect(before: str, after: str, effect: Effect, field: str) -> None:
    """Once for who gains by it and who loses."""
    found = compare(SHIPPED["server"], changed(SERVER, before, after))
    assert {one.effect for one in found} == {effect}
    assert field in {one.field for one in found}


def compared(world: World, content: str, name: str = "server", **more: Any) -> dict[str, Any]:
    """What the API says of it."""
    with world.as_(LOCALLY) as admin:
        answer = admin.post(f"{API}/profiles/{name}/compare", json={"content": content, **more})
        return dict(answer.raise_for_status().json())


def test_who_would_be_turned_away_is_named(world: World) -> None:
    """With the reason, among as many of the last as were asked for; and nothing comes into force."""
    with world.as_(LOCALLY) as admin, world.as_(world.token(Role.OPERATOR)) as operator:
        one = operator.post(f"{API}/certificates", json=wish("10.1.2.3", profile="server")).raise_for_status().json()
        for name in ("localhost", "a.example.internal"):
            admin.post(f"{API}/certificates", json=wish(name, profile="server")).raise_for_status()
    found = compared(world, SERVER.replace('"10.0.0.0/8", ', ""))
    assert (found["replay"]["refused"], found["replay"]["allowed"], found["replay"]["unknown"]) == (1, 0, 0)
    (refused,) = found["replay"]["newly_refused"]
    assert (refused["serial"], refused["names"]) == (one["serial"], ["ip:10.1.2.3"])
    assert [reason["code"] for reason in refused["reasons"]] == ["name-not-allowed"]
    assert compared(world, SERVER.replace('"10.0.0.0/8", ', ""), last=1)["replay"]["refused"] == 0
    assert world.installation.profiles["server"].text == SERVER


def test_a_shorter_default_turns_nobody_away(world: World) -> None:
    """Who left the lifetime to the profile would leave it again; who asked for a long one would be refused."""
    with world.as_(LOCALLY) as admin:
        for life in ({}, {"lifetime": "60d"}):
            body = wish("localhost", profile="server") | life
            admin.post(f"{API}/certificates", json=body).raise_for_status()
    shorter = SERVER.replace('lifetime = "30d"', 'lifetime = "7d"').replace('longest = "90d"', 'longest = "10d"')
    replay = compared(world, shorter)["replay"]
    assert (replay["looked"], replay["refused"]) == (2, 1)


def test_what_is_refused_today_shows_in_the_examples(world: World) -> None:
    """Refusals are not kept: the table beside the profile says what would be let through."""
    found = compared(world, SERVER.replace('"10.0.0.0/8"', '"10.0.0.0/8", "203.0.113.0/24"'))
    (example,) = found["examples"]
    assert (example["why"], example["found"], example["is_as_expected"]) == ("a public address", [], False)


def test_a_file_that_is_no_profile_is_refused(world: World) -> None:
    """With what is wrong with it; so is one of a name that there is none of."""
    with world.as_(LOCALLY) as admin:
        problem(admin.post(f"{API}/profiles/server/compare", json={"content": "lifetime = 3"}), 400, "bad-profile")
        for name in ("none", "x" * 300):  # longer than a file's name may be
            problem(admin.post(f"{API}/profiles/{name}/compare", json={"content": SERVER}), 404, "unknown-profile")
            problem(admin.post(f"{API}/profiles/{name}/test"), 404, "unknown-profile")


NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=9).map(lambda label: f"{label}.example.internal")


def test_what_is_in_force_turns_away_nobody_it_has_let_in(world: World) -> None:
    """Whatever was issued, to whomever and however: the profile in force, asked again, says what it said."""
    requester = world.as_(world.token(Role.REQUESTER))
    admin = world.as_(LOCALLY)

    @settings(max_examples=25)
    @given(NAMES, st.sampled_from(["server", "mesh"]), st.booleans(), st.sampled_from([None, "1d", "2d"]))
    def issue(name: str, profile: str, as_admin: bool, life: str | None) -> None:
        names = [f"spiffe://{rig.DOMAIN}/ns/payments/sa/{name.partition('.')[0]}"] if profile == "mesh" else [name]
        body = wish(*names, profile=profile) | ({"lifetime": life} if life and profile == "server" else {})
        (admin if as_admin else requester).post(f"{API}/certificates", json=body).raise_for_status()

    issue()
    for profile in ("server", "mesh"):
        found = compared(world, SHIPPED[profile].text, profile)
        assert found["differences"] == []
        replay = found["replay"]
        assert (replay["refused"], replay["allowed"], replay["unknown"]) == (0, 0, 0)
        assert replay["looked"] > 0


def test_the_command_line(home: Template, warm: Warm, tmp_path: Path) -> None:
    """A table, JSON, and exit code 1 where somebody would be turned away."""

    def run(*argv: str | Path) -> tuple[int, str]:
        done = warm.run("--state", home.state, *argv, cwd=tmp_path)
        return done.returncode, done.stdout + done.stderr

    (tmp_path / "server.toml").write_text(SERVER)
    assert run("profile", "diff", "server.toml")[0] == 0
    code, told = run("cert", "issue", "--profile", "server", "10.9.8.7", "-o", "one")
    assert code == 0, told
    (tmp_path / "server.toml").write_text(SERVER.replace('"10.0.0.0/8", ', ""))
    code, told = run("profile", "diff", "server.toml")
    assert code == 1, told
    assert "narrower" in told
    assert "ip:10.9.8.7" in told
    assert "1 would be refused" in told
    code, told = run("profile", "diff", "server.toml", "--json")
    assert (code, json.loads(told)["replay"]["refused"]) == (1, 1)

"""Two persons over the API: from the first refusal to what is done; and an installation that is made under it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca.access import Role
from pki.initialise import InitPlan, initialise
from pki.product import Product
from tests.pki.conftest import API, Template, Warm, World, bearer, problem, serving
from tests.pki.test_cli import Cli

WANTED = {"line": "factory", "subject": "CN=Factory CA"}


def test_one_asks_another_grants_and_it_is_done_when_it_is_said_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A problem document says what to do; nobody grants their own, nor with the token that they have made."""
    monkeypatch.setenv("CERTWRIGHT_APPROVAL__TWO_PERSONS", "true")
    second = world.as_(bearer(world.secret(Role.ADMIN, name="second")))
    world.product.close()
    with Product.open(world.product.state) as product:
        there = World(product, world._loop)
        first, second = there.local, there.as_(bearer(str(second.headers["authorization"]).removeprefix("Bearer ")))
        document = problem(first.post(f"{API}/authorities", json=WANTED), 403, "approval-needed")
        assert "certwright approval grant 1" in document["hint"]
        (asked,) = second.get(f"{API}/approvals").raise_for_status().json()
        assert (asked["state"], asked["subject"], asked["details"]["subject"]) == ("waits", "factory", "CN=Factory CA")
        problem(first.post(f"{API}/approvals/1/grant", json={}), 403, "same-person")
        granted = second.post(f"{API}/approvals/1/grant", json={}).raise_for_status().json()
        assert granted["state"] == "granted"
        assert first.post(f"{API}/authorities", json=WANTED).status_code == 201
        assert first.get(f"{API}/approvals/1").json()["state"] == "used"
        problem(first.post(f"{API}/approvals/1/refuse", json={}), 409, "approval-ended")
        problem(first.get(f"{API}/approvals/2"), 404, "unknown-approval")


def test_an_installation_is_made_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no second person yet; from then on there has to be."""
    monkeypatch.setenv("CERTWRIGHT_APPROVAL__TWO_PERSONS", "true")
    made = initialise(tmp_path / "state", InitPlan())
    assert made.root.name == "root-1"
    with Product.open(made.state) as product:
        assert product.installation.approval.two_persons


def test_by_command(warm: Warm, template: Template, state: Path, tmp_path: Path) -> None:
    """The machine's owner asks, somebody with a token grants, and the owner says it again; two roots are crossed."""
    with serving(state, template.token, CERTWRIGHT_APPROVAL__TWO_PERSONS="true") as server:
        owner = Cli(warm, "--state", server.state, directory=tmp_path)
        remote = ("--server", server.url, "--ca-file", server.roots)
        other = Cli(warm, *remote, directory=tmp_path, CERTWRIGHT_TOKEN=template.token)
        wanted = ("ca", "create", "top", "--root", "--subject", "CN=Top Root")
        reason, hint = owner.refused(*wanted)
        assert "two persons" in reason
        assert hint is not None
        assert "certwright approval grant 1" in hint
        assert "CN=Top Root" in other.run("approval", "show", "1").stdout
        assert "grant it" in owner.run("approval", "grant", "1", "--yes", code=1).stderr
        assert other.json("approval", "grant", "1", "--yes")["state"] == "granted"
        assert owner.json(*wanted)["name"] == "top-1"
        owner.refused("ca", "cross-sign", "top-1", "--by", "root-1")
        assert other.json("approval", "refuse", "2")["state"] == "refused"
        assert [row["state"] for row in owner.json("approval", "list")] == ["refused", "used"]
        owner.refused("ca", "cross-sign", "top-1", "--by", "root-1")
        other.run("approval", "grant", "3", "--yes")
        owner.run("ca", "cross-sign", "top-1", "--by", "root-1", "--out", "cross.pem")
        (cross,) = owner.json("ca", "crosses")
        assert (cross["authority"], cross["by"], cross["is_served"]) == ("top-1", "root-1", True)
        assert (tmp_path / "cross.pem").read_text() == cross["certificate"]

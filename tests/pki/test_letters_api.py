"""Letters over REST and on the command line: sent into a directory, listed, shown, explained, measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from ca import clock
from ca.access import Role
from pki.product import Product
from pki.web.app import measure
from renewers.inventory.finding import find_owner
from renewers.models import Letter, Lineage
from tests.pki.conftest import API, Warm, World, problem
from tests.pki.test_cli import Cli
from tests.renewers import tracking

DAY = 86400
OWNER = {"name": "payments", "email": "payments@example.org"}


@pytest.fixture
def product(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    """An installation that writes its mail into a directory."""
    monkeypatch.setenv("CERTWRIGHT_MAIL__DIRECTORY", str(state / "mail"))
    monkeypatch.setenv("CERTWRIGHT_MAIL__SENDER", "Certwright <certwright@example.org>")
    with Product.open(state) as opened:
        yield opened


@pytest.fixture
def admin(world: World) -> httpx.Client:
    """A client with an admin's token."""
    return world.as_(world.token(Role.ADMIN))


def ok(answer: httpx.Response) -> Any:
    """The content of a success."""
    return answer.raise_for_status().json()


def run(client: httpx.Client) -> dict[str, Any]:
    """Send what is due; the report."""
    answer = client.post(f"{API}/letters/run", json={})
    assert answer.headers["content-type"] == "application/x-ndjson", answer.text
    return dict(json.loads(answer.raise_for_status().text.splitlines()[-1]))


def ending(product: Product, owner: str = "payments") -> int:
    """A certificate that a person renews, two days before its end."""
    store, now = product.installation.store, clock.timestamp()
    with store.read() as connection:
        owner_id = find_owner(connection, owner).id
    lineage = tracking.add_lineage(store, "manual", name="shop", owner_id=owner_id)
    row = {"start": now - 198 * DAY, "lifetime": 200 * DAY, "next_look": now}
    id_ = tracking.add_tracked(store, lineage_id=lineage, **row)
    tracking.change(store, Lineage, lineage, current_id=id_)
    return id_


def test_a_letter_from_threshold_to_file(world: World, admin: httpx.Client, product: Product) -> None:
    """What is due is sent once, into a file of its own; who was told of what, and why, can be asked."""
    ok(admin.post(f"{API}/owners", json=OWNER))
    id_ = ending(product)
    report = run(admin)
    assert report == {"opened": 1, "sent": 1, "waiting": 0, "error": None}
    assert run(admin) == {"opened": 0, "sent": 0, "waiting": 0, "error": None}
    (row,) = ok(admin.get(f"{API}/letters"))["items"]
    assert (row["kind"], row["state"], row["owner"], row["recipient"]) == ("urgent", "sent", *OWNER.values())
    assert "1 act now" in row["subject"]
    shown = ok(admin.get(f"{API}/letters/{row['id']}"))
    assert [one["threshold"] for one in shown["crossings"]] == ["3d"]
    assert shown["message_id"].endswith("@example.org>")
    (written,) = (product.state / "mail").rglob("*.eml")
    assert shown["message_id"] in written.read_text()
    told = ok(admin.get(f"{API}/letters/explain", params={"what": f"#{id_}"}))
    (sentence,) = [step["sentence"] for step in told["steps"] if step["threshold"] == "3d"]
    assert f"told in urgent letter {row['id']} to payments@example.org" in sentence
    assert [step["letters"] for step in told["steps"] if step["threshold"] == "3d"] == [[row["id"]]]


def test_what_cannot_be_asked(admin: httpx.Client) -> None:
    """Letters, certificates and days that are none."""
    problem(admin.get(f"{API}/letters/7"), 404, "unknown-letter")
    problem(admin.get(f"{API}/letters/explain", params={"what": "nothing"}), 404, "unknown-tracked")
    problem(admin.get(f"{API}/letters/explain", params={"what": "#1", "at": "soon"}), 400, "bad-moment")
    problem(admin.get(f"{API}/letters", params={"owner": "nobody"}), 404, "unknown-owner")


def test_pages_of_letters(admin: httpx.Client, product: Product) -> None:
    """Each letter once, newest first, whatever the size of a page."""
    ok(admin.post(f"{API}/owners", json=OWNER))
    values = {"owner_id": 1, "recipient": "a@example.org", "step": 0, "reason": "", "opened_at": 1, "subject": "s"}
    for number in range(5):
        named = {"key": f"k{number}", "kind": "digest", "message_id": f"m{number}", "state": "sent", "rows": 0}
        tracking.add(product.installation.store, Letter, **values, **named)
    seen, cursor = [], None
    while True:
        page = ok(admin.get(f"{API}/letters", params={"limit": 2} | ({"cursor": cursor} if cursor else {})))
        seen += [row["id"] for row in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert seen == [5, 4, 3, 2, 1]


def test_metrics_of_mail(admin: httpx.Client, product: Product) -> None:
    """The last run, what was sent and what waits are exposed."""
    ok(admin.post(f"{API}/owners", json=OWNER))
    ending(product)
    run(admin)
    measure(product)
    text = product.metrics.text().decode()
    assert 'certwright_letters_total{kind="urgent",outcome="sent"} 1.0' in text
    assert "certwright_letters_waiting 0.0" in text
    assert "certwright_expired_unannounced 0.0" in text
    (age,) = [line for line in text.splitlines() if line.startswith("certwright_mail_run_age_seconds ")]
    assert float(age.split()[1]) < 60


def test_the_command(warm: Warm, state: Path, tmp_path: Path, template: object) -> None:
    """`report send` writes what is due, `list` and `show` say what became of it, `explain` says why."""
    mail = tmp_path / "mail"
    cli = Cli(warm, "--state", state, directory=tmp_path, CERTWRIGHT_MAIL__DIRECTORY=str(mail))
    cli.run("owner", "add", "payments", "--email", "payments@example.org")
    with Product.open(state) as product:
        id_ = ending(product)
    assert cli.json("report", "send") == {"opened": 1, "sent": 1, "waiting": 0, "error": None}
    assert "0 letters sent" in cli.run("report", "send").stderr
    (row,) = cli.json("report", "list")
    assert "payments@example.org" in cli.run("report", "list", "--owner", "payments").stdout
    assert "3d" in cli.run("report", "show", str(row["id"])).stdout
    told = cli.run("report", "explain", f"#{id_}").stdout
    assert "told in urgent letter" in " ".join(told.split())
    day = f"{clock.now() + timedelta(days=30):%Y-%m-%d}"
    assert cli.json("report", "explain", "shop", "--at", day) != {}
    assert cli.refused("report", "show", "999")[0] == "there is no letter 999"


def test_the_command_says_what_waits(warm: Warm, state: Path, tmp_path: Path) -> None:
    """A mail server that is away: exit code 1, and where to look; the letter is kept."""
    server = {"CERTWRIGHT_MAIL__SERVER": "127.0.0.1:9", "CERTWRIGHT_MAIL__SECURITY": "none"}
    cli = Cli(warm, "--state", state, directory=tmp_path, **server)
    cli.run("owner", "add", "payments", "--email", "payments@example.org")
    with Product.open(state) as product:
        ending(product)
    done = cli.run("report", "send", code=1)
    assert "0 letters sent, 1 waiting" in done.stderr
    (row,) = cli.json("report", "list", "--state", "open")
    assert row["error"]

"""The monthly report over REST, from the command line, on the dashboard, and by the schedule."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pypdf
import pytest

from ca import clock
from ca.access import Role
from pki import lifecycle_schedule
from pki.cli import report_monthly as command
from pki.product import Product
from pki.web.api.report_monthly import wanted
from renewers.reports.monthly import snapshots
from renewers.reports.monthly.months import Month, month_of
from tests.pki.conftest import LOCALLY, Warm, World, problem

PATH = "/api/v1/reports/monthly"


def last_month() -> Month:
    """The month in which the installation was made: the last that is over, in these tests."""
    return month_of(clock.timestamp())


@contextmanager
def next_month(minute: int = 10) -> Iterator[None]:
    """Early in the month after the one in which the installation was made."""
    start = datetime.fromtimestamp(last_month().end, UTC)
    with clock.pinned(start.replace(minute=minute)):
        yield


@pytest.fixture
def kept(world: World) -> Month:
    """The month, kept."""
    month = last_month()
    with next_month():
        assert snapshots.take_due(world.product.lifecycle) == [month]
    return month


def get(world: World, query: str = "", **headers: str) -> httpx.Response:
    """Ask, as the owner of the machine, early in the next month."""
    with next_month(), world.as_(LOCALLY) as client:
        return client.get(PATH + query, headers=headers)


def test_the_report_is_json_html_and_pdf(world: World, kept: Month) -> None:
    """By `format`, or by what Accept prefers; each says of which month it is, and nobody caches it."""
    found = get(world).json()
    assert found["month"] == str(kept)
    text = json.dumps(found["figures"], sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == found["sha256"]
    for answer in (get(world, "?format=html"), get(world, accept="text/html,application/xhtml+xml,*/*;q=0.8")):
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert found["sha256"] in answer.text
    for answer in (get(world, f"?format=pdf&month={kept}"), get(world, accept="application/pdf")):
        assert answer.headers["content-type"] == "application/pdf"
        assert answer.headers["cache-control"] == "no-store"
        assert kept.name in pypdf.PdfReader(io.BytesIO(answer.content)).pages[0].extract_text()


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html", "html"),
        ("application/json;q=0.5, application/pdf;q=0.9", "pdf"),
        ("application/pdf;q=0, text/html;q=0.1", "html"),
        ("text/html;q=nonsense, application/pdf;q=7", "pdf"),
        ("," * 5000, "json"),
    ],
)
def test_what_is_preferred_is_answered(accept: str, form: str) -> None:
    """RFC 9110 section 12.5.1; nonsense asks for nothing."""
    assert wanted(accept) == form


def test_refusals_say_what_is_wrong(world: World, kept: Month) -> None:
    """A month that has not begun, one of which nothing is kept, words that are no month."""
    problem(get(world, f"?month={kept.after.after}"), 400, "bad-month")
    problem(get(world, f"?month={kept.before}"), 404, "unknown-report")
    problem(get(world, "?month=2026-13"), 400, "bad-month")
    assert get(world, "?month=x").status_code == 422 or get(world, "?month=x").status_code == 400


def test_the_figures_of_the_present_month_are_those_so_far(world: World) -> None:
    """It is said that it is not over, in every form; and nothing of it is kept."""
    month = last_month()
    with world.as_(LOCALLY) as client:
        found = client.get(f"{PATH}?month={month}").json()
        page = client.get(f"{PATH}?month={month}&format=html").text
    assert found["figures"]["is_over"] is False
    assert f"{month.name} is not over" in page
    assert snapshots.months(world.installation.store) == []


@pytest.mark.parametrize("role", [Role.REQUESTER, Role.CONSUMER])
def test_whoever_may_not_read_the_inventory_gets_no_report(world: World, role: Role) -> None:
    """Who owns what, and the weak spots, are nobody else's."""
    with world.as_(world.token(role)) as client:
        problem(client.get(PATH), 403, "forbidden")
    with world.nobody as client:
        problem(client.get(PATH), 401, "unauthenticated")


def test_the_schedule_keeps_a_month_and_writes_letters(product: Product) -> None:
    """The beat does both; a second one finds both done."""
    month = last_month()
    with next_month():
        lifecycle_schedule.report_month(product)
        lifecycle_schedule.report_month(product)
        assert snapshots.months(product.installation.store) == [month]
    assert "report-month" in {beat.name for beat in lifecycle_schedule.LIFECYCLE_BEATS}


def test_the_page_shows_what_is_kept_and_offers_files(world: World) -> None:
    """Without a kept month it says so; files are handed out to be saved; it is for who may read the inventory."""
    month = last_month()
    with world.as_(LOCALLY) as client:
        assert "The first report is made" in client.get("/reports/monthly").text
        assert client.get(f"/reports/monthly/{month}").status_code == 404
    with next_month():
        snapshots.take_due(world.product.lifecycle)
        with world.as_(LOCALLY) as client:
            page = client.get("/reports/monthly")
            assert page.status_code == 200
            assert month.name in page.text
            for chapter in ("Forecast", "Attestation of ownership", "Head of the ledger"):
                assert chapter in page.text
            for form, type_ in (("pdf", "application/pdf"), ("html", "text/html"), ("json", "application/json")):
                assert f'href="/reports/monthly/{month}/{form}"' in page.text
                answer = client.get(f"/reports/monthly/{month}/{form}")
                assert answer.headers["content-type"].startswith(type_)
                assert answer.headers["content-disposition"].startswith("attachment;")
                assert "script-src" not in answer.headers["content-security-policy"]
            assert client.get(f"/reports/monthly/{month}/exe").status_code == 404
            assert client.get("/reports/monthly/nonsense").status_code in (400, 404)
        with world.as_(world.token(Role.REQUESTER)) as client:
            assert client.get("/reports/monthly").status_code == 403


def test_the_command_shows_and_writes(state: Path, tmp_path: Path, warm: Warm) -> None:
    """A summary on the terminal, JSON, files in a directory; what is there is not overwritten unasked."""
    month, out = str(last_month()), tmp_path / "reports"

    def certwright(*argv: str | Path) -> subprocess.CompletedProcess[str]:
        return warm.run(*argv, cwd=tmp_path)

    shown = certwright("--state", state, "report", "monthly", "--month", month)
    assert shown.returncode == 0, shown.stderr
    assert "Expired without prior notice" in shown.stdout
    assert "is not over" in shown.stderr
    made = certwright("--state", state, "report", "monthly", "--month", month, "--out", out, "--json")
    assert made.returncode == 0, made.stderr
    found = json.loads(made.stdout)
    assert {Path(path).suffix for path in found["files"]} == {".html", ".pdf", ".json"}
    assert (out / f"certificates-{month}.pdf").read_bytes().startswith(b"%PDF-")
    assert json.loads((out / f"certificates-{month}.json").read_text())["month"] == month
    again = certwright("--state", state, "report", "monthly", "--month", month, "--out", out, "--format", "pdf")
    assert (again.returncode, "exists" in again.stderr.lower()) == (1, True)
    forced = certwright(
        "--state", state, "report", "monthly", "--month", month, "--out", out, "--format", "pdf", "--force"
    )
    assert forced.returncode == 0, forced.stderr
    wrong = certwright("--state", state, "report", "monthly", "--month", "2026-13")
    assert (wrong.returncode, "not a month" in wrong.stderr) == (1, True)
    assert certwright("report", "monthly", "--format", "doc").returncode == 2
    assert certwright("--state", state, "report", "monthly", "--format", "pdf", "--format", "html").returncode == 2


def test_a_form_without_a_directory_goes_to_a_pipe(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """`report monthly --format json | jq` gets JSON and nothing else."""
    sent = io.BytesIO()
    monkeypatch.setattr("sys.stdout", type("Out", (), {"buffer": sent})())
    command._printed({"json": b"{}"})
    assert sent.getvalue() == b"{}"

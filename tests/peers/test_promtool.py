"""The alert rules, as Prometheus itself reads them: they parse, fire when they should, and ask for what we expose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pki.lifecycle_schedule import LIFECYCLE_BEATS
from pki.metrics import Metrics
from pki.schedule import BEATS
from tests import peer
from tests.source import ROOT
from tests.test_documented import _command, _misspelt

RULES = ROOT / "config" / "deploy" / "prometheus" / "certwright.rules.yml"
TESTS = RULES.with_name("certwright.rules.test.yml")
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])


def exposed() -> dict[str, tuple[str, ...]]:
    """Every series that Prometheus would see, with the labels that we give it."""
    found = {}
    for metric in Metrics().registry._collector_to_names:
        for family in metric.describe():
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
            found |= {family.name + ending: tuple(metric._labelnames) for ending in endings}
    return found


EXPOSED = exposed()


def named(expression: str) -> dict[str, set[str]]:
    """The metrics that an expression asks for, each with the labels that it selects by."""
    return {
        name: set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", selector or ""))
        for name, selector in re.findall(r"\b(certwright_\w+)(?:\{([^}]*)\})?", expression)
    }


def promtool(*arguments: str | Path) -> str:
    """Run it; what it says if all is well."""
    done = peer.run(peer.require("promtool"), *arguments)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_prometheus_takes_the_rules() -> None:
    """Expressions, templates and labels are such as it reads."""
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_alerts_fire_when_they_should() -> None:
    """Each of the cases beside the rules comes out as it says."""
    assert "SUCCESS" in promtool("test", "rules", TESTS)


def test_a_rule_that_never_fires_is_seen(tmp_path: Path) -> None:
    """The cases judge the rules: with one threshold moved, promtool says no."""
    text = RULES.read_text()
    moved = text.replace("(certwright_crl_seconds_left) <= 0", "(certwright_crl_seconds_left) <= -1e9")
    assert moved != text
    (tmp_path / RULES.name).write_text(moved)
    cases = yaml.safe_load(TESTS.read_text())
    cases["tests"] = [case for case in cases["tests"] if "CertwrightCrlOver" in str(case)]
    assert len(cases["tests"]) > 1
    (tmp_path / TESTS.name).write_text(yaml.safe_dump(cases))
    done = peer.run(peer.require("promtool"), "test", "rules", tmp_path / TESTS.name)
    assert done.returncode != 0
    assert b"CertwrightCrlOver" in done.stdout + done.stderr


@every_alert
def test_every_alert_is_tried_both_ways(alert: dict[str, Any]) -> None:
    """There is a case in which it fires, and one that comes close and does not."""
    outcomes = [
        bool(asked["exp_samples"])
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for asked in case["promql_expr_test"]
        if f'"{alert["alert"]}"' in asked["expr"]
    ]
    assert sorted(outcomes) == [False, True]


@every_alert
def test_every_metric_in_a_rule_is_exposed(alert: dict[str, Any]) -> None:
    """By that name and with those labels; a rule about a metric that is not there is silent for ever."""
    asked = named(alert["expr"])
    assert asked
    assert set(asked) - set(EXPOSED) == set()
    assert {label for name, labels in asked.items() for label in labels - set(EXPOSED[name])} == set()
    words = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    assert words - {label for name in asked for label in EXPOSED[name]} == set()


@every_alert
def test_every_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    """A summary of one line, sentences on what to do, and how soon somebody has to look."""
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert 10 < len(alert["annotations"]["summary"]) < 100
    assert re.match(r"[A-Z`].{40,}\.$", " ".join(alert["annotations"]["description"].split()))


@every_alert
def test_every_command_in_an_alert_exists(alert: dict[str, Any]) -> None:
    """Whoever is woken by it does not type what is not there."""
    for text in re.findall(r"`([^`]+)`", alert["annotations"]["description"]):
        for words in _command(text):
            assert _misspelt(tuple(words)) is None


def test_the_beats_that_are_judged_apart_exist() -> None:
    """What beats once an hour or less has a rule of its own, and nothing else is excepted from the other."""
    slow = {beat.name for beat in (*BEATS, *LIFECYCLE_BEATS) if beat.every > 600}
    for name, match in (("CertwrightScheduleStands", "!~"), ("CertwrightSlowBeatStands", "=~")):
        alert = next(alert for alert in ALERTS if alert["alert"] == name)
        listed = re.search(rf'work{match}"([^"]+)"', alert["expr"])
        assert listed is not None
        assert set(listed[1].split("|")) == slow


def test_every_alert_has_a_name_of_its_own() -> None:
    """It begins with the product's, since it is read among those of everything else."""
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"Certwright[A-Za-z]+", name) for name in names)

"""What a rotation waits for and by what right it went on, in words that a person reads; and time spans."""

from __future__ import annotations

from typing import Any

import pytest

from pki.cli.durations import lasting
from pki.cli.evidence import few, in_words, names_of, summed

VERSIONS = {"trust:example.internal": 7, "crl:example.internal": 9}
HELD: dict[str, Any] = {"versions": VERSIONS, "waived": []}
SOME = {**HELD, "consumers": 25, "not_proved": ["a", "b"], "count_not_proved": 2}
DRAINED: dict[str, Any] = {"leaves": 0, "left": [], "places": [], "waived": [], "passed_by": "proof", "replaced": 3}


@pytest.mark.parametrize(
    ("stage", "evidence", "words"),
    [
        ("prepare", {"incoming": ["root-2", "issuing-2"]}, "root-2, issuing-2 made"),
        ("introduce", {"versions": VERSIONS}, "published in crl 9, trust 7"),
        ("prove", {**SOME, "count_not_proved": 0, "passed_by": "proof"}, "proof: all 25 consumers hold it"),
        ("prove", {**HELD, "consumers": 0, "count_not_proved": 0, "passed_by": "proof"}, "no consumer to wait for"),
        (
            "prove",
            {**SOME, "passed_by": "override"},
            "let pass in writing: 23 of 25 consumers hold it, without proof of a, b",
        ),
        (
            "distrust",
            {**SOME, "passed_by": None},
            "not waited for: 23 of 25 consumers hold it, without proof of a, b",
        ),
        ("activate", {"active": ["issuing-2"]}, "issuing-2 signs from now on"),
        ("reissue", {"replacement": 4}, "replacement 4 begun: certwright replace show 4"),
        ("drain", DRAINED, "proof: no live certificate is left beneath it, 3 replaced"),
        (
            "drain",
            {**DRAINED, "leaves": 2, "passed_by": "patience", "places": ["tls:a:1"]},
            "patience is at its end: 2 live certificates left, served still at tls:a:1, 3 replaced",
        ),
        ("retire", {"last_lists": {"root-1": 8}}, "last CRLs of root-1, good until their end"),
        ("retire", {"last_lists": {}}, "retired, with no CRL left to sign"),
        ("drain", {"why": "a new CA does not sign"}, "why: a new CA does not sign"),
        ("prove", {"of": {"another": ["release"]}}, "of: another release"),
        (
            "prove",
            {"gives_up": ["root-2"], "goes_back_to": ["root-1"], "reason": "a typo in it"},
            "turned back: root-2 given up, back to root-1: a typo in it",
        ),
        ("done", {}, None),
    ],
)
def test_evidence_reads_like_words(stage: str, evidence: dict[str, Any], words: str | None) -> None:
    """Of each stage, by each right; what another release has written is said plainly, and never as JSON."""
    assert in_words(stage, evidence) == words


def test_long_lists_are_summed_up() -> None:
    """Those that are waited for in the same words stand together; how many are not named is not lost."""
    waits = [f"client-{number}: it is paused" for number in range(1, 21)]
    assert summed([*waits, "and 5 more"]) == ["client-1, client-2, client-3 and 22 more: it is paused"]
    assert summed(["edge: x", *waits[:2], "3 live leaves"]) == [
        "edge: x",
        "client-1, client-2: it is paused",
        "3 live leaves",
    ]
    assert names_of([*waits, "and 5 more"]) == "client-1, client-2, client-3 and 22 more"
    assert names_of([]) is None
    assert few(["a", "b", "c", "d"]) == "a, b, c, d"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.4, "0 s"), (59, "59 s"), (125, "2 min 5 s"), (3600, "1 h"), (3605, "1 h"), (1051200, "12 d 4 h")],
)
def test_a_time_span_is_said_to_two_places(seconds: float, said: str) -> None:
    """No more than somebody wants to know."""
    assert lasting(seconds) == said

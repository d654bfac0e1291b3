"""Requests from the OpenAPI description, by the thousand: `python -m tests.fuzz.api COUNT [--seed N]`.

A fresh installation is asked in process, through the whole application (the body limit and the hot path in front of
the framework included), by callers of every kind. A request is as the description has it, or as it forbids it
(`api_cases`), or carries values that mean something to this installation (`api_values`), or is broken on the wire
(`api_damage`). Every answer is judged as it comes (`api_judge`), and what is left in the store at the end
(`api_store`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fuzz.api_cases import Corpus, make_corpus
from tests.fuzz.api_damage import damaged
from tests.fuzz.api_judge import PROBLEM, Judge
from tests.fuzz.api_store import SYSTEM, Remains, still_answers
from tests.fuzz.api_values import Living
from tests.fuzz.api_wire import Answer, Ask
from tests.fuzz.api_world import API, HELD, World, open_world

DEFAULT_COUNT = 20_000
KINDS = {"described": 14, "negative": 15, "living": 50, "damaged": 21}
CALLERS = {
    "local": 8,
    "admin": 14,
    "operator": 12,
    "requester": 18,
    "narrow": 6,
    "auditor": 6,
    "consumer": 5,
    "holder": 8,
    "granted": 4,
    "server": 2,
    "nobody": 6,
    "basic": 1,
    "garbage": 2,
    "wrong secret": 2,
    "revoked": 2,
}
"""How often each of them asks; besides them, callers whose tokens were made on the way."""
ADOPTED = 10
WEIGHTS = {
    "POST /api/v1/certificates": 12.0,
    "POST /api/v1/certificates/{serial}/renew": 5.0,
    "POST /api/v1/certificates/{serial}/revoke": 2.0,
    "POST /api/v1/tokens": 1.5,
    "POST /api/v1/authorities": 0.5,
    "POST /api/v1/authorities/import": 0.5,
    "POST /api/v1/profiles/{name}/lint": 0.3,
    "POST /api/v1/ledger/verify": 0.15,
    "POST /api/v1/authorities/{name}/state": 2.0,
    "POST /api/v1/authorities/{name}/cross-certificates": 0.2,
    **dict.fromkeys(("POST /api/v1/ceremonies", "POST /api/v1/ceremonies/{name}/answer"), 0.3),
    **{f"POST /api/v1/authorities/{{name}}/key/{verb}": 0.2 for verb in ("export", "leave", "return")},
    "POST /api/v1/renewals/run": 0.5,
    "GET /api/v1/renewals/plan": 0.5,
    "POST /api/v1/replacements/drill": 0.1,
}
"""1 for every other operation. The smallest read or make a lot for one answer."""
OPENING = 3
"""How often every operation is asked, first of all, by somebody who may do everything."""
SHOWN_OF_A_KIND = 3


@dataclass
class Report:
    """What came of a campaign."""

    statuses: dict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    """By operation: the one that a request was made for."""
    kinds: Counter[str] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    """What should not be; each begins with a word for its kind and a colon, and ends with how to provoke it."""
    asked: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    """Of problems; of those of policy with its reasons."""
    certificates: int = 0
    issued_by_profile: Counter[str] = field(default_factory=Counter)
    drawn: int = 0
    """How many cases were drawn from the description."""
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.asked / max(self.seconds, 1e-9)


class Campaign:
    """Asks one request after the other, and counts and judges the answers."""

    def __init__(self, world: World, document: dict[str, Any], corpus: Corpus, chance: random.Random) -> None:
        self._world = world
        self._corpus = corpus
        self._chance = chance
        self._judge = Judge(document, world)
        self._living = Living(world, chance)
        self._operations = list(corpus)
        self._opening = [name for name in sorted(corpus, key=_late) for _ in range(OPENING)]
        self._stories = list(self._living.stories())
        self.report = Report(drawn=sum(len(cases) for kinds in corpus.values() for cases in kinds.values()))
        self.expected = 0
        """How many certificates were answered."""

    async def step(self) -> None:
        """One request."""
        ask = self._next()
        caller, before = self._world.callers[ask.caller], self._world.by_hand
        answer = await self._world.exchange(ask)
        report = self.report
        report.asked += 1
        report.statuses[ask.operation][answer.status] += 1
        report.kinds[ask.kind] += 1
        report.callers[ask.caller] += 1
        for fault in self._judge.faults(ask, caller, answer):
            self._note(f"{fault}\nrequest {report.asked}: {ask}\n" + "".join(self._world.seen[-1:]))
        self._world.seen.clear()
        if answer.raised is None:
            self._hear(ask, answer)
        if answer.status == 401 and ask.caller in HELD and caller.role is not None:
            await self._mend(ask.caller)
        self.expected += self._world.by_hand - before

    async def _mend(self, name: str) -> None:
        """Give a caller another certificate: somebody had the right to revoke the one that it held."""
        try:
            await self._world.give_certificate(name)
        except AssertionError as error:
            self._note(f"silent: {error}")

    def _next(self) -> Ask:
        chance = self._chance
        if self._opening:
            operation = self._opening.pop(0)
            case = self._living.dress(self._case(operation, "described"), self._world.callers["local"], is_bold=False)
            return case.ask("local", "living")
        if self._stories:
            return self._stories.pop(0)
        operation = chance.choices(self._operations, [WEIGHTS.get(name, 1.0) for name in self._operations])[0]
        adopted = {name: ADOPTED / 6 for name in self._world.callers if name.startswith("adopted")}
        caller = chance.choices([*CALLERS, *adopted], [*CALLERS.values(), *adopted.values()])[0]
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
        if WEIGHTS.get(operation, 1.0) >= 5 and chance.random() < 0.5:
            kind = "living"  # what it takes to be issued a certificate is not found by chance
        if kind == "negative" and "negative" in self._corpus[operation]:
            return self._case(operation, kind).ask(caller, kind)
        case = self._case(operation, "described")
        if kind == "described":
            return case.ask(caller, kind)
        ask = self._living.dress(case, self._world.callers[caller]).ask(caller, "living")
        return damaged(ask, chance) if kind == "damaged" else ask

    def _case(self, operation: str, kind: str) -> Any:
        return self._chance.choice(self._corpus[operation][kind])

    def _hear(self, ask: Ask, answer: Answer) -> None:
        """Let the next requests know, and count what has to be in the store."""
        self._living.hear(ask, answer)
        if answer.headers.get("content-type") == PROBLEM:
            problem = json.loads(answer.body)
            reasons = problem["reasons"] if answer.status == 422 else []
            self.report.codes.update({problem["code"], *(f"policy:{reason['code']}" for reason in reasons)})
        if answer.status not in (200, 201) or answer.headers.get("content-type") != "application/json":
            return
        content = json.loads(answer.body)
        reached = self._judge.reached(ask)
        if reached == f"POST {API}/ceremonies/{{name}}/answer":
            self.expected += content["asks_for"].startswith(("a CA", "a certificate"))
        if answer.status != 201:
            return
        if reached in (f"POST {API}/certificates", f"POST {API}/certificates/{{serial}}/renew"):
            self.expected += 1
            self.report.issued_by_profile[content["profile"]] += 1
        elif reached == f"POST {API}/authorities/{{name}}/cross-certificates":
            self.expected += 1
        elif reached == f"POST {API}/authorities" and content["parent"] is not None:
            self.expected += 1
            self.report.issued_by_profile["sub-ca"] += 1

    def _note(self, violation: str) -> None:
        self.report.violations.append(violation)

    async def finish(self, present: int) -> None:
        """Judge what is left; `present` certificates were there before the first request."""
        before = self._world.by_hand
        for fault in await still_answers(self._world):
            self._note(fault)
        self.expected += self._world.by_hand - before
        remains = Remains(self._world.product)
        self.report.certificates = len(remains.certificates)
        self.report.violations += remains.faults(present + self.expected)
        for name in self._operations:
            statuses = self.report.statuses[name]
            if not any(200 <= status < 300 for status in statuses):
                self._note(f"unseen: {name} was asked {sum(statuses.values())} times and never had a success")


def campaign(
    count: int, seed: int, *, about: str = "", store_url: str = "", say: Callable[[str], None] = lambda line: None
) -> Report:
    """Ask `count` requests, only of paths that begin with `about`; `say` hears how it goes."""
    with warnings.catch_warnings(), open_world(store_url) as world:
        warnings.simplefilter("ignore")  # the parsers' opinions about what strangers write
        return asyncio.run(_campaign(world, count, seed, about, say))


async def _campaign(world: World, count: int, seed: int, about: str, say: Callable[[str], None]) -> Report:
    await world.populate()
    document = await world.by_local(f"{API}/openapi.json", None, method="GET")
    start = time.monotonic()
    asked = {**document, "paths": {path: of for path, of in document["paths"].items() if path.startswith(about)}}
    corpus = make_corpus(asked, max(3, min(count // 100, 400)), seed)
    run = Campaign(world, document, corpus, random.Random(seed))
    report = run.report
    say(f"{report.drawn:,} cases of {len(corpus)} operations, {time.monotonic() - start:.0f} s")
    present = sum(not stored.requested_by.startswith(SYSTEM) for stored in Remains(world.product).certificates.values())
    start = time.monotonic()
    for done in range(1, count + 1):
        await run.step()
        if done % 1000 == 0 or done == count:
            report.seconds = time.monotonic() - start
            say(f"{done / count:4.0%} {done:>9,} {report.rate:>6,.0f}/s  {len(report.violations)} violations")
    await run.finish(present)
    return report


def _late(operation: str) -> int:
    """Certificates first, so that there are some to ask for; what takes something away last."""
    first = {
        f"POST {API}/certificates": 0,
        f"POST {API}/tokens": 0,
        f"POST {API}/authorities": 0,
        f"GET {API}/ledger/head": 0,
        f"DELETE {API}/lineages/{{name}}": 3,  # its destinations go with it
    }
    return first.get(operation, 2 if operation.startswith("DELETE") else 1)


def table(report: Report) -> str:
    """Statuses by operation."""
    codes = sorted({code for counter in report.statuses.values() for code in counter})
    width = max(map(len, report.statuses))
    lines = [f"{'':{width}} " + "".join(f"{code:>7}" for code in codes)]
    for name, counter in sorted(report.statuses.items(), key=lambda item: item[0].split()[::-1]):
        lines.append(f"{name:{width}} " + "".join(f"{counter[code] or '':>7}" for code in codes))
    total = sum(report.statuses.values(), Counter[int]())
    lines.append(f"{'all':{width}} " + "".join(f"{total[code]:>7}" for code in codes))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.api", description=__doc__.partition("\n")[0])
    parser.add_argument("count", type=int, nargs="?", default=DEFAULT_COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", default="", metavar="URL", help="an empty database; SQLite if left out")
    choice = parser.parse_args(argv)
    print(f"seed {choice.seed}", flush=True)
    report = campaign(choice.count, choice.seed, store_url=choice.store, say=lambda line: print(line, flush=True))
    print(table(report))
    for title, counter in (
        ("requests", report.kinds),
        ("callers", report.callers),
        ("issued", report.issued_by_profile),
        ("refused", report.codes),
    ):
        print(f"{title}: " + ", ".join(f"{name} {number:,}" for name, number in counter.most_common()))
    shown: Counter[str] = Counter()
    for violation in report.violations:
        kind = violation[:60]
        shown[kind] += 1
        if shown[kind] <= SHOWN_OF_A_KIND:
            print(f"\nVIOLATION {violation}")
    bad = len(report.violations)
    print(
        f"{report.asked:,} requests, seed {choice.seed}, {report.seconds:.1f} s, {report.rate:,.0f}/s, "
        f"{report.certificates:,} certificates in the store: {bad} violations"
    )
    return 1 if bad or not report.asked else 0


if __name__ == "__main__":
    sys.exit(main())

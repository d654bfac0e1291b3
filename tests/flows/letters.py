"""The digests of 1,000 owners through a real mail server that refuses, drops and stalls in turn, and kill -9 besides.

`python -m tests.flows.letters [OWNERS [CERTIFICATES]]`: so many owners with so many certificates each. A process of its
own opens and sends the letters, over TLS with a password. It is killed twice while it sends; the server refuses some,
breaks off before and after it has taken others, and stalls on others still. In the end everybody has the letter, whole,
nobody has it more than twice, and nobody has anything of anybody else. `make letters` is the full run.
"""

from __future__ import annotations

import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from subprocess import Popen
from typing import Any

from ca import clock
from ca.secret import Secret
from ca.store import Store, open_store
from renewers import work
from renewers.duties import DUTIES
from renewers.lifecycle import Lifecycle, MailPolicy
from renewers.mailers import Mailer
from renewers.mailers.server import Patience, Server
from renewers.mailers.smtp import SmtpMailer
from renewers.mailing import opening
from renewers.runner import Runner
from tests import peer
from tests.flows.mailing import DAY, NOW, Population, faults
from tests.mailserver import DATA, DOT, DROP, MAIL, RCPT, STALL, TAKEN, MailServer, Wanted, serving_mail
from tests.renewers.tracking import make_lifecycle
from tests.source import ROOT

USER, PASSWORD = "certwright", "the password of the mail server"
DUE = NOW + 2 * DAY
ROUND, ROUNDS = 2 * 3600, 12
"""Seconds of the pinned clock between two runs, and how many runs there are at most."""
LINK_URL = "https://ca.example:8443"
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What became of it."""

    owners: int
    messages: int = 0
    repeated: int = 0
    passed_on: int = 0
    kills: int = 0
    runs: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def letters(directory: Path, owners: int, each: int, *, kills: int = 2, say: Say = print) -> Outcome:
    """Live through it; returns what came of it. Among few owners, two kills may catch the same letter."""
    population, outcome, start = Population(owners, each), Outcome(owners), time.monotonic()
    with closing(open_store(_url(directory))) as store:
        population.settle(store)
    say(f"{owners:,} owners with {each} certificates each are written down after {time.monotonic() - start:.1f} s")
    with serving_mail(directory / "mail", Wanted(user=USER, password=PASSWORD)) as server:
        story = _Story(directory, population, server, outcome, say)
        story.enrol()
        story.kill_while_it_sends(kills)
        story.bring_misery()
        story.go_on_until_all_is_sent()
        outcome.seconds = time.monotonic() - start
        story.judge()
    return outcome


class _Story:
    """Its parts, in their order."""

    def __init__(self, directory: Path, population: Population, server: MailServer, outcome: Outcome, say: Say) -> None:
        self._directory, self._population = directory, population
        self._server, self._outcome, self._say = server, outcome, say
        self._now = DUE

    def enrol(self) -> None:
        """The Sunday before: everybody's next digest is planned."""
        self._finish(self._begin(NOW))
        assert self._server.counted() == 0, "nothing is due yet"

    def kill_while_it_sends(self, kills: int) -> None:
        """Each time it goes on where it was, and what was on its way may go out again."""
        for part in (10, 4)[:kills]:
            process, wanted = self._begin(self._now), self._population.owners // part
            # By what is written down: who were on their way at the first kill have arrived before the second.
            peer.until(partial(self._has_sent, wanted), "letters were sent", 300)
            process.kill()
            process.wait()
            self._outcome.kills += 1
            self._say(f"killed with -9 when {self._states()}; the server has {self._server.counted()} letters")

    def bring_misery(self) -> None:
        """Refused for now and for good, broken off before and after it was taken, silence: each to others."""
        left, few = self._untouched(), max(1, self._population.owners // 50)
        deeds = [(RCPT, "451 4.7.1 try later"), (DOT, "452 4.3.1 no space"), (DOT, DROP), (TAKEN, DROP)]
        for at, do in deeds:
            for _ in range(few):
                self._server.will(at, do, recipient=left.pop())
        for at in (DOT, TAKEN):
            for _ in range(max(1, few // 5)):
                self._server.will(at, STALL, recipient=left.pop())
        for _ in range(max(1, few // 4)):
            self._outcome.passed_on += 1
            self._server.will(RCPT, "550 5.1.1 no such mailbox", recipient=left.pop(), times=0)
        for at, do in ((MAIL, "421 4.3.2 not now"), (DATA, DROP), (MAIL, DROP), (DATA, "451 4.3.0 later")):
            self._server.will(at, do, times=2)
        self._run()

    def go_on_until_all_is_sent(self) -> None:
        """What failed comes due again, an hour or two later; until a run that begins and ends with nothing to send."""
        is_calm = False
        while not is_calm and self._outcome.runs < ROUNDS:
            is_calm = not self._waiting()
            self._now += ROUND
            self._run()
            is_calm = is_calm and not self._waiting()

    def judge(self) -> None:
        """Everybody has it, nobody more than twice, and nothing of anybody else."""
        population, outcome = self._population, self._outcome
        copies: Counter[tuple[str, str]] = Counter()
        digests: set[tuple[str, str]] = set()
        for taken in self._server.taken():
            message, key = taken.message, (taken.recipients[0], str(taken.message["Message-ID"]))
            is_digest = message["List-Id"] is not None  # the others say that a mailbox takes no mail
            outcome.wrong += faults(population, taken, is_digest=is_digest)
            copies[key] += 1
            digests |= {key} if is_digest else set()
        outcome.messages, outcome.repeated = copies.total(), copies.total() - len(copies)
        outcome.wrong += [f"{who} has it {count} times" for (who, _), count in copies.items() if count > 2]
        owners = Counter(recipient.partition("@")[2] for recipient, _ in digests)
        wanted = [population.address(owner).partition("@")[2] for owner in range(population.owners)]
        outcome.wrong += [f"{domain} has {owners[domain]} digests" for domain in wanted if owners[domain] != 1]
        expected = {"refused": outcome.passed_on, "sent": population.owners + outcome.passed_on}
        outcome.wrong += [] if self._states() == expected else [f"letters are {self._states()}, not {expected}"]

    def _run(self) -> None:
        self._outcome.runs += 1
        self._finish(self._begin(self._now))
        self._say(f"run {self._outcome.runs}: {self._states()}; the server has {self._server.counted()} letters")

    def _begin(self, now: int) -> Popen[bytes]:
        places = [str(self._directory), str(self._server.port), str(self._server.ca_file), str(now)]
        return Popen([sys.executable, "-m", "tests.flows.letters", "--send", *places], cwd=ROOT)

    def _finish(self, process: Popen[bytes]) -> None:
        assert process.wait(900) == 0, "the process that sends has failed"

    def _has_sent(self, wanted: int) -> bool:
        return self._states().get("sent", 0) >= wanted

    def _untouched(self) -> list[str]:
        """Mailboxes of letters that no server has seen: what was on its way at a kill may go out twice as it is."""
        seen = {taken.recipients[0] for taken in self._server.taken()}
        every = (self._population.address(owner) for owner in range(self._population.owners))
        return [address for address in every if address not in seen]

    def _waiting(self) -> int:
        return self._states().get("open", 0)

    def _states(self) -> dict[str, int]:
        """How many letters are in which state, read past the process whose database it is."""
        with closing(sqlite3.connect(f"file:{self._directory}/certwright.db?mode=ro", uri=True)) as database:
            return dict(database.execute("SELECT state, count(*) FROM letter GROUP BY state ORDER BY state"))


def wired(store: Store, mailer: Mailer | None, **policy: Any) -> Lifecycle:
    """The parts, with mail and links."""
    mail = MailPolicy(sender="Certwright <certwright@ca.example>", link_url=LINK_URL, **policy)
    return replace(make_lifecycle(store), mailer=mailer, mail=mail)


def send(directory: Path, port: int, ca_file: Path, now: int) -> None:
    """What the schedule does at a moment: open what is due, send it; first take up what a dead one held, as `serve`."""
    patience = Patience(handing_over=15.0, answering=15.0)  # a busy machine is not a silent server
    server = Server("localhost", port, "starttls", ca_file, USER, Secret(PASSWORD), patience)
    mailer = SmtpMailer(server, rest=0.5, slow=2.0)
    with closing(open_store(_url(directory))) as store, clock.pinned(datetime.fromtimestamp(now, UTC)):
        lifecycle = wired(store, mailer)
        work.release(store)
        for _ in range(4):  # owners are enrolled by the page
            opening.open_due(lifecycle)
        runner = Runner(lifecycle, {"mail": DUTIES["mail"]})
        runner.drain()
        runner.stop()
    mailer.close()


def _url(directory: Path) -> str:
    return f"sqlite:///{directory}/certwright.db"


def main(arguments: Sequence[str]) -> int:
    """Run it in a directory of its own and say what came of it."""
    if arguments[:1] == ["--send"]:
        directory, port, ca_file, now = arguments[1:]
        send(Path(directory), int(port), Path(ca_file), int(now))
        return 0
    owners, each = (*map(int, arguments), *(1000, 100)[len(arguments) :])
    with tempfile.TemporaryDirectory(prefix="certwright-letters-") as directory:
        outcome = letters(Path(directory), owners, each)
    print(
        f"{outcome.owners:,} owners, {outcome.messages:,} messages ({outcome.repeated} a second time, "
        f"{outcome.passed_on} to the next on the path), {outcome.kills} kills, {outcome.runs} runs, "
        f"{outcome.seconds:.0f} s, {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10} MiB at most"
    )
    for fault in outcome.wrong[:20]:
        print(f"WRONG: {fault}")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

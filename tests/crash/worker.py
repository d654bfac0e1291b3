"""The process that is killed: issues, revokes, publishes and numbers at full speed, and says what it was answered.

    python -m tests.crash.worker URL HOME threads|tasks     until somebody kills it
    python -m tests.crash.worker URL HOME STEP              three issuances, then its own death at that step of a fourth
    python -m tests.crash.worker URL HOME breed             forks a worker for each step that it reads, to save time

Every line on standard output is one fact that this process was told is durable; it is written before the next request.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import event

from ca import clock, issuance, revocation, signing
from ca.authority import Authorities, PublicUrls
from ca.crl import CrlPolicy, CrlPublisher
from ca.enrolment import Decision
from ca.installation import Installation
from ca.issuance import Issued, issuing
from ca.keys.software import SoftwareKeyStore
from ca.ledger.log import Ledger
from ca.profiles.collection import Profiles
from ca.recording import abandon_intents
from ca.secret import Secret
from ca.store import Store, commit, open_store
from ca.x509.revocation_list import RevocationReason
from tests import rig

PASSPHRASE = Secret("only for the crash tests")
THREADS = 4
TASKS = 16


def open_keys(home: Path) -> SoftwareKeyStore:
    """The key files of an installation."""
    return SoftwareKeyStore(home / "keys", PASSPHRASE)


def open_installation(store: Store, keys: SoftwareKeyStore) -> Installation:
    """The installation that the campaign has made, as a process finds it when it starts."""
    return Installation(
        store=store,
        keys=keys,
        profiles=Profiles(rig.CONFIG / "profiles", rig.VARIABLES),
        authorities=Authorities(store, keys, PublicUrls(rig.PUBLIC_URL)),
        ledger=Ledger(store, "example.internal/ledger", keys.load("ledger")),  # type: ignore[arg-type]
    )


def say(*words: object) -> None:
    """One line, in one system call, so that a kill leaves it whole or not at all."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def answer(issued: Issued) -> None:
    """What a client would have received."""
    say("issued", issued.serial, sha256(issued.certificate).hexdigest())


def recover(installation: Installation) -> None:
    """What a process does first: give up what the one before it has begun."""
    while given_up := abandon_intents(installation.store, older_than=clock.timestamp() + 1):
        say("abandoned", given_up)


def name(place: object) -> str:
    """A workload of its own for every request."""
    return f"spiffe://example.internal/ns/crash/sa/w{place}"


def issue_in_threads(installation: Installation, answered: list[str]) -> None:
    """Several threads that each issue one certificate after the other."""
    life = secrets.token_hex(8)  # a process number comes again, after some ten thousand processes

    def work(thread: int) -> None:
        for place in count():
            issued = rig.issue(installation, name(f"{thread}-{place}"), idempotency_key=f"{life}-{thread}-{place}")
            answer(issued)
            answered.append(issued.serial)

    threads = [threading.Thread(target=work, args=(place,), daemon=True) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def issue_in_tasks(installation: Installation, answered: list[str]) -> None:
    """One event loop with many coroutines that do the same."""

    async def work(task: int) -> None:
        for place in count():
            issued = await issuance.aissue(rig.decide(installation, name(f"{task}-{place}")), installation)
            answer(issued)
            answered.append(issued.serial)

    async def all_of_them() -> None:
        await asyncio.gather(*map(work, range(TASKS)))

    asyncio.run(all_of_them())


def revoke_some(installation: Installation, answered: list[str]) -> None:
    """Revoke one of ten."""
    done = 0
    while True:
        if len(answered) > done + 10:
            done += 10
            revocation.revoke(installation, rig.OPERATOR, answered[done], RevocationReason.SUPERSEDED)
            say("revoked", answered[done])
        time.sleep(0.002)


def publish(installation: Installation, _answered: list[str]) -> None:
    """Make the lists that are due."""
    publisher = CrlPublisher(installation, CrlPolicy())
    while True:
        for made in publisher.publish_due():
            say("published", made.authority, made.shard, made.number)
        time.sleep(0.01)


def number(installation: Installation, _answered: list[str]) -> None:
    """Number the ledger's entries and sign heads over them."""
    while True:
        if installation.ledger.sequence():
            head = installation.ledger.head()
            assert head is not None
            say("head", head.size, head.root.hex())
        time.sleep(0.01)


def run(installation: Installation, issue: Callable[[Installation, list[str]], None]) -> None:
    """Everything at once, until the end comes from outside."""
    answered: list[str] = []
    for job in (revoke_some, publish, number):
        threading.Thread(target=job, args=(installation, answered), daemon=True).start()
    issue(installation, answered)


def die(*_args: object, **_named: object) -> NoReturn:
    """The end, without any farewell."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def last_decision(installation: Installation, step: str) -> Decision:
    """The request during which the process dies, and which its client will send again."""
    subject = installation.keys.load("subject")
    return rig.decide(installation, name("last"), key=subject, idempotency_key=f"last, {step}")


def dies_after(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, of whose result nobody will ever hear."""

    def fatal(*args: Any, **named: Any) -> None:
        function(*args, **named)
        die()

    return fatal


def die_at(installation: Installation, step: str) -> None:
    """Issue by hand, every effect made durable in its place, and die at one step."""
    story = issuing(last_decision(installation, step), installation)
    PREPARATIONS.get(step, lambda _: None)(installation.store)
    effects: dict[str, Any] = {"intent": next(story)}
    for effect in ("intent", "completion"):
        if step == f"before {effect}":
            die()
        unit = effects[effect]
        if step == f"in {effect}, uncommitted":
            unit = _dies_uncommitted(unit)
        if step == f"in {effect}, before commit":
            event.listen(installation.store._writing, "commit", die)
        if step == f"in {effect}, behind commit":
            commit._release = die  # type: ignore[assignment]
        installation.store.write(unit)
        if step == f"after {effect}":
            die()
        try:
            effects["completion"] = story.send(None)
        except StopIteration as end:
            answer(end.value)


def _dies_uncommitted(unit: Any) -> Any:
    def fatal(tx: Any) -> None:
        unit(tx)
        tx.flush()
        die()

    return fatal


def _patch(place: str, replacement: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Callable[[Store], None]:
    return lambda _store: setattr(signing, place, replacement(getattr(signing, place)))


PREPARATIONS: Mapping[str, Callable[[Store], None]] = {
    "in build": _patch("build", lambda _: die),
    "after build": _patch("build", dies_after),
    "in check": _patch("check", lambda _: die),
    "after check": _patch("check", dies_after),
    "in seal": _patch("seal", lambda _: die),
    "after seal": _patch("seal", dies_after),
}
"""Deaths inside the pure steps; those around the durable ones are in `die_at`."""

STEPS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("in build", "after build", "in check", "after check", "before intent"), (0, 0)),
    **dict.fromkeys(("in intent, uncommitted", "in intent, before commit"), (0, 0)),
    **dict.fromkeys(("in intent, behind commit", "after intent", "in seal", "after seal"), (1, 0)),
    **dict.fromkeys(("before completion", "in completion, uncommitted", "in completion, before commit"), (1, 0)),
    **dict.fromkeys(("in completion, behind commit", "after completion"), (0, 1)),
}
"""Every step, and what its death leaves: how many intents, how many certificates that nobody was given."""


def breed(url: str, keys: SoftwareKeyStore) -> None:
    """With everything imported and the keys opened once, let a child live for each step on standard input."""
    for path in keys._directory.glob("*.pem"):
        keys.load(path.stem)
    for line in sys.stdin:
        if (child := os.fork()) == 0:
            live(url, keys, line.strip())
            os._exit(0)
        _, status = os.waitpid(child, 0)
        say("ended", os.waitstatus_to_exitcode(status))


def live(url: str, keys: SoftwareKeyStore, mode: str) -> None:
    """Start as the product does, then work until the end."""
    say("ready", os.getpid())
    installation = open_installation(open_store(url), keys)
    recover(installation)
    if mode in STEPS:
        for place in range(3):
            answer(rig.issue(installation, name(f"first-{place}")))
        die_at(installation, mode)
    else:
        run(installation, {"threads": issue_in_threads, "tasks": issue_in_tasks}[mode])


def main(url: str, home: str, mode: str) -> None:
    """The command line."""
    if mode == "breed":
        breed(url, open_keys(Path(home)))
    else:
        live(url, open_keys(Path(home)), mode)


if __name__ == "__main__":
    main(*sys.argv[1:4])

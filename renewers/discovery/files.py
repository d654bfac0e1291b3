"""Discovery among files: what lies beneath a directory of this machine is tracked, with the file as the place.

Files are read for who is on this machine anyway, since others bring their own. A file is read when somebody has it
read, and not by itself again: other replicas stand on other machines. Files of authorities alone, such as trust stores,
are passed over, and so is what needs a passphrase: those are imported (`renewers/inventory/imports.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ca.access import Caller, Operation
from ca.errors import BadRequest, Forbidden
from renewers.discovery.directories import Found, Unreadable, place_of, walk
from renewers.discovery.observing import Observation
from renewers.discovery.recorder import BATCH, Recorder
from renewers.inventory.facts import CERTIFICATE, Facts, read_certificate
from renewers.inventory.reading import read_any
from renewers.lifecycle import Lifecycle
from renewers.plain import one_line


@dataclass(frozen=True, slots=True)
class Read:
    """One file that was looked into, where the certificates in it are from now on, and what could not be read."""

    path: Path
    places: tuple[str, ...]
    problem: str | None

    @property
    def place(self) -> str:
        """The file as a place."""
        return place_of(self.path)


def discover_files(lifecycle: Lifecycle, caller: Caller, root: Path, *, owner_id: int | None = None) -> Iterator[Read]:
    """Track what the files beneath `root` show. It runs while it is iterated over; what was found is kept."""
    caller.must(Operation.MANAGE_INVENTORY)
    if not caller.is_local:
        hint = "run certwright track import where the files are"
        raise Forbidden("files are read for who is on the machine itself", code="local-only", hint=hint)
    if not root.is_absolute() or ".." in root.parts:
        what = f"{one_line(str(root), 200)!r} is not an absolute path without .."
        raise BadRequest(what, code="bad-directory", hint="such as /etc/ssl")
    return _discover(Recorder(lifecycle, caller.identity, owner_id), root, walk(root))


def _discover(recorder: Recorder, root: Path, found: Iterator[Found | Unreadable]) -> Iterator[Read]:
    subject, counts, waiting = one_line(str(root), 200), Counter[str](), list[Observation]()
    problems: list[tuple[str, str]] = []
    recorder.say("walk-started", subject)
    try:
        for file in found:
            observations, problem = _look_into(file)
            waiting += observations
            if not observations:
                problems.append((file.place, problem or "there is no certificate in it"))
            counts["certificates"] += len(observations)
            counts["files" if observations else "without"] += 1
            if len(waiting) + len(problems) >= BATCH:
                counts["unrecorded"] += recorder.write(waiting, problems)
                waiting, problems = [], []
            yield Read(file.path, tuple(observation.place for observation in observations), problem)
    finally:
        counts["unrecorded"] += recorder.write(waiting, problems)
        recorder.say("walk-finished", subject, **counts)


def _look_into(file: Found | Unreadable) -> tuple[list[Observation], str | None]:
    """What is to be recorded of a file: each certificate that is no authority's, with the authorities beside it."""
    if isinstance(file, Unreadable):
        return [], file.reason
    try:
        brought = read_any(file.content)
    except BadRequest as error:
        return [], error.message
    reasons = [f"{refused.what}: {refused.why}" for refused in brought.refused]
    leaves: list[Facts] = []
    above: list[Facts] = []
    for der in brought.certificates:
        try:
            facts = read_certificate(der)
        except BadRequest as error:
            reasons.append(error.message)
        else:
            (leaves if facts.kind == CERTIFICATE else above).append(facts)
    if not leaves and not reasons:
        reasons.append("there is no certificate in it" + (" but those of authorities" if above else ""))
    places = (file.place if number == 1 else f"{file.place}#{number}" for number in range(1, len(leaves) + 1))
    observations = [Observation(place, (leaf, *above), None, "") for place, leaf in zip(places, leaves, strict=True)]
    return observations, one_line("; ".join(reasons)) or None

"""The rotation of a CA, top to bottom: prepare, introduce, prove, activate, re-issue, drain, distrust, retire.

Trust is removed last: the new CA is in everybody's hands before it signs a leaf, and the old one goes when no consumer
that we know of and no live leaf needs it. Each stage is a function of what is there, so that it may be run again after
a crash at any point, by whoever takes the work over: it does what is still to be done, and says that it is over, that
it has made a step, or what it waits for. Its outcome is recorded under the fence of the work (`underway.record`).

The way back is the same story: `steering.abort` swaps the roles and takes it to where that begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ca import clock, hierarchy
from ca.authority import OFFLINE, State
from ca.models import Authority
from ca.store import Transaction
from renewers import work
from renewers.lifecycle import Lifecycle
from renewers.rotation import evidence, gates, leaves, reissuing, standing_down, successors, underway
from renewers.rotation.underway import BY, FAILING_ALARM, Done, Outcome, Stage, Step, Underway, Wait
from renewers.telling import alarms
from renewers.telling.alarms import Trouble
from renewers.work import Claim, Failed

SOON, LATER = 2, 15
"""Seconds until it looks again: for what we make ourselves, and for what others have to do. Proof hurries it."""
LONGEST = 3600
"""Seconds between two attempts at what fails, at most: a CA's end does not wait."""


def rotate(lifecycle: Lifecycle, claim: Claim) -> None:
    """Take one rotation as far as it goes: the handler of `rotate` work."""
    while True:
        with lifecycle.store.read(snapshot=True) as connection:
            rotation = underway.load(connection, int(claim.subject))
        if rotation is None or not rotation.goes_on:
            if underway.rest(lifecycle.store, claim, rotation):
                continue
            return
        lifecycle.installation.authorities.forget()  # what another process has changed counts at once
        outcome = STAGES[rotation.stage](lifecycle, rotation)
        if not underway.record(lifecycle.store, claim, rotation, outcome):
            return


def failed(_lifecycle: Lifecycle, tx: Transaction, claim: Claim, error: Exception) -> Failed:
    """It is tried again; a refusal that time does not mend stops it until somebody resumes it. Both are said."""
    result = work.fail(tx, claim, error, longest=LONGEST)
    rotation = underway.locked(tx, int(claim.subject))
    message = f"the rotation of {rotation.line} fails at {rotation.stage}: {work.describe(error)}"
    severity = "error" if result.next_at is not None else "critical"
    hint = getattr(error, "hint", None) or "it changes nothing until the cause is mended; then resume it"
    alarms.raise_alarm(tx, Trouble(FAILING_ALARM, rotation.line, severity, message, hint, since=result.since))
    return result


def prepare(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Make the next generation of each line, the root's first; what is there already is taken, none is made twice."""
    authorities = lifecycle.installation.authorities
    incoming = [authorities.get(name) for name in rotation.incoming]
    for old in map(authorities.get, rotation.found["leading"]):
        if old.line in {row.line for row in incoming}:
            continue
        parent = successors.parent_of(authorities, old, incoming)
        found = successors.find(lifecycle, rotation, old, parent)
        row = found or successors.make(lifecycle, rotation, old, parent)
        what = f"takes {row.name}" if found else f"made {row.name}"
        return Step(what, {"follows": old.name}, underway.names(incoming=[*rotation.incoming, row.name]))
    if waiting := [] if rotation.is_reverting else successors.uncertified(lifecycle, rotation):
        return Wait([_certificate_of(*pair) for pair in waiting], LATER)
    return Done(Stage.INTRODUCE, {"incoming": list(rotation.incoming)})


def introduce(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Have the new CAs and their first CRLs published; the versions that contain them are what has to be proved."""
    if (outlived := _outlived(lifecycle, rotation)) is not None:
        return outlived
    if waiting := evidence.unlisted(lifecycle, rotation.incoming):
        return Wait([f"the first CRLs of {name}" for name in waiting], SOON)
    if (relieved := _relieve(lifecycle, rotation)) is not None:
        return relieved
    versions = evidence.introduced(lifecycle, _rows(lifecycle, rotation.incoming))
    if versions is None:
        return Wait(["a publication that contains the new CAs"], SOON)
    return Done(Stage.PROVE, {"versions": versions}, rotation.finding(introduce=versions))


def prove(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Wait until everybody who has to hold these versions was proved to, or was waived in writing."""
    if (found := _outlived(lifecycle, rotation) or _relieve(lifecycle, rotation)) is not None:
        return found
    passage = gates.consumers(lifecycle, rotation, Stage.PROVE, rotation.versions(Stage.INTRODUCE))
    if not passage.is_open:
        return Wait(passage.why, LATER)
    if (left := gates.until_activation(rotation)) > 0:
        return Wait(["the time that it is to be activated at"], min(left, LATER))
    return Done(Stage.ACTIVATE, passage.evidence)


def activate(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Let the new CAs sign, the root first. Those that signed before are tainted by it; they go on signing CRLs."""
    for row in _not_active(lifecycle, rotation):
        hierarchy.transition(lifecycle.installation, BY, row.name, State.ACTIVE)
    return Done(Stage.REISSUE, {"active": list(rotation.incoming)})


def reissue(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Have everything replaced that the old CAs have issued; from here on they issue nothing."""
    evidence.sign_anew(lifecycle, rotation.incoming)
    replacement = reissuing.begin(lifecycle, rotation)
    with lifecycle.store.read() as connection:
        until = leaves.newest_entry(connection)
    found = rotation.finding(issued_until=until, drained_to=0)
    return Done(Stage.DRAIN, {"replacement": replacement}, found)


def drain(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Wait until nothing alive is left beneath the old CAs, or what is left was given up in writing."""
    if _not_active(lifecycle, rotation):
        return _BACK_TO_ACTIVATE
    if leaves.is_behind(lifecycle, int(rotation.found["issued_until"])):
        return Wait(["the inventory, which has not read all that was issued"], SOON)
    issuers = leaves.issuers_of(standing_down.outgoing(lifecycle, rotation))
    passage = gates.no_leaves(lifecycle, rotation, issuers)
    if not passage.is_open:
        return Wait(passage.why, LATER, rotation.finding(drained_to=passage.first))
    with lifecycle.store.read() as connection:
        progress = reissuing.progress(connection, rotation)
    if progress is not None and progress.pending and passage.evidence["passed_by"] == "proof":
        return Wait([f"{progress.pending} of {progress.total} replacements"], LATER)
    return Done(Stage.DISTRUST, {**passage.evidence, "replaced": progress.total if progress is not None else 0})


def distrust(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Take the old CAs out of what is trusted, and wait until consumers were proved to hold that."""
    if _not_active(lifecycle, rotation):
        return _BACK_TO_ACTIVATE
    if not (versions := rotation.versions(Stage.DISTRUST)):
        return _withdraw(lifecycle, rotation)
    passage = gates.consumers(lifecycle, rotation, Stage.DISTRUST, versions)
    if not passage.is_open and not rotation.is_reverting:  # on the way back nobody is harmed by what he still holds
        return Wait(passage.why, LATER)
    return Done(Stage.RETIRE, passage.evidence)


def retire(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Have the old CAs sign their last CRLs, good until their end, and let them go."""
    if waiting := standing_down.without_last(lifecycle, rotation):
        return Wait([_last_list_of(name) for name in waiting], LATER)
    return Done(Stage.DONE, {"last_lists": standing_down.retire(lifecycle, rotation)})


STAGES: Mapping[Stage, Callable[[Lifecycle, Underway], Outcome]] = MappingProxyType(
    {
        Stage.PREPARE: prepare,
        Stage.INTRODUCE: introduce,
        Stage.PROVE: prove,
        Stage.ACTIVATE: activate,
        Stage.REISSUE: reissue,
        Stage.DRAIN: drain,
        Stage.DISTRUST: distrust,
        Stage.RETIRE: retire,
    }
)


_BACK_TO_ACTIVATE = Done(Stage.ACTIVATE, {"why": "a new CA does not sign, whoever has stopped it"})
"""The last CA of a line that signs is never taken away."""


def _withdraw(lifecycle: Lifecycle, rotation: Underway) -> Outcome:
    """Distrust, revoke what still vouches for them, and have both published; each part may be done already."""
    if stray := successors.strays(lifecycle, rotation):
        names = [row.name for row in stray]
        return Step(f"found {', '.join(names)}", {}, underway.names(outgoing=[*rotation.outgoing, *names]))
    distrusted = standing_down.distrust(lifecycle, rotation)
    revoked = standing_down.revoke(lifecycle, rotation)
    if distrusted or revoked:
        return Step("distrusted", {"authorities": distrusted, "revoked": revoked})
    parents = standing_down.parents_that_stay(lifecycle, rotation)
    if waiting := evidence.relisting(lifecycle, parents):
        return Wait([_list_of(lifecycle, name) for name in waiting], SOON)
    versions = evidence.withdrawn(lifecycle, standing_down.outgoing(lifecycle, rotation), parents)
    if versions is None:
        return Wait(["a publication without the old CAs"], SOON)
    return Step("published without them", {"versions": versions}, rotation.finding(distrust=versions))


def _outlived(lifecycle: Lifecycle, rotation: Underway) -> Done | None:
    """Make those again that have expired before they ever signed: the process may have been away for longer."""
    now = clock.timestamp()
    gone = [row.name for row in _not_active(lifecycle, rotation) if row.not_after <= now]
    if not gone or rotation.is_reverting:
        return None
    kept = [name for name in rotation.incoming if name not in gone]
    return Done(Stage.PREPARE, {"expired": gone}, underway.names(incoming=kept))


def _list_of(lifecycle: Lifecycle, name: str) -> str:
    """What is waited for of a CA that has revoked something; of an offline one, what people have to do for it."""
    if lifecycle.installation.authorities.get(name).key_label != OFFLINE:
        return f"the CRLs of {name}"
    return f"a CRL of {name}, whose key is offline: certwright ceremony request {name}"


def _certificate_of(new: str, old: str) -> str:
    return f"a certificate of {new} by {old}, whose key is offline: certwright ceremony request {old} --cross {new}"


def _last_list_of(name: str) -> str:
    what = f"the last CRL of {name}, whose key is offline"
    return f"{what}: certwright ceremony request {name} --list-lifetime last"


def _relieve(lifecycle: Lifecycle, rotation: Underway) -> Step | None:
    """Let what follows a CA that has expired sign at once, without any proof.

    Nothing alive is left beneath the old one that could be harmed, and waiting would be for ever: what signs
    publications is certified by the active CA, so that nobody could be brought the new one.
    """
    now, everyone = clock.timestamp(), lifecycle.installation.authorities.all()
    over = {row.line: row.name for row in everyone if row.state == State.ACTIVE and row.not_after <= now}
    for row in _not_active(lifecycle, rotation):
        if row.line in over and row.not_after > now:
            hierarchy.transition(lifecycle.installation, BY, row.name, State.ACTIVE)
            return Step(f"activated {row.name}", {"active": [row.name], "expired": over[row.line]})
    return None


def _not_active(lifecycle: Lifecycle, rotation: Underway) -> list[Authority]:
    return [row for row in _rows(lifecycle, rotation.incoming) if row.state != State.ACTIVE]


def _rows(lifecycle: Lifecycle, names: tuple[str, ...]) -> list[Authority]:
    return [lifecycle.installation.authorities.get(name) for name in names]

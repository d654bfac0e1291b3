"""`certwright ledger prove` and `ledger check`: a proof that somebody carries away, and its check without us."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pki.cli.ledger import app
from pki.cli.options import Json

if TYPE_CHECKING:
    from ca.ledger.evidence import Evidence, Proved

Kept = Annotated[
    Path | None, typer.Option("--head", help="A checkpoint that was kept elsewhere.", exists=True, dir_okay=False)
]


@app.command()
def prove(
    what: Annotated[str, typer.Argument(metavar="SERIAL|FILE", help="The certificate, or entry:POSITION.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the proof goes.")],
    head: Kept = None,
    json: Json = False,
) -> None:
    """Write the proof that a certificate stands in the ledger, under a head that was kept, or a newer one beside it.

    Give it to whoever has to be convinced, with the certificate: `certwright ledger check` needs nothing else of us.
    """
    from ca import files
    from ca.ledger.checkpoint import Verifier, claimed_size, open_head
    from ca.ledger.evidence import check
    from pki.cli.output import print_json, say
    from pki.cli.paths import read_text
    from pki.client.rest import connect

    kept = read_text(head) if head is not None else None
    size = claimed_size(kept) if kept is not None else None
    with connect() as client:
        answer = client.get("/ledger/proof", kept=size, **_wanted(what))
    evidence = _evidence(answer, kept, size)
    verifier = Verifier.parse(answer["verifier"])
    proved = check(evidence, verifier, kept=None if kept is None else open_head(kept, verifier))
    files.replace(out, evidence.to_json().encode())
    if json:
        print_json({"file": str(out), "verifier": answer["verifier"], **_document(proved)})
        return
    say(f"the proof of entry {proved.position} under the head of size {proved.head.size} is in {out}")
    say(f"to check it, from a verifier key that did not come with it: certwright ledger check {out} --verifier ...")


@app.command()
def check(
    bundle: Annotated[Path, typer.Argument(help="What certwright ledger prove wrote.", exists=True, dir_okay=False)],
    verifier: Annotated[str, typer.Option(help="The ledger's verifier key, NAME+HASH+KEY, or a file with it.")],
    head: Kept = None,
    certificate: Annotated[
        Path | None, typer.Option(help="The certificate that it has to be about.", exists=True, dir_okay=False)
    ] = None,
    json: Json = False,
) -> None:
    """Check a proof offline: no server, no database, only this file and the verifier key. Exit code 1 if it fails.

    It proves that the ledger held this entry when the head was signed; not that the certificate is not revoked.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from ca.ledger import evidence
    from ca.ledger.checkpoint import Verifier, open_head
    from pki.cli.material import read_certificate
    from pki.cli.output import print_json
    from pki.cli.paths import read_text

    key = Verifier.parse(read_text(Path(verifier)) if Path(verifier).is_file() else verifier)
    kept = None if head is None else open_head(read_text(head), key)
    der = None if certificate is None else read_certificate(certificate).public_bytes(Encoding.DER)
    proved = evidence.check(evidence.Evidence.parse(read_text(bundle)), key, kept=kept, certificate=der)
    if json:
        print_json({"holds": True, **_document(proved)})
    else:
        _say(proved)


def _wanted(what: str) -> dict[str, object]:
    """What to ask for: an entry by position, a certificate by its bytes, or one by its serial number."""
    from pki.cli.material import read_certificate, serial_of

    if what.startswith("entry:"):
        return {"position": what.removeprefix("entry:")}
    if not Path(what).is_file():
        return {"serial": what}
    from cryptography.hazmat.primitives.serialization import Encoding

    from ca.x509.certificate import fingerprint

    return {
        "serial": serial_of(what),
        "sha256": fingerprint(read_certificate(Path(what)).public_bytes(Encoding.DER)),
    }


def _evidence(answer: dict[str, Any], kept: str | None, size: int | None) -> Evidence:
    """What a server answered, as the file that is carried away; the head that was kept, where the proof is for it."""
    from ca.errors import NotFound
    from ca.ledger.evidence import Earlier, Evidence

    head = kept if kept is not None and answer["size"] == size else answer["checkpoint"]
    if head is None:
        raise NotFound("the server has no head of the size that it proves for", code="unknown-head")
    earlier = None
    if answer["consistency"] is not None and size is not None:
        earlier = Earlier(size, [bytes.fromhex(one) for one in answer["consistency"]])
    inclusion = [bytes.fromhex(one) for one in answer["inclusion"]]
    return Evidence(answer["entry"], answer["position"], inclusion, head, earlier, answer["certificate"])


def _document(proved: Proved) -> dict[str, Any]:
    return {
        "entry": dict(proved.entry),
        "position": proved.position,
        "certificate_sha256": proved.certificate,
        "head": {"origin": proved.head.origin, "size": proved.head.size, "root": proved.head.root.hex()},
        "continues": proved.continues,
    }


def _say(proved: Proved) -> None:
    from pki.cli.output import say

    entry = proved.entry
    say(
        f"it holds: {proved.head.origin} had entry {proved.position} when it signed its head of size {proved.head.size}"
    )
    say(f"  {entry.get('action')}: {entry.get('subject')}, by {entry.get('by')}")
    if proved.certificate is not None:
        say(f"  of the certificate whose bytes have the SHA-256 {proved.certificate}")
    if proved.continues is not None:
        say(f"  and that head continues the one that was kept, of size {proved.continues}")

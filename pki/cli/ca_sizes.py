"""`certwright ca sizes`: what a type of key costs in bytes, ML-DSA beside what is usual today."""

from __future__ import annotations

from pki.cli.ca import app
from pki.cli.options import Json


@app.command()
def sizes(json: Json = False) -> None:
    """Make a hierarchy of each type of key, by the shipped profiles, and say how large everything is."""
    from dataclasses import asdict

    from ca.keys.algorithms import AUTHORITY_KEY_TYPES
    from ca.profiles.collection import Profiles
    from ca.sizes import ENTRIES, measure
    from pki.cli.output import print_json, table
    from pki.data import data

    names = {"domain": "example.internal", "trust_domain": "example.internal"}
    profiles = Profiles(data("config") / "profiles", names)
    found = [measure(profiles["sub-ca"], profiles["mesh"], key_type) for key_type in AUTHORITY_KEY_TYPES]
    if json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        [
            *(one.key_type.value, one.root, one.issuing, one.leaf, one.signature, one.handshake),
            f"{one.handshake / found[0].handshake:.1f}x",
            one.crl,
        ]
        for one in found
    ]
    columns = ("key", "root", "issuing CA", "leaf", "signature", "in a handshake", "to P-256", f"CRL of {ENTRIES}")
    table(columns, rows, empty="there are no types of keys")

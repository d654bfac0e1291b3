"""Names that this installation keeps for itself: everything under spiffe://<any trust domain>/certwright/.

Who holds such a name speaks for the product: it signs publications, or probes whether consumers hold a chain. They
are refused whatever a profile's rules say, in every trust domain, but for the one name of each kind in `PATHS`.
"""

from __future__ import annotations

from collections.abc import Mapping

from ca.x509.names import Kind, Name, make, spiffe_parts

SEGMENT = "certwright"
PATHS: Mapping[str, str] = {"publication": f"{SEGMENT}/publications", "probe": f"{SEGMENT}/probe"}
"""The path that each of these kinds of profile issues, and nothing else."""


def is_reserved(name: Name) -> bool:
    """Whether only the product itself may have this name. Case does not matter: a look-alike is refused, too."""
    if not name.is_spiffe:
        return False
    _, segments = spiffe_parts(name.value)
    return segments[:1] != () and segments[0].lower() == SEGMENT


def own_name(kind: str, trust_domain: str) -> Name | None:
    """The one name that profiles of a kind issue; None for kinds whose names are a matter of rules."""
    path = PATHS.get(kind)
    return None if path is None else make(Kind.URI, f"spiffe://{trust_domain}/{path}")

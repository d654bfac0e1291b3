"""What a consumer needs: which trust domains, which CRLs, and in which formats. Read strictly.

Pure: nothing here looks at what exists. `material.py` makes files of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ca.errors import BadRequest
from renewers.distribution.streams import crl_stream, trust_stream
from renewers.plain import one_line

BUNDLE_FORMATS = ("pem", "der", "pkcs7", "pkcs12", "spiffe", "jwks")
CRL_CHOICES = ("none", "complete", "shards", "delta")
"""`delta` is the complete lists, and the delta lists where there are any."""
CRL_FORMATS = ("pem", "der")
MOST_DOMAINS = 50
TRUST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,253}[a-z0-9])?")
"""SPIFFE ID section 2.1, without those that begin or end with a sign: they become parts of file names."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one consumer must hold; made by `read_needs`."""

    trust_domains: tuple[str, ...]
    bundle: tuple[str, ...] = ("pem",)
    crl: str = "complete"
    crl_formats: tuple[str, ...] = ("pem",)

    def streams(self, own_domain: str) -> tuple[str, ...]:
        """The streams that it is told of: the trust of each domain, and our own CRLs."""
        trust = tuple(trust_stream(domain) for domain in self.trust_domains)
        return (*trust, crl_stream(own_domain)) if self.crl != "none" and own_domain in self.trust_domains else trust

    def as_json(self) -> dict[str, Any]:
        """What `read_needs` makes the same of again."""
        lists = {"trust_domains": self.trust_domains, "bundle": self.bundle, "crl_formats": self.crl_formats}
        return {**{name: list(values) for name, values in lists.items()}, "crl": self.crl}


def read_needs(found: Mapping[str, Any], own_domain: str) -> Needs:
    """Read what somebody wrote. `BadRequest` (`bad-needs`) names everything that is wrong with it."""
    problems: list[str] = []
    unknown = sorted(one_line(str(key), 40) for key in set(found) - set(Needs.__dataclass_fields__))
    if unknown:
        problems.append(f"it says {', '.join(unknown[:10])}, which nobody reads")
    domains = _several(found.get("trust_domains", [own_domain]), "trust_domains", problems, TRUST_DOMAIN.fullmatch)
    if len(domains) > MOST_DOMAINS:
        problems.append(f"trust_domains names more than {MOST_DOMAINS}")
    bundle = _several(found.get("bundle", ["pem"]), "bundle", problems, BUNDLE_FORMATS)
    crl = found.get("crl", "complete" if own_domain in domains else "none")
    if crl not in CRL_CHOICES:
        problems.append(f"crl is not one of {', '.join(CRL_CHOICES)}")
    elif crl != "none" and own_domain not in domains:
        problems.append(f"crl wants our own CAs' lists, and trust_domains does not name {own_domain}")
    formats = _several(found.get("crl_formats", ["pem"]), "crl_formats", problems, CRL_FORMATS)
    if problems:
        raise BadRequest(
            "; ".join(problems),
            code="bad-needs",
            hint=f"bundle: {', '.join(BUNDLE_FORMATS)}; crl: {', '.join(CRL_CHOICES)}; crl_formats: pem, der",
        )
    return Needs(domains, bundle, crl, formats)


def _several(
    found: object, field: str, problems: list[str], allowed: Sequence[str] | Callable[[str], object]
) -> tuple[str, ...]:
    """Different words, at least one; in the order of what is allowed, since no order is meant."""
    if not isinstance(found, list | tuple) or not found or not all(isinstance(one, str) for one in found):
        problems.append(f"{field} is not a list of at least one word")
        return ()
    problems += _objections(found, field, allowed)
    if callable(allowed):
        return tuple(dict.fromkeys(found))
    return tuple(word for word in allowed if word in found)


def _objections(found: Sequence[str], field: str, allowed: Sequence[str] | Callable[[str], object]) -> Iterator[str]:
    if len(set(found)) != len(found):
        yield f"{field} names something twice"
    for word in list(dict.fromkeys(found))[:10]:
        if callable(allowed) and not allowed(word):
            yield f"{one_line(word, 60)!r} in {field} is no trust domain"
        elif not callable(allowed) and word not in allowed:
            yield f"{one_line(word, 60)!r} in {field} is not one of {', '.join(allowed)}"

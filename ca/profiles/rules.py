"""Name rules: whether a typed name falls under what a profile allows a caller.

Rules are compiled once. A `{caller.NAME}` in one is filled with the caller's attribute, which may only be a single
label or path segment of plain characters; anything else, and a missing attribute, matches nothing. So an identity can
narrow a rule and never widen it. A holder renewing its certificate has no attributes: its names were allowed when
they were issued, and a variable then stands for any one segment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from ca.errors import BadRequest
from ca.profiles.config import AllowConfig
from ca.x509 import names
from ca.x509.names import Kind, Name

_VARIABLE = re.compile(r"\{([a-z_.]+)\}")
_PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?")
_SEGMENT = r"(?!\.{1,2}(?:[/:]|\Z))[A-Za-z0-9._~-]+"

Attributes = Mapping[str, str] | None
"""What `{caller.NAME}` stands for; None for a holder, for whom it stands for any one segment."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One compiled rule: a pattern with places for the caller's attributes, and the text it was written as."""

    kind: Kind
    text: str
    sample: Name
    """A name that the rule covers for a caller whose attributes are all `a`."""
    _pieces: tuple[str, ...]
    """Regular expressions at even places, names of the caller's attributes at odd ones."""
    _fixed: re.Pattern[str] | None

    @property
    def is_bound(self) -> bool:
        """Whether it depends on who asks."""
        return self._fixed is None

    def allows(self, name: Name, attributes: Attributes) -> bool:
        """Whether the rule covers `name` for a caller with these attributes."""
        if name.kind is not self.kind:
            return False
        pattern = self._fixed or self._filled(attributes)
        return pattern is not None and pattern.fullmatch(name.value) is not None

    def _filled(self, attributes: Attributes) -> re.Pattern[str] | None:
        parts = []
        for place, piece in enumerate(self._pieces):
            if place % 2 == 0:
                parts.append(piece)
            elif attributes is None:
                parts.append(_PLAIN.pattern)
            else:
                value = attributes.get(piece, "")
                if not _PLAIN.fullmatch(value):
                    return None
                parts.append(re.escape(value.lower() if self.kind is Kind.DNS else value))
        return re.compile("".join(parts))


@dataclass(frozen=True, slots=True)
class NetworkRule:
    """Addresses inside one network."""

    network: IPv4Network | IPv6Network
    kind: Kind = Kind.IP
    is_bound: bool = False

    @property
    def text(self) -> str:
        """As written."""
        return f"within {self.network}"

    @property
    def sample(self) -> Name:
        """The network's first address."""
        return names.make(Kind.IP, str(self.network.network_address))

    def allows(self, name: Name, attributes: Attributes) -> bool:
        """Whether `name` is an address in the network."""
        return name.kind is Kind.IP and ip_address(name.value) in self.network


NameRule = Rule | NetworkRule


def compile_rules(allow: AllowConfig, variables: Mapping[str, str]) -> tuple[NameRule, ...]:
    """The rules of one `[[allow]]` block. `ValueError` names the rule that cannot be understood."""
    return (
        *(_dns_exact(text, variables) for text in allow.dns.exact),
        *(_dns_under(text, variables, wildcard=allow.dns.wildcard) for text in allow.dns.under),
        *(NetworkRule(ip_network(text)) for text in allow.ip.within),
        *(_uri_like(text, variables) for text in allow.uri.like),
        *(_email_exact(text, variables) for text in allow.email.exact),
        *(_email_at(text, variables) for text in allow.email.at),
    )


def _dns_exact(text: str, variables: Mapping[str, str]) -> Rule:
    return _rule(Kind.DNS, text, variables, sample=text)


def _dns_under(text: str, variables: Mapping[str, str], *, wildcard: bool) -> Rule:
    if text.startswith("*"):
        raise ValueError(f"under = {text!r}: write the domain without a star")
    labels, wild = r"(?:[a-z0-9-]+\.)+", r"\*\.(?:[a-z0-9-]+\.)*"
    prefix, shown = (f"(?:{labels}|{wild})", "under {}, wildcards too") if wildcard else (labels, "under {}")
    return _rule(Kind.DNS, text, variables, sample=f"a.{text}", prefix=prefix, shown=shown)


def _uri_like(text: str, variables: Mapping[str, str]) -> Rule:
    scheme, separator, rest = text.partition(":")
    authority = rest.removeprefix("//").split("/")[0] if rest.startswith("//") else ""
    if not separator or "*" in scheme or "*" in authority:
        raise ValueError(f"like = {text!r}: scheme and authority are written out, a star only stands for path segments")
    if "**" in text[:-2] or "*" in re.sub(r"(?<=[/:])\*\*?(?=[/:]|$)", "", text):
        raise ValueError(f"like = {text!r}: a star is a whole segment, and ** closes the pattern")
    sample = text.replace("**", "a").replace("*", "a")
    return _rule(Kind.URI, text, variables, sample=sample, escape=_starred)


def _email_exact(text: str, variables: Mapping[str, str]) -> Rule:
    return _rule(Kind.EMAIL, text, variables, sample=text)


def _email_at(text: str, variables: Mapping[str, str]) -> Rule:
    return _rule(Kind.EMAIL, text, variables, sample=f"a@{text}", prefix="[^@]+@", shown="at {}")


def _starred(part: str) -> str:
    return re.escape(part).replace(r"\*\*", f"{_SEGMENT}(?:/{_SEGMENT})*").replace(r"\*", _SEGMENT)


def _rule(
    kind: Kind,
    pattern: str,
    variables: Mapping[str, str],
    *,
    sample: str,
    prefix: str = "",
    shown: str = "{}",
    escape: Callable[[str], str] = re.escape,
) -> Rule:
    """Compile `pattern`: installation variables are put in now, the caller's attributes stay places to be filled."""
    if set("{}") & set(_VARIABLE.sub("", pattern)):
        raise ValueError(f"{pattern!r} has a brace that belongs to no variable; {_known_variables(variables)}")
    pieces = [prefix]
    for place, part in enumerate(_VARIABLE.split(pattern)):
        if place % 2 == 0:
            pieces[-1] += escape(part)
        elif part.startswith("caller."):
            pieces += [part.removeprefix("caller."), ""]
        else:
            pieces[-1] += re.escape(_known(part, variables))
    rule = Rule(
        kind=kind,
        text=shown.format(_VARIABLE.sub(lambda match: variables.get(match[1], match[0]), pattern)),
        sample=_sample(kind, sample, variables),
        _pieces=tuple(pieces),
        _fixed=re.compile(pieces[0]) if len(pieces) == 1 else None,
    )
    if not rule.allows(rule.sample, None):
        raise ValueError(f"{pattern!r} can match no name: DNS names are in lower case")
    return rule


def _known(variable: str, variables: Mapping[str, str]) -> str:
    if variable not in variables:
        raise ValueError(f"unknown variable {{{variable}}}; {_known_variables(variables)}")
    return variables[variable]


def _known_variables(variables: Mapping[str, str]) -> str:
    return "there are " + ", ".join(f"{{{name}}}" for name in (*variables, "caller.NAME"))


def _sample(kind: Kind, text: str, variables: Mapping[str, str]) -> Name:
    """A name that the rule covers; one that can match no valid name is a typing error."""
    sample = _VARIABLE.sub(lambda m: "a" if m[1].startswith("caller.") else _known(m[1], variables), text)
    try:
        return names.make(kind, sample)
    except BadRequest as error:
        raise ValueError(f"{text!r} can match no name: {error.message}") from None

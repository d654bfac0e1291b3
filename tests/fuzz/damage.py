"""Certification requests with damage done to them on purpose, most of it so that the structure around stays whole.

A request is taken apart into a tree of DER elements; a change of one element makes the lengths above it fit again, so
that parsers get past it to what comes next. Half of the changes are made before the request is signed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca import der
from ca.keys.algorithms import KeyType, PrivateKey, scheme_of
from tests import rig

KEY_TYPES = (KeyType.P256, KeyType.P384, KeyType.ED25519, KeyType.RSA2048, KeyType.MLDSA44, KeyType.MLDSA65)
QUICK = (KeyType.P256, KeyType.ED25519, KeyType.MLDSA44)
"""The keys that sign fast enough for most of their requests to be signed anew."""


class Element:
    """One DER element as a tree: its tag, and either its content or the elements inside it."""

    __slots__ = ("children", "content", "encoded", "prefix", "tag")

    def __init__(self, tag: int, content: bytes, children: Sequence[Element] = (), prefix: bytes = b"") -> None:
        self.tag = tag
        self.children = tuple(children)
        self.prefix = prefix
        self.content = prefix + b"".join(child.encoded for child in self.children) if self.children else content
        self.encoded = der.tagged(tag, self.content)


def parse(data: bytes) -> Element:
    """The tree of a well-formed element; strings that wrap further elements are looked into."""
    tag, start, end = der.header(data, 0)
    content = data[start:end]
    if tag & 0x20:
        return Element(tag, content, _parts(content))
    prefix = b"\x00" if tag == 0x03 else b""
    if tag in (0x03, 0x04) and content[len(prefix) : len(prefix) + 1] in (b"\x30", b"\x02"):
        try:
            return Element(tag, content, _parts(content[len(prefix) :]), prefix)
        except (IndexError, ValueError):
            pass
    return Element(tag, content)


def _parts(content: bytes) -> list[Element]:
    found = []
    for _, start, _, stop in der.elements(content, 0, len(content)):
        if stop > len(content):
            raise ValueError("not an element")
        found.append(parse(content[start:stop]))
    return found


@dataclass(frozen=True)
class Seed:
    """A valid request, as bytes and as a tree, with the key that signs it."""

    data: bytes
    tree: Element
    key: PrivateKey
    key_type: KeyType

    def signed(self, info: bytes) -> bytes:
        """Any CertificationRequestInfo, signed the way this one was."""
        scheme = scheme_of(self.key_type)
        return der.sequence(info, scheme.identifier, der.bit_string(scheme.sign(self.key, info)))


def make_seeds() -> list[Seed]:
    """Modest, typical and greedy requests of every kind of key."""
    greedy = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "ZZ"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Evil Corp"),
            x509.NameAttribute(NameOID.COMMON_NAME, "db.eu.example.internal"),
        ]
    )
    wishes = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (x509.KeyUsage(True, False, True, False, False, True, True, False, False), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.OCSP_SIGNING]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x30\x00"), False),
    ]
    modest = [(x509.KeyUsage(True, False, True, False, False, False, False, False, False), True)]
    host = "db.eu.example.internal"
    found: list[Seed] = []
    for key_type in KEY_TYPES:
        key = rig.pooled_key(key_type)
        requests = (
            rig.make_csr(rig.WORKLOAD, key=key),
            rig.make_csr(rig.WORKLOAD, "api.payments.svc.example.internal", key=key, extensions=modest),
            rig.make_csr(host, "10.1.2.3", "fd00::1", key=key, subject=rig.common_name(host)),
            rig.make_csr(host, "ada@example.internal", key=key, subject=greedy, extensions=wishes),
        )
        found.extend(Seed(data, parse(data), key, key_type) for data in requests)
    return found


OIDS = [
    der.oid(dotted)
    for dotted in (
        *("2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.18", "2.5.29.19", "2.5.29.30", "2.5.29.36", "2.5.29.37"),
        *("2.5.29.56", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.9", "2.5.29.37.0", "1.3.6.1.5.5.7.48.1.5"),
        *("1.2.840.113549.1.9.14", "1.3.6.1.4.1.311.2.1.14", "1.2.840.113549.1.9.7", "1.2.840.113549.1.9.2"),
        *("2.5.4.3", "2.5.4.6", "2.5.4.10", "2.5.4.45", "0.9.2342.19200300.100.1.25"),
        *("1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.10", "1.3.101.112", "1.3.101.110"),
        *("1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3", "1.2.840.10045.4.1", "1.2.840.113549.1.1.5"),
        *("1.2.840.113549.1.1.1", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.11"),
        *("2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "1.2.840.10040.4.1", "1.2.3", "2.999"),
    )
]
NAMES = [
    der.tagged(tag, content)
    for tag, contents in {
        0x82: [
            *(b"a\x00.example.internal", b"*.example.internal", b"*.svc.example.internal", b"example.internal"),
            *(b"evilexample.internal", b"svc.example.internal", b"localhost", b"a.example.internal."),
            *(b"a.svc.example.internal\n", b"", b".", b"xn--80ak6aa92e.example.internal", b"a" * 300),
            *(b"https://a.example.internal", b"A.Payments.SVC.example.internal", b"\xc3\xbc.example.internal"),
        ],
        0x86: [
            *(b"spiffe://example.internal/ns/billing/sa/api", b"spiffe://example.internal/ns/payments/sa/.."),
            *(b"spiffe://example.internal/ns/payments/sa/api/x", b"spiffe://EXAMPLE.internal/ns/payments/sa/api"),
            *(b"spiffe://other.example/ns/payments/sa/api", b"spiffe://example.internal", b"urn:dev:mac:1", b""),
            *(b"spiffe://example.internal/ns/payments/sa/api?x", b"https://ada@example.internal/", b"x" * 3000),
        ],
        0x81: [b"ada@example.internal", b"db.eu.example.internal", b"a@b@c", b"@", b""],
        0x87: [
            *(b"\x0a\x00\x00\x01", b"\xcb\x00\x71\x07", b"\x7f\x00\x00\x01", b"\x0a\x00\x00\x00\xff\x00\x00\x00"),
            *(b"", b"\x0a", bytes(16), b"\xfd" + bytes(15), bytes(10) + b"\xff\xff\x0a\x00\x00\x01", bytes(32)),
        ],
        0xA0: [der.oid("1.3.6.1.4.1.311.20.2.3") + der.explicit(0, der.tagged(0x0C, b"root@example.internal"))],
        0xA4: [rig.common_name("db.eu.example.internal").public_bytes()],
        0x88: [b"\x2a\x03\x04"],
        0xA3: [b"\x30\x00"],
        0x89: [b"x"],
    }.items()
    for content in contents
]
LENGTHS = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\x81\x05", b"\x82\xff\xff", b"\x84\xff\xff\xff\xff", b"\xff")
FRAGMENTS = [
    *(b"\x05\x00", b"\x30\x00", b"\x31\x00", b"\x30\x80\x00\x00", b"\x01\x01\xff", b"\x01\x01\x01", b"\x02\x01\x00"),
    *(b"\x02\x01\x02", b"\x02\x00", b"\x02\x02\x00\x01", b"\x02\x01\xff", b"\x04\x00", b"\x03\x01\x00", b"\x03\x00"),
    *(b"\x03\x02\x02\x04", b"\x03\x02\x01\x06", b"\x06\x00", b"\x06\x01\x80", b"\x1f\x7f\x00", b"\xa0\x00", b""),
]


def _strange_keys() -> list[bytes]:
    """Public keys that are not certified, or not by every profile: for exchanging one kind for another."""
    keys = [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),
        dsa.generate_private_key(1024),
        x25519.X25519PrivateKey.generate(),
        x448.X448PrivateKey.generate(),
        rig.pooled_key(KeyType.MLDSA87),
    ]
    return [key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) for key in keys]


class Mutator:
    """Damages requests, most of them so that the structure around the damage stays whole."""

    def __init__(self, seeds: Sequence[Seed], chance: random.Random) -> None:
        self._seeds = seeds
        self._chance = chance
        keys = [*_strange_keys(), *(seed.tree.children[0].children[2].encoded for seed in seeds[::4])]
        self._keys = [parse(key) for key in keys]
        self._oids = [parse(oid) for oid in OIDS]
        self._names = [Element(name[0], name[2:]) if len(name) < 100 else _verbatim(name) for name in NAMES]
        self._fragments = [_verbatim(fragment) for fragment in FRAGMENTS]
        self._tree: tuple[Callable[[Element], Element], ...] = (
            *(self._duplicate, self._drop, self._swap, self._retag, self._splice, self._fragment, self._octets),
            *(self._oid, self._oid, self._name, self._name, self._name, self._key),
        )
        self._raw = (self._flip, self._truncate, self._insert, self._length)

    def next(self) -> bytes:
        """One request, damaged in one to three places."""
        chance = self._chance
        seed = chance.choice(self._seeds)
        if chance.random() < 0.35:
            return chance.choice(self._raw)(seed.data)
        tree = seed.tree
        if chance.random() < (0.7 if seed.key_type in QUICK else 0.03):
            info = tree.children[0]
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                info = chance.choice(self._tree)(info)
            return seed.signed(info.encoded)
        for _ in range(chance.choice((1, 1, 2))):
            tree = chance.choice(self._tree)(tree)
        return tree.encoded if chance.random() < 0.9 else chance.choice(self._raw)(tree.encoded)

    def _somewhere(self, tree: Element, change: Callable[[Element], Element | None]) -> Element:
        """The tree with one element changed, or taken out where `change` returns None; lengths around it fit."""
        path, node = [], tree
        while node.children and (not path or self._chance.random() < 0.85):
            place = self._chance.randrange(len(node.children))
            path.append((node, place))
            node = node.children[place]
        new = change(node)
        for parent, place in reversed(path):
            between = () if new is None else (new,)
            children = (*parent.children[:place], *between, *parent.children[place + 1 :])
            new = Element(parent.tag, b"", children, parent.prefix)
        return new if new is not None else tree

    def _first(self, tree: Element, wanted: Callable[[Element], bool], change: Callable[[Element], Element]) -> Element:
        """The tree with one of the wanted elements changed; the tree itself if there is none."""
        paths = list(_paths(tree, wanted))
        if not paths:
            return tree
        path = self._chance.choice(paths)
        new = change(path[-1][0].children[path[-1][1]])
        for parent, place in reversed(path):
            children = (*parent.children[:place], new, *parent.children[place + 1 :])
            new = Element(parent.tag, b"", children, parent.prefix)
        return new

    def _duplicate(self, tree: Element) -> Element:
        def twice(node: Element) -> Element:
            if not node.children:
                return node
            place = self._chance.randrange(len(node.children))
            return Element(node.tag, b"", (*node.children, node.children[place]), node.prefix)

        return self._somewhere(tree, twice)

    def _drop(self, tree: Element) -> Element:
        return self._somewhere(tree, lambda node: None)

    def _swap(self, tree: Element) -> Element:
        def shuffled(node: Element) -> Element:
            children = list(node.children)
            self._chance.shuffle(children)
            return Element(node.tag, node.content, children, node.prefix)

        return self._somewhere(tree, shuffled)

    def _retag(self, tree: Element) -> Element:
        tag = self._chance.choice((0x01, 0x02, 0x03, 0x04, 0x05, 0x0C, 0x13, 0x16, 0x1E, 0x30, 0x31, 0x81, 0xA0, 0xA1))
        return self._somewhere(tree, lambda node: Element(tag, node.content, node.children, node.prefix))

    def _splice(self, tree: Element) -> Element:
        """Something of one request in the place of something of another."""
        node = self._chance.choice(self._seeds).tree
        while node.children and self._chance.random() < 0.75:
            node = self._chance.choice(node.children)
        return self._somewhere(tree, lambda _: node)

    def _fragment(self, tree: Element) -> Element:
        return self._somewhere(tree, lambda _: self._chance.choice(self._fragments))

    def _octets(self, tree: Element) -> Element:
        """Other octets in a leaf of the tree."""

        def damaged(node: Element) -> Element:
            content = bytearray(node.content or b"\x00")
            content[self._chance.randrange(len(content))] = self._chance.randrange(256)
            return Element(node.tag, bytes(content))

        return self._somewhere(tree, damaged)

    def _oid(self, tree: Element) -> Element:
        return self._first(tree, lambda node: node.tag == 0x06, lambda _: self._chance.choice(self._oids))

    def _name(self, tree: Element) -> Element:
        """Another name in the place of one, or beside one."""

        def renamed(node: Element) -> Element:
            names = self._chance.choices(self._names, k=self._chance.choice((1, 1, 2)))
            kept = node.children if self._chance.random() < 0.5 else ()
            return Element(node.tag, b"", (*kept, *names), node.prefix)

        return self._first(tree, _is_list_of_names, renamed)

    def _key(self, tree: Element) -> Element:
        return self._first(tree, _is_public_key, lambda _: self._chance.choice(self._keys))

    def _flip(self, data: bytes) -> bytes:
        damaged = bytearray(data)
        for _ in range(self._chance.choice((1, 1, 2, 4))):
            damaged[self._chance.randrange(len(damaged))] ^= 1 << self._chance.randrange(8)
        return bytes(damaged)

    def _truncate(self, data: bytes) -> bytes:
        return data[: self._chance.randrange(len(data))]

    def _insert(self, data: bytes) -> bytes:
        place = self._chance.randrange(len(data))
        return data[:place] + self._chance.randbytes(self._chance.randrange(1, 9)) + data[place:]

    def _length(self, data: bytes) -> bytes:
        """A length that is not the content's, somewhere on the way down."""
        offset, (_, start, end) = 0, der.header(data, 0)
        for _ in range(self._chance.randrange(6)):
            inside = list(_elements_within(data, start, end))
            if not inside:
                break
            _, offset, start, end = self._chance.choice(inside)
        return data[: offset + 1] + self._chance.choice(LENGTHS) + data[start:]


def _verbatim(encoded: bytes) -> Element:
    """An element that is encoded as these very bytes, well-formed or not."""
    element = Element(0x05, b"")
    element.encoded = encoded
    return element


def _elements_within(data: bytes, start: int, end: int) -> list[tuple[int, int, int, int]]:
    try:
        found = list(der.elements(data, start, end))
    except IndexError:
        return []
    return found if found and found[-1][3] == end else []


def _paths(
    tree: Element, wanted: Callable[[Element], bool], above: tuple[tuple[Element, int], ...] = ()
) -> Iterator[tuple[tuple[Element, int], ...]]:
    for place, child in enumerate(tree.children):
        path = (*above, (tree, place))
        if wanted(child):
            yield path
        yield from _paths(child, wanted, path)


def _is_list_of_names(node: Element) -> bool:
    return node.tag == 0x30 and bool(node.children) and 0x81 <= node.children[0].tag <= 0x88


def _is_public_key(node: Element) -> bool:
    return node.tag == 0x30 and len(node.children) == 2 and node.children[1].tag == 0x03

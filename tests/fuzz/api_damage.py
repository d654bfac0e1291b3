"""Damage to requests on the wire: bodies that are no JSON, types that lie, paths, queries and headers of odd octets.

Everything here can reach the application through a real HTTP parser: header values have no control characters, paths
and queries are ASCII, and headers stay under the listener's limit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from tests.fuzz.api_wire import Ask

Damage = Callable[[Ask, random.Random], Ask]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
TYPES = (
    *(b"", b"text/plain", b"text/html", b"application/xml", b"application/x-www-form-urlencoded", b"application/jso"),
    *(b"multipart/form-data", b"multipart/form-data; boundary=x", b"application/json; charset=utf-16", b"a/b/c"),
    *(
        b"application/problem+json",
        b"application/cbor",
        b"application/pkcs10",
        b"\xff\xfe",
        b";",
        b"application/json,x",
    ),
)
NUMBERS = (
    *(b"1e999", b"-1e999", b"NaN", b"Infinity", b"-Infinity", b"9" * 5000, b"-" + b"9" * 400, b"0." + b"1" * 5000),
    *(b"18446744073709551616", b"-9223372036854775809", b"1e-400", b"00", b"0x1", b"1_000", b"true", b"null", b"-0"),
)
TEXTS = (
    *(rb'"\ud800"', rb'"\udfff\ud800"', b'"\xed\xa0\x80"', b'"\xff\xfe"', rb'"\u0000"', b'"\x00"', rb'"\x41"', b'""'),
    *(rb'"\u202e\u2066"', b'"' + b"A" * 70_000 + b'"', b'"' + b"%s%n{}" * 50 + b'"', b"'x'", b'"\n"', b'"\xc0\x80"'),
)
OTHERS = (b"[]", b"{}", b"[[]]", b'{"":{}}', b"[null]", b'{"a":1,"a":2}', b"[1,2,3]", b'["x"]', b'{"__proto__":{}}')
BODIES = (
    *(
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"0",
        b"{",
        b"}",
        b"{}{}",
        b"{,}",
        b'{"a"',
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b" " * 9000,
    ),
    *(b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"x" * 300_000, b'{"csr":' * 5000),
    *(b'--x\r\nContent-Disposition: form-data; name="csr"\r\n\r\nx\r\n--x--\r\n', b"csr=x&profile=mesh", b"<csr/>"),
    *(b"\x1f\x8b\x08" + bytes(40), "{}".encode("utf-16"), "{}".encode("utf-32"), b"\xa1\x63csr\x61x"),
)
IN_PATHS = (
    *(
        "%00",
        "%0a",
        "%0d%0aSet-Cookie:%20x=1",
        "%2f",
        "%2F..%2F",
        "..%2f..%2f",
        "%5c",
        "%ff",
        "%c0%af",
        "%ed%a0%80",
        "%25",
        "%",
    ),
    *("%zz", "%e2%80%ae", "%7f", "%1b%5b31m", "a" * 3000, "%f0%9f%92%a9", ";x=y", "+", "%20", "'%20OR%201=1--", "*"),
    *("%2525", "{serial}", "$%7bjndi%7d", "..", ".", "%2e%2e", "0x1A", "1a:2b", "-1", "0" * 400, "%ef%bc%91", "%09"),
)
QUERIES = (
    *("cursor=", "cursor=-", "cursor=1-", "cursor=a-b", "cursor=-1--1", "cursor=%00", "cursor=%ff", "cursor=1-2-3"),
    *("cursor=999999999999999999-999999999999999999", "cursor=" + "9" * 400 + "-1", "cursor=%C2%B2-%C2%B2", "limit=0"),
    *(
        "limit=501",
        "limit=-1",
        "limit=1e3",
        "limit=" + "9" * 5000,
        "limit=1&limit=2",
        "limit=%D9%A1",
        "limit=",
        "limit=1.0",
    ),
    *("after=-1", "after=9007199254740993", "after=" + "9" * 30, "expires_before=-1", "expires_before=1099511627777"),
    *(
        "expires_before=1099511627776",
        "key=" + "f" * 64,
        "key=" + "F" * 64,
        "key=",
        "key=%00",
        "state=%00",
        "state=gone",
    ),
    *(
        "name=%00",
        "name=dns:%ff",
        "name=" + "a." * 4000,
        "name=ip:%3A%3A1%25eth0",
        "name=uri:spiffe://",
        "name=email:@",
    ),
    *(
        "profile=%00",
        "authority=%F0%9F%92%A9",
        "requested_by=%00%0d%0a",
        "subject=" + "s" * 129,
        "subject=%00",
        "x=y",
        "&&&",
    ),
    *(
        "name=%27%20OR%201=1--",
        "subject=%25",
        "a" * 20_000,
        "&".join(f"x{n}=1" for n in range(2000)),
        "=",
        "%",
        "%zz=%zz",
    ),
    *("cursor=1-0", "limit=500&expires_before=0", "name=http%3A%2F%2F%5B", "name=urn:x%00"),
)
VALUES = (
    *(
        b"",
        b" ",
        b"\t",
        b"\xff\xfe",
        b"\x80" * 40,
        b"a" * 255,
        b"a" * 256,
        b"a" * 8000,
        b"'",
        b'"',
        b"%00",
        b"*",
        b"W/",
        b",",
    ),
    *(
        b"\xc3\xa9",
        b"\xe2\x80\xae",
        b"{}",
        b"${jndi:ldap://x}",
        b"() { :;};",
        b"-1",
        b"0",
        b"9" * 400,
        b"\xed\xa0\x80",
        b'W/"x"',
    ),
)
HEADERS = (
    *(b"accept", b"accept-encoding", b"accept-charset", b"if-none-match", b"if-modified-since", b"range", b"expect"),
    *(b"host", b"origin", b"referer", b"cookie", b"user-agent", b"content-encoding", b"content-language", b"upgrade"),
    *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-client-cert", b"x-http-method-override"),
    *(b"idempotency-key", b"idempotency-key", b"idempotency-key", b"authorization", b"forwarded", b"x-original-url"),
    *(b"content-length", b"te", b"access-control-request-method", b"prefer"),
)


def damaged(ask: Ask, chance: random.Random) -> Ask:
    """The request, damaged in one to three ways."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        ask = chance.choice(DAMAGES)(ask, chance)
    return replace(ask, kind="damaged")


def _method(ask: Ask, chance: random.Random) -> Ask:
    return replace(ask, method=chance.choice(METHODS))


def _type(ask: Ask, chance: random.Random) -> Ask:
    others = [pair for pair in ask.headers if pair[0] != b"content-type"]
    content_type = chance.choice(TYPES)
    return replace(ask, headers=(*others, *([(b"content-type", content_type)] if content_type else [])))


def _path(ask: Ask, chance: random.Random) -> Ask:
    """Odd octets in the place of a part of the path, in it or after it."""
    parts, odd = ask.path.split("/"), chance.choice(IN_PATHS)
    place = chance.randrange(1, len(parts)) if chance.random() < 0.3 else len(parts) - 1
    parts[place] = chance.choice((odd, parts[place] + odd, odd + parts[place]))
    ends = ("", "", "", "", "/", "//", "/.", "/..;/", "/%2e", "%0a", ".json")
    return replace(ask, path="/".join(parts) + chance.choice(ends))


def _query(ask: Ask, chance: random.Random) -> Ask:
    odd = chance.choice(QUERIES)
    return replace(ask, query=odd if chance.random() < 0.6 or not ask.query else f"{ask.query[:8000]}&{odd}")


def _header(ask: Ask, chance: random.Random) -> Ask:
    value = chance.choice(VALUES).strip()
    return replace(ask, headers=(*ask.headers, (chance.choice(HEADERS), value)))


def _whole_body(ask: Ask, chance: random.Random) -> Ask:
    return replace(ask, body=chance.choice(BODIES))


def _cut(ask: Ask, chance: random.Random) -> Ask:
    return replace(ask, body=ask.body[: chance.randrange(len(ask.body) + 1)])


def _flip(ask: Ask, chance: random.Random) -> Ask:
    body = bytearray(ask.body or b"{}")
    for _ in range(chance.choice((1, 1, 2, 5))):
        body[chance.randrange(len(body))] = chance.randrange(256)
    return replace(ask, body=bytes(body))


def _value(ask: Ask, chance: random.Random) -> Ask:
    """Another value in the place of one in the JSON text, which stays whole around it."""
    places = [match.span(1) for match in re.finditer(rb'[:\[,]\s*("(?:[^"\\]|\\.)*"|[-+.\w]+)', ask.body[:200_000])]
    if not places:
        return replace(ask, body=chance.choice((*NUMBERS, *TEXTS, *OTHERS)))
    start, end = chance.choice(places)
    return replace(ask, body=ask.body[:start] + chance.choice((*NUMBERS, *TEXTS, *OTHERS)) + ask.body[end:])


def _member(ask: Ask, chance: random.Random) -> Ask:
    """One more member in the object: unknown, or known and there twice."""
    if not ask.body.startswith(b"{"):
        return _whole_body(ask, chance)
    name = chance.choice((b'"names"', b'"profile"', b'"csr"', b'"role"', b'"is_ca"', *TEXTS))
    value = chance.choice((*NUMBERS, *TEXTS, *OTHERS))
    rest = ask.body[1:].lstrip()
    return replace(ask, body=b"{" + name + b":" + value + (b"," if not rest.startswith(b"}") else b"") + rest)


def _pieces(ask: Ask, chance: random.Random) -> Ask:
    """A body of undeclared length, now and then longer than any may be."""
    body = ask.body + b" " * 300_000 if chance.random() < 0.2 else ask.body
    return replace(ask, body=body, chunks=chance.choice((1, 2, 7, 40)))


DAMAGES: tuple[Damage, ...] = (
    *(_method, _type, _path, _path, _query, _query, _header, _header, _whole_body, _cut, _flip),
    *(_value, _value, _value, _member, _pieces),
)

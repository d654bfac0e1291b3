"""Words for the campaign of requests: what fits a profile, and what somebody writes who wants more than that."""

from __future__ import annotations

FITTING: dict[str, list[str]] = {
    "mesh": [
        *("uri:spiffe://example.internal/ns/payments/sa/api", "spiffe://example.internal/ns/payments/sa/worker"),
        *("dns:api.payments.svc.example.internal", "db.payments.svc.example.internal"),
        *("uri:spiffe://example.internal/ns/billing/sa/api", "dns:api.billing.svc.example.internal"),
    ],
    "server": ["dns:db.eu.example.internal", "localhost", "ip:10.1.2.3", "::1", "dns:a.b.c.example.internal"],
    "client": ["email:ada@example.internal", "ada@example.internal", "dns:x.clients.example.internal"],
    "device": [
        *("dns:s-1.scooters.devices.example.internal", "uri:urn:dev:mac:0024befffe804ff1"),
        *("s-2.scooters.devices.example.internal", "dns:s-1.trains.devices.example.internal"),
    ],
    "edge": ["dns:*.edge.example.internal", "*.shop.edge.example.internal", "pay.edge.example.internal", "ip:10.0.0.1"],
    "ephemeral": ["uri:spiffe://example.internal/ns/payments/sa/job", "dns:job.svc.example.internal"],
}
"""By profile; not all of them for everybody."""

WRITABLE = frozenset(name for names in FITTING.values() for name in names)
"""Names that a well-formed request can carry."""

HOSTILE_NAMES = [
    *(
        "dns:example.internal",
        "dns:*.example.internal",
        "dns:evilexample.internal",
        "dns:example.internal.evil.example",
    ),
    *("dns:a.example.internal.", "dns:A.EXAMPLE.INTERNAL", "dns:a..example.internal", "dns:*.*.edge.example.internal"),
    *(
        "dns:a.*.example.internal",
        "dns:xn--80ak6aa92e.example.internal",
        "dns:a\x00.example.internal",
        "dns: a.example.internal",
    ),
    *(
        "dns:a.example.internal\n",
        "dns:é.example.internal",
        "dns:\u212a.example.internal",
        "dns:a。example.internal",
        "dns:",
    ),
    *(
        "dns:" + "a" * 63 + ".example.internal",
        "dns:" + "a" * 64 + ".example.internal",
        "dns:" + "a." * 9 + "example.internal",
    ),
    *(
        "dns:10.1.2.3",
        "ip:203.0.113.7",
        "ip:0.0.0.0",
        "ip:::ffff:10.0.0.1",
        "ip:fe80::1%eth0",
        "ip:10.0.0.0/8",
        "ip:010.1.2.3",
    ),
    *(
        "ip:0x7f000001",
        "ip:١٠.0.0.1",
        "uri:spiffe://example.internal/ns/payments/sa/..",
        "uri:spiffe://example.internal",
    ),
    *("uri:spiffe://example.internal/ns/payments/sa/api/x", "uri:spiffe://EXAMPLE.internal/ns/payments/sa/api", "uri:"),
    *(
        "uri:spiffe://other.example/ns/payments/sa/api",
        "uri:spiffe://example.internal/ns//sa/api",
        "uri:urn:dev:mac:..:x",
    ),
    *("uri:spiffe://example.internal/ns/payments%2fx/sa/api", "uri:spiffe://user@example.internal/ns/payments/sa/api"),
    *("SPIFFE://example.internal/ns/payments/sa/api", "uri:https://ada@example.internal/", "uri:urn:dev:mac:00:24"),
    *("uri:https://[::1", "uri:https://db.example.internal/", "email:root@example.internal", "email:ada@evil.example"),
    *("email:ada@example.internal@evil.example", 'email:"a b"@example.internal', "email:@example.internal", "urn:"),
    *(
        "email:ada@clients.example.internal",
        "other:x",
        "",
        ":",
        "dns:dns:localhost",
        "rid:1.2.3",
        "x" * 2000,
        "{caller.user}",
    ),
    *(
        "uri:spiffe://example.internal/ns/{caller.namespace}/sa/api",
        "dns:{domain}",
        "dns:root-1",
        "dns:ocsp.example.internal",
    ),
]
LIFETIMES = ("1h", "12h", "15m", "24h", "7d")
ODD_LIFETIMES = (
    *(
        "1s",
        "90s",
        "13h",
        "8d",
        "30d",
        "31d",
        "90d",
        "91d",
        "365d",
        "366d",
        "52w",
        "0s",
        "999999w",
        "-1d",
        "1.5h",
        "24H",
    ),
    *("1 d", "١d", "", "d", "1e3s", "1000000s", "9" * 15 + "d", "P1D", "24h\n", "01h"),
)
SUBJECTS = ("CN=OCSP", "CN=OCSP Responder,O=Example")
ODD_SUBJECTS = (
    *(
        "",
        "CN=",
        "CN=a+CN=b",
        "C=ZZZ,CN=x",
        "C=DE,CN=x",
        "O=no name",
        "CN=" + "x" * 65,
        "CN=\\00",
        "CN=a\\0Ab",
        "CN=#30",
    ),
    *(
        "CN=#0c0161",
        "1.2.3=x",
        "CN",
        "=x",
        "CN=\u202eevil",
        "CN=a,",
        "cn=x",
        "UID=1,DC=example,DC=internal,CN=x",
        "CN=é",
    ),
    *("CN=\\zz", "CN=Test\x00Root", "CN=Fuzzed Root CA", "CN=" + "a,CN=" * 200 + "b", "CN=\ud800", " ", "CN=a\n"),
)
PROFILES = ("mesh", "server", "client", "device", "edge", "ephemeral")
JWTS = (
    "eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSIsImF1ZCI6ImNlcnR3cmlnaHQifQ.AAAA",
    "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EuZXhhbXBsZSJ9.",
)
ODD_JWTS = (
    "",
    "..",
    "a.b.c",
    "cw_0_0",
    "W1tbW1tb.W1tbW1tb.",
    "\x00",
    "\u00e9.\ud83d\ude00.x",
    "x" * 20_000,
    "." * 20_000,
)
ODD_PROFILES = ("ocsp-signer", "ocsp-signer", "sub-ca", "none", "../mesh", "MESH", "mesh\n", "")
REASONS = ("unspecified", "superseded", "cessation-of-operation", "affiliation-changed", "privilege-withdrawn")
ODD_REASONS = ("ca-compromise", "certificate-hold", "remove-from-crl", "keyCompromise", "7", "", "\x00", "x" * 128)
"""Neither has `key-compromise`, which would block a key."""
LINES = ("spare", "factory-north", "lab")
ODD_LINES = ("root", "../x", "a b", "Spare", "", "x" * 41, "-a", "a--b", "é", "a\x00", "spare-", "x" * 40, "a\n")
"""Neither has the line that the campaign's certificates come from."""
KEY_TYPES = ("P-256", "P-384", "Ed25519", "ML-DSA-65")
ODD_KEY_TYPES = ("ML-DSA-44", "RSA-1024", "RSA-2048", "p-256", "", "P-256\n", "ed25519")
ATTRIBUTES = [("namespace", "payments"), ("fleet", "scooters"), ("user", "ada")]
ODD_ATTRIBUTES = [
    *(("namespace", "*"), ("namespace", ".."), ("namespace", "a/b"), ("namespace", ".*"), ("namespace", "payments\n")),
    *(("namespace", "PAYMENTS"), ("namespace", "pay[a-z]+"), ("domain", "evil.example"), ("x", "y" * 64), ("user", "")),
    *(("fleet", "*"), ("fleet", "a.b"), ("user", "root"), ("user", "a@b"), ("Namespace", "payments"), ("é", "é")),
    *(("caller.user", "ada"), ("user", "\x00"), ("namespace", "\u212aa"), ("fleet", "-"), ("namespace", "-a")),
]
IDEMPOTENCY_KEYS = (
    *(
        "a",
        "b",
        "c",
        "one",
        "two",
        "%00",
        "\xff\xfe\x80",
        "x" * 255,
        "x" * 256,
        "'; --",
        "\xe9",
        "{}",
        "0",
        "\t",
        "a,b",
    ),
)
SERIALS = ("revocations", "0", "f" * 40, "f" * 41, "0x1a", "1A:2B", "١", "-1", "1e5", "\x00", "a b", "%2f", "0x", ":")
SHARDS = ("0", "1", "2", "-1", "00", "2147483647", "2147483648", "9" * 30, "1.0", "+1", " 1", "1_0", "١", "1e1")

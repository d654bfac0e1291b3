"""What every answer has to be, whatever was asked: plain refusals, described successes, and neither for strangers.

The description says what a success looks like, `ca/access.py` who may do what; everything else is written out here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs
from cryptography import x509

from ca.access import Operation as Op
from ca.access import Role, allowed
from renewers.distribution.published import manifest_of
from tests.fuzz.api_cases import operations
from tests.fuzz.api_wire import Answer, Ask
from tests.fuzz.api_world import API, Caller, World

PROBLEM = "application/problem+json"
NEEDS: Mapping[str, tuple[Op, ...]] = {
    "POST /certificates": (Op.ISSUE, Op.MANAGE_AUTHORITIES),
    "GET /certificates": (Op.READ_ANY, Op.READ_OWN),
    "GET /certificates/{serial}": (Op.READ_ANY, Op.READ_OWN),
    "POST /certificates/{serial}/renew": (Op.RENEW_ANY, Op.RENEW_OWN),
    "POST /certificates/{serial}/revoke": (Op.REVOKE_ANY, Op.REVOKE_OWN),
    "POST /certificates/{serial}/hold": (Op.REVOKE_ANY, Op.REVOKE_OWN),
    "POST /certificates/{serial}/release": (Op.REVOKE_ANY, Op.REVOKE_OWN),
    "POST /certificates/revocations": (Op.REVOKE_ANY, Op.BLOCK_KEYS),
    "GET /authorities": (Op.READ_AUTHORITIES,),
    "POST /authorities": (Op.MANAGE_AUTHORITIES,),
    "POST /authorities/import": (Op.MANAGE_AUTHORITIES,),
    "GET /authorities/{name}": (Op.READ_AUTHORITIES,),
    "POST /authorities/{name}/state": (Op.MANAGE_AUTHORITIES,),
    **{f"POST /authorities/{{name}}/key/{verb}": (Op.MANAGE_AUTHORITIES,) for verb in ("export", "leave", "return")},
    **dict.fromkeys(("GET /ceremonies", "GET /ceremonies/{name}"), (Op.READ_AUTHORITIES,)),
    **dict.fromkeys(("POST /ceremonies", "POST /ceremonies/{name}/answer"), (Op.MANAGE_AUTHORITIES,)),
    "GET /cross-certificates": (Op.READ_AUTHORITIES,),
    "POST /authorities/{name}/cross-certificates": (Op.MANAGE_AUTHORITIES,),
    **dict.fromkeys(("GET /approvals", "GET /approvals/{number}"), (Op.READ_AUTHORITIES,)),
    **{f"POST /approvals/{{number}}/{verb}": (Op.MANAGE_AUTHORITIES,) for verb in ("grant", "refuse")},
    "DELETE /ceremonies/{name}": (Op.MANAGE_AUTHORITIES,),
    "GET /authorities/{name}/crls": (Op.READ_AUTHORITIES,),
    "POST /authorities/{name}/crls/check": (Op.READ_ANY,),
    "GET /profiles": (Op.READ_PROFILES,),
    "GET /profiles/{name}": (Op.READ_PROFILES,),
    "POST /profiles/{name}/lint": (Op.READ_PROFILES,),
    "POST /profiles/{name}/test": (Op.READ_PROFILES,),
    "GET /me": tuple(Op),
    "GET /tokens": (Op.READ_TOKENS,),
    "POST /tokens": (Op.MANAGE_TOKENS,),
    "DELETE /tokens/{identity}": (Op.MANAGE_TOKENS,),
    **dict.fromkeys(("GET /identity/issuers", "POST /identity/explain"), (Op.READ_TOKENS,)),
    "POST /sign-in-links": (Op.READ_AUTHORITIES,),
    "GET /sessions": (Op.READ_TOKENS,),
    "DELETE /sessions/{identity}": (Op.MANAGE_TOKENS,),
    "GET /ledger/head": (Op.READ_LEDGER,),
    "GET /ledger/state": (Op.READ_LEDGER,),
    "GET /ledger/entries": (Op.READ_LEDGER,),
    "POST /ledger/verify": (Op.READ_LEDGER,),
    "GET /ledger/proof": (Op.READ_LEDGER, Op.READ_ANY, Op.READ_OWN),
    "GET /ledger/consistency": (Op.READ_AUTHORITIES,),
    "GET /ledger/tile/entries/{name}": (Op.READ_LEDGER,),
    "POST /keys/block": (Op.BLOCK_KEYS,),
    "GET /metrics": (Op.READ_METRICS,),
    **dict.fromkeys(
        ("GET /owners", "GET /owners/{name}", "GET /tracked", "GET /tracked/{identity}"), (Op.READ_INVENTORY,)
    ),
    **dict.fromkeys(
        ("GET /tracked/orphans", "GET /tracked/shared-keys", "GET /tracked/differences"), (Op.READ_INVENTORY,)
    ),
    **dict.fromkeys(("GET /endpoints", "GET /lineages", "GET /lineages/{name}", "GET /renewals"), (Op.READ_INVENTORY,)),
    **dict.fromkeys(("GET /renewals/plan", "GET /destinations", "GET /destinations/{name}"), (Op.READ_INVENTORY,)),
    **dict.fromkeys(("GET /issuers", "GET /alarms", "GET /events"), (Op.READ_INVENTORY,)),
    **dict.fromkeys(("POST /owners", "PATCH /owners/{name}", "DELETE /owners/{name}"), (Op.MANAGE_OWNERS,)),
    **dict.fromkeys(("POST /owners/{name}/claims", "POST /owners/{name}/releases"), (Op.MANAGE_OWNERS,)),
    **dict.fromkeys(("POST /tracked", "PUT /tracked/{identity}/owner", "POST /scans"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(
        ("GET /acknowledged", "GET /mailboxes", "GET /letters", "GET /letters/{letter}"), (Op.READ_INVENTORY,)
    ),
    **dict.fromkeys(("GET /letters/explain", "GET /reports/preview", "GET /reports/monthly"), (Op.READ_INVENTORY,)),
    **{f"{verb} /tracked/{{identity}}/acknowledgement": (Op.MANAGE_INVENTORY,) for verb in ("PUT", "DELETE")},
    **{f"{verb} /lineages/{{name}}/acknowledgement": (Op.MANAGE_INVENTORY,) for verb in ("PUT", "DELETE")},
    **dict.fromkeys(("POST /bounces", "POST /letters/run"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("POST /mailboxes/{address}/revive", "POST /owners/{name}/calendar"), (Op.MANAGE_OWNERS,)),
    **dict.fromkeys(("DELETE /endpoints/{place}", "POST /lineages", "PATCH /lineages/{name}"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("DELETE /lineages/{name}", "POST /destinations"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("PATCH /destinations/{name}", "DELETE /destinations/{name}"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("POST /destinations/{name}/deliver", "POST /issuers/{name}/check"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("POST /lineages/{name}/renew", "POST /renewals/run"), (Op.RENEW_ANY,)),
    "POST /issuers/{name}/roll-key": (Op.MANAGE_AUTHORITIES,),
    **dict.fromkeys(("GET /consumers", "GET /consumers/{name}", "GET /consumers/latencies"), (Op.READ_INVENTORY,)),
    **dict.fromkeys(("GET /streams", "GET /publications", "GET /rotations/affected"), (Op.READ_INVENTORY,)),
    **dict.fromkeys(("GET /rotations", "GET /rotations/{rotation}"), (Op.READ_INVENTORY,)),
    "POST /consumers": (Op.MANAGE_CONSUMERS, Op.MANAGE_INVENTORY),
    **dict.fromkeys(("PATCH /consumers/{name}", "DELETE /consumers/{name}"), (Op.MANAGE_CONSUMERS,)),
    **{f"POST /consumers/{{name}}/{verb}": (Op.MANAGE_CONSUMERS,) for verb in ("spread", "pause", "resume", "secret")},
    "POST /consumers/{name}/acknowledgements": (Op.ACKNOWLEDGE, Op.MANAGE_CONSUMERS),
    "POST /publications": (Op.MANAGE_CONSUMERS,),
    **dict.fromkeys(("GET /anchors", "GET /anchors/{trust_domain}"), (Op.READ_AUTHORITIES,)),
    **dict.fromkeys(("PUT /anchors/{trust_domain}", "DELETE /anchors/{trust_domain}"), (Op.MANAGE_CONSUMERS,)),
    **dict.fromkeys(("GET /replacements", "GET /replacements/{replacement}"), (Op.READ_INVENTORY,)),
    "GET /replacements/{replacement}/certificates": (Op.READ_INVENTORY,),
    "GET /replacements/{replacement}/report": (Op.READ_INVENTORY,),
    **dict.fromkeys(("POST /replacements", "POST /replacements/{replacement}/stop"), (Op.MANAGE_INVENTORY,)),
    **dict.fromkeys(("POST /replacements/drill",), (Op.MANAGE_INVENTORY,)),
    "POST /replacements/plan": (Op.READ_INVENTORY,),
    "POST /rotations": (Op.MANAGE_AUTHORITIES,),
    "POST /rotations/plan": (Op.READ_INVENTORY, Op.MANAGE_AUTHORITIES),
    **{
        f"POST /rotations/{{rotation}}/{verb}": (Op.MANAGE_AUTHORITIES,)
        for verb in ("pause", "resume", "hurry", "override", "abort")
    },
}
"""Any one of these is needed, under /api/v1; nothing is for what is not listed, which is public."""
BEFORE_RIGHTS = frozenset({400, 404, 413})
"""How a request may be refused before anybody looks at the rights of a caller who is known: it does not fit."""
TELLTALES = re.compile(
    rb"Traceback \(most|File \"/|site-packages|\.py\b|sqlalchemy|sqlite3|psycopg|pydantic_core|starlette\.|fastapi\."
    rb"|PRIVATE KEY|object at 0x|/certwright\.db"
)
"""What an answer never says: where the code is, what it is made of, or a key."""
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Judge:
    """Finds fault with answers. `faults` is empty for a good one."""

    def __init__(self, document: Mapping[str, Any], world: World) -> None:
        self._world = world
        self._described = operations(document)
        self._schemas = _Schemas(document)
        order = sorted(self._described, key=lambda name: (name.count("{"), -len(name), name))
        self._templates = [(name, _pattern(name)) for name in order]

    def faults(self, ask: Ask, caller: Caller, answer: Answer) -> list[str]:
        """Everything about an answer that should not be; each begins with a word for its kind."""
        if answer.raised is not None:
            return [f"escaped: {type(answer.raised).__name__}: {answer.raised}"[:300]]
        if answer.status >= 500 or answer.status < 200:
            return [f"status: {answer.status}: {answer.body[:300]!r}"]
        found = list(self._leaks(ask, answer))
        reached = self.reached(ask)
        if answer.status >= 400:
            found += _problem(answer) or self._undescribed_problem(reached, ask, answer)
        elif answer.status >= 300:
            is_known = reached is not None and str(answer.status) in self._described[reached]["responses"]
            if not (is_known or answer.status == 307) or answer.body:
                found.append(f"redirect: {answer.status} {answer.headers}")
        else:
            found += self._success(reached, ask, caller, answer)
        return [*found, *self._right(reached, ask, caller, answer)]

    def reached(self, ask: Ask) -> str | None:
        """The operation that a request comes to, which after damage may be another one or none."""
        path = unquote(ask.path)
        if not path.isprintable() and not path.startswith(f"{API}/"):
            return None  # where nobody has to say first who they are, such a path is none of ours
        for method in ("GET", "HEAD") if ask.method == "HEAD" else (ask.method,):
            for name, pattern in self._templates:
                is_served = ask.method != "HEAD" or name.replace(API, "") not in NEEDS
                if is_served and pattern.fullmatch(f"{method} {path}"):
                    return name
        return None

    def _leaks(self, ask: Ask, answer: Answer) -> list[str]:
        """Anything that is nobody's business, unless the caller has just said it."""
        content = answer.body + repr(answer.headers).encode()
        if ask.path.endswith("/key/export"):  # which is for an encrypted key, and for nothing else
            content = content.replace(b"ENCRYPTED PRIVATE KEY", b"")
        found = [f"leak: it says {match[0]!r}" for match in TELLTALES.finditer(content) if match[0] not in ask.body]
        if not (answer.status == 201 and ask.path == f"{API}/tokens"):
            secrets = (secret for secret in self._world.secrets if secret.encode() in content)
            found += [f"leak: it has the secret {secret[:12]}..." for secret in secrets]
        return found

    def _success(self, reached: str | None, ask: Ask, caller: Caller, answer: Answer) -> list[str]:
        """A success is one that is described, down to its content."""
        if reached is None:
            is_description = ask.path == f"{API}/openapi.json" or unquote(ask.path) == f"{API}/openapi.json"
            return [] if is_description else [f"success: {answer.status} for what is not described"]
        found = []
        described = self._described[reached]["responses"]
        content_type = answer.headers.get("content-type", "").partition(";")[0]
        known = next((code for code in (str(answer.status), "201") if code in described), None)
        if str(answer.status) not in described:
            found.append(f"undescribed: {reached} is answered with {answer.status}")
        if known is None or ask.method == "HEAD":
            return found
        types = described[known].get("content", {})
        if types and content_type not in types:
            found.append(f"undescribed: {reached} is answered with {content_type}, not {', '.join(types)}")
        if content_type == "application/json":
            content = json.loads(answer.body)
            found += [f"schema: {e.message[:200]}" for e in self._schemas[reached, known].iter_errors(content)]
            found += _ownership(reached, caller, content)
        return [*found, *_material(reached, answer)]

    def _undescribed_problem(self, reached: str | None, ask: Ask, answer: Answer) -> list[str]:
        """A refusal is what the description says of refusals."""
        if reached is None or ask.method == "HEAD":
            return []
        code = next((c for c in (str(answer.status), "4XX") if (reached, c) in self._schemas), None)
        if code is None:
            return [f"undescribed: {reached} refuses with {answer.status}"]
        document = json.loads(answer.body)
        return [f"schema: {error.message[:200]}" for error in self._schemas[reached, code].iter_errors(document)]

    def _right(self, reached: str | None, ask: Ask, caller: Caller, answer: Answer) -> list[str]:
        """Nobody gets what the table does not give, and a stranger hears that first of all."""
        needed = NEEDS.get((reached or "").replace(API, ""))
        if needed is None:
            return []
        may = caller.role is not None and any(operation in allowed(caller.role) for operation in needed)
        if may and (answer.status >= 400 or caller.name == "local" or not _is_for_local(reached, ask)):
            return []
        refused = {401, 413} if caller.role is None else {401, 403, *BEFORE_RIGHTS}
        if answer.status in refused:
            return []
        return [f"right: {caller.name} ({caller.role}) is answered with {answer.status}"]


def _is_for_local(reached: str | None, ask: Ask) -> bool:
    """Whether only who is on the machine itself may get what is asked for."""
    if reached == f"POST {API}/scans":
        return json.loads(ask.body).get("directory") is not None
    return reached == f"POST {API}/authorities/import"


def _pattern(name: str) -> re.Pattern[str]:
    parts = re.split(r"\{\w+\}", name)
    whatever = ".*" if re.search("/(owners|tracked|endpoints|lineages|sessions|tile)/", name) else "[^/]+"
    return re.compile(whatever.join(map(re.escape, parts)), re.DOTALL)


class _Schemas(dict[tuple[str, str], Any]):
    """What answers are held against, by operation and status; each is compiled when one is looked at."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = document["components"]
        for name, described in operations(document).items():
            for code, response in described["responses"].items():
                offered = response.get("content", {})
                for _, content in sorted(offered.items(), key=lambda item: item[0] == "application/json"):  # it counts
                    self[name, code] = content.get("schema", {})

    def __getitem__(self, key: tuple[str, str]) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, dict):
            found = self[key] = jsonschema_rs.validator_for({**found, "components": self._components})
        return found


def _problem(answer: Answer) -> list[str]:
    """RFC 9457, and what this product promises beyond it."""
    found = []
    if answer.headers.get("content-type") != PROBLEM:
        return [f"problem: {answer.status} as {answer.headers.get('content-type')}: {answer.body[:200]!r}"]
    try:
        document = json.loads(answer.body)
    except ValueError:
        return [f"problem: {answer.status} is no JSON: {answer.body[:200]!r}"]
    code = document.get("code")
    if (
        not isinstance(code, str)
        or not CODE.fullmatch(code)
        or document.get("type") != f"urn:certwright:problem:{code}"
    ):
        found.append(f"problem: type {document.get('type')!r} and code {code!r}")
    if document.get("status") != answer.status:
        found.append(f"problem: it says {document.get('status')} and is {answer.status}")
    empty = [name for name in ("title", "detail") if not str(document.get(name) or "").strip()]
    found += [f"problem: {answer.status} {code} has no {name}" for name in empty]
    if answer.status == 422 and not document.get("reasons"):
        found.append("problem: policy refuses without a reason")
    if answer.status == 401 and not answer.headers.get("www-authenticate"):
        found.append("problem: 401 without WWW-Authenticate")
    if answer.status == 405 and not answer.headers.get("allow"):
        found.append("problem: 405 without Allow")
    return found


def _ownership(reached: str, caller: Caller, content: Any) -> list[str]:
    """Who may read its own certificates alone is shown those alone."""
    shown = reached.replace(API, "")
    if caller.role not in (Role.REQUESTER, Role.HOLDER) or not shown.startswith("GET /certificates"):
        return []
    items = content.get("items", [content])
    held = caller.identity.removeprefix("certificate:")
    foreign = [item["serial"] for item in items if item["requested_by"] != caller.identity and item["serial"] != held]
    return [f"right: {caller.name} is shown {serial}" for serial in foreign]


_LOADERS: Mapping[str, Callable[[bytes], Any]] = {
    "GET /crl/{authority}.crl": x509.load_der_x509_crl,
    "GET /crl/{authority}.delta.crl": x509.load_der_x509_crl,
    "GET /publications/{stream}": manifest_of,
    "GET /publications/{stream}/{version}": manifest_of,
    "GET /crl/{authority}/{shard}.crl": x509.load_der_x509_crl,
    "GET /crl/{authority}.pem": x509.load_pem_x509_crl,
    "GET /ca/{authority}.cer": x509.load_der_x509_certificate,
    "GET /ca/{authority}.pem": x509.load_pem_x509_certificate,
    "GET /bundles/roots.pem": x509.load_pem_x509_certificates,
}


def _material(reached: str, answer: Answer) -> list[str]:
    """What is not JSON is what it is called; and an audit that was run to its end finds the ledger sound."""
    if reached == f"POST {API}/ledger/verify":
        report = [json.loads(line) for line in answer.body.splitlines()][-1]
        return [] if report.get("is_sound") else [f"audit: {report}"[:500]]
    if reached in (
        f"POST {API}/backups",
        f"POST {API}/scans",
        f"POST {API}/renewals/run",
        f"POST {API}/replacements/drill",
    ):
        report = [json.loads(line) for line in answer.body.splitlines()][-1]
        return [] if report.get("error") is None else [f"material: {reached}: {report}"[:500]]
    if reached in _LOADERS:
        try:
            _LOADERS[reached](answer.body)
        except ValueError as error:
            return [f"material: {reached}: {error}"]
    return []

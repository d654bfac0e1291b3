"""A Secret or a ConfigMap in a Kubernetes namespace: all files in one object, which the API replaces in one step.

`stage` is a dry run: the API authenticates, authorizes, validates and admits everything as it would, and stores
nothing. What was in use before lies in a second object, `NAME-previous`. Every write is on the condition that nobody
has written the object since we looked (`resourceVersion`), and none puts an older publication over a newer one. An
object that does not carry our label, or is another's, is left alone. Pods that mount it see the change within a minute
or two; those that have it as environment variables, never. Read `cluster.py` for what is said to the API.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from ca.errors import NotDelivered
from renewers.plain import one_line
from renewers.publishers import Material, Publisher
from renewers.publishers.cluster import Api, Cluster, talking
from renewers.publishers.naming import Read, check_names, one_of, public_files, read_with
from renewers.publishers.turns import Overtaken, is_older

LABEL, OURS = "app.kubernetes.io/managed-by", "certwright"
SUBJECT, VERSION, SHA256 = "certwright/subject", "certwright/version", "certwright/sha256"
PLURALS = {"Secret": "secrets", "ConfigMap": "configmaps"}
PREVIOUS = "-previous"
MOST_BYTES = 1 << 20
"""Of all values together, before base64: the API's own limit."""
TRIES = 5
TEXT = (".pem", ".json", ".jws", ".crt")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def make_kubernetes(settings: Mapping[str, Any], *, clusters: Mapping[str, Cluster]) -> Publisher:
    """The publisher of one object. `BadRequest` names everything that is wrong with its settings.

    `clusters` are those that this machine's own settings name: no row says where we connect to.
    """
    readers: dict[str, Read] = {"cluster": one_of(clusters, "cluster"), "namespace": _namespace, "name": _name}
    readers["kind"] = _kind
    read = read_with(readers, settings, makes="a Kubernetes object", required=tuple(readers))
    return KubernetesObject(**read)


def _namespace(value: Any) -> str:
    return _label(value, 63)


def _name(value: Any) -> str:
    name = _label(value, 63 - len(PREVIOUS))
    if name.endswith(PREVIOUS):
        raise ValueError(f"ends with {PREVIOUS}, where what was before is kept")
    return name


def _label(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most or not _LABEL.fullmatch(value):
        raise ValueError(f"is not a DNS label of at most {most} characters")
    return value


def _kind(value: Any) -> str:
    if not isinstance(value, str) or value not in PLURALS:
        raise ValueError(f"is not {' or '.join(PLURALS)}")
    return value


class KubernetesObject:
    """A `Publisher` into one object, which `RollsBack`."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, kind: str) -> None:
        self.keeps_secrets = kind == "Secret"
        self._cluster = cluster
        self._kind = kind
        self._name = name
        self._path = f"/api/v1/namespaces/{namespace}/{PLURALS[kind]}"
        self._shown = f"{kind} {namespace}/{name}"

    def stage(self, material: Material) -> None:
        """Everything that a swap does, but for storing it."""
        self._bring(material, is_trial=True)

    def swap(self, material: Material) -> None:
        """Keep what is in use as what was before, then replace it."""
        self._bring(material, is_trial=False)

    def restore(self, material: Material) -> None:
        """Replace it with what was before, if it is `material` that is in use."""
        check_names(material)
        with talking(self._cluster) as api:
            for _ in range(TRIES):
                try:
                    return self._go_back(api, material)
                except Overtaken:
                    continue
        raise self._is_busy()

    def _bring(self, material: Material, *, is_trial: bool) -> None:
        wanted = self._wanted(material)
        with talking(self._cluster) as api:
            for _ in range(TRIES):
                try:
                    return self._exchange(api, material, wanted, is_trial=is_trial)
                except Overtaken:
                    continue
        raise self._is_busy()

    def _exchange(self, api: Api, material: Material, wanted: dict[str, Any], *, is_trial: bool) -> None:
        """One attempt."""
        live = self._owned(api, self._name, material.subject)
        if live is not None:
            held = _noted(live, VERSION)
            if held == material.version and _content(live) == _content(wanted):
                return
            if is_older(material.version, held):
                newer = f"{self._shown} holds {one_line(held, 140)}, which is newer than {material.version}"
                hint = "it goes on by itself; if it was given needs of other trust domains, remove the object"
                raise NotDelivered(newer, code="older-version", hint=hint)
            if held != material.version:
                self._write(api, self._name + PREVIOUS, material.subject, live, is_trial=is_trial)
        self._put(api, self._name, live, wanted, is_trial=is_trial)

    def _go_back(self, api: Api, material: Material) -> None:
        live = self._owned(api, self._name, material.subject)
        if live is None or _noted(live, VERSION) != material.version:
            return
        before = self._owned(api, self._name + PREVIOUS, material.subject)
        if before is not None and _noted(before, VERSION) != material.version:
            self._put(api, self._name, live, before, is_trial=False)

    def _write(self, api: Api, name: str, subject: str, wanted: Mapping[str, Any], *, is_trial: bool) -> None:
        self._put(api, name, self._owned(api, name, subject), wanted, is_trial=is_trial)

    def _put(
        self, api: Api, name: str, live: dict[str, Any] | None, wanted: Mapping[str, Any], *, is_trial: bool
    ) -> None:
        """Write one object, with what others have noted on it. Its type never changes, which the API would refuse."""
        found = {} if live is None else live["metadata"]
        labels, notes = dict(found.get("labels") or {}), dict(found.get("annotations") or {})
        labels[LABEL] = OURS
        notes |= {name: _noted(wanted, name) for name in (SUBJECT, VERSION, SHA256)}
        kept = {key: value for key, value in found.items() if key != "managedFields"}
        metadata = {**kept, "name": name, "labels": labels, "annotations": notes}
        body = {"apiVersion": "v1", "kind": self._kind, "metadata": metadata}
        body |= {key: wanted[key] for key in ("type", "data", "binaryData") if key in wanted}
        if live is None:
            api.create(self._path, body, is_trial=is_trial)
            return
        if live.get("type") != body.get("type"):
            type_of_it = one_line(str(live.get("type")), 60)
            raise NotDelivered(
                f"{self._named(name)} is a Secret of type {type_of_it}, and no Secret changes its type",
                code="other-type",
                hint=f"{body.get('type')} is needed: remove it, or choose another name",
            )
        api.replace(f"{self._path}/{name}", body, is_trial=is_trial)

    def _named(self, name: str) -> str:
        """The object, or the one with what was before, for people."""
        return self._shown + name.removeprefix(self._name)

    def _owned(self, api: Api, name: str, subject: str) -> dict[str, Any] | None:
        """An object as it is now. `NotDelivered` if it is somebody else's."""
        found = api.get(f"{self._path}/{name}")
        if found is None:
            return None
        shown = self._named(name)
        if not isinstance(found.get("metadata"), dict) or found["metadata"].get("name") != name:
            raise NotDelivered(f"{api.shown} answered with something that is not {shown}")
        if (found["metadata"].get("labels") or {}).get(LABEL) != OURS:
            hint = f"choose another name, or label it {LABEL}={OURS}"
            raise NotDelivered(f"{shown} is there, and is not ours", code="not-ours", hint=hint)
        if _noted(found, SUBJECT) not in ("", subject):
            whose = one_line(_noted(found, SUBJECT), 100)
            raise NotDelivered(f"{shown} is of {whose!r}", code="not-ours", hint="each has a name of its own")
        return found

    def _wanted(self, material: Material) -> dict[str, Any]:
        """What the object holds. `NotDelivered` if it cannot."""
        check_names(material)
        if not self.keeps_secrets:
            public_files(material)
        files = dict(material.files) | {name: text.reveal().encode() for name, text in material.secrets.items()}
        type_of_it = "Opaque"
        if self.keeps_secrets and {"cert.pem", "key.pem"} <= files.keys():
            type_of_it = "kubernetes.io/tls"
            files |= _tls(files)
        if (size := sum(map(len, files.values()))) > MOST_BYTES:
            raise NotDelivered(
                f"{material.version} is {size} bytes, and a Kubernetes object holds {MOST_BYTES}",
                code="too-large-for-place",
                hint="fewer formats, or CRLs by shards or from a distribution point",
            )
        notes = {SUBJECT: material.subject, VERSION: material.version, SHA256: material.sha256}
        return {"metadata": {"annotations": notes}, **self._data(files, type_of_it)}

    def _data(self, files: Mapping[str, bytes], type_of_it: str) -> dict[str, Any]:
        if self._kind == "Secret":
            return {"type": type_of_it, "data": {name: b64encode(each).decode() for name, each in files.items()}}
        texts = {name: each.decode() for name, each in files.items() if name.endswith(TEXT) and each.isascii()}
        others = {name: b64encode(each).decode() for name, each in files.items() if name not in texts}
        return {"data": texts, "binaryData": others}

    def _is_busy(self) -> NotDelivered:
        return NotDelivered(f"{self._shown} is written by others all the time")


def _tls(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The names under which ingress controllers and meshes look."""
    chain = files.get("chain.pem", b"")
    return {
        "tls.crt": files.get("fullchain.pem", files["cert.pem"] + chain),
        "tls.key": files["key.pem"],
        "ca.crt": files.get("bundle.pem", chain),
    }


def _noted(found: Mapping[str, Any], name: str) -> str:
    """One of our annotations; empty if it is not there."""
    value = (found["metadata"].get("annotations") or {}).get(name)
    return value if isinstance(value, str) else ""


def _content(found: Mapping[str, Any]) -> tuple[Any, dict[str, bytes]]:
    """Its type and files, however they are written."""
    try:
        coded = {name: b64decode(value) for name, value in (found.get("binaryData") or {}).items()}
        plain = {name: str(value).encode() for name, value in (found.get("data") or {}).items()}
    except (ValueError, TypeError, AttributeError):
        return None, {}
    return found.get("type"), coded | plain

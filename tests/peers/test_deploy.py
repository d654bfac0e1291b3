"""What is shipped for systemd and Kubernetes, as systemd and an API server read it; and that its times fit together."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ca.profiles.config import parse_duration
from pki.initialise import initialise
from pki.product import Product
from pki.settings import PREFIX, Settings, load_settings
from pki.web import public
from tests import peer
from tests.kubernetes import Kubernetes, kubernetes
from tests.pki.conftest import PLAN
from tests.source import ROOT

UNIT = ROOT / "config" / "deploy" / "systemd" / "certwright.service"
MANIFEST = ROOT / "config" / "deploy" / "kubernetes" / "certwright.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
DEPLOYMENT = next(one for one in OBJECTS if one["kind"] == "Deployment")
POD: dict[str, Any] = DEPLOYMENT["spec"]["template"]["spec"]
PLURALS = {
    "ServiceAccount": "/api/v1/namespaces/certwright/serviceaccounts",
    "PersistentVolumeClaim": "/api/v1/namespaces/certwright/persistentvolumeclaims",
    "Service": "/api/v1/namespaces/certwright/services",
    "Deployment": "/apis/apps/v1/namespaces/certwright/deployments",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/certwright/poddisruptionbudgets",
}


def variables(pairs: dict[str, str]) -> Settings:
    """The settings that an environment makes; unknown names are refused."""
    tables: dict[str, dict[str, str]] = {}
    for name, value in pairs.items():
        table, _, key = name.removeprefix(PREFIX).lower().partition("__")
        tables.setdefault(table, {})[key] = value
    return Settings.model_validate(tables)


def unit(key: str) -> list[str]:
    """What the unit says of a key."""
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}=")]


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Without a complaint; and by its own measure little is exposed."""
    program = peer.require("systemd-analyze")
    ours = tmp_path / "certwright.service"
    ours.write_text(UNIT.read_text().replace("/opt/certwright/bin/certwright", "/bin/true"))
    verified = subprocess.run([program, "verify", "--man=no", ours], capture_output=True, text=True)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "certwright" in line]) == (0, [])
    weighed = subprocess.run([program, "security", "--offline=true", "--threshold=20", ours], capture_output=True)
    assert weighed.returncode == 0, weighed.stdout.decode()[-300:]


def test_systemd_waits_longer_than_the_end_takes() -> None:
    """Draining and finishing fit into the time after which it kills."""
    (pairs,) = unit("Environment")
    listen = variables(dict(pair.split("=") for pair in pairs.split())).listen
    (stop,) = unit("TimeoutStopSec")
    assert int(stop) > (listen.drain + listen.finish).total_seconds() + 10


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """An API server with our namespace."""
    with kubernetes(tmp_path_factory.mktemp("kubernetes")) as running:
        running.call("POST", "/api/v1/namespaces", OBJECTS[0])
        yield running


def test_kubernetes_takes_the_manifests(api: Kubernetes) -> None:
    """Every object, each field known; and the pods pass the strictest of its security standards."""
    strict = "?dryRun=All&fieldValidation=Strict"
    assert OBJECTS[0]["kind"] == "Namespace"
    for one in OBJECTS[1:]:
        taken = api.call("POST", PLURALS[one["kind"]] + ("" if one["kind"] == "ServiceAccount" else strict), one)
        assert taken["metadata"]["name"] == one["metadata"]["name"]
    pod = {"metadata": {"name": "one", **DEPLOYMENT["spec"]["template"]["metadata"]}, "spec": POD}
    assert api.call("POST", f"/api/v1/namespaces/certwright/pods{strict}", pod)["metadata"]["name"] == "one"
    careless = json.loads(json.dumps(pod))
    del careless["spec"]["containers"][0]["securityContext"]["capabilities"]
    with pytest.raises(Exception, match="restricted"):
        api.call("POST", f"/api/v1/namespaces/certwright/pods{strict}", careless)


def test_kubernetes_asks_what_there_is() -> None:
    """Probes of paths that the plain listener has, ports that are its own, and time enough to end."""
    (container,) = POD["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    listen = Settings().listen
    assert ports == {"tls": int(listen.tls.rpartition(":")[2]), "plain": int(listen.plain.rpartition(":")[2])}
    served = {route.path for route in public.router.routes}  # type: ignore[attr-defined]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    assert all(probe["port"] == "plain" and probe["path"] in served for probe in probes.values())
    found = variables({one["name"]: one["value"] for one in container["env"] if "value" in one}).listen
    assert POD["terminationGracePeriodSeconds"] > (found.drain + found.finish).total_seconds() + 10
    probe = container["readinessProbe"]
    assert found.drain.total_seconds() > probe["periodSeconds"] * probe["failureThreshold"]
    assert parse_duration("15s") == found.drain


def test_what_the_pod_prepares_is_a_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script of the manifest makes, of the settings and the shared keys, what opens."""
    made, settings, pod, shared = (tmp_path / name for name in ("made", "settings", "pod", "shared"))
    initialise(made, PLAN)
    settings.mkdir()
    for volume in (pod, shared):
        volume.mkdir()
        volume.chmod(0o2770)  # as volumes with fsGroup are
    for file in (made / "certwright.toml", *(made / "profiles").glob("*.toml")):
        shutil.copy(file, settings)
    (prepare,) = POD["initContainers"]
    script = prepare["args"][0]
    for mount, place in (("/settings", settings), ("/pod", pod), ("/shared", shared)):
        assert mount in {one["mountPath"] for one in prepare["volumeMounts"]}
        script = script.replace(mount, str(place))
    for _ in range(2):  # a pod that starts again finds the keys there
        subprocess.run([*prepare["command"], script], check=True)
    state = pod / "state"
    assert (state.stat().st_mode & 0o777, (state / "certwright.toml").stat().st_mode & 0o777) == (0o700, 0o600)
    assert {p.name for p in (state / "profiles").iterdir()} == {p.name for p in (made / "profiles").glob("*.toml")}
    (keys,) = [one for one in POD["containers"][0]["volumeMounts"] if one["name"] == "keys"]
    assert (keys["mountPath"], keys["subPath"]) == ("/pod/state/keys", "keys")
    (state / "keys").rmdir()
    (state / "keys").symlink_to(shared / "keys")  # what a mount is here
    for key in (made / "keys").iterdir():
        shutil.copy2(key, state / "keys")
    passphrase = (made / load_settings(made).keys.passphrase_file).read_text().strip()
    monkeypatch.setenv("CERTWRIGHT_KEY_PASSPHRASE", passphrase)
    monkeypatch.setenv("CERTWRIGHT_STORE__URL", f"sqlite:///{made / 'certwright.db'}")
    with Product.open(state) as product:
        assert list(product.readiness.problems()) == []

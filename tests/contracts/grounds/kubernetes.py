"""The grounds of the publisher into Kubernetes: a real API, where a Secret or a ConfigMap is read as a pod gets it."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renewers.publishers import Publisher
from renewers.publishers.cluster import Cluster
from renewers.publishers.kubernetes import PLURALS, make_kubernetes
from tests.contracts.grounds import shared
from tests.contracts.grounds.relay import Relay, brought
from tests.kubernetes import Kubernetes, content, kubernetes

NAMESPACE = "grounds"


@dataclass(frozen=True)
class _Account:
    """The API, and a service account that may do what is documented."""

    api: Kubernetes
    token_file: Path
    token: str


class KubernetesGround:
    """An object with a name of its own; its publisher gets there through a relay."""

    tells_staged = False

    def __init__(self, account: _Account, relay: Relay, kind: str) -> None:
        self._relay, self._account, self._kind = relay, account, kind
        self.name = f"g{secrets.token_hex(6)}"
        self.settings: dict[str, Any] = {
            "cluster": "main",
            "namespace": NAMESPACE,
            "name": self.name,
            "kind": kind,
        }
        self.hidden = (account.token,)
        server = f"https://127.0.0.1:{relay.port}"
        self.clusters = {"main": Cluster(server, account.api.ca_file, account.token_file)}

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_kubernetes(settings, clusters=self.clusters)

    def live(self) -> dict[str, bytes] | None:
        found = self._account.api.read(NAMESPACE, PLURALS[self._kind], self.name)
        return None if found is None else content(found)

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self._relay.refuse(everything=True)
        yield
        self._relay.refuse(everything=False)

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        return self._relay.cut(step, brought(self.make(self.settings), work))


@contextmanager
def _account() -> Iterator[_Account]:
    with tempfile.TemporaryDirectory(prefix="certwright-kubernetes-") as home, kubernetes(Path(home)) as api:
        api.namespace(NAMESPACE)
        token = api.token(NAMESPACE, api.account(NAMESPACE, "certwright"))
        file = Path(home) / "token"
        file.write_text(f"{token}\n")
        yield _Account(api, file, token)


@contextmanager
def opened_kind(kind: str) -> Iterator[KubernetesGround]:
    """An object of a kind that does not exist yet."""
    account = shared("kubernetes", _account)
    with Relay(account.api.port) as relay:
        yield KubernetesGround(account, relay, kind)


@contextmanager
def opened(home: Path) -> Iterator[KubernetesGround]:
    """A Secret that does not exist yet."""
    with opened_kind("Secret") as ground:
        yield ground

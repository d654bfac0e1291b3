"""The ground of the signed push: a receiver of ours behind a relay that can be cut."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ca import clock
from ca.secret import Secret
from renewers.notifiers.signature import verify
from renewers.publishers import Publisher
from renewers.publishers.webhook import PushPlace, make_webhook
from tests.contracts.grounds.relay import Relay, brought
from tests.receiver import Headers, Receiver, receiving

KEY = "whsec_" + b64encode(bytes(range(32))).decode()


class WebhookGround:
    """A receiver that believes what is signed, and puts it into use in one step."""

    tells_staged = False

    def __init__(self, receiver: Receiver, relay: Relay) -> None:
        self._relay, self._live = relay, None
        receiver.judge = self._take
        path = urlsplit(receiver.url).path
        url = f"https://localhost:{relay.port}{path}"
        self.hidden = (KEY, KEY.removeprefix("whsec_"), path)
        self._places = {"edge-push": PushPlace(url, Secret(KEY), receiver.ca_file)}
        self.settings: dict[str, Any] = {"place": "edge-push"}

    _live: dict[str, bytes] | None

    def make(self, settings: Mapping[str, Any]) -> Publisher:
        return make_webhook(settings, places=self._places)

    def live(self) -> dict[str, bytes] | None:
        return self._live

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self._relay.refuse(everything=True)
        yield
        self._relay.refuse(everything=False)

    def cut(self, step: int, work: Callable[[Publisher], None]) -> bool:
        return self._relay.cut(step, brought(self.make(self.settings), work))

    def _take(self, headers: Headers, body: bytes) -> None:
        verify(KEY, headers, body, clock.timestamp())
        self._live = {name: b64decode(content) for name, content in json.loads(body)["files"].items()}


@contextmanager
def opened(home: Path) -> Iterator[WebhookGround]:
    """A receiver of its own."""
    with receiving(home) as receiver, Relay(int(urlsplit(receiver.url).port or 0)) as relay:
        yield WebhookGround(receiver, relay)

"""Reports of consumers that come over MQTT: whoever is brought its material by a broker answers by the same way.

On `PREFIX/reports/...`, each message is JSON with four texts: `webhook-id`, `webhook-timestamp`, `webhook-signature`,
and `body`, the report as it was signed. The topic proves nothing and is not looked at; `acknowledging` decides. A
message counts as taken once it was answered: what comes while nobody listens, the broker keeps for as long as a
signature is good (`signature.TOLERANCE`). A few messages are on their way at once (`link.WINDOW`), the others wait at
the broker.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ca import clock
from ca.errors import CertwrightError, StoreUnavailable
from renewers.brokers import Broker
from renewers.brokers.link import Heard, Link, linked
from renewers.distribution.acknowledging import BY_SIGNATURE, acknowledge_signed
from renewers.lifecycle import Lifecycle
from renewers.notifiers.signature import ID, SIGNATURE, TIMESTAMP, TOLERANCE
from renewers.plain import one_line
from renewers.telling import alarms
from renewers.telling.alarms import Trouble

UNHEARD_ALARM = "reports-unheard"
UNHEARD_AFTER, LONGEST_REST = 60.0, 30.0
"""Seconds without a broker that are an alarm; between two attempts at most."""
LISTEN_SECONDS = 0.5
LARGEST = 64 << 10
AT_ONCE = 8
BAD, FAILED, LATER, TAKEN = "bad-message", "failed", "later", "taken"

Acknowledge = Callable[[Lifecycle, Mapping[str, str], bytes], object]


class MqttReports:
    """Listens at one broker. `start` gives it a thread; `run` is what that does until it is told to `stop`."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        name: str,
        broker: Broker,
        prefix: str,
        *,
        session: str,
        acknowledge: Acknowledge = acknowledge_signed,
    ) -> None:
        """`session` is this process's own at the broker, the same after a restart and another in each replica."""
        self.outcomes: Counter[str] = Counter()
        """How many reports came to what: `taken`, or the code of the refusal."""
        self.is_listening = threading.Event()
        self.on_error: Callable[[Exception], None] = lambda _error: None
        """Told of errors that are not of our tree, so that they reach the log with their traceback."""
        self._lifecycle = lifecycle
        self._name = name
        self._broker = broker
        self._pattern = f"{prefix}/reports/#"
        self._session = session
        self._acknowledge = acknowledge
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._unheard_since = clock.monotonic()

    def start(self) -> None:
        """Begin to listen, whether or not the broker is there."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self.run, name=f"reports-{self._name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Answer what has come, and end."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def run(self) -> None:
        """Listen, and begin again whatever happens, after a rest that grows."""
        rest = 1.0
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix=f"report-{self._name}") as pool:
            while not self._stop.is_set():
                try:
                    with linked(self._broker, session=self._session, keep=TOLERANCE, most=LARGEST) as link:
                        link.subscribe(self._pattern)
                        self._heard_again()
                        rest = 1.0
                        while not self._stop.is_set():
                            self._answer(pool, link)
                except CertwrightError as error:
                    self._unheard(error)
                except Exception as error:  # noqa: BLE001 - said; reports go on being heard
                    self.on_error(error)
                self.is_listening.clear()
                self._stop.wait(rest)
                rest = min(2 * rest, LONGEST_REST)

    def _answer(self, pool: ThreadPoolExecutor, link: Link) -> None:
        """Answer what has come in. What the store did not take comes again, in another connection."""
        heard = link.hear(LISTEN_SECONDS)
        outcomes = list(pool.map(self._outcome, heard))
        for one, outcome in zip(heard, outcomes, strict=True):
            self.outcomes[outcome] += 1
            if outcome != LATER:
                link.took(one)
        if LATER in outcomes:
            raise StoreUnavailable("reports could not be recorded")

    def _outcome(self, heard: Heard) -> str:
        """What a message came to. Nothing that can be in one stops us."""
        try:
            headers, body = read_message(heard.payload)
        except ValueError:
            self._lifecycle.count("acknowledgements", BY_SIGNATURE, BAD)
            return BAD
        try:
            self._acknowledge(self._lifecycle, headers, body)
        except StoreUnavailable:
            return LATER
        except CertwrightError as error:
            return error.code
        except Exception as error:  # noqa: BLE001 - said, and the next one answered
            self.on_error(error)
            return FAILED
        return TAKEN

    def _heard_again(self) -> None:
        self._lifecycle.store.write(lambda tx: alarms.clear_alarm(tx, UNHEARD_ALARM, self._name))
        self.is_listening.set()

    def _unheard(self, error: CertwrightError) -> None:
        """An alarm once it has lasted. Where the store is what is away, it is said by others."""
        now = clock.monotonic()
        if self.is_listening.is_set():
            self._unheard_since = now
        if isinstance(error, StoreUnavailable) or now - self._unheard_since < UNHEARD_AFTER:
            return
        message = f"no consumer can report over MQTT: {one_line(error.message)}"
        hint = error.hint or "is the broker up, and does it let us read the topic of reports?"
        trouble = Trouble(UNHEARD_ALARM, self._name, "error", message, hint)
        try:
            self._lifecycle.store.write(lambda tx: alarms.raise_alarm(tx, trouble))
        except CertwrightError:  # it is tried again at the next attempt
            return


def read_message(payload: bytes) -> tuple[Mapping[str, str], bytes]:
    """Headers and body of a signed report. `ValueError` if the message is none."""
    try:
        found: Any = json.loads(payload)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(n), str) for n in (ID, TIMESTAMP, SIGNATURE, "body")
    ):
        raise ValueError("it is no signed report")
    return {name: found[name] for name in (ID, TIMESTAMP, SIGNATURE)}, found["body"].encode()

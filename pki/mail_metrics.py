"""What is counted and measured of letters to owners and of their answers; part of `pki/lifecycle_metrics.py`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ca.store import Store
from renewers.mailing import silence


class MailMetrics:
    """Counters that work adds to, and gauges that are looked up when somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counted = {
            "letters": ("Letters to owners, by what became of them.", ["kind", "outcome"]),
            "bounces": ("Reports that a letter did not arrive, by what they came to.", ["outcome"]),
            "answers": ("Answers by the links of letters.", ["answer"]),
            "escalations": ("Times that the next one on an owner's path was written to.", []),
        }
        made = {
            name: Counter(f"certwright_{name}", text, on, registry=registry) for name, (text, on) in counted.items()
        }
        self.letters, self.bounces = made["letters"], made["bounces"]
        self.answers, self.escalations = made["answers"], made["escalations"]
        self.answer_seconds = Histogram(
            "certwright_answer_seconds",
            "Time from a letter until somebody answered it.",
            buckets=(60, 600, 3600, 4 * 3600, 86400, 3 * 86400, 7 * 86400),
            registry=registry,
        )
        found = {
            "mail_run_age_seconds": "Time since any replica last looked for letters that are due.",
            "letters_waiting": "Letters that have not left yet.",
            "letter_oldest_seconds": "How long the longest waiting letter has waited.",
            "mailboxes_dead": "Mailboxes of owners that mail comes back from.",
            "acknowledged": "Things that somebody takes care of until a day.",
            "expired_unannounced": "What expired in seven days with no letter before, where mail is sent: to be 0.",
        }
        self._gauges = {name: Gauge(f"certwright_{name}", text, [], registry=registry) for name, text in found.items()}

    def look_up(self, store: Store) -> None:
        """Look up what is not counted."""
        with store.read() as connection:
            found = silence.figures(connection)
        self._gauges["mail_run_age_seconds"].set(float("inf") if found.run_age is None else found.run_age)
        self._gauges["letters_waiting"].set(found.waiting)
        self._gauges["letter_oldest_seconds"].set(found.oldest)
        self._gauges["mailboxes_dead"].set(found.dead)
        self._gauges["acknowledged"].set(found.acknowledged)
        self._gauges["expired_unannounced"].set(found.unannounced)

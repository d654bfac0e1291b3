"""`python -m tests.pictures [DIRECTORY]`: a picture of everything, in every look, and what is wrong with it.

Into DIRECTORY (`pictures`) go PNGs and an `index.html` that shows them side by side. It ends with 1 if there is a fault
that the tests would not let pass.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import structlog

from tests.pictures import mails, visits
from tests.pictures.site import Site, site
from tests.pictures.studio import DESK, LOOKS, Look, Seen, Studio
from tests.pictures.visits import Visit

STYLE = """
body { font: 15px/1.5 sans-serif; margin: 2rem; color-scheme: light dark }
section { border-top: 1px solid; padding: 1rem 0 } .row { display: flex; gap: 1rem; align-items: flex-start }
figure { margin: 0 } .phone img { max-width: 12rem }
img { border: 1px solid #8888; max-height: 40rem; max-width: 34rem }
li { color: #b00 } li.remark { color: inherit } code { overflow-wrap: anywhere }
"""


@dataclass
class Subject:
    """Something of which there are pictures."""

    name: str
    where: str
    seen: dict[Look, Seen] = field(default_factory=dict)

    def picture(self, look: Look) -> str:
        """Where one of them is."""
        return f"{self.name}-{look}.png"

    def said(self, what: str) -> list[str]:
        """Its faults or remarks, each with the looks in which it is there."""
        found: dict[str, list[str]] = {}
        for look, seen in self.seen.items():
            for one in getattr(seen, what):
                found.setdefault(one, []).append(str(look))
        return [f"{', '.join(looks)}: {one}" for one, looks in found.items()]


def take_all(studio: Studio, world: Site, out: Path) -> Iterator[Subject]:
    """Everything, one after the other."""
    for name, message in world.letters.items():
        subject, html = Subject(f"letter-{name}", str(message["Subject"])), mails.html_of(message)
        for look in LOOKS:
            subject.seen[look] = studio.letter(html, look, to=out / subject.picture(look))
        yield subject
    looks = [visit for visits_of in visits.VISITS.values() for visit in visits_of(world.filled)]
    for number, visit in enumerate([*looks, *visits.ASTRAY]):
        yield take(studio, world, out, visit, Subject(f"page-{number:03}{_slug(visit.path)}", visit.path))


def take(studio: Studio, world: Site, out: Path, visit: Visit, subject: Subject) -> Subject:
    """One page."""
    cookies = world.cookies if visit.is_signed_in else ()
    for look in LOOKS:
        options: dict[str, Any] = {"cookies": cookies, "status": visit.status, "to": out / subject.picture(look)}
        subject.seen[look] = studio.look(world.address(visit.path), look, **options)
    return subject


def index(subjects: list[Subject]) -> str:
    """A page that shows all of them."""
    parts = [f"<!doctype html><html lang='en'><title>Pictures</title><style>{STYLE}</style><h1>Pictures</h1>"]
    for subject in subjects:
        first = next(iter(subject.seen.values()))
        parts.append(
            f"<section><h2>{escape(first.title or subject.name)}</h2><code>{escape(subject.where[:200])}</code>"
        )
        parts.append("<ul>" + "".join(f"<li>{escape(one)}" for one in subject.said("faults")))
        parts.append("".join(f"<li class='remark'>{escape(one)}" for one in subject.said("remarks")) + "</ul>")
        parts.append("<div class='row'>")
        for look in sorted(subject.seen, key=lambda look: -look.width):
            kind = "desk" if look.width == DESK else "phone"
            file = escape(subject.picture(look))
            parts.append(f"<figure class='{kind}'><a href='{file}'><img loading='lazy' src='{file}' alt='{look}'></a>")
            parts.append(f"<figcaption>{look}</figcaption></figure>")
        parts.append("</div></section>")
    return "\n".join(parts)


def main() -> None:
    """Take them."""
    structlog.configure(processors=[_drop])
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "pictures")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    begun, studio, subjects = time.monotonic(), Studio(), []
    try:
        with tempfile.TemporaryDirectory() as home, site(studio, Path(home)) as world:
            for subject in take_all(studio, world, out):
                subjects.append(subject)
                for fault in subject.said("faults"):
                    print(f"{subject.where[:80]} {fault}", flush=True)
            shutil.copy(world.server.log, out / "server.log")
    finally:
        studio.close()
    (out / "index.html").write_text(index(subjects))
    bad = sum(len(subject.said("faults")) for subject in subjects)
    pictures = sum(len(subject.seen) for subject in subjects)
    print(f"{pictures} pictures in {out}, {time.monotonic() - begun:.0f} s: {bad} faults; open {out / 'index.html'}")
    sys.exit(1 if bad else 0)


def _slug(path: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in path)[:40].rstrip("-")


def _drop(*_event: Any) -> Any:
    raise structlog.DropEvent


if __name__ == "__main__":
    main()

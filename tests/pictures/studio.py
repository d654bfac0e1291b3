"""Headless Chromium, driven by playwright from a thread of its own: whoever asks it need not know of event loops.

It looks at a page as a reader does, at one width and in one colour scheme, and tells what it has seen. What it finds
wrong is for `judging` to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, sync_playwright

from tests import peer
from tests.pictures import judging

AXE = Path("/usr/local/lib/certwright-peers/node_modules/axe-core/axe.min.js")
Cookies = Sequence[Mapping[str, Any]]
HEIGHT = 900
PATIENCE = 30_000
"""Milliseconds until a page that does not come is given up."""
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb")


@dataclass(frozen=True)
class Look:
    """How somebody looks at a page."""

    width: int
    scheme: str

    def __str__(self) -> str:
        return f"{self.width}-{self.scheme}"


PHONE, DESK = 360, 1280
LOOKS = tuple(Look(width, scheme) for width in (PHONE, DESK) for scheme in ("light", "dark"))
"""All of them."""
TWO_LOOKS = (Look(PHONE, "dark"), Look(DESK, "light"))
"""Both widths and both schemes, at half the price: widths are about layout and schemes about colour."""


@dataclass
class Seen:
    """What there was to be seen of one page."""

    url: str
    status: int
    title: str = ""
    said: list[str] = field(default_factory=list)
    """What the browser's console said, and requests that failed."""
    asked: list[str] = field(default_factory=list)
    """Addresses that were fetched for it, itself apart."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with it."""
    remarks: list[str] = field(default_factory=list)
    """What might be better: axe-core's moderate and minor findings."""
    links: tuple[str, ...] = ()
    """Where its links lead to, on this site."""


class Studio:
    """One browser. Everything of it happens in its own thread, one thing after the other."""

    def __init__(self) -> None:
        chromium, peers = peer.require("chromium"), AXE
        if not peers.exists():
            peer.missing("axe-core is not installed (make peers)")
        self._axe = peers.read_text()
        self._thread = ThreadPoolExecutor(1, "studio")
        self._thread.submit(self._open, chromium).result()

    def close(self) -> None:
        """End the browser."""
        self._thread.submit(self._end).result()
        self._thread.shutdown()

    def do(self, scene: Callable[[Browser], Any]) -> Any:
        """Play a scene with the browser, in its thread."""
        return self._thread.submit(scene, self._browser).result()

    def look(
        self,
        url: str,
        look: Look,
        *,
        cookies: Cookies = (),
        status: int = 200,
        to: Path | None = None,
    ) -> Seen:
        """Open a page and judge it; `to` is where its picture goes."""
        return self.do(lambda _: self._look(url, look, cookies, status, to))

    def letter(self, html: str, look: Look, to: Path | None = None) -> Seen:
        """The same of a letter's HTML part, whose pictures are data: URLs by now."""
        return self.do(lambda _: self._letter(html, look, to))

    def column(self, html: str, look: Look) -> int:
        """How wide what is to be read of a letter is: pixels from the leftmost text to the rightmost."""
        return int(self.do(lambda _: self._column(html, look)))

    def walk(self, url: str, look: Look, *, cookies: Cookies = ()) -> list[str]:
        """Go through a page by keyboard alone; what could not be reached, or does not show that it was."""
        return self.do(lambda _: self._walk(url, look, cookies))

    def crawl(self, url: str, *, cookies: Cookies, most: int) -> list[str]:
        """Follow links from page to page, `most` of them at most, the nearest first; those that lead nowhere."""
        return list(self.do(lambda _: self._crawl(url, cookies, most)))

    def sign_in(self, link: str) -> list[dict[str, Any]]:
        """Open a one-time link and press its button, without script and without a mouse; the cookies of the session."""
        return list(self.do(lambda _: self._sign_in(link)))

    def fill_in(self, url: str, steps: Sequence[str], *, cookies: Cookies = ()) -> str:
        """Use a page without script and without a mouse: the text of the page where that leads.

        A step is the name of a link or button, which is gone to by Tab and pressed, or `Label: text` for a field.
        """
        return str(self.do(lambda _: self._fill_in(url, steps, cookies)))

    def _open(self, chromium: str) -> None:
        self._playwright: Playwright = sync_playwright().start()
        self._browser = self._playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        self._contexts: dict[tuple[Look, str], BrowserContext] = {}

    def _end(self) -> None:
        self._browser.close()
        self._playwright.stop()

    @contextmanager
    def _page(self, look: Look, cookies: Cookies) -> Iterator[Page]:
        key = (look, json.dumps(list(cookies), sort_keys=True))
        if key not in self._contexts:
            self._contexts[key] = context(self._browser, look)
            self._contexts[key].add_cookies(cookies)  # type: ignore[arg-type]
        page = self._contexts[key].new_page()
        try:
            yield page
        finally:
            page.close()

    def _look(self, url: str, look: Look, cookies: Cookies, status: int, to: Path | None) -> Seen:
        with self._page(look, cookies) as page:
            seen = Seen(url, 0)
            listen(page, seen, status)
            answer = page.goto(url, wait_until="load")
            assert answer is not None
            seen.status = answer.status
            seen.faults += judging.of_answer(answer, status)
            self._judge(page, seen, to)
            return seen

    def _letter(self, html: str, look: Look, to: Path | None) -> Seen:
        with self._page(look, ()) as page:
            seen = Seen("letter", 200)
            listen(page, seen, 200)
            page.set_content(html, wait_until="load")
            seen.faults += [f"it fetches {url[:200]}" for url in seen.asked if not url.startswith("data:")]
            self._judge(page, seen, to)
            return seen

    def _crawl(self, url: str, cookies: Cookies, most: int) -> list[str]:
        """Without rendering: the pages as they come, their links as their text has them."""
        with context(self._browser, Look(DESK, "light")) as profile:
            profile.add_cookies(cookies)  # type: ignore[arg-type]
            found, waiting, known = [], [url], {url}
            while waiting and most > 0:
                here, most = waiting.pop(0), most - 1
                answer = profile.request.get(here)
                if answer.status != 200:
                    found.append(f"{here}: {answer.status}")
                for link in judging.links_of(answer.text(), here):
                    if link not in known:
                        known.add(link)
                        waiting.append(link)
            return found

    def _sign_in(self, link: str) -> list[Any]:
        with context(self._browser, Look(PHONE, "light"), java_script_enabled=False) as profile:
            page = profile.new_page()
            page.goto(link, wait_until="load")
            page.get_by_role("button", name="Sign in").focus()
            page.keyboard.press("Enter")
            page.wait_for_url(lambda url: "/sign-in" not in url)
            return list(profile.cookies())

    def _fill_in(self, url: str, steps: Sequence[str], cookies: Cookies) -> str:
        with context(self._browser, Look(PHONE, "light"), java_script_enabled=False) as profile:
            profile.add_cookies(cookies)  # type: ignore[arg-type]
            page = profile.new_page()
            page.goto(url, wait_until="load")
            for step in steps:
                label, _, text = step.partition(": ")
                if text:
                    page.get_by_label(label).fill(text)
                else:
                    judging.press(page, step)
            return page.locator("main").inner_text()

    def _column(self, html: str, look: Look) -> float:
        with self._page(look, ()) as page:
            page.set_content(html, wait_until="load")
            return float(page.evaluate(judging.COLUMN))

    def _judge(self, page: Page, seen: Seen, to: Path | None) -> None:
        seen.title = page.title()
        seen.links = tuple(page.evaluate(judging.LINKS))
        seen.faults += [f"console: {line}" for line in seen.said]
        seen.faults += judging.of_page(page)
        if to is not None:
            to.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=to, full_page=True)
        seen.faults += judging.of_opened(page)
        page.evaluate(self._axe)
        faults, remarks = judging.of_axe(page)
        seen.faults += faults
        seen.remarks += remarks

    def _walk(self, url: str, look: Look, cookies: Cookies) -> list[str]:
        with self._page(look, cookies) as page:
            page.goto(url, wait_until="load")
            return judging.of_walk(page)


def context(browser: Browser, look: Look, **options: Any) -> BrowserContext:
    """A browser's profile of its own, for one look. Certificates of a test CA are taken as they are."""
    made = browser.new_context(
        viewport={"width": look.width, "height": HEIGHT},
        color_scheme=look.scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
        ignore_https_errors=True,
        locale="en-GB",
        timezone_id="UTC",
        **options,
    )
    made.set_default_timeout(PATIENCE)
    return made


def listen(page: Page, seen: Seen, status: int) -> None:
    """Write down what the browser complains of and what it fetches."""

    def asked(request: Request) -> None:
        if not request.is_navigation_request():
            seen.asked.append(request.url)

    def said(message: Any) -> None:
        is_expected = status >= 400 and f"status of {status}" in message.text  # the page itself, as Chromium tells it
        if message.type in ("error", "warning") and not is_expected:
            seen.said.append(f"{message.type}: {message.text}")

    page.on("console", said)
    page.on("pageerror", lambda error: seen.said.append(str(error)))
    page.on("requestfailed", lambda request: seen.said.append(f"not fetched: {request.url[:200]} {request.failure}"))
    page.on("request", asked)

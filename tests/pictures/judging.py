"""What is looked for in a page: does it fit, can it be read, can it be used without a mouse, does it run no script.

Scripts here are put in by the debugger, which the page's Content-Security-Policy does not bind; it stays in force.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urljoin, urlsplit

from playwright.sync_api import Page, Response

HREF = re.compile(r'<a\b[^>]*?\bhref="([^"]*)"')
GRAVE = ("serious", "critical")
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
MOST_STOPS = 600
"""How often Tab is pressed on one page at most."""
LINKS = """() => [...new Set([...document.querySelectorAll('a[href]')]
  .filter(a => a.origin === location.origin).map(a => a.pathname + a.search))]"""

# What sticks out of the page to the right and is not inside something that scrolls or cuts by itself.
WIDE = """() => {
  const root = document.documentElement, found = [];
  const wide = Math.max(root.scrollWidth, document.body.scrollWidth) - root.clientWidth;
  if (wide <= 0) return [];
  const held = e => {
    for (let up = e.parentElement; up && up !== document.body; up = up.parentElement)
      if (getComputedStyle(up).overflowX !== 'visible') return true;
    return false;
  };
  for (const e of document.body.querySelectorAll('*')) {
    const box = e.getBoundingClientRect();
    if (box.width && box.right > root.clientWidth + 1 && !held(e))
      found.push(`${e.tagName.toLowerCase()}.${e.className}: ${(e.textContent || '').trim().slice(0, 60)}`);
  }
  return [`the page is ${wide} px too wide: ${found.slice(-3).join(' | ')}`];
}"""

# The same for boxes: text that runs out of what was drawn for it, over whatever stands beside it.
SPILT = """() => [...document.body.querySelectorAll('td,th,dd,dt,button,a,label,p,li,h1,h2,h3,summary')].filter(e => {
  const style = getComputedStyle(e);
  return e.checkVisibility() && style.display !== 'inline' && e.clientWidth > 0 && style.overflowX === 'visible'
    && e.scrollWidth > e.clientWidth + 2 && e.tagName !== 'SUMMARY';
}).slice(0, 5).map(e =>
  `text runs out of ${e.tagName.toLowerCase()}.${e.className}: ${e.textContent.trim().slice(0, 60)}`)"""

SCRIPTED = """() => {
  const found = [];
  for (const e of document.querySelectorAll('*')) {
    if (e.tagName === 'SCRIPT') found.push('it has a script');
    if (e.hasAttribute('style') && !e.closest('body.letter')) found.push(`a style of its own: ${e.tagName}`);
    for (const a of e.attributes) {
      if (/^on/i.test(a.name)) found.push(`${e.tagName} has ${a.name}`);
      if (/^\\s*javascript:/i.test(a.value)) found.push(`${e.tagName} has a javascript: address`);
    }
  }
  return [...new Set(found)];
}"""

BUILT = """() => {
  const found = [], one = (selector, what) => {
    const count = document.querySelectorAll(selector).length;
    if (count !== 1) found.push(`it has ${count} ${what}`);
  };
  one('h1', 'first headings'); one('main', 'main parts');
  if (!document.title.trim()) found.push('it has no title');
  if (!document.documentElement.lang) found.push('it does not say its language');
  const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) found.push(`the id ${id} is there twice`);
  return found;
}"""

# From the left edge of the leftmost text to the right edge of the rightmost.
COLUMN = """() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  let left = Infinity, right = 0;
  while (texts.nextNode()) {
    range.selectNodeContents(texts.currentNode);
    for (const box of range.getClientRects()) if (box.width > 1 && box.height > 1) {
      left = Math.min(left, box.left); right = Math.max(right, box.right);
    }
  }
  return right - left;
}"""

OPEN = "() => document.querySelectorAll('details').forEach(e => { e.open = true; })"

RUN_AXE = """tags => axe.run(document, {
  runOnly: tags, rules: {'target-size': {enabled: true}}, resultTypes: ['violations'], preload: false,
}).then(result => result.violations.map(v => ({
  id: v.id, impact: v.impact, help: v.help,
  nodes: v.nodes.map(n => `${n.html.slice(0, 160)} ${(n.any[0] || n.all[0] || n.none[0] || {}).message || ''}`),
})))"""

# Marks what somebody may want to reach. One of several radio buttons of a name is reached by Tab, the others by arrows.
MARK = """() => {
  const wanted = 'a[href],button,input:not([type=hidden]),select,textarea,summary,[tabindex]:not([tabindex="-1"])';
  const radios = new Set();
  let count = 0;
  for (const e of document.querySelectorAll(wanted)) {
    if (e.disabled || !e.checkVisibility({visibilityProperty: true})) continue;
    if (e.type === 'radio') { if (radios.has(e.name)) continue; radios.add(e.name); }
    e.dataset.stop = count++;
    const style = getComputedStyle(e);
    e.dataset.still = [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow,
                       style.backgroundColor, style.borderColor].join();
  }
  return count;
}"""

STOP = """() => {
  const e = document.activeElement;
  if (!e || e === document.body || e === document.documentElement) return null;
  const style = getComputedStyle(e), box = e.getBoundingClientRect();
  const now = [style.outlineStyle, style.outlineWidth, style.outlineColor, style.boxShadow,
               style.backgroundColor, style.borderColor].join();
  return {stop: e.dataset.stop === undefined ? -1 : +e.dataset.stop, shows: now !== e.dataset.still,
          isThere: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
          what: `${e.tagName.toLowerCase()} ${(e.textContent || e.name || '').trim().slice(0, 60)}`};
}"""

NAMES = """stops => stops.map(stop => {
  const e = document.querySelector(`[data-stop="${stop}"]`);
  return `${e.tagName.toLowerCase()} ${(e.textContent || e.name || '').trim().slice(0, 60)}`;
})"""


def of_answer(answer: Response, status: int) -> list[str]:
    """What its headers promise."""
    headers = answer.headers
    found = [] if answer.status == status else [f"it answers {answer.status} instead of {status}"]
    policy = headers.get("content-security-policy", "")
    if "default-src 'none'" not in policy or "unsafe" in policy or "script-src" in policy:
        found.append(f"its Content-Security-Policy is {policy!r}")
    if "frame-ancestors 'none'" not in policy:
        found.append("others may put it into a frame")
    if headers.get("cache-control") != "no-store":
        found.append(f"its Cache-Control is {headers.get('cache-control')!r}")
    if headers.get("x-content-type-options") != "nosniff":
        found.append("it lets its type be guessed")
    if headers.get("referrer-policy") != "no-referrer":
        found.append("it tells others where its reader came from")
    return found


def of_page(page: Page) -> list[str]:
    """What a reader sees: does it fit, is it whole, is there no script."""
    judges = (WIDE, SPILT, *(() if is_letter(page) else (SCRIPTED, BUILT)))
    return [fault for judge in judges for fault in page.evaluate(judge)]


def of_opened(page: Page) -> list[str]:
    """The same with everything unfolded, which it is from then on."""
    page.evaluate(OPEN)
    return [f"unfolded: {fault}" for judge in (WIDE, SPILT) for fault in page.evaluate(judge)]


def of_axe(page: Page) -> tuple[list[str], list[str]]:
    """What axe-core finds: grave faults, and remarks."""
    found: list[dict[str, Any]] = page.evaluate(RUN_AXE, WCAG if is_letter(page) else [*WCAG, "best-practice"])
    faults: list[str] = []
    remarks: list[str] = []
    for each in found:
        told = f"axe {each['id']} ({each['impact']}): {each['help']}; {_some(each['nodes'])}"
        (faults if each["impact"] in GRAVE else remarks).append(told)
    return faults, remarks


def is_letter(page: Page) -> bool:
    """Whether it is no page: mail programs put letters into pages of their own, with their landmarks."""
    return page.url == "about:blank"


def of_walk(page: Page) -> list[str]:
    """What Tab does not reach, or reaches without showing it."""
    wanted = int(page.evaluate(MARK))
    reached: dict[int, str] = {}
    found: list[str] = []
    last = None
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop is None or (stop["stop"] in reached and stop["stop"] != last):
            break
        if stop["stop"] == last:  # a date has several parts
            continue
        last = stop["stop"]
        reached[stop["stop"]] = stop["what"]
        if not stop["shows"]:
            found.append(f"nothing shows that the keyboard is at: {stop['what']}")
        if not stop["isThere"]:
            found.append(f"the keyboard is out of sight at: {stop['what']}")
    missed = sorted(set(range(wanted)) - set(reached))
    return found + [f"the keyboard does not reach: {what}" for what in page.evaluate(NAMES, missed)]


def press(page: Page, name: str) -> None:
    """Go to a link or a button by Tab, and press it."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        here = page.locator(":focus")
        if here.count() and here.inner_text().strip() == name:
            with page.expect_navigation(wait_until="load"):
                page.keyboard.press("Enter")
            return
    raise AssertionError(f"the keyboard does not reach {name}")


def links_of(text: str, url: str) -> list[str]:
    """The links of a page to pages of the same site, absolute, without what is within the page."""
    top = urlsplit(url)
    found = (urljoin(url, unescape(link)).partition("#")[0] for link in HREF.findall(text))
    return [link for link in found if urlsplit(link)[:2] == top[:2]]


def _some(nodes: list[str]) -> str:
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return " || ".join(nodes[:3]) + more

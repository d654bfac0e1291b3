"""Letters, as a mail program shows them on a phone and on a large screen, by day and by night."""

from __future__ import annotations

import pytest

from renewers.reports.content import KINDS
from tests.pictures import mails
from tests.pictures.site import Site
from tests.pictures.studio import TWO_LOOKS, Look, Studio

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.xdist_group("pictures")]


@pytest.mark.parametrize("which", [*(f"{kind}-payments" for kind in KINDS), "digest-fleet", "digest-nothing-to-do"])
def test_a_letter_can_be_read(studio: Studio, site: Site, which: str) -> None:
    """It fits, fetches nothing, has no grave fault of accessibility; whatever strangers have written into it."""
    html = mails.html_of(site.letters[which])
    faults = {str(look): studio.letter(html, look).faults for look in TWO_LOOKS}
    assert {look: found for look, found in faults.items() if found} == {}


def test_a_letter_is_not_wide_on_a_large_screen(studio: Studio, site: Site) -> None:
    """What is to be read is a column of 600 pixels."""
    html = mails.html_of(site.letters["digest-payments"])
    assert studio.column(html, Look(1280, "light")) <= mails.MOST_WIDTH


def test_the_judges_are_awake(studio: Studio) -> None:
    """A letter that is too wide, pale, and fetches a picture is found out, each of the three."""
    bad = '<!doctype html><html lang="en"><title>x</title><body class="letter" style="background:#fff">'
    bad += '<p style="width:900px;color:#bbb">pale</p><img alt="a" src="http://127.0.0.1:1/x.png"></body></html>'
    faults = " ".join(studio.letter(bad, Look(360, "light")).faults)
    assert all(word in faults for word in ("too wide", "color-contrast", "it fetches"))

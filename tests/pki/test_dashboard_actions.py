"""What pages let people do: said first, done once, by the functions of the API, for who may; refusals with a reason."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from sqlmodel import col

from ca import certificates, clock, holding
from ca.access import Role
from ca.errors import StoreUnavailable
from ca.models import Revocation
from pki.product import Product
from pki.web.dashboard import actions, acts_answer
from pki.web.dashboard.acting import Action
from pki.web.dashboard.said import SENTENCES
from renewers.inventory import holds, search
from renewers.models import Acknowledged, Tracked, Work
from tests import rig
from tests.ca.world import entries
from tests.pictures.world import cheaply, fill
from tests.pki.conftest import World
from tests.pki.test_dashboard_access import FORM, HTML, Full, browser, form

MAY = {
    Role.ADMIN: {"renew", "deliver", "acknowledge", "owner", "retire", "hold", "revoke"},
    Role.OPERATOR: {"renew", "deliver", "acknowledge", "owner", "retire", "hold", "revoke"},
    Role.AUDITOR: set(),
}
WHY = "the new load balancer takes over on Friday"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    """Made once; each test acts on something of its own."""
    state: Path = tmp_path_factory.mktemp("actions") / "state"
    made = fill(state)
    with cheaply(), Product.open(state) as product, asyncio.Runner() as loop:
        yield Full(World(product, loop), made)


@pytest.fixture
def admin(filled: Full) -> httpx.Client:
    """An administrator's browser."""
    return browser(filled)


def of(filled: Full, name: str, word: str) -> str:
    """The address of an action on something."""
    return f"/inventory/{filled.filled.tracked[name]}/{word}"


def words(answer: httpx.Response) -> str:
    """What can be read."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text)).split())


def do(client: httpx.Client, path: str, **fields: str) -> httpx.Response:
    """Open the page of an action, fill in its form, send it."""
    asked = client.get(path, headers=HTML)
    assert asked.status_code == 200, asked.text[-1000:]
    return client.post(path, headers=FORM, data={**form(asked.text), **fields})


def done(client: httpx.Client, path: str, word: str, **fields: str) -> str:
    """The same, where it works: what the page says that one is led to."""
    answer = do(client, path, **fields)
    there = path.rpartition("/")[0]
    assert (answer.status_code, answer.headers["location"]) == (303, f"{there}?said={word}"), words(answer)
    page = client.get(answer.headers["location"])
    assert SENTENCES[word] in words(page)
    return words(page)


def row(filled: Full, name: str) -> Tracked:
    """Something tracked, as it is now."""
    return search.show(filled.world.product.lifecycle.store, f"#{filled.filled.tracked[name]}").tracked


def acknowledged(filled: Full) -> list[Any]:
    """All acknowledgements."""
    with filled.world.installation.store.read() as connection:
        return list(connection.execute(select(Acknowledged)).all())


def last(filled: Full, action: str) -> dict[str, Any]:
    """The newest entry of its kind."""
    return entries(filled.world.installation.store, action)[-1]


def test_to_ask_is_to_change_nothing(filled: Full, admin: httpx.Client) -> None:
    """Every action that means something for anything here: its page opens, says what will happen, and does nothing."""
    held = row(filled, "renewed").serial
    holding.hold(filled.world.installation, rig.ADMIN, held)
    before, seen = filled.world.counts(), set()
    for name, id_ in filled.filled.tracked.items():
        for word in actions.ACTIONS:
            answer = admin.get(f"/inventory/{id_}/{word}", headers=HTML)
            assert answer.status_code in (200, 404), (name, word, answer.text[-1000:])
            if answer.status_code == 200:
                seen.add(word)
                assert "What will happen" in answer.text, (name, word)
                assert 'method="post"' in answer.text
    assert seen == set(actions.ACTIONS)
    assert filled.world.counts() == before
    holding.release(filled.world.installation, rig.ADMIN, held)


@pytest.mark.parametrize("role", list(MAY))
def test_links_are_for_who_may(filled: Full, role: Role) -> None:
    """A page shows what means something there to who may do it; the page of an action refuses who may not."""
    client = browser(filled, role)
    offered = set()
    for id_ in filled.filled.tracked.values():
        page = client.get(f"/inventory/{id_}", headers=HTML).text
        offered |= set(re.findall(rf'href="/inventory/{id_}/(\w+)"', page))
    assert offered - {"unacknowledge"} == MAY[role]
    path = of(filled, "by-hand", "acknowledge")
    status = 200 if "acknowledge" in MAY[role] else 403
    assert client.get(path, headers=HTML).status_code == status
    answer = client.post(path, headers=FORM, data={**proof(client), "once": "b" * 32, "reason": WHY, "until": "1"})
    assert answer.status_code == (400 if MAY[role] else 403), words(answer)


def proof(client: httpx.Client) -> dict[str, str]:
    """What a form of this session carries."""
    found = re.search(r'name="csrf" value="(\w+)"', client.get("/inventory").text)
    assert found is not None
    return {"csrf": found[1]}


def test_a_renewal_is_asked_for_once(filled: Full, admin: httpx.Client) -> None:
    """It says who will be asked and where it goes; a form that is sent twice asks once; the ledger says by whom."""
    path = of(filled, "renewed", "renew")
    asked = admin.get(path)
    assert "is asked of internal" in words(asked)
    assert "is not revoked" in words(asked)
    before = len(entries(filled.world.installation.store, "renewal-asked"))
    fields = form(asked.text)
    answers = [admin.post(path, headers=FORM, data=fields) for _ in range(3)]
    assert [each.headers["location"].partition("said=")[2] for each in answers] == [
        "renewal-asked",
        "done-already",
        "done-already",
    ]
    assert len(entries(filled.world.installation.store, "renewal-asked")) == before + 1
    assert last(filled, "renewal-asked")["by"] == "link:a-admin"
    with filled.world.installation.store.read() as connection:
        due = select(col(Work.due_at)).where(col(Work.kind) == "renew", col(Work.due_at) <= clock.timestamp())
        assert connection.execute(due).first() is not None


def test_an_acknowledgement_has_a_day_and_a_reason(filled: Full, admin: httpx.Client) -> None:
    """Until a day that the page offers, never beyond its end; a refusal stands above the form with what was said."""
    path = of(filled, "by-hand", "acknowledge")
    offered = re.findall(r'<option value="(\d+)"', admin.get(path).text)
    assert all(clock.timestamp() < int(until) <= row(filled, "by-hand").not_after for until in offered)
    for spoil in ({"reason": ""}, {"until": "tomorrow"}, {"until": "1"}, {"until": str(1 << 39)}, {"until": ""}):
        answer = do(admin, path, **{"until": offered[0], "reason": WHY, **spoil})
        assert answer.status_code == 400, words(answer)
        assert 'role="alert"' in answer.text
        assert spoil.get("reason", WHY) in answer.text
    assert not [each for each in acknowledged(filled) if each.reason == WHY]
    page = done(admin, path, "acknowledged", until=offered[0], reason=WHY)
    assert WHY in page
    (made,) = [each for each in acknowledged(filled) if each.reason == WHY]
    assert (made.until, made.by) == (int(offered[0]), "link:a-admin")
    done(admin, of(filled, "by-hand", "unacknowledge"), "acknowledgement-withdrawn")
    assert not [each for each in acknowledged(filled) if each.reason == WHY]


def test_something_gets_an_owner(filled: Full, admin: httpx.Client) -> None:
    """One of those that there are, or whoever the rules say; an unknown one is refused with what to do."""
    path = of(filled, "orphan", "owner")
    assert "nobody owns it" in words(admin.get(path))
    unknown = do(admin, path, owner="<script>nobody</script>")
    assert (unknown.status_code, "<script" in unknown.text) == (404, False)
    assert "there is no owner" in words(unknown)
    assert "certwright owner list" in words(unknown)
    page = done(admin, path, "owner-assigned", owner="payments")
    assert "payments" in page
    assert last(filled, "owner-assigned")["owner"] == "payments"
    done(admin, path, "owner-assigned", owner="")
    assert row(filled, "orphan").owner_id is None


def test_what_is_out_of_use_is_let_go(filled: Full, admin: httpx.Client) -> None:
    """With a reason, which the ledger keeps; what we renew ourselves is not offered."""
    path = of(filled, "orphan", "retire")
    assert do(admin, path, reason=" ").status_code == 400
    done(admin, path, "retired", reason="switched off")
    assert last(filled, "certificate-retired")["reason"] == "switched off"
    assert row(filled, "orphan").stage == "ended"
    assert admin.get(path, headers=HTML).status_code == 404
    assert admin.get(of(filled, "renewed", "retire"), headers=HTML).status_code == 404


def test_on_hold_and_off_again(filled: Full, admin: httpx.Client) -> None:
    """What it means is said; the page says that it is held, and has what ends that; then nothing is left of it."""
    asked = words(admin.get(of(filled, "renewed", "hold")))
    assert "certificateHold" in asked
    assert "neither use nor renew" in asked
    page = done(admin, of(filled, "renewed", "hold"), "held")
    assert "On hold" in page
    assert "Put on hold" in page
    stored = certificates.find(filled.world.installation.store, row(filled, "renewed").serial)
    assert (stored.state, last(filled, "certificate-held")["by"]) == ("held", "link:a-admin")
    assert admin.get(of(filled, "renewed", "hold"), headers=HTML).status_code == 404
    assert admin.get(of(filled, "renewed", "revoke"), headers=HTML).status_code == 200
    lifecycle = filled.world.product.lifecycle
    assert holds.watch(lifecycle) == 1
    assert "certificate-held" in admin.get(f"/inventory/{filled.filled.tracked['renewed']}").text
    assert "On hold since" in words(admin.get(of(filled, "renewed", "release")))
    done(admin, of(filled, "renewed", "release"), "released")
    assert holds.watch(lifecycle) == 1
    assert holds.watch(lifecycle) == 0
    assert certificates.find(filled.world.installation.store, stored.serial).state == "valid"


def test_a_revocation_says_whom_it_hits(filled: Full, admin: httpx.Client) -> None:
    """Where it is in use, who will refuse it, what goes with it; not without being sure; then it is as over the API."""
    path = of(filled, "renewed", "revoke")
    asked = words(admin.get(path))
    for part in (
        "the next revocation list",
        "renew that first",
        "the same key",
        "Serial number",
        "cannot be taken",
    ):
        assert part in asked, part
    assert re.search(r"\d+ consumers? holds? our revocation lists", asked)
    serial = row(filled, "renewed").serial
    unsure = do(admin, path, reason="superseded")
    assert (unsure.status_code, "say that you are sure" in words(unsure)) == (400, True)
    odd = do(admin, path, reason="because", sure="yes")
    assert (odd.status_code, "is not a reason" in words(odd)) == (400, True)
    before = filled.world.count(Revocation)
    page = done(admin, path, "revoked", reason="superseded", sure="yes")
    assert "superseded" in page
    assert filled.world.count(Revocation) == before + 1
    stored = certificates.find(filled.world.installation.store, serial)
    assert (stored.state, last(filled, "certificate-revoked")["by"]) == ("revoked", "link:a-admin")
    assert admin.get(path, headers=HTML).status_code == 404


def test_a_delivery_is_asked_for(filled: Full, admin: httpx.Client) -> None:
    """To one of its own destinations, and to no other's."""
    path = of(filled, "failing", "deliver")
    asked = admin.get(path)
    choices = re.findall(r'<option value="([^"]+)"', asked.text)
    if not choices:
        assert "nothing would happen" in words(asked)
        return
    assert do(admin, path, destination="somebody-elses").status_code == 400
    answer = do(admin, path, destination=choices[0])
    assert answer.status_code in (303, 409), words(answer)


@pytest.mark.parametrize("path", ["/inventory/1/explode", "/inventory/0/renew", f"/inventory/{1 << 70}/renew"])
def test_there_are_no_other_actions(admin: httpx.Client, path: str) -> None:
    """A page that says so."""
    assert admin.get(path, headers=HTML).status_code == 404
    answer = admin.post(path, headers=FORM, data={**proof(admin), "once": "c" * 32})
    assert answer.status_code == 404


@pytest.mark.parametrize("once", ["", "short", "x" * 65])
def test_a_form_says_which_it_is(filled: Full, admin: httpx.Client, once: str) -> None:
    """Without that, it could not be known whether it was sent before."""
    path = of(filled, "by-hand", "owner")
    answer = admin.post(path, headers=FORM, data={**proof(admin), "once": once, "owner": "payments"})
    assert answer.status_code == 400


def test_what_did_not_work_can_be_sent_again(
    filled: Full, admin: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store was away: the same form, sent anew, does it; it was not counted as done."""
    path = of(filled, "by-hand", "owner")
    fields = {**form(admin.get(path).text), "owner": "payments", "scope": "one"}

    def away(*_arguments: Any, **_more: Any) -> None:
        raise StoreUnavailable("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(acts_answer.owners, "assign", away)
        answer = admin.post(path, headers=FORM, data=fields)
        assert answer.status_code == 503
        assert "the database does not answer" in words(answer)
    assert admin.post(path, headers=FORM, data=fields).headers["location"].endswith("said=owner-assigned")


def test_hostile_text_stays_text(filled: Full, admin: httpx.Client) -> None:
    """In a reason, and in the names that pages of actions show: literally, cut, without effect."""
    evil = "<script>alert(1)</script>{{8191*9973}}\u202egnp.exe"
    path = of(filled, "soon", "acknowledge")
    until = re.findall(r'<option value="(\d+)"', admin.get(path).text)[0]
    page = do(admin, path, until=until, reason=evil)
    assert page.status_code == 303, words(page)
    shown = admin.get(page.headers["location"])
    assert "<script" not in shown.text
    assert str(8191 * 9973) not in shown.text
    assert "\u202e" not in shown.text
    assert do(admin, path, until=until, reason="x" * 400).status_code == 400
    for name in ("hostile", "script"):
        if name in filled.filled.tracked:
            text = admin.get(of(filled, name, "owner")).text
            assert "<script" not in text
            assert len(text) < 100_000


def test_every_word_has_a_sentence(filled: Full) -> None:
    """What an action says that it did is a sentence, and a made-up word in a link says nothing."""
    for action in actions.ACTIONS.values():
        assert isinstance(action, Action)
    client = browser(filled)
    assert "You owe us" not in client.get("/inventory", params={"said": "You owe us"}).text
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())

"""The command line of the floor that reaches out, run as a user runs it: without a server, and over a server's socket.

Without a server `renew run` does what is due; beside one it is done by the schedule, or by the command, whoever comes
first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, load_pem_private_key, pkcs12

from ca import clock
from ca.x509.bundle import pem_certificate
from pki.cli.chart import bar, draw, number, summed
from tests import rig
from tests.pki.conftest import Server, Template, Warm, key_pem, serving
from tests.pki.test_cli import Cli
from tests.renewers.listeners import listening, make, tls
from tests.renewers.listeners import serving as showing

NAME = "pay.edge.example.internal"


@pytest.fixture(scope="module")
def running(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose inventory is these tests' own."""
    state = Path(shutil.copytree(template.state, tmp_path_factory.mktemp("lifecycle") / "state"))
    with serving(state, template.token) as server:
        yield server


@pytest.fixture
def alone(warm: Warm, state: Path, tmp_path: Path) -> Cli:
    """The command where no server runs."""
    return Cli(warm, "--state", state, directory=tmp_path)


@pytest.fixture
def beside(warm: Warm, running: Server, tmp_path: Path) -> Cli:
    """The command beside a running server."""
    return Cli(warm, "--state", running.state, directory=tmp_path)


def serial(directory: Path) -> int:
    """The serial number of what is in use in a directory, after seeing that its key fits."""
    certificate = x509.load_pem_x509_certificate((directory / "live" / "cert.pem").read_bytes())
    key = load_pem_private_key((directory / "live" / "key.pem").read_bytes(), None)
    assert key.public_key() == certificate.public_key()
    return certificate.serial_number


def test_a_certificate_from_plan_to_directory(alone: Cli) -> None:
    """Owner, lineage, destination, run: the files are there and fit; show tells the story; renew now renews."""
    web = alone.directory / "web"
    alone.run("owner", "add", "payments", "--email", "pay@example.org", "--time-zone", "Europe/Berlin")
    planned = alone.run("track", "add", NAME, "--as", "pay", "--owner", "payments", "--key-age", "90d")
    assert "certwright destination add" in planned.stderr
    assert "certwright renew run" in planned.stderr
    added = alone.json("destination", "add", "web", "--lineage", "pay", "--directory", web)
    assert (added["state"], added["settings"]) == ("empty", {"directory": str(web)})
    assert [row["about"] for row in alone.json("renew", "due")] == ["pay"]
    assert "pay" in alone.run("renew", "due").stdout
    assert alone.run("renew", "run").stderr.endswith("0 with trouble\n")
    first = serial(web)
    assert alone.run("renew", "due").stderr == "nothing is due, and nothing fails\n"

    shown = alone.run("track", "show", "pay").stdout
    for expected in ("payments", "delivered", "first", "internal", "certificate-renewed", "lineage-created"):
        assert expected in shown, expected
    assert alone.run("track", "show", "pay", "--pem").stdout == (web / "live" / "cert.pem").read_text()
    by_file = alone.json("track", "show", web / "live" / "cert.pem")
    assert (by_file["lineage"], by_file["serial"]) == ("pay", f"{first:x}")
    assert [entry["action"] for entry in by_file["history"]]
    for what in (by_file["id"], by_file["id"].removeprefix("#"), by_file["identity"], f"{first:x}"):
        assert alone.json("track", "show", what)["identity"] == by_file["identity"]
    assert [row["lineage"] for row in alone.json("track", "list", "--name", NAME)] == ["pay"]

    renewed = alone.json("renew", "now", "pay")
    assert renewed["begins"] is True
    second = serial(web)
    assert second != first
    assert renewed["current"] == alone.json("track", "show", f"{second:x}")["id"]
    assert [one["reason"] for one in renewed["renewals"]] == ["asked", "first"]
    plan = alone.json("renew", "plan", "--lifetimes", "now,6", "--days", "28")
    assert [len(one["renewals"]) for one in plan] == [28, 28]


def test_beside_a_server_it_is_the_schedules(beside: Cli) -> None:
    """`renew now` waits for what becomes of it, and `renew run` does no harm; both end with the file in its place."""
    web = beside.directory / "web"
    beside.run("track", "add", "web.edge.example.internal", "--as", "web")
    beside.run("destination", "add", "web", "--lineage", "web", "--directory", web)
    beside.run("renew", "run")
    first = _when_it_is_not(web, None)
    beside.run("renew", "now", "web", "--wait", "0")
    beside.run("renew", "run")
    assert _when_it_is_not(web, first) != first
    assert beside.json("destination", "show", "web")["state"] == "delivered"
    assert beside.json("destination", "deliver", "web")["begins"] is True
    beside.run("destination", "remove", "web", "-y")
    beside.run("track", "remove", "web", "-y")


def _when_it_is_not(directory: Path, before: int | None) -> int:
    """What is served there, once it is another one: the schedule may have taken the work, and be at it still."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (directory / "live" / "cert.pem").exists() and (found := serial(directory)) != before:
            return found
        time.sleep(0.05)
    return serial(directory)


def test_a_refusal_is_a_line_and_a_hint(alone: Cli) -> None:
    """Names that are unknown, names that clash, and what our CA refuses: each says what to do."""
    assert alone.refused("track", "show", "none")[0] == "nothing like 'none' is tracked"
    assert alone.refused("track", "add", NAME, "--issuer", "none") == ("there is no issuer 'none'", "internal")
    reason, hint = alone.refused("owner", "add", "x", "--email", "nobody")
    assert "nobody" in reason
    assert "name@domain" in str(hint)
    alone.run("track", "add", "pay.example.com", "--as", "pay")
    done = alone.run("renew", "run", code=1)
    assert "pay.example.com" in done.stdout
    assert "1 with trouble" in done.stderr
    assert alone.run("alarm", "list").stdout.count("renewal-stopped") == 1
    failed = alone.run("renew", "now", "pay", code=1)
    assert failed.stderr.startswith("pay was not renewed: ")
    reason, hint = alone.refused("destination", "add", "x", "--lineage", "pay", "--directory", "relative")
    assert "directory is not an absolute path" in reason
    assert "reload_timeout" in str(hint)
    for wrong in (
        ("destination", "add", "x", "--lineage", "pay", "--reload", "'unclosed"),
        ("destination", "add", "x", "--lineage", "pay", "--set", "nothing"),
        ("track", "change", "pay", "--reset", "name"),
        ("track", "assign", "pay"),
        ("track", "list", "--expires-within", "soon"),
    ):
        assert "Traceback" not in alone.run(*wrong, code=2).stderr


def test_somebody_who_may_not(warm: Warm, running: Server, beside: Cli) -> None:
    """A requester or a consumer may do none of it, and hears so in one line."""
    for role, more in (("requester", ("--profile", "mesh")), ("consumer", ())):
        secret = beside.run("token", "create", f"{role}-of-inventory", "--role", role, *more).stdout.strip()
        where = ("--server", running.url, "--ca-file", running.roots)
        client = Cli(warm, *where, directory=beside.directory, CERTWRIGHT_TOKEN=secret)
        for argv in (
            ("track", "list"),
            ("track", "add", NAME),
            ("track", "scan", "127.0.0.1:1"),
            ("renew", "now", "web"),
            ("renew", "run"),
            ("renew", "plan"),
            ("destination", "add", "x", "--lineage", "web", "--directory", "/x"),
            ("owner", "add", "x", "--email", "x@example.org"),
            ("issuer", "check", "internal"),
            ("event", "list"),
        ):
            assert f"has the role {role}, which may not" in client.refused(*argv)[0], argv


def test_importing_a_directory(beside: Cli) -> None:
    """Certificates are taken wherever they lie, keys stay at home, and each file that gives nothing is said once."""
    top = beside.directory / "certificates"
    (top / "deep" / "er").mkdir(parents=True)
    root = make("Foreign Import CA", is_ca=True)
    made = [make(f"import-{number}.example", issuer=root) for number in range(4)]
    (top / "both.pem").write_text(key_pem(made[0].key) + pem_certificate(made[0].der) + pem_certificate(root.der))
    (top / "deep" / "one.der").write_bytes(made[1].der)
    (top / "deep" / "er" / "bag.p12").write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"x",
            made[2].key,  # type: ignore[arg-type]
            made[2].certificate,
            None,
            BestAvailableEncryption(b"open sesame"),
        )
    )
    (top / "empty.pem").write_text("nothing\n")
    (top / "broken.crt").write_bytes(b"0\x82\x01")
    (top / "key.pem").write_text(key_pem(rig.pooled_key()))
    (top / "out.pem").symlink_to("/etc/passwd")
    single = beside.directory / "single.pem"
    single.write_text(pem_certificate(made[3].der))
    (beside.directory / "passphrase").write_text("open sesame\n")

    done = beside.json("track", "import", top, single, "--passphrase-file", beside.directory / "passphrase")
    assert len(done["tracked"]) == 5
    reasons = {Path(one["file"]).name: one["why"] for one in done["refused"]}
    assert set(reasons) == {"empty.pem", "broken.crt", "key.pem", "out.pem"}
    assert len(reasons) == len(done["refused"])
    assert "leads out" in reasons["out.pem"]
    cut = beside.run("track", "list", "--issuer", "foreign import", "--limit", "2")
    assert (len(cut.stdout.splitlines()), cut.stderr) == (3, "these are 2; --limit 0 lists all\n")
    names = {row["shown_as"] for row in beside.json("track", "list", "--issuer", "foreign import", "--limit", "0")}
    assert {f"import-{number}.example" for number in range(4)} <= names
    again = beside.run("track", "import", top, single, "--passphrase-file", beside.directory / "passphrase")
    assert again.stderr.splitlines()[-1] == "0 new certificates tracked, 5 known already, 4 refusals"
    assert [line for line in again.stderr.splitlines() if "key.pem" in line] == [
        f"not taken: {top}/key.pem: there is no certificate in it"
    ]
    without = beside.json("track", "import", top / "deep" / "er" / "bag.p12", code=1)
    assert "cannot be opened" in without["refused"][0]["why"]
    assert beside.json("track", "shared-keys") == []


def test_a_stage_is_true_without_a_server(alone: Cli) -> None:
    """Where nothing runs but commands, what they say of an end is true of the moment at which they say it."""
    over = make("over.example", start=clock.now() - timedelta(days=91), days=90)
    (alone.directory / "over.pem").write_text(pem_certificate(over.der))
    alone.run("track", "import", "over.pem")
    assert [row["shown_as"] for row in alone.json("track", "list", "--stage", "expired")] == ["over.example"]
    assert "over.example has expired on " in alone.run("alarm", "list").stdout


def test_a_large_bundle_goes_in_pieces(beside: Cli) -> None:
    """More than one request can take is sent in several, and all of it is tracked."""
    root = make("Foreign Bundle CA", is_ca=True)
    key = rig.pooled_key(place=61)
    bundle = [make(f"bundle-{number}.example", issuer=root, key=key) for number in range(300)]
    (beside.directory / "bundle.pem").write_text("".join(pem_certificate(one.der) for one in bundle))
    done = beside.json("track", "import", "bundle.pem")
    assert (len(done["tracked"]), done["refused"]) == (300, [])


def test_scanning(beside: Cli, tmp_path: Path) -> None:
    """A TLS server on loopback is tracked, its findings are shown, and what does not answer is said with its reason."""
    leaf = make("scanned\x1b[31m.example")
    with listening(tls(showing(tmp_path, leaf))) as listener:
        place = f"127.0.0.1:{listener.port}"
        done = beside.run("track", "scan", place, "127.0.0.1:1")
    assert f"tls:{place}" in done.stdout
    assert "self-signed" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr
    assert "1 endpoint of 2 showed a certificate, 1 with findings" in done.stderr
    assert "nothing at tls:127.0.0.1:1: " in done.stderr
    rows = beside.json("track", "endpoints", "--finding", "self-signed")
    assert [row["place"] for row in rows] == [f"tls:{place}"]
    assert beside.json("track", "forget", f"tls:{place}", "-y") == {"removed": f"tls:{place}"}
    assert beside.run("track", "endpoints").stderr.startswith("no endpoint fits")
    targets = beside.run("track", "scan", "-", stdin="# all of it\n127.0.0.1:1\n127.0.0.1:2 # and this\n", code=0)
    assert "0 endpoints of 2 showed a certificate" in targets.stderr


def test_scanning_a_directory(warm: Warm, running: Server, beside: Cli, alone: Cli) -> None:
    """What lies there is shown with its place, each file that gives nothing with its reason, many by reason alone."""
    top = beside.directory / "pile"
    (top / "deep").mkdir(parents=True)
    (top / "deep" / "one.pem").write_text(pem_certificate(make("in-a-pile\x1b[31m.example").der))
    (top / "broken.crt").write_bytes(b"0\x82\x01")
    (top / "out.pem").symlink_to("/etc/passwd")
    for cli in (beside, alone):
        done = cli.run("track", "scan", top)
        assert f"file:{top}/deep/one.pem" in done.stdout
        assert "\x1b" not in done.stdout + done.stderr
        assert "1 certificate found in 3 files, 1 with findings" in done.stderr
        assert f"not taken: file:{top}/out.pem: is a link that leads out of the directory" in done.stderr
        assert done.stderr.count("not taken: ") == 2
    for name in range(20):
        (top / f"out-{name}.pem").symlink_to("/etc/passwd")
    many = beside.run("track", "scan", top)
    assert "21 times: is a link that leads out of the directory" in many.stderr
    assert "not taken" not in many.stderr
    assert beside.json("track", "scan", top)["seen"] == 1

    for mixed in ((top, "127.0.0.1:1"), ("127.0.0.1:1", top), (top, top), ("-", top)):
        assert "by itself" in beside.run("track", "scan", *mixed, stdin="127.0.0.1:1", code=2).stderr
    assert "is a path" in beside.refused("track", "scan", "-", stdin=f"127.0.0.1:1\n{top}\n")[0]
    assert "absolute path" in beside.refused("track", "scan", f"{top}/deep/..")[0]
    secret = beside.run("token", "create", "from-afar", "--role", "admin").stdout.strip()
    where = ("--server", running.url, "--ca-file", running.roots)
    afar = Cli(warm, *where, directory=beside.directory, CERTWRIGHT_TOKEN=secret)
    reason, hint = afar.refused("track", "scan", top)
    assert "on the machine itself" in reason
    assert "certwright track import" in str(hint)


def test_owners_from_the_command_line(beside: Cli) -> None:
    """Add, claim, change, show, hand over, remove."""
    beside.run("owner", "add", "first", "--email", "first@example.org", "--escalation", "boss@example.org")
    beside.run("owner", "add", "second", "--email", "second@example.org")
    beside.run("owner", "claim", "second", "name", "*.second.example")
    beside.run("owner", "change", "second", "--email", "new@example.org", "--rename", "third")
    shown = beside.run("owner", "show", "third").stdout
    assert "new@example.org" in shown
    assert "name dns:*.second.example" in shown
    (beside.directory / "c.pem").write_text(pem_certificate(make("a.second.example").der))
    beside.run("track", "import", "c.pem")
    assert [row["owner"] for row in beside.json("track", "list", "--name", "a.second.example")] == ["third"]
    assert "third's" in beside.run("track", "assign", "c.pem", "--owner", "third").stderr
    assert "certificates" in beside.refused("owner", "remove", "third")[0]
    beside.run("owner", "remove", "third", "--heir", "first", "--yes")
    assert [row["owner"] for row in beside.json("track", "list", "--owner", "first", "--name", "a.second.example")] == [
        "first"
    ]
    assert "is left to the claims" in beside.run("track", "assign", "c.pem", "--nobody").stderr
    assert beside.json("owner", "release", "first", "name", "*.second.example") == {"was_there": True}
    assert "a.second.example" in beside.run("track", "orphans").stdout


def test_changing_a_plan_and_a_destination(alone: Cli) -> None:
    """What is not said stays; a setting and a wish can be unsaid; one that runs a command keeps its words apart."""
    alone.run("track", "add", NAME, "--as", "pay", "--lifetime", "7d", "--key-type", "P-384")
    changed = alone.json("track", "change", "pay", "--rename", "payments", "--reset", "lifetime", "--mode", "manual")
    assert (changed["name"], changed["lifetime"], changed["key_type"]) == ("payments", None, "P-384")
    assert [row["mode"] for row in alone.json("track", "lineages")] == ["manual"]
    where = ("--lineage", "payments", "--directory", "/srv/pay", "--reload", "/bin/sh -c 'nginx -s reload'")
    added = alone.json("destination", "add", "pay", *where, "--mode", "0640", "--set", "reload_timeout=60")
    assert added["settings"]["reload"] == ["/bin/sh", "-c", "nginx -s reload"]
    assert (added["settings"]["mode"], added["settings"]["reload_timeout"]) == ("0640", 60)
    changed = alone.json(
        "destination", "change", "pay", "--unset", "reload", "--rank", "-1", "--probe", "localhost:443"
    )
    assert changed["settings"] == {"directory": "/srv/pay", "mode": "0640", "reload_timeout": 60}
    assert (changed["rank"], changed["probe"]) == (-1, "localhost:443")
    assert "pay" in alone.run("destination", "list").stdout
    assert "wait for those that go first" not in alone.run("destination", "show", "pay").stdout
    alone.run("track", "remove", "payments", "--force", "-y")
    assert alone.run("destination", "list").stderr.startswith("there are no destinations")


def test_issuers_from_the_command_line(alone: Cli) -> None:
    """Our own CA answers; it has no account whose key could be exchanged."""
    assert alone.run("issuer", "check", "internal").stderr == "internal answers\n"
    assert "answers" in alone.run("issuer", "list").stdout
    assert "no account" in alone.refused("issuer", "roll-key", "internal", "-y")[0]
    assert alone.refused("issuer", "check", "none")[1] == "certwright issuer list"
    assert alone.run("event", "list", "--severity", "critical").stderr == "no event fits\n"
    assert alone.run("alarm", "list").stderr == "nothing is wrong\n"


def test_a_forecast_is_drawn(alone: Cli) -> None:
    """A row a week, or a day for a month or less; a column a lifetime; a summary beneath."""
    alone.run("track", "add", NAME, "--as", "pay")
    alone.run("renew", "run")
    weeks = alone.run("renew", "plan").stdout.splitlines()
    assert weeks[0].split() == ["week", "of", "now", "200", "d", "100", "d", "64", "d", "45", "d", "6", "d"]
    assert len(weeks) == 1 + 13 + 1 + 1 + 6  # whole weeks: a last one of six days would look like a fall
    assert any("█" in line for line in weeks)
    days = alone.run("renew", "plan", "--days", "10", "--lifetimes", "6").stdout.splitlines()
    assert days[0].split() == ["day", "6", "d"]
    assert len(days) == 1 + 10 + 1 + 1 + 1


def test_a_forecast_says_what_breaks_and_when(capsys: pytest.CaptureFixture[str]) -> None:
    """Each limit once, with its first day; what is the same under several lifetimes is said once for all of them."""
    days = [f"2026-12-{day:02}T00:00:00Z" for day in range(1, 8)]
    breaks = [{"day": day, "limit": "new-orders", "expected": 412.0, "allowed": 300.0} for day in days[2:4]]
    forecast = {"start": days[0], "renewals": [9.5, 412.0], "smoothed": [210.75], "peak": 412.0}
    calm = {**forecast, "lifetime_days": None, "breaks": [], "pile_ups": days, "unjudged": []}
    draw([calm, {**calm, "lifetime_days": 45}, {**calm, "lifetime_days": 6, "breaks": breaks, "pile_ups": []}])
    said = capsys.readouterr()
    named = ", ".join(day[:10] for day in days[:5])
    assert said.err.splitlines() == [
        f"under now, 45 d: renewals pile up on {named} and 2 more days",
        "under 6 d: new-orders breaks on 2026-12-03, 412 where 300 may be",
    ]
    first, second = said.out.splitlines()[1:3]
    assert first.split()[1:3] == ["9.5", "▏"]
    assert first.index("▏") == second.index("█")
    assert said.out.splitlines()[-1].split() == ["6", "d", "422", "412", "211", "-", "new-orders"]


def test_bars_are_to_scale() -> None:
    """The longest fills its width, half of it is half as long, and what is not nothing is seen."""
    assert bar(80, 80, 8) == "█" * 8
    assert bar(40, 80, 8) == "█" * 4
    assert bar(0, 80, 8) == bar(0, 0, 8) == ""
    assert bar(0.001, 80, 8) == "▏"
    assert [len(bar(value, 80, 8)) for value in (1, 11, 21, 79)] == [1, 2, 3, 8]
    assert summed([1, 2, 3, 4, 5], 2) == [3, 7, 5]
    assert [number(value) for value in (0, 0.44, 9.96, 1234.5)] == ["0", "0.4", "10.0", "1,234"]

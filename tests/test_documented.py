"""What exists is written down, and what is written down exists: commands, operations, metrics, alarms, profiles, links.

Each table in a README is held against the thing itself, in both directions, and every command that a README or a hint
recommends is one that there is. That `config/certwright.toml` says every setting is held in `pki/test_settings.py`.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest
import typer

from ca.access import Operation, Role
from ca.profiles.collection import Profiles
from ca.profiles.examples import Example, Examples, read_examples
from ca.profiles.profile import Profile
from pki.cli.app import app
from pki.cli.nouns import Nouns
from pki.metrics import Metrics
from pki.settings import PREFIX, Settings
from pki.web.app import create_app
from tests import rig
from tests.source import ROOT, modules

PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md")]
    if not path.relative_to(ROOT).parts[0].startswith(".")
}
PKI, RENEWERS, CA = (PAGES[f"{package}/README.md"] for package in ("pki", "renewers", "ca"))
TEXTS = {name: module.text for name, module in modules().items()}
MAKEFILE = (ROOT / "Makefile").read_text()
SHIPPED = Profiles(rig.CONFIG / "profiles", rig.VARIABLES)


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its depth."""
    found = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page)
    assert found is not None, heading
    return found[1]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    lines = [line for line in section(page, heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def commands() -> dict[tuple[str, ...], Any]:
    """Every command and group by the words that lead to it."""
    found: dict[tuple[str, ...], Any] = {}
    whole = typer.main.get_command(app)
    assert isinstance(whole, Nouns)
    whole.make_all()
    pending: list[tuple[tuple[str, ...], Any]] = [((), whole)]
    while pending:
        words, command = pending.pop()
        found[words] = command
        pending += [((*words, name), sub) for name, sub in getattr(command, "commands", {}).items()]
    return found


COMMANDS = commands()
NOUNS = {words[0] for words in COMMANDS if words}
LEAVES = {words for words, command in COMMANDS.items() if words and not hasattr(command, "commands")}


def test_every_command_is_in_the_table_and_no_other() -> None:
    """`pki/README.md` lists the commands that there are."""
    listed = {
        tuple(text.removeprefix("certwright ").split()) for what, _ in rows(PKI, "Commands") for text in quoted(what)
    }
    assert listed == LEAVES


@pytest.mark.parametrize("words", sorted(LEAVES), ids=" ".join)
def test_every_command_says_what_it_does(words: tuple[str, ...]) -> None:
    """Its help begins with a whole sentence, and so does that of its noun."""
    for above in (words, words[:1]):
        first = str(COMMANDS[above].help).split("\n\n")[0].replace("\n", " ")
        assert re.match(r"[A-Z].*\.( |$)", first), (above, first)


def spoken() -> Iterator[tuple[str, list[str]]]:
    """Every command line that a page, a hint or the demo recommends, with the place where it stands."""
    for name, page in PAGES.items():
        lines = [line for block in re.findall(r"(?ms)^```\n(.*?)^```", page) for line in _joined(block)]
        lines += [
            " ".join(text.split()) for text in re.findall(r"(?s)`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", page))
        ]
        yield from ((name, words) for line in lines for words in _command(line))
    for name, text in TEXTS.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for line in node.value.splitlines():
                    yield from ((name, words) for words in _command(line))


def _joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def _command(line: str) -> Iterator[list[str]]:
    """The words after each `certwright` that begins a command, up to its end."""
    for match in re.finditer(
        r"(?:^|[\s`(])certwright ((?:--[a-z-]+ \S+ )*)([a-z]+)\b((?:(?!certwright )[^`|;#])*)", line
    ):
        if match[2] not in NOUNS:
            continue
        try:
            words = shlex.split(f"{match[1]} {match[2]} {match[3]}")
        except ValueError:
            words = f"{match[1]} {match[2]} {match[3]}".split()
        yield words


SPOKEN = sorted({(place, tuple(words)) for place, words in spoken()})


def _misspelt(words: tuple[str, ...]) -> str | None:
    """What is wrong with a command line: an unknown verb or an unknown option."""
    path: tuple[str, ...] = ()
    known = set(_options(()))
    for word in words:
        command = COMMANDS[path]
        if word.startswith("-") and len(word) > 1:
            option = word.partition("=")[0].rstrip(",.:)")
            if option not in known:
                return f"{' '.join(path)} has no option {option}"
        elif hasattr(command, "commands"):
            verb = word.strip(",.:;()")
            if (*path, verb) in COMMANDS:
                path = (*path, verb)
                known |= set(_options(path))
            elif path:
                return None if not verb.isalpha() or verb in PROSE else f"{' '.join(path)} has no verb {verb}"
    return None


PROSE = {"and", "does", "makes", "there", "then", "writes"}
"""Words that may follow a noun in a sentence about it."""


def _options(path: tuple[str, ...]) -> list[str]:
    return ["--help", "-h", *(name for parameter in COMMANDS[path].params for name in parameter.opts)]


def test_every_command_that_is_recommended_exists() -> None:
    """With its verb and with its options, whether a README, a hint or the demo says it."""
    assert [(place, words, wrong) for place, words in SPOKEN if (wrong := _misspelt(words)) is not None] == []


def test_recommendations_are_found_and_judged() -> None:
    """The test above sees pages, hints and the demo, and what is wrong with a line."""
    assert {"README.md", "pki/README.md", "ca.tokens", "pki.demo.story"} <= {place for place, _ in SPOKEN}
    assert len(SPOKEN) >= 40
    assert _misspelt(("cert", "isue", "x")) == "cert has no verb isue"
    assert _misspelt(("cert", "issue", "x", "--profil", "mesh")) == "cert issue has no option --profil"
    assert _misspelt(("--server", "https://ca:8443", "cert", "renew", "cert.pem", "--key", "k")) is None


def test_every_variable_that_is_mentioned_exists_and_every_other_is_mentioned() -> None:
    """`CERTWRIGHT_...` in a page or in a file of settings means something; what means something is in a page."""
    tables = {name: field.annotation for name, field in Settings.model_fields.items()}
    settings = {f"{PREFIX}{s}__{n}".upper() for s, table in tables.items() for n in table.model_fields}  # type: ignore[union-attr]
    read = {
        node.value
        for text in [*TEXTS.values(), (ROOT / "tests" / "peer.py").read_text()]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Constant) and re.fullmatch(rf"{PREFIX}[A-Z_]*[A-Z]", str(node.value))
    }
    written = [*PAGES.values(), *(path.read_text() for path in rig.CONFIG.rglob("*.toml")), MAKEFILE]
    mentioned = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", "\n".join(written)))
    assert mentioned - settings - read == set()
    assert read - settings - mentioned == set()
    assert len(read) >= 8


def test_every_setting_is_in_the_table() -> None:
    """`pki/README.md` names each section with the settings in it."""
    listed = {quoted(name)[0].strip("[]"): set(quoted(what)) for name, what in rows(PKI, "Settings")}
    expected = {name: set(field.annotation.model_fields) for name, field in Settings.model_fields.items()}  # type: ignore[union-attr]
    assert listed == expected


def entries() -> dict[str, Any]:
    """The models of what settings are lists of, by the setting."""
    found = {}
    for section, field in Settings.model_fields.items():
        for name, inner in field.annotation.model_fields.items():  # type: ignore[union-attr]
            kinds = [kind for kind in get_args(inner.annotation) if hasattr(kind, "model_fields")]
            found |= {f"{section}.{name}": kind for kind in kinds}
    return found


def test_every_key_of_an_entry_is_in_the_table() -> None:
    """`pki/README.md` names the keys of each list's entries, those that may be left out in parentheses."""
    listed = dict(re.findall(r"(?m)^\| `([a-z0-9]+\.[a-z0-9]+)` \| (.*) \|$", section(PKI, "Settings that are lists")))
    expected = {name: kind for name, kind in entries().items() if name != "identity.certificates"}
    assert set(listed) == set(expected)
    for name, kind in expected.items():
        keys = re.findall(r"(\(?)`([a-z0-9_]+)`", listed[name])
        assert {key: not brace for brace, key in keys} == {
            key: field.is_required() for key, field in kind.model_fields.items()
        }, name


ALARMS = re.compile(
    r'Trouble\(\s*"([a-z-]+)"|(?m:^(?:[A-Z_]+, )*[A-Z_]*(?:ALARM|FAILING|STOPPED|EXPIRING|SERVED)\b.* = (.*)$)'
)


def test_every_alarm_of_the_floor_below_is_written_down() -> None:
    """Kinds of alarms are part of the interface: whoever routes them looks them up in `pki/README.md`."""
    raised = {
        kind
        for name, text in TEXTS.items()
        if name.startswith("renewers.")
        for found in ALARMS.finditer(text)
        for kind in [found[1], *re.findall(r'"([a-z]+(?:-[a-z]+)+)"', found[2] or "")]
        if kind
    }
    words = set(quoted(section(PKI, "What is logged, measured and alarmed")))
    assert {"renewal-failing", "delivery-failing", "expiring", "issuer-unreachable"} <= raised | {"expiring"}
    assert raised - words == set()


def described() -> dict[str, Any]:
    """The OpenAPI document, of an application without an installation behind it."""
    whole: Any = create_app(cast(Any, SimpleNamespace(settings=Settings())))
    while not hasattr(whole, "openapi"):
        whole = whole._app
    return dict(whole.openapi())


OPERATIONS = {
    f"{method.upper()} {path.removeprefix('/api/v1')}": operation
    for path, operations in described()["paths"].items()
    for method, operation in operations.items()
}


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_explains_itself(name: str) -> None:
    """A summary of a few words, and a sentence."""
    operation = OPERATIONS[name]
    assert re.fullmatch(r"[A-Z][^.\n]{4,60}", operation["summary"]), operation
    assert re.match(r"[A-Z`0-9].*[.?]", operation["description"]), operation


def test_every_operation_is_in_the_table_and_no_other() -> None:
    """`pki/README.md` lists what can be asked, as `POST /certificates`."""
    listed = {text for cells in rows(PKI, "The REST API") for text in quoted(cells[0])}
    assert listed == set(OPERATIONS)


def test_every_role_is_in_the_table() -> None:
    """`pki/README.md` says what each may do."""
    assert {re.sub(r"[`*]", "", name) for name, _ in rows(PKI, "Who may do what")} == set(Role)


def metrics() -> dict[str, str]:
    """Every metric by the name under which Prometheus sees it, with its help."""
    kinds = {"counter": "_total"}
    found = {family.name + kinds.get(family.type, ""): family.documentation for family in Metrics().registry.collect()}
    return {name: text for name, text in found.items() if not name.endswith("_created")}


def test_every_metric_is_in_the_table_and_no_other() -> None:
    """`pki/README.md` lists what can be measured, with the words of the exposition."""
    listed = {quoted(name)[0]: text for name, text in rows(PKI, "What is logged, measured and alarmed")}
    assert set(listed) == set(metrics())
    assert all(text[0].isupper() and text.endswith(".") for text in [*listed.values(), *metrics().values()])


@pytest.mark.parametrize("field", [name for name in vars(Metrics()) if name != "registry"])
def test_every_metric_is_measured(field: str) -> None:
    """What is exported is set somewhere: a gauge that stands at nothing for ever is worse than none."""
    assert any(re.search(rf"\.{field}\b", text) for name, text in TEXTS.items() if name != "pki.metrics")


def alarms() -> set[str]:
    """Events that are logged as a warning or an error."""
    found = set()
    for text in TEXTS.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("log.error", "log.warning", "level"):
                found |= {str(node.args[0].value)} if isinstance(node.args[0], ast.Constant) else set()
    return found


def test_every_alarm_is_written_down() -> None:
    """An event at warning or error is one that somebody can look up; and the page names no event that never comes."""
    words = set(quoted(section(PKI, "What is logged, measured and alarmed").partition("Whoever wants")[0]))
    named = {word for word in words if re.fullmatch(r"[a-z]+(-[a-z]+)+", word)}
    assert alarms() - named == set()
    assert {name for name in named if not any(f'"{name}"' in text for text in TEXTS.values())} == set()
    assert {"work-failed", "request-failed"} <= alarms()


@pytest.mark.parametrize("profile", list(SHIPPED), ids=lambda profile: profile.name)
def test_every_profile_is_in_the_table_as_it_is(profile: Profile) -> None:
    """`ca/README.md` says how long it lives and how it is revoked, and the file says the same."""
    _, life, _, revocation = {quoted(cells[0])[0]: cells[1:] for cells in rows(CA, "Profiles")}[profile.name]
    short, _, longest = life.partition(", at most ")
    assert (_duration(short), _duration(longest)) == (profile.config.lifetime, profile.config.longest)
    kinds = {"ocsp": "ocsp-nocheck", "authority": "the root's CRL"}
    leaf = "noRevAvail" if profile.config.revocation.check == "none" else "CRL shard"
    assert revocation == kinds.get(profile.config.kind, leaf)


def test_the_table_of_profiles_has_no_other() -> None:
    """What is in the table is shipped."""
    assert {quoted(cells[0])[0] for cells in rows(CA, "Profiles")} == {profile.name for profile in SHIPPED}


def _duration(text: str) -> timedelta:
    number, unit = text.split()
    return int(number) * {"h": timedelta(hours=1), "d": timedelta(days=1), "y": timedelta(days=365)}[unit]


@pytest.mark.parametrize("profile", list(SHIPPED), ids=lambda profile: profile.name)
def test_every_profile_has_a_table_of_examples(profile: Profile) -> None:
    """Something that is allowed and something that is refused, each with a sentence that says why it is there."""
    found: Examples = read_examples(SHIPPED.directory, profile.name, SHIPPED.variables)
    examples: list[Example] = [*found.allowed, *found.refused]
    assert found.allowed
    assert found.refused
    assert all(len(example.why) > 10 for example in examples)
    assert len({example.why for example in examples}) == len(examples)


def test_every_target_says_what_it_does() -> None:
    """`make` alone lists all that is phony, and nothing that it lists is missing."""
    described_targets = set(re.findall(r"(?m)^([a-z-]+):.*? ## \S.+", MAKEFILE))
    phony = re.search(r"(?m)^\.PHONY: (.*)$", MAKEFILE)
    assert phony is not None
    assert set(phony[1].split()) == described_targets


def test_every_target_that_is_recommended_exists() -> None:
    """A README that says `make something` means one of them."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", MAKEFILE))
    said = {word for page in PAGES.values() for word in re.findall(r"(?m)(?:`|^)make ([a-z-]+)", page)}
    assert said - targets == set()
    assert {"run", "demo", "test", "peers", "bench"} <= said


def slugs(page: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", page)
    return {re.sub(r"[^a-z0-9 -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_link_leads_somewhere(name: str) -> None:
    """Relative links of a page: the file is there, and so is the heading."""
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        assert not anchor or anchor in slugs(found.read_text()), target


PLACE = re.compile(r"`((?:(?:ca|pki|renewers|tests|config|templates)/)[\w./-]*\w/?)`")


def test_every_place_that_is_named_exists() -> None:
    """A page or a docstring that says `ca/issuance.py` or `tests/bench` names what is there, from the top or here."""
    texts = {**TEXTS, **PAGES}
    named = [(name, place) for name, text in texts.items() for place in PLACE.findall(text)]
    assert len(named) > 50
    lost = [one for one in named if not any(_is_at(base, one[1]) for base in (ROOT, ROOT / Path(one[0]).parent))]
    assert lost == []


def _is_at(base: Path, place: str) -> bool:
    """Whether a file, a folder, a module, or a function of a module is there; NAME stands for any."""
    if any(base.glob(place.rstrip("/").replace("NAME", "*"))) or (base / f"{place}.py").exists():
        return True
    folder, _, path = place.rpartition("/")
    stem, *names = path.split(".")
    module = base / folder / f"{stem}.py"
    return module.is_file() and all(re.search(rf"(?m)^ *(def |class )?{n}\b", module.read_text()) for n in names)


def test_every_room_is_in_a_table() -> None:
    """The READMEs of `ca`, `renewers` and `pki` name every module and folder at the top of their package."""
    for package, page in (("ca", CA), ("renewers", RENEWERS), ("pki", PKI)):
        tops = {path.stem for path in (ROOT / package).glob("*") if path.suffix == ".py" or path.is_dir()}
        rooms = {top for top in tops if not top.startswith(("_", "."))}
        table = page.partition("## ")[0]
        named = {word.partition("/")[0].removesuffix("/") for word in quoted(table)}
        assert rooms - named == set(), package


def test_operations_are_what_roles_are_made_of() -> None:
    """Each right that a role can have is used by some operation or command: no right is written and never asked for."""
    used = {word for text in TEXTS.values() for word in re.findall(r"Operation\.([A-Z_]+)", text)}
    assert {operation.name for operation in Operation} <= used

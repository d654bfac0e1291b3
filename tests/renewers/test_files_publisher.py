"""The `files` publisher against a hostile machine: links, devices, others who may write, a reader that never rests.

What every publisher promises is in `tests/contracts/test_publishers.py`.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ca.errors import BadRequest, NotDelivered
from renewers.publishers import Material, openat
from renewers.publishers.files import make_files
from tests.contracts.grounds.certificates import A, B, C, material

is_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root to give files away")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the files go; it does not exist yet."""
    return tmp_path / "certs"


def bring(directory: Path, *all_of_it: Material, **settings: Any) -> None:
    """Stage and swap."""
    for one in all_of_it:
        publisher = make_files({"directory": str(directory), **settings})
        publisher.stage(one)
        publisher.swap(one)


def points_to(directory: Path, link: str) -> str:
    """Where `live` or `previous` leads."""
    return str((directory / link).readlink())


def versions(directory: Path) -> set[str]:
    """The names of what is kept."""
    return {path.name for path in (directory / "versions").iterdir()}


def renamed(version: str) -> Material:
    """Material that calls itself so."""
    return replace(A, version=version)


# Its layout, its owners and modes.


def test_its_layout_is_the_documented_one(directory: Path) -> None:
    """Links are relative, so that they hold in a container; the combined file has the key first."""
    bring(directory, A, B)
    assert points_to(directory, "live") == f"versions/{B.version}"
    assert points_to(directory, "previous") == f"versions/{A.version}"
    assert {path.name for path in (directory / "live").iterdir()} == {
        *("cert.pem", "chain.pem", "fullchain.pem", "key.pem", "combined.pem")
    }
    parts = B.secrets["key.pem"].reveal(), *(B.files[name].decode() for name in ("cert.pem", "chain.pem"))
    assert (directory / "live/combined.pem").read_text() == "".join(parts)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(directory: Path, umask: int) -> None:
    """Keys are for their owner, the rest is for everybody."""
    before = os.umask(umask)
    try:
        bring(directory, A)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (directory / "live").iterdir()}
    public, secret = ("cert.pem", "chain.pem", "fullchain.pem"), ("key.pem", "combined.pem")
    assert modes == dict.fromkeys(public, 0o644) | dict.fromkeys(secret, 0o600)
    assert [stat.S_IMODE((directory / name).stat().st_mode) for name in (".", "versions", "live")] == [0o755] * 3


@is_root
def test_keys_belong_to_whom_the_settings_say(directory: Path) -> None:
    """Owner, group and mode are those of the settings; when these change, the version is written once more."""
    bring(directory, C, A)
    bring(directory, A, owner="daemon", group="mail", mode="0440")
    assert points_to(directory, "live") == f"versions/{A.version}+1"
    assert points_to(directory, "previous") == f"versions/{C.version}"
    for name in ("key.pem", "combined.pem"):
        found = (directory / "live" / name).stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (1, 8, 0o440)
    assert (directory / "live/cert.pem").stat().st_uid == 0


def test_no_key_can_be_opened_before_its_mode_is_right(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the moment that a file exists it is nobody else's, whatever the umask, until all its rights are set."""
    created: list[int] = []
    written: list[int] = []
    real_open, real_write = os.open, os.write

    def watched_open(path: Any, flags: int, mode: int = 0o777, **named: Any) -> int:
        if flags & os.O_CREAT:
            created.append(mode)
        return real_open(path, flags, mode, **named)

    def watched_write(descriptor: int, data: bytes) -> int:
        if b"PRIVATE KEY" in bytes(data[:40]):
            written.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "open", watched_open)
    monkeypatch.setattr(os, "write", watched_write)
    before = os.umask(0)
    try:
        bring(directory, A)
    finally:
        os.umask(before)
    assert created == [0o600] * 5
    assert written == [0o600] * 2


def test_old_versions_go_and_what_is_needed_stays(directory: Path) -> None:
    """The newest few are kept, and always what is in use and what was before, however old."""
    bring(directory, *(material(n) for n in range(1, 7)), keep=3)
    assert versions(directory) == {material(n).version for n in (4, 5, 6)}
    publisher = make_files({"directory": str(directory), "keep": 2})
    for number in range(7, 10):
        publisher.stage(material(number))
    assert versions(directory) == {material(n).version for n in (5, 6, 8, 9)}


def test_what_is_staged_is_durable_before_it_has_its_name(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and then their directory is synced before the rename, and the directory above after it."""
    bring(directory, A)
    calls: list[tuple[str, str]] = []

    def watch(name: str) -> None:
        real: Callable[..., Any] = getattr(os, name)

        def watched(first: Any, *arguments: Any, **named: Any) -> Any:
            place = Path(f"/proc/self/fd/{first}").readlink().name if isinstance(first, int) else str(arguments[0])
            calls.append((name, place))
            return real(first, *arguments, **named)

        monkeypatch.setattr(os, name, watched)

    for name in ("write", "fsync", "rename"):
        watch(name)
    bring(directory, B)
    monkeypatch.undo()
    named = calls.index(("rename", B.version))
    before = calls[:named]
    written = [place for name, place in before if name == "write"]
    synced = [place for name, place in before if name == "fsync"]
    assert len(written) == 5
    assert synced[:5] == written
    assert synced[5].startswith(".stage-")
    after = [place for name, place in calls[named:] if name == "fsync"]
    assert after == ["versions", "certs", "certs"]
    renames = [place for name, place in calls if name == "rename"]
    assert renames == [B.version, "previous", "live"]


# Settings.

BAD_SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({}, "directory is missing"),
    ({"directory": "certs"}, "directory is not an absolute path"),
    ({"directory": "/"}, "directory is not /"),
    ({"directory": "/srv/../etc"}, "directory is not a plain path"),
    ({"directory": "/srv//certs"}, "directory is not a plain path"),
    ({"directory": "/srv/./certs"}, "directory is not a plain path"),
    ({"directory": "/srv/certs/"}, "directory is not a plain path"),
    ({"directory": f"/srv/{'a' * 256}"}, "directory is not a plain path"),
    ({"directory": f"/{'a/' * 600}b"}, "directory is not an absolute path"),
    ({"directory": "/srv/a\0b"}, "control characters"),
    ({"directory": "/srv/a\nb"}, "control characters"),
    ({"directory": "/srv/a\u202eb"}, "control characters"),
    ({"directory": "/srv\\certs"}, "backslashes"),
    ({"directory": 7}, "directory is not an absolute path"),
    ({"mode": "0666"}, "mode 0666 lets everybody read the key"),
    ({"mode": "0604"}, "lets everybody read the key"),
    ({"mode": "0660"}, "is not for a key"),
    ({"mode": "0700"}, "is not for a key"),
    ({"mode": "0000"}, "is not for a key"),
    ({"mode": 0o600}, "is not written like"),
    ({"mode": "rw"}, "is not written like"),
    ({"owner": "nobody-of-that-name"}, "does not know"),
    ({"owner": 0}, "is not the name of a user"),
    ({"group": "a b"}, "is not the name of a group"),
    ({"reload": "nginx -s reload"}, "there is no shell"),
    ({"reload": []}, "not a list of arguments"),
    ({"reload": ["nginx", "-s", "reload"]}, "begins with a program that is not an absolute path"),
    ({"reload": ["/usr/bin/../sh"]}, "begins with a program that is not a plain path"),
    ({"reload": ["/bin/true", 7]}, "no text"),
    ({"reload": ["/bin/true", "a\0b"]}, "no text"),
    ({"reload": ["/bin/true"] * 40}, "more than 32 arguments"),
    ({"reload_timeout": 0}, "between 1 and 300"),
    ({"reload_timeout": True}, "between 1 and 300"),
    ({"reload_timeout": float("nan")}, "between 1 and 300"),
    ({"keep": 1}, "between 2 and 100"),
    ({"keep": "3"}, "between 2 and 100"),
    ({"shell": True}, "'shell' is not a setting"),
]


@pytest.mark.parametrize(("wrong", "reason"), BAD_SETTINGS, ids=[json.dumps(w)[:40] for w, _ in BAD_SETTINGS])
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any], reason: str) -> None:
    """Each with its reason."""
    good = {} if "directory" in wrong or not wrong else {"directory": "/srv/certs"}
    with pytest.raises(BadRequest) as caught:
        make_files({**good, **wrong})
    assert reason in caught.value.message


def test_all_that_is_wrong_is_said_at_once() -> None:
    """So that it can be mended in one go."""
    with pytest.raises(BadRequest) as caught:
        make_files({"mode": "0777", "reload": "x", "colour": 1})
    for word in ("directory", "mode", "reload", "'colour'"):
        assert word in caught.value.message


# Hostile names and places.

BAD_VERSIONS = [
    *("", ".", "..", "../x", "../../etc/cron.d/x", "a/b", "/etc/passwd", "a\\b", "a\0b", "a\nb", "-rf", ".hidden"),
    *("Edge-1", "edge-1-ABC", "a..b", "a b", "ä", "a+1", "a:b", "a*", "$(id)", "`id`", "a" * 129, "a."),
]


@pytest.mark.parametrize("version", BAD_VERSIONS)
def test_a_version_is_one_plain_lower_case_name(directory: Path, version: str) -> None:
    """Everything else is refused before anything is touched, by every call."""
    publisher = make_files({"directory": str(directory)})
    for call in (publisher.stage, publisher.swap, publisher.restore):
        with pytest.raises(NotDelivered, match="cannot name a version"):
            call(renamed(version))
    assert not directory.exists()


def test_a_long_version_is_a_name_still(directory: Path) -> None:
    """128 characters, with a mended one's suffix, too."""
    long = renamed("a" * 128)
    bring(directory, long)
    (directory / "live/cert.pem").write_text("damaged")
    bring(directory, long)
    assert points_to(directory, "live") == f"versions/{long.version}+1"


def refused(directory: Path, reason: str, **settings: Any) -> None:
    """All three calls are refused for this reason."""
    publisher = make_files({"directory": str(directory), **settings})
    for call in (publisher.stage, publisher.swap, publisher.restore):
        with pytest.raises(NotDelivered, match=reason):
            call(A)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_no_step_of_the_path_is_a_link(tmp_path: Path, step: int) -> None:
    """Neither the directory nor anything above it."""
    steps = ["one", "two", "three"]
    (tmp_path / "real/two/three").mkdir(parents=True)
    parent = tmp_path.joinpath(*steps[:step])
    parent.mkdir(parents=True, exist_ok=True)
    (parent / steps[step]).symlink_to(tmp_path.joinpath("real", *steps[1 : step + 1]))
    refused(tmp_path.joinpath(*steps), "is a symbolic link or no directory")
    assert not any((tmp_path / "real").rglob("*.pem"))


@pytest.mark.parametrize("place", ["directory", "versions"])
def test_a_directory_is_no_file_and_no_device(directory: Path, place: str) -> None:
    """Where something else has its name, nothing is written, and nothing hangs."""
    where = directory if place == "directory" else directory / "versions"
    where.parent.mkdir(exist_ok=True)
    os.mkfifo(where)
    refused(directory, "no directory|cannot be written: Not a directory")


def test_versions_is_no_link(directory: Path, tmp_path: Path) -> None:
    """Though it points to a directory of ours."""
    directory.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (directory / "versions").symlink_to(tmp_path / "elsewhere")
    refused(directory, "cannot be written")
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o1777])
@pytest.mark.parametrize("place", ["directory", "versions"])
def test_others_may_not_write_where_keys_are(directory: Path, place: str, mode: int) -> None:
    """Group or world, sticky or not."""
    bring(directory, C)
    where = directory if place == "directory" else directory / "versions"
    where.chmod(mode)
    refused(directory, "others may write")


def test_others_may_not_write_above_it(tmp_path: Path) -> None:
    """They could put another directory in its place; where only owners may rename (`/tmp`), they cannot."""
    (tmp_path / "open/certs").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    refused(tmp_path / "open/certs", "others may write")
    (tmp_path / "open").chmod(0o1777)
    bring(tmp_path / "open/certs", A)


@is_root
@pytest.mark.parametrize("place", [".", "..", "versions"])
def test_a_directory_is_ours_or_roots(tmp_path: Path, place: str) -> None:
    """Whoever owns it could put other files there."""
    directory = tmp_path / "above/certs"
    directory.parent.mkdir()
    bring(directory, C)
    os.chown(directory / place, 12345, -1)
    refused(directory, "belongs to somebody else")


@pytest.mark.parametrize("name", ["live", "previous"])
def test_what_is_no_link_of_ours_is_never_replaced(directory: Path, name: str) -> None:
    """A file, a directory or a link to somewhere else with the name of ours stays what it is."""
    bring(directory, C)
    publisher = make_files({"directory": str(directory)})
    publisher.stage(A)
    (directory / name).unlink(missing_ok=True)
    (directory / name).write_text("precious")
    with pytest.raises(NotDelivered, match=f"{name} is not a symbolic link"):
        publisher.restore(A)
    (directory / "live").unlink(missing_ok=True)
    (directory / "live").symlink_to("../../etc")
    with pytest.raises(NotDelivered, match="is no version of ours"):
        publisher.swap(A)
    assert points_to(directory, "live") == "../../etc"


def _as_link(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to(outside)


def _as_fifo(path: Path, _outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _as_other(path: Path, _outside: Path) -> None:
    path.write_text(path.read_text()[:-2])


def _as_altered(path: Path, _outside: Path) -> None:
    path.write_text(path.read_text().replace("1", "7", 1))


def _as_readable(path: Path, _outside: Path) -> None:
    path.chmod(0o644)


def _as_missing(path: Path, _outside: Path) -> None:
    path.unlink()


DAMAGES = [_as_link, _as_fifo, _as_other, _as_altered, _as_readable, _as_missing]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_version_is_written_once_more(
    directory: Path, tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    """Beside the damaged one, which was in use the whole time; links are not followed, devices not read."""
    (tmp_path / "outside").write_text("precious")
    bring(directory, C, A)
    damage(directory / "live/key.pem", tmp_path / "outside")
    bring(directory, A)
    assert (directory / "live/key.pem").read_text() == A.secrets["key.pem"].reveal()
    assert stat.S_IMODE((directory / "live/key.pem").lstat().st_mode) == 0o600
    assert (points_to(directory, "live"), points_to(directory, "previous")) == (
        f"versions/{A.version}+1",
        f"versions/{C.version}",
    )
    assert (tmp_path / "outside").read_text() == "precious"


def test_a_version_that_was_before_and_is_gone_is_not_pointed_to(directory: Path) -> None:
    """Rather the new one than nothing at all."""
    bring(directory, A, B)
    (directory / "versions" / A.version).rename(directory / "gone")
    with pytest.raises(NotDelivered, match="is gone"):
        make_files({"directory": str(directory)}).restore(B)
    assert points_to(directory, "live") == f"versions/{B.version}"


def test_strangers_files_stay(directory: Path) -> None:
    """Whatever else lies there is neither swept nor pruned."""
    bring(directory, A)
    for name in (".bashrc", ".stage-of-mine", "README", "versions/Mine", "versions/.keep"):
        (directory / name).write_text("mine")
    bring(directory, *(material(n) for n in range(2, 8)), keep=2)
    assert {".bashrc", ".stage-of-mine", "README"} <= {path.name for path in directory.iterdir()}
    assert {"Mine", ".keep"} <= versions(directory)


def test_one_process_at_a_time(directory: Path) -> None:
    """The other one is told to come back; nobody waits."""
    import fcntl

    bring(directory, C)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        refused(directory, "another process is writing")
    finally:
        os.close(descriptor)
    bring(directory, A)


@contextmanager
def moved_away_at(step: int, directory: Path, trap: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """At the `step`-th system call, somebody renames the directory and puts a link to theirs in its place."""
    count = [0]

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            count[0] += 1
            if count[0] == step:
                real_rename(directory, directory.with_name("moved"))
                real_symlink(trap, directory)
            return real(*arguments, **named)

        return call

    real_rename, real_symlink = os.rename, os.symlink
    with monkeypatch.context() as patched:
        for name in ("open", "mkdir", "fstat", "write", "rename", "symlink", "readlink", "fsync"):
            patched.setattr(openat.os, name, watched(getattr(os, name)))
        yield count


def test_a_link_that_appears_in_between_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever the directory is exchanged for a link, nothing is ever written to where that link points."""
    step, done = 0, False
    while not done:
        step += 1
        directory, trap = tmp_path / f"{step}/certs", tmp_path / f"{step}/trap"
        (trap / "versions").mkdir(parents=True)
        bring(directory, C)
        publisher = make_files({"directory": str(directory)})
        with moved_away_at(step, directory, trap, monkeypatch) as count, suppress(NotDelivered):
            publisher.stage(A)
            publisher.swap(A)
        done = count[0] < step
        assert [path.name for path in trap.rglob("*")] == ["versions"]
    assert step > 40


# The command.


def script(tmp_path: Path, text: str) -> str:
    """A program that does this."""
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_command_is_run_without_a_shell(directory: Path, tmp_path: Path) -> None:
    """Its arguments arrive as they are; of our environment nothing does; it has no input."""
    program = script(tmp_path, f'printf "%s\\n" "$@" > {tmp_path}/arguments; env > {tmp_path}/env; cat')
    arguments = ["$(touch /tmp/no)", "; id", "a b", "*", "`id`"]
    os.environ["CERTWRIGHT_TEST_SECRET"] = "hunter2"
    try:
        bring(directory, A, reload=[program, *arguments])
    finally:
        del os.environ["CERTWRIGHT_TEST_SECRET"]
    assert (tmp_path / "arguments").read_text().splitlines() == arguments
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert {"PATH", "LANG"} <= names <= {"PATH", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}


def fails(directory: Path, reload: list[str], **settings: Any) -> NotDelivered:
    """What the swap says about this command."""
    publisher = make_files({"directory": str(directory), "reload": reload, **settings})
    publisher.stage(A)
    with pytest.raises(NotDelivered) as caught:
        publisher.swap(A)
    return caught.value


def test_a_command_that_fails_is_quoted_briefly(directory: Path, tmp_path: Path) -> None:
    """Its exit code, and the end of what it said, without anything that steers a terminal."""
    program = script(tmp_path, 'seq 1 100000; printf "\\033[31mkey \\000values\\n mismatch" >&2; exit 3')
    error = fails(directory, [program])
    assert error.code == "reload-failed"
    assert "ended with 3" in error.message
    assert error.message.endswith("[31mkey values mismatch")
    assert len(error.message) < 500
    assert error.message.isprintable()


def test_a_command_that_is_not_there_says_so(directory: Path, tmp_path: Path) -> None:
    """Missing, or no program."""
    assert "No such file" in fails(directory, [str(tmp_path / "none")]).message
    (tmp_path / "text").write_text("text")
    assert "cannot be run" in fails(directory, [str(tmp_path / "text")]).message


def test_a_command_that_others_may_write_is_not_run(directory: Path, tmp_path: Path) -> None:
    """They would run as us."""
    program = script(tmp_path, f"touch {tmp_path}/ran")
    Path(program).chmod(0o777)
    assert "others may write" in fails(directory, [program]).message
    assert not (tmp_path / "ran").exists()


def test_a_command_that_hangs_is_stopped_with_what_it_started(directory: Path, tmp_path: Path) -> None:
    """After its time, and its children with it."""
    program = script(tmp_path, f"sleep 120 & echo $! > {tmp_path}/child; echo waiting; wait")
    began = time.monotonic()
    error = fails(directory, [program], reload_timeout=2)
    assert (error.code, time.monotonic() - began < 60) == ("reload-hangs", True)
    assert error.message.endswith("was stopped after 2 s: waiting")
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_command_that_talks_too_much_is_stopped(directory: Path, tmp_path: Path) -> None:
    """Long before it has filled anything."""
    began = time.monotonic()
    assert fails(directory, [script(tmp_path, "exec yes")], reload_timeout=120).code == "reload-hangs"
    assert time.monotonic() - began < 60


def test_what_a_command_leaves_running_holds_nobody_up(directory: Path, tmp_path: Path) -> None:
    """A daemon that keeps the output open is not waited for."""
    program = script(tmp_path, f"sleep 120 & echo $! > {tmp_path}/child; exit 0")
    began = time.monotonic()
    bring(directory, A, reload=[program])
    assert time.monotonic() - began < 60
    child = int((tmp_path / "child").read_text())
    os.kill(child, 0)
    os.kill(child, 9)


# A reader that never rests.

READER = """
import json, os, sys, time
directory, looks, versions, seconds = sys.argv[1], *map(int, sys.argv[2:])
known = json.load(sys.stdin)                 # name of a file -> its possible contents
counts, wrong, began = {"looks": 0, "versions": 0, "overtaken": 0}, [], time.monotonic()
last, due = None, began
print("reading", flush=True)
def read(at, name):
    descriptor = os.open(name, os.O_RDONLY, dir_fd=at)
    with os.fdopen(descriptor) as file:
        return file.read()
while (counts["looks"] <= looks or counts["versions"] <= versions) and (now := time.monotonic()) < began + seconds:
    due = max(due + 0.001, now - 0.02)
    time.sleep(max(0.0, due - now))
    try:
        for name, possible in known.items():  # each by its path, on its own
            with open(f"{directory}/live/{name}") as file:
                if (content := file.read()) not in possible:
                    wrong.append([name, len(content)])
        at = os.open(f"{directory}/live", os.O_RDONLY | os.O_DIRECTORY)   # both through one look at `live`
        try:
            certificate, key = read(at, "cert.pem"), read(at, "key.pem")
        except FileNotFoundError:    # on a busy machine eight versions may pass by while it waits for its turn
            if os.stat(f"{directory}/live").st_ino == os.fstat(at).st_ino:
                raise
            counts["overtaken"] += 1
            continue
        finally:
            os.close(at)
        if known["cert.pem"].index(certificate) != known["key.pem"].index(key):
            wrong.append(["pair", 0])
        counts["versions"] += certificate != last
        last = certificate
    except OSError as error:
        wrong.append([str(error), 0])
    counts["looks"] += 1
print(json.dumps({"wrong": wrong[:10], **counts}))
"""


def test_a_reader_at_1_khz_never_sees_half(directory: Path) -> None:
    """Another process reads every file a thousand times a second while versions are exchanged without a pause.

    It goes on until it has looked often enough and seen enough versions, however long the disk takes for one.
    """
    all_of_it = [material(n) for n in range(1, 10)]
    keys = [one.secrets["key.pem"].reveal() for one in all_of_it]
    known = {
        "cert.pem": [one.files["cert.pem"].decode() for one in all_of_it],
        "key.pem": keys,
        "combined.pem": [key + one.files["fullchain.pem"].decode() for key, one in zip(keys, all_of_it, strict=True)],
    }
    bring(directory, all_of_it[0], keep=8)
    argv = [sys.executable, "-c", READER, str(directory), "2000", "30", "120"]
    swaps = 0
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write(json.dumps(known))
        reader.stdin.close()
        assert reader.stdout.readline() == "reading\n"
        while reader.poll() is None:
            swaps += 1
            bring(directory, all_of_it[swaps % 9], keep=8)
            if swaps % 5 == 0:
                make_files({"directory": str(directory)}).restore(all_of_it[swaps % 9])
        found = json.loads(reader.stdout.read())
    assert found["wrong"] == []
    assert found["looks"] > 2000
    assert found["versions"] > 20
    assert found["overtaken"] < found["looks"] / 10
    assert swaps > 20

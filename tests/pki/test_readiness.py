"""Whether requests should be sent to a process: while it can sign and write, until it is about to end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ca.access import Role
from pki import supervisor
from pki.initialise import initialise
from pki.product import Product
from pki.readiness import DRAINING
from tests import peer
from tests.conftest import fresh_database
from tests.pki.conftest import API, PLAN, Template, World, problem, serving, wish
from tests.pki.test_serve import home, process_of

__all__ = ["home"]


def asked(world: World, path: str = "/readyz") -> tuple[int, list[str]]:
    """The status, and what stands in the way."""
    answer = world.nobody.get(path)
    return answer.status_code, answer.json().get("problems", [])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question is a look."""
    monkeypatch.setattr("pki.readiness.FRESH_FOR", 0.0)


@pytest.mark.usefixtures("impatient")
def test_who_cannot_sign_is_not_ready(home: Template) -> None:
    """While the key file of an active CA is away; once it is back, so is the answer, without a restart."""
    (key,) = (home.state / "keys").glob("issuing-1*")
    away = key.rename(home.state / "away")
    with Product.open(home.state) as product, asyncio.Runner() as loop:
        world = World(product, loop)
        status, problems = asked(world)
        assert status == 503
        assert [text.partition(":")[0] for text in problems] == ["issuing-1 cannot sign"]
        assert asked(world, "/livez") == (200, [])
        away.rename(key)
        assert asked(world) == (200, [])


@pytest.mark.peer("postgresql")
@pytest.mark.usefixtures("impatient")
def test_the_database_goes_away_and_comes_back(postgresql: str, tmp_path: Path) -> None:
    """Nothing is answered as if it were done; with the database back all is as before, without a restart."""
    url = fresh_database(postgresql)
    initialise(tmp_path / "state", replace(PLAN, changes={**PLAN.changes, "store.url": json.dumps(url)}))
    name = url.rpartition("/")[2]
    with (
        psycopg.connect(f"{postgresql}/postgres", autocommit=True) as server,
        Product.open(tmp_path / "state") as product,
        asyncio.Runner() as loop,
    ):
        world = World(product, loop)
        operator = world.as_(world.token(Role.OPERATOR))
        first = operator.post(f"{API}/certificates", json=wish()).raise_for_status().json()["serial"]
        assert asked(world) == (200, [])
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,))
        for _ in range(2):  # what was open is found to be gone, and what is opened anew is refused
            problem(operator.post(f"{API}/certificates", json=wish()), 503, "store-unavailable")
        status, problems = asked(world)
        assert status == 503
        assert problems
        assert asked(world, "/livez") == (200, [])
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        peer.until(lambda: asked(world) == (200, []), "ready again")
        second = operator.post(f"{API}/certificates", json=wish()).raise_for_status().json()["serial"]
        held = {row["serial"] for row in operator.get(f"{API}/certificates").json()["items"]}
        assert held >= {first, second}


@contextmanager
def small_disk(directory: Path, size: str) -> Iterator[Path]:
    """A tmpfs of its own, where this user may mount one."""
    directory.mkdir()
    done = subprocess.run(
        [peer.require("mount"), "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run([peer.require("umount"), "--lazy", directory], check=True)


def test_a_full_disk_stops_writing_alone(template: Template, tmp_path: Path) -> None:
    """Issuing gets 503 with the reason, reading and CRLs go on; with room again it issues, without a restart."""
    with small_disk(tmp_path / "disk", "12m") as disk:
        state = Path(shutil.copytree(template.state, disk / "state"))
        with serving(state, template.token, "--only", "api") as server, server.over_socket() as admin:
            serial = admin.post(f"{API}/certificates", json=wish()).raise_for_status().json()["serial"]
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as out, pytest.raises(OSError, match="No space"):
                while True:
                    out.write(b"\0" * 4096)
            answer = admin.post(f"{API}/certificates", json=wish())
            while answer.status_code == 201:  # a page that was allocated already takes some
                answer = admin.post(f"{API}/certificates", json=wish())
            problem(answer, 503, "store-unavailable")
            assert admin.get("/readyz").status_code == 503
            assert "full" in admin.get("/readyz").json()["problems"][0]
            assert admin.get(f"{API}/certificates/{serial}").status_code == 200
            with server.over_plain() as stranger:
                assert stranger.get("/crl/root-1.crl").status_code == 200
                assert stranger.get("/livez").status_code == 200
            ballast.unlink()
            admin.post(f"{API}/certificates", json=wish()).raise_for_status()
            peer.until(lambda: admin.get("/readyz").status_code == 200, "ready again")
            last = admin.post(f"{API}/ledger/verify", json={}).raise_for_status().text.splitlines()[-1]
            assert json.loads(last)["is_sound"], last


def test_it_drains(home: Template) -> None:
    """After SIGTERM it says on every listener that nobody should come, and goes on for who does; the second ends it."""
    with serving(home.state, home.token, CERTWRIGHT_LISTEN__DRAIN="10m") as server:
        process = process_of(server)
        with server.over_socket() as admin, server.over_plain() as stranger, server.over_tls() as client:
            assert stranger.get("/readyz").json() == {"status": "ready", "problems": []}
            process.send_signal(signal.SIGTERM)
            peer.until(lambda: stranger.get("/readyz").status_code == 503, "it says so")
            for each in (admin, client):
                assert each.get("/readyz").json() == {"status": "not ready", "problems": [DRAINING]}
            admin.post(f"{API}/certificates", json=wish()).raise_for_status()
            assert client.get("/livez").status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert [one["event"] for one in server.events()][-1] == "stopped"


def test_a_supervisor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What systemd waits for before it starts what needs us; without one there is nobody to tell."""
    supervisor.notify("READY=1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        monkeypatch.setenv(supervisor.VARIABLE, str(tmp_path / "notify"))
        supervisor.notify("READY=1")
        assert ear.recv(100) == b"READY=1"
    monkeypatch.setenv(supervisor.VARIABLE, f"@certwright-{os.getpid()}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(f"\0certwright-{os.getpid()}")
        supervisor.notify("STOPPING=1")
        assert ear.recv(100) == b"STOPPING=1"

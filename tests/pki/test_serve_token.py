"""A server whose CA keys are in a token that is pulled out and put back while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ca.files import pem
from pki.initialise import InitPlan, initialise
from tests import rig
from tests.pki.conftest import API, MAIN, PLAN, Template, environment, serving
from tests.softhsm import PIN, SoftToken, soft_token


def _asked(client: httpx.Client) -> httpx.Response:
    csr = pem("CERTIFICATE REQUEST", rig.make_csr(rig.WORKLOAD)).decode()
    return client.post(f"{API}/certificates", json={"profile": "mesh", "csr": csr})


def _until_issued(client: httpx.Client) -> Any:
    end = time.monotonic() + 60
    while (answer := _asked(client)).status_code != 201:
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < end, "it did not recover"
        time.sleep(0.1)
    return answer.json()


@pytest.fixture
def token(tmp_path: Path) -> Iterator[SoftToken]:
    """A fresh token."""
    with soft_token(tmp_path / "token") as made:
        yield made


@pytest.fixture
def home(token: SoftToken, tmp_path: Path) -> Template:
    """An installation with its CA keys in it."""
    pin = tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o400)
    hardware = {"keys.store": '"pkcs11"', "keys.pkcs11_uri": f'"{token.uri}"', "keys.pin_file": f'"{pin}"'}
    made = initialise(tmp_path / "state", InitPlan(name="Test", changes={**PLAN.changes, **hardware}))
    return Template(made.state, made.token.reveal())


def test_a_server_outlives_its_tokens_absence(home: Template, token: SoftToken) -> None:
    """503 with the reason while the token is away, lists go on being served, and it issues again without a restart."""
    with (
        serving(home.state, home.token, **token.environment) as server,
        server.over_socket() as client,
        server.over_plain() as plain,
    ):
        first = _until_issued(client)
        token.take_away()
        refused = _asked(client)
        assert refused.status_code == 503, refused.text
        assert refused.json()["code"] == "key-unavailable"
        assert PIN not in refused.text
        assert plain.get("/crl/issuing-1.crl").status_code == 200
        assert client.get(f"{API}/certificates/{first['serial']}").status_code == 200
        token.put_back()
        assert _until_issued(client)["serial"] != first["serial"]
    log = server.log.read_text()
    assert PIN not in log
    assert "authority-not-trusted" not in log


def test_a_server_that_starts_without_its_token_says_so(home: Template, token: SoftToken) -> None:
    """The listener's certificate is signed at the start: one line names the token, and nothing is served half."""
    token.take_away()
    done = subprocess.run(
        [*MAIN, "--state", str(home.state), "serve"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(CERTWRIGHT_LISTEN__TLS="127.0.0.1:0", **token.environment),
    )
    assert done.returncode == 1
    assert "the token pkcs11:token=certwright" in done.stderr
    assert "is not there" in done.stderr
    assert "Traceback" not in done.stderr

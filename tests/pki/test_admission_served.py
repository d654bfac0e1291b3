"""Admission on the real thing: a crowd of one identity, one request of another, and a database that holds all up."""

from __future__ import annotations

import signal
import socket
import sqlite3
import threading
from contextlib import closing

import httpx

from tests.pki.conftest import API, Template, serving, wish
from tests.pki.test_serve import home, process_of, until

__all__ = ["home"]
CROWD = 12


def ask(client: httpx.Client, answers: list[httpx.Response], place: int) -> threading.Thread:
    """One request for a certificate, which nobody waits for here."""

    def run() -> None:
        answers.append(client.post(f"{API}/certificates", json=wish(place=place)))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waiting(client: httpx.Client) -> int:
    """How many wait, as Prometheus is told."""
    lines = client.get("/metrics").raise_for_status().text.splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("certwright_admission_waiting "))


def refuses_connections(port: int) -> bool:
    """Whether nobody listens there any more."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_crowd_does_not_keep_another_waiting(home: Template) -> None:
    """The last to come, of another identity, is issued after two of the crowd; meanwhile all else is answered."""
    crowd: list[httpx.Response] = []
    late: list[httpx.Response] = []
    with serving(home.state, home.token, CERTWRIGHT_LIMITS__ISSUING="1") as server, server.over_socket() as admin:
        made = admin.post(f"{API}/tokens", json={"name": "late", "role": "operator"}).raise_for_status().json()
        before = len(admin.get(f"{API}/certificates").raise_for_status().json()["items"])
        database = sqlite3.connect(server.state / "certwright.db", isolation_level=None)
        with closing(database), server.over_tls(server.token) as many, server.over_tls(made["token"]) as one:
            database.execute("BEGIN IMMEDIATE")  # nothing can be recorded, so nothing is answered
            threads = [ask(many, crowd, 0) for _ in range(CROWD)]
            until(lambda: waiting(admin) == CROWD - 1, "a crowd that waits")
            threads.append(ask(one, late, 1))
            until(lambda: waiting(admin) == CROWD, "one more that waits")
            with server.over_plain() as plain:
                assert plain.get("/bundles/roots.pem").status_code == 200
            assert admin.get(f"{API}/certificates").status_code == 200
            database.execute("ROLLBACK")
            for thread in threads:
                thread.join(60)
        assert [answer.status_code for answer in (*crowd, *late)] == [201] * (CROWD + 1)
        items = admin.get(f"{API}/certificates", params={"limit": 200}).raise_for_status().json()["items"]
        oldest_first = [item["serial"] for item in reversed(items)][before:]
        assert oldest_first.index(late[0].json()["serial"]) <= 2
        assert f"certwright_admission_waited_seconds_count {CROWD}.0" in admin.get("/metrics").text


def test_who_waits_is_answered_before_the_end(home: Template) -> None:
    """SIGTERM: no new connection, and everybody that waits is served first."""
    crowd: list[httpx.Response] = []
    started = serving(home.state, home.token, CERTWRIGHT_LIMITS__ISSUING="1", CERTWRIGHT_LISTEN__DRAIN="0s")
    with started as server, server.over_socket() as admin:
        database = sqlite3.connect(server.state / "certwright.db", isolation_level=None)
        with closing(database), server.over_tls(server.token) as many:
            database.execute("BEGIN IMMEDIATE")
            threads = [ask(many, crowd, 0) for _ in range(4)]
            until(lambda: waiting(admin) == 3, "a crowd that waits")
            process_of(server).send_signal(signal.SIGTERM)
            until(lambda: refuses_connections(server.tls), "listeners that are closed")
            database.execute("ROLLBACK")
            for thread in threads:
                thread.join(60)
        assert [answer.status_code for answer in crowd] == [201] * 4
        assert process_of(server).wait(60) == 0

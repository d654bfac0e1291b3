"""From a host's name to the addresses at which it is asked, within a deadline, and never to what is no host's address.

The system's resolver cannot be interrupted: it runs in a thread that is left behind when the time is up, and ends by
itself. Nothing is cached, and nothing is connected to. Read `handshake.py` next.
"""

from __future__ import annotations

import queue
import socket
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address

from ca.errors import NotDelivered

Address = IPv4Address | IPv6Address


def resolve(host: str, port: int, timeout: float) -> list[str]:
    """The first address of each family, in the system's order. `NotDelivered` if there is none that can be asked."""
    answers: queue.SimpleQueue[list[str] | OSError | UnicodeError] = queue.SimpleQueue()
    if (literal := as_address(host)) is not None:
        return [str(_checked(literal, host))]
    threading.Thread(target=_ask, args=(host, port, answers), name=f"resolve-{host}", daemon=True).start()
    try:
        found = answers.get(timeout=timeout)
    except queue.Empty:
        raise NotDelivered(f"the name {host} was not resolved in {timeout:.0f} s", code="unresolvable") from None
    if isinstance(found, OSError | UnicodeError):
        raise NotDelivered(f"the name {host} cannot be resolved: {found}", code="unresolvable")
    families: dict[int, str] = {}
    for address in map(ip_address, found):
        families.setdefault(address.version, str(_checked(address, host)))
    return list(families.values())


def spoken(host: str, port: int) -> str:
    """A host and port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def as_address(host: str) -> Address | None:
    """The address that is written there, if it is one."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def why_not(address: Address) -> str | None:
    """Why nobody can be asked at an address, or None."""
    inner = getattr(address, "ipv4_mapped", None)
    if inner is not None:
        return "is an IPv4 address in IPv6 clothes"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_unspecified or (address.version == 4 and address.packed[0] == 0):
        return "is no host's address"
    if address.is_link_local:
        return "means another host on every link"
    if address.is_reserved and not address.is_loopback:  # ::1 lies in a reserved block
        return "is reserved"
    return None


def _checked(address: Address, host: str) -> Address:
    why = why_not(address)
    if why is not None:
        raise NotDelivered(f"{host} is not asked: {address} {why}", code="unresolvable")
    return address


def _ask(host: str, port: int, answers: queue.SimpleQueue[list[str] | OSError | UnicodeError]) -> None:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        answers.put(error)
    else:
        answers.put([str(sockaddr[0]) for *_, sockaddr in found])

"""Material for counterparts: made once a session for each CA key type that a test asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from ca.keys.algorithms import KeyType
from tests.peers.material import Material, made

MakeMaterial = Callable[[KeyType], Material]

KEY_TYPES = (KeyType.P256, KeyType.P384, KeyType.RSA3072, KeyType.RSA4096, KeyType.ED25519)
"""What a CA may sign with and counterparts of today can verify: all but ML-DSA."""
every_key_type = pytest.mark.parametrize("material", KEY_TYPES, indirect=True)


@pytest.fixture(scope="session")
def material_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMaterial]:
    """A function that returns the material for a CA key type. It is shared: a test that changes it makes its own."""
    known: dict[KeyType, Material] = {}
    with ExitStack() as stack:

        def get(key_type: KeyType) -> Material:
            if key_type not in known:
                directory = tmp_path_factory.mktemp("material") / key_type
                known[key_type] = stack.enter_context(made(directory, key_type))
            return known[key_type]

        yield get


@pytest.fixture
def material(request: pytest.FixtureRequest, material_of: MakeMaterial) -> Material:
    """Material for P-256, or for the key type of an indirect parameter."""
    return material_of(getattr(request, "param", KeyType.P256))

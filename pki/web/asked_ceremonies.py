"""What is asked of the API about ceremonies of offline CAs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from pki.web.asked import DurationText, Text, Word, _In

Document = Annotated[str, StringConstraints(max_length=24 * 1024 * 1024)]


class CeremonyWanted(_In):
    """What an offline CA is to sign: a CA beneath it, where `line` is said, or another root; and its next list."""

    authority: Word
    line: Word | None = None
    subject: Text | None = None
    profile: Word = "sub-ca"
    key_type: Word = "P-256"
    lifetime: DurationText | None = None
    crl_shards: int | None = Field(default=None, ge=0, le=4096)
    permit: list[Text] = Field(default=[], max_length=100, description="name constraints, such as dns:internal.example")
    exclude: list[Text] = Field(default=[], max_length=100)
    crosses: Word | None = Field(default=None, description="a root that it is to certify, for those who trust only it")
    list_lifetime: DurationText | None = Field(default="400d", description="null for no list")


class CeremonyAnswer(_In):
    """The file that came back."""

    answer: Document


class CrossRequest(_In):
    """The root that is to certify another one."""

    by: Word


class KeyExport(_In):
    """The passphrase that the file is encrypted with. Only over the Unix socket or in process."""

    passphrase: Annotated[SecretStr, Field(max_length=2048)]


class KeyFile(_In):
    """The file of a key, as it is kept, and its passphrase. Only over the Unix socket or in process."""

    key: Annotated[SecretStr, Field(max_length=64 * 1024)]
    passphrase: Annotated[SecretStr, Field(max_length=2048)]


class KeyLeaving(KeyFile):
    """The same; and how long the list is good that the CA signs before."""

    list_lifetime: DurationText = "400d"

"""User names and passwords of BMCs and subcloud databases: from a file or from the caller, never from the inventory."""

import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError

from tasks.drivers.errors import CredentialsFileError, CredentialsMissing


class Credential(BaseModel):
    """One user name and password; the password shows in no log and no repr."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: str
    password: SecretStr


_ENTRIES = TypeAdapter(dict[str, Credential])


class Credentials:
    """Looks credentials up by name.

    Args:
        entries: Credentials by name. Defaults to none.
        default: What nodes and subclouds that name no credentials get. Defaults to nothing: they are talked to
            anonymously.
    """

    def __init__(self, entries: Mapping[str, Credential] | None = None, default: Credential | None = None) -> None:
        self._entries = dict(entries or {})
        self._default = default

    @classmethod
    def load(
        cls, path: str | Path | None = None, username: str | None = None, password: SecretStr | str | None = None
    ) -> Self:
        """Read a credentials file, and take a user name and password as default.

        Args:
            path: YAML, or TOML when it ends in `.toml`: entries `NAME: {username: ..., password: ...}`. Nobody but its
                owner may read it. Defaults to no file.
            username: The default's user name. Defaults to no default.
            password: The default's password. Defaults to the empty one.

        Raises:
            CredentialsFileError: when the file is missing, malformed, or open to others.
        """
        secret = password if isinstance(password, SecretStr) else SecretStr(password or "")
        default = Credential(username=username, password=secret) if username else None
        return cls(_read(Path(path)) if path else {}, default)

    def get(self, name: str | None, target: str) -> Credential | None:
        """The named credentials, or the default (which may be None) when no name is given.

        Raises:
            CredentialsMissing: when there are none of that name; `target` is who asked.
        """
        if name is None:
            return self._default
        try:
            return self._entries[name]
        except KeyError:
            raise CredentialsMissing(target, "", f"there are no credentials named {name!r}") from None

    def __repr__(self) -> str:
        return f"Credentials({', '.join(sorted(self._entries))})"


def _read(path: Path) -> dict[str, Credential]:
    try:
        mode = path.stat().st_mode
        if stat.S_IMODE(mode) & 0o077:
            reason = f"is open to others than its owner (mode {stat.S_IMODE(mode):04o})"
            raise CredentialsFileError(str(path), "", reason, f"run `chmod 600 {path}`")
        return _ENTRIES.validate_python(_parse(path) or {})
    except OSError as error:
        raise CredentialsFileError(str(path), "", f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        mistakes = error.errors(include_url=False, include_input=False)
        told = sorted(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in mistakes)
        raise CredentialsFileError(str(path), "", "is malformed: " + ", ".join(told)) from None


def _parse(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        return tomllib.loads(text) if path.suffix == ".toml" else yaml.safe_load(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, yaml.YAMLError):
        # The parser's own message quotes the line, and the line may hold a password.
        raise CredentialsFileError(str(path), "", "is neither legal YAML nor TOML") from None

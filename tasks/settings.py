"""One frozen, typed object that holds every setting of a process.

A setting comes from the environment (``FLEETRING_BROKER_URL``), else from ``fleetring.toml`` in the current folder,
else from the record that a running ``fleetring up`` or ``demo`` keeps in ``.fleetring/``, else from its default here.
"""

import difflib
import os
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Literal, Self

from kombu.utils.url import maybe_sanitize_url
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tasks.errors import SettingsError

#: The folder, below the current one, where a fleet that was started here keeps its data and its addresses.
HOME = Path(".fleetring")
#: Where ``up`` and ``demo`` record the addresses of the servers that they started.
RECORD = HOME / "running.toml"
#: The file of settings that a user writes.
USER_FILE = Path("fleetring.toml")
ENV_PREFIX = "FLEETRING_"

QueueGroup = Literal["actions", "periodic", "periodic-external", "initial-sync"]
#: Where actions go, and every task that names no other queue.
ACTIONS_QUEUE: QueueGroup = "actions"
#: Where the ticks of periodic tasks go.
PERIODIC_QUEUE: QueueGroup = "periodic"
#: The queue of periodic tasks that may run in a process of their own.
EXTERNAL_QUEUE: QueueGroup = "periodic-external"
#: The groups that are one queue each; the dedicated queues of initial syncs are the other group.
SINGLE_QUEUES = (ACTIONS_QUEUE, PERIODIC_QUEUE, EXTERNAL_QUEUE)


class Settings(BaseSettings):
    """Every setting, with its default. Time is in seconds.

    Raises:
        ValidationError: a value is impossible; ``load`` turns it into ``SettingsError``.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Redis or Valkey that carries the queues: redis://, rediss://, redis+socket:// or sentinel://.
    broker_url: str = Field("redis://127.0.0.1:6379/0", pattern=r"^(rediss?|redis\+socket|sentinel)://", repr=False)
    #: Where results are kept. Defaults to the broker.
    result_url: str = Field("", repr=False)
    #: Where locks are kept: the same schemes as the broker's, or any URL of a database. Defaults to the broker.
    lock_url: str = Field("", repr=False)
    #: The inventory: sqlite:/// or postgresql+psycopg://.
    database_url: str = Field(f"sqlite:///{HOME}/fleetring.db", pattern=r"^(sqlite|postgresql)(\+\w+)?://", repr=False)
    #: The central identity rows and keys that subclouds receive. Defaults to the inventory's database.
    identity_url: str = Field("", repr=False)

    #: YAML or TOML file with the credentials of BMCs and subclouds, by name; readable by its owner only.
    credentials_file: Path | None = None
    #: Credentials for BMCs that name none.
    bmc_username: str | None = None
    bmc_password: SecretStr | None = None

    #: Places for running tasks in each worker.
    slots: int = Field(8, ge=1, le=1000)
    #: Which groups of queues a worker consumes when it is started without -Q; commas separate them.
    consume: Annotated[tuple[QueueGroup, ...], NoDecode] = (*SINGLE_QUEUES, "initial-sync")
    #: How many dedicated queues share the initial syncs.
    initial_sync_queues: int = Field(64, ge=1, le=10_000)
    #: After this long without a sign of a worker, the others take over its dedicated queues.
    member_lease: float = Field(6.0, ge=1, le=60)

    #: How often a periodic task of spacing 0 runs.
    base_tick: float = Field(60.0, ge=1, le=86_400)
    #: Whether this deployment runs the periodic tasks that declare ``external_process_ok``.
    run_external_periodic_tasks: bool = True

    #: How long a lock outlives the death of its holder.
    lock_lease: float = Field(30.0, ge=1, le=3600)
    #: How long an action waits, at the most, for a BMC to reach a power state.
    power_timeout: float = Field(120.0, gt=0, le=3600)
    #: A task that runs longer is ended.
    task_time_limit: float = Field(900.0, ge=10, le=86_400)
    #: A worker that gives no sign of life for so long is dead, and its tasks return to their queues.
    worker_lease: float = Field(8.0, ge=3, le=600)
    #: How often a task that loses its worker is delivered again before it becomes a dead letter.
    max_redeliveries: int = Field(5, ge=0, le=1000)
    #: How many of a worker's slots are kept for tasks of ``Priority.URGENT`` and beyond.
    reserved_slots: int = Field(0, ge=0, le=1000)

    #: The first hold-off after a failed initial sync; it doubles with each failure.
    sync_hold_off: float = Field(60.0, gt=0)
    #: The longest hold-off after a failed initial sync.
    sync_hold_off_cap: float = Field(3600.0, gt=0)
    #: How long a claimed sync is believed to be alive without a sign of its worker; each step is such a sign.
    sync_lease: float = Field(120.0, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _default_to_the_broker(cls, values: dict[str, object]) -> dict[str, object]:
        fields = cls.model_fields
        broker = values.get("broker_url", fields["broker_url"].default)
        database = values.get("database_url", fields["database_url"].default)
        return {"result_url": broker, "lock_url": broker, "identity_url": database, **values}

    @field_validator("consume", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _hold_offs_in_order(self) -> Self:
        if self.sync_hold_off_cap < self.sync_hold_off:
            raise ValueError(
                f"sync_hold_off_cap ({self.sync_hold_off_cap}) must not be below sync_hold_off ({self.sync_hold_off})"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Look in the arguments, the environment, the user's file and the record, in this order."""
        files = (TomlConfigSettingsSource(settings_cls, toml_file=path) for path in (USER_FILE, RECORD))
        return (init_settings, env_settings, *files)


def load() -> Settings:
    """Read the settings from the environment and the current folder.

    Raises:
        SettingsError: a setting is unknown or impossible; the text names each, its value and what would be legal.
    """
    unknown = sorted(_unknown_names(os.environ))
    if unknown:
        raise SettingsError("\n".join(map(_describe_unknown, unknown)))
    try:
        return Settings()  # type: ignore[call-arg]  # every field has a default
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(problem) for problem in error.errors(include_url=False))) from None
    except TOMLDecodeError as error:
        raise SettingsError(f"{USER_FILE} or {RECORD} is not valid TOML: {error}") from error


@cache
def current() -> Settings:
    """Return the settings of this process, read at the first call."""
    return load()


def _unknown_names(environment: Iterable[str]) -> Iterable[str]:
    for name in environment:
        if (
            name.upper().startswith(ENV_PREFIX)
            and name.upper().removeprefix(ENV_PREFIX).lower() not in Settings.model_fields
        ):
            yield name


def _describe_unknown(name: str) -> str:
    setting = name.upper().removeprefix(ENV_PREFIX).lower()
    near = difflib.get_close_matches(setting, Settings.model_fields, n=1)
    hint = f"did you mean {ENV_PREFIX}{near[0].upper()}?" if near else f"legal are: {', '.join(Settings.model_fields)}"
    return f"unknown setting {name}; {hint}"


def _describe(problem: object) -> str:
    """Say which setting is wrong, what it holds and what would be legal; secrets are left out."""
    assert isinstance(problem, dict)  # noqa: S101 - pydantic's ErrorDetails is a TypedDict, which cannot be tested for
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    setting = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return _describe_unknown(setting)
    value = "" if "password" in setting else f" = {maybe_sanitize_url(str(problem['input']))!r}"
    return f"setting {setting}{value} is impossible: {problem['msg'][0].lower()}{problem['msg'][1:]}"

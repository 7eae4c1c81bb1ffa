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
    #: How many places a worker has at the most, when the sizes of its queues (``pool.resize``) ask for more.
    max_slots: int = Field(32, ge=1, le=1000)
    #: Which groups of queues a worker consumes when it is started without -Q; commas separate them.
    consume: Annotated[tuple[QueueGroup, ...], NoDecode] = (*SINGLE_QUEUES, "initial-sync")
    #: Modules with actions and drivers of your own, loaded by workers and beats, and by commands; commas separate them.
    imports: Annotated[tuple[str, ...], NoDecode] = ()
    #: How many dedicated queues share the initial syncs.
    initial_sync_queues: int = Field(64, ge=1, le=10_000)
    #: After this long without a sign of a worker, the others take over its dedicated queues.
    member_lease: float = Field(6.0, ge=1, le=60)
    #: ``module:Class`` of the worker's manager, whose hooks run at the worker's start and end.
    manager: str = Field("tasks.service:Manager", pattern=r"^\w+(\.\w+)*:\w+$")
    #: What a worker says of itself is believed for so long; it says it anew every third of that.
    capabilities_ttl: float = Field(30.0, ge=3, le=3600)
    #: How long a worker that is stopped lets its tasks finish before it hands them back.
    drain_limit: float = Field(60.0, ge=0, le=86_400)

    #: How often a periodic task of spacing 0 runs.
    base_tick: float = Field(60.0, ge=1, le=86_400)
    #: Whether this deployment runs the periodic tasks that declare ``external_process_ok``.
    run_external_periodic_tasks: bool = True

    #: How long a lock outlives the death of its holder.
    lock_lease: float = Field(30.0, ge=1, le=3600)
    #: How long nodes stay locked beyond the lease of a holder that died, for what it may have sent to their BMCs last.
    bmc_lock_delay: float = Field(2.0, ge=0, le=600)
    #: How long a lock that was handed to a task waits for the task to start; then the nodes are free.
    hand_over_deadline: float = Field(300.0, ge=1, le=86_400)
    #: How often parked tasks are compared with the requests that wait for locks; what a crash has parted is put right.
    reconcile_every: float = Field(5.0, ge=0.1, le=60)
    #: How often each node's power is compared with the inventory.
    power_sync_spacing: float = Field(60.0, ge=1, le=86_400)
    #: How many nodes a worker's power sync asks side by side.
    power_sync_parallel: int = Field(32, ge=2, le=1000)
    #: After so many looks in a row without an answer the power sync puts a node into maintenance.
    power_sync_failures: int = Field(3, ge=1, le=1000)
    #: After so many changes that nobody asked for, within the window, the power sync parks a node.
    power_flap_limit: int = Field(5, ge=2, le=1000)
    #: The window for that.
    power_flap_window: float = Field(600.0, ge=1, le=86_400)
    #: How long an action waits, at the most, for a BMC to reach a power state.
    power_timeout: float = Field(120.0, gt=0, le=3600)
    #: A task that runs longer is ended.
    task_time_limit: float = Field(900.0, ge=10, le=86_400)
    #: A worker that gives no sign of life for so long is dead, and its tasks return to their queues.
    worker_lease: float = Field(8.0, ge=3, le=600)
    #: How often a task that loses its worker is delivered again before it becomes a dead letter.
    max_redeliveries: int = Field(5, ge=0, le=1000)
    #: How many of a worker's slots are kept for tasks of ``Priority.URGENT`` and beyond; None: one of four or more.
    reserved_slots: int | None = Field(None, ge=0, le=1000)
    #: With how many tasks, waiting or running, a queue without a bound of its own takes no new work; 0: any number.
    max_queued: int = Field(0, ge=0)
    #: The same with parked tasks.
    max_parked: int = Field(0, ge=0)

    #: The first hold-off after a failed initial sync.
    sync_hold_off: float = Field(60.0, gt=0)
    #: The longest hold-off after a failed initial sync.
    sync_hold_off_cap: float = Field(3600.0, gt=0)
    #: ``backoff``: a random share of a bound that doubles from the first hold-off to the cap; ``fixed``: the first.
    sync_hold_off_policy: Literal["backoff", "fixed"] = "backoff"
    #: After so many failed attempts a subcloud is parked until an operator or a new request unparks it; 0 never parks.
    sync_max_attempts: int = Field(20, ge=0)
    #: How many syncs that failed before may be under way at once; fewer than the slots keeps slots free for new ones.
    sync_retries: int = Field(16, ge=1)
    #: How long a claimed sync is believed to be alive without a sign of its worker, which gives three in this time.
    sync_lease: float = Field(30.0, ge=1)
    #: A step of an initial sync that takes longer has failed.
    sync_step_timeout: float = Field(180.0, gt=0)
    #: How long a subcloud may take to answer the question that stands before the steps.
    sync_probe_timeout: float = Field(5.0, gt=0)
    #: What a starting worker does: nothing, for dead leases are taken over anyway, or request what is unfinished anew.
    sync_restart: Literal["dead-leases", "sweep"] = "dead-leases"

    #: How often each subcloud is compared with the centre.
    audit_interval: float = Field(3600.0, ge=60, le=2_592_000)
    #: How often the centre's keys are rotated; 0 for never.
    key_rotation: float = Field(0.0, ge=0, le=31_536_000)
    #: How many keys there are at the most: the staged one, the primary one, and those that old tokens need.
    max_active_keys: int = Field(3, ge=3, le=1000)
    #: For how long a process uses what it read of the centre for further subclouds.
    centre_ttl: float = Field(5.0, ge=0, le=3600)
    #: How often all processes together read the centre's database: per second, at once after a pause, at a time.
    centre_rate: float = Field(20.0, gt=0)
    centre_burst: int = Field(20, ge=1)
    centre_concurrency: int = Field(8, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _default_to_the_broker(cls, values: dict[str, object]) -> dict[str, object]:
        fields = cls.model_fields
        broker = values.get("broker_url", fields["broker_url"].default)
        database = values.get("database_url", fields["database_url"].default)
        return {"result_url": broker, "lock_url": broker, "identity_url": database, **values}

    @field_validator("consume", "imports", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        return tuple(map(str.strip, value.split(","))) if isinstance(value, str) else value

    @field_validator("imports")
    @classmethod
    def _names_of_modules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        named = tuple(filter(None, value))
        for name in named:
            if not all(part.isidentifier() for part in name.split(".")):
                raise ValueError(f"{name!r} is no name of a module such as my_package.actions")
        return named

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

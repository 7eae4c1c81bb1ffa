"""The rows of the inventory: nodes and subclouds."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    literal_column,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm.decl_api import declared_attr

from locking import server_now

NAME_LENGTH = 255
"""The longest name of a node or subcloud, in characters."""

_NEXT_VERSION: ColumnElement[int] = literal_column("version", Integer) + 1


def _enumerated(kind: type[StrEnum]) -> Enum:
    """A column of plain text that takes the values of an enumeration, and no others."""
    values = [member.value for member in kind]
    return Enum(
        kind, native_enum=False, create_constraint=True, length=16, name="state", values_callable=lambda _: values
    )


class SyncState(StrEnum):
    """Where a subcloud's initial sync stands."""

    NONE = "none"
    REQUESTED = "requested"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"


class SyncFailure(StrEnum):
    """Why the last attempt of an initial sync failed, in one word that failures are counted by."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    CREDENTIALS = "credentials"
    CONFIGURATION = "configuration"
    CENTRE = "centre"
    WORKER_LOST = "worker-lost"
    WORKER_STUCK = "worker-stuck"
    ERROR = "error"


class AuditState(StrEnum):
    """What the last audit of a subcloud found."""

    UNKNOWN = "unknown"
    IN_SYNC = "in-sync"
    OUT_OF_SYNC = "out-of-sync"
    FAILED = "failed"


class Base(DeclarativeBase):
    """The inventory's metadata; constraints are named, so that migrations can find them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        }
    )


class _Entry:
    """What nodes and subclouds share.

    JSON columns are replaced, never changed in place. `version` counts the writes of a row, whoever makes them and
    however: an ORM session that loaded an older version cannot overwrite a newer one. `fence` is the number of the
    last lock grant that wrote the row (see `locking.fenced`).
    """

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True)
    driver: Mapped[str] = mapped_column(String(64))
    driver_info: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    last_error: Mapped[str | None] = mapped_column(Text)
    fence: Mapped[int] = mapped_column(BigInteger, default=0)
    version: Mapped[int] = mapped_column(default=1, onupdate=_NEXT_VERSION)
    created_at: Mapped[float] = mapped_column(Double, default=server_now())
    updated_at: Mapped[float] = mapped_column(Double, default=server_now(), onupdate=server_now())

    @declared_attr.directive
    def __mapper_args__(cls) -> dict[str, Any]:  # noqa: N805 - SQLAlchemy hands over the class
        return {"version_id_col": cls.__table__.c.version, "eager_defaults": True}  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class Node(_Entry, Base):
    """A machine that actions run on. Power states and boot devices are those of `tasks.drivers`."""

    __tablename__ = "nodes"

    uuid: Mapped[str] = mapped_column(String(36), unique=True)
    power_state: Mapped[str | None] = mapped_column(String(16))
    target_power_state: Mapped[str | None] = mapped_column(String(16))
    boot_device: Mapped[str | None] = mapped_column(String(32))
    properties: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    maintenance: Mapped[bool] = mapped_column(default=False)
    maintenance_reason: Mapped[str | None] = mapped_column(Text)
    #: How many looks of the power sync in a row got no answer.
    power_failures: Mapped[int] = mapped_column(default=0)
    #: How often the power changed though nobody asked for it, and since when, in epoch seconds, that is counted.
    power_changes: Mapped[int] = mapped_column(default=0)
    power_changes_since: Mapped[float | None] = mapped_column(Double)
    #: Why the power sync leaves the node alone; None where it does not.
    alarm: Mapped[str | None] = mapped_column(Text)


class Subcloud(_Entry, Base):
    """A cloud whose identity rows and keys follow the centre's; its row is the truth about its initial sync."""

    __tablename__ = "subclouds"

    managed: Mapped[bool] = mapped_column(default=False)
    online: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=False)
    state: Mapped[SyncState] = mapped_column(_enumerated(SyncState), default=SyncState.NONE)
    generation: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[float | None] = mapped_column(Double)
    claimed_by: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[float | None] = mapped_column(Double)
    step: Mapped[str | None] = mapped_column(String(64))
    #: The kind of `last_error`, a `SyncFailure`.
    failure: Mapped[str | None] = mapped_column(String(32))
    #: How many attempts in a row, over all requests, found nobody there; the circuit breaker's count.
    unreachable: Mapped[int] = mapped_column(default=0)
    #: Since when no further attempt is made: the alarm.
    parked_at: Mapped[float | None] = mapped_column(Double)
    #: Whether a sync was completed since the subcloud is managed, so that the next one may skip the heavy steps.
    subsequent_sync: Mapped[bool] = mapped_column(default=False)
    last_synced_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (Index(None, "state", "next_attempt_at"),)


class Audit(Base):
    """What was last found of a subcloud that follows the centre: beside its row, which must not change with each look.

    `tables` are those that differed when some last did, and `keys` tells which of the centre's keys the subcloud was
    found to have.
    """

    __tablename__ = "subcloud_audits"

    subcloud_id: Mapped[int] = mapped_column(ForeignKey("subclouds.id", ondelete="CASCADE"), primary_key=True)
    state: Mapped[AuditState] = mapped_column(_enumerated(AuditState), default=AuditState.UNKNOWN)
    tables: Mapped[str] = mapped_column(Text, default="")
    error: Mapped[str | None] = mapped_column(Text)
    keys: Mapped[str | None] = mapped_column(String(64))
    next_at: Mapped[float] = mapped_column(Double)
    audited_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (Index(None, "next_at"),)

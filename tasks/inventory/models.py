"""The rows of the inventory: nodes and subclouds."""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Double,
    Enum,
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


class SyncState(StrEnum):
    """Where a subcloud's initial sync stands."""

    NONE = "none"
    REQUESTED = "requested"
    IN_PROGRESS = "in-progress"
    COMPLETED = "completed"
    FAILED = "failed"


class Base(DeclarativeBase):
    """The inventory's metadata; constraints are named, so that migrations can find them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "pk": "pk_%(table_name)s",
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


class Subcloud(_Entry, Base):
    """A cloud whose identity rows and keys follow the centre's; its row is the truth about its initial sync."""

    __tablename__ = "subclouds"

    managed: Mapped[bool] = mapped_column(default=False)
    online: Mapped[bool] = mapped_column(default=False)
    enabled: Mapped[bool] = mapped_column(default=False)
    state: Mapped[SyncState] = mapped_column(
        Enum(
            SyncState,
            native_enum=False,
            create_constraint=True,
            length=16,
            name="state",
            values_callable=lambda states: [state.value for state in states],
        ),
        default=SyncState.NONE,
    )
    generation: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[float | None] = mapped_column(Double)
    claimed_by: Mapped[str | None] = mapped_column(String(255))
    lease_until: Mapped[float | None] = mapped_column(Double)
    step: Mapped[str | None] = mapped_column(String(64))
    last_synced_at: Mapped[float | None] = mapped_column(Double)

    __table_args__ = (Index(None, "state", "next_attempt_at"),)

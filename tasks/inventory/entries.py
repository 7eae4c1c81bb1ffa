"""What an entry of an inventory file looks like."""

from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from tasks.inventory.models import NAME_LENGTH
from tasks.inventory.references import as_uuid, legal_name


def _canonical_uuid(value: str) -> str:
    canonical = as_uuid(value)
    if canonical is None:
        raise ValueError(f"{value!r} is no UUID")
    return canonical


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(legal_name)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    driver: Annotated[str, Field(min_length=1, max_length=64)]
    driver_info: dict[str, Any] = {}


class NodeEntry(_Entry):
    """One item of the list `nodes`.

    An absent uuid is made up when the node is new; an absent maintenance leaves it as it is (false when new).
    """

    uuid: Annotated[str, AfterValidator(_canonical_uuid)] | None = None
    maintenance: bool | None = None
    maintenance_reason: str | None = None

    @model_validator(mode="after")
    def _reason_needs_maintenance(self) -> Self:
        if self.maintenance_reason and not self.maintenance:
            raise ValueError("maintenance_reason without `maintenance: true`")
        return self


class SubcloudEntry(_Entry):
    """One item of the list `subclouds`; an absent managed or online leaves it as it is (false when new)."""

    managed: bool | None = None
    online: bool | None = None

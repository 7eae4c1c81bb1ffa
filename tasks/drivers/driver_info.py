"""How drivers check the driver_info of the nodes and subclouds that they are made for."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.drivers.errors import InvalidDriverInfo


class DriverInfo(BaseModel):
    """Base of the models that drivers check their driver_info with; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def of(cls, target: str, driver_info: Mapping[str, Any]) -> Self:
        """The checked form of a driver_info.

        Raises:
            InvalidDriverInfo: naming every key that is missing, unknown or wrong.
        """
        if found := cls.mistakes(driver_info):
            told = ", ".join(": ".join((".".join(map(str, place)), reason)) for place, reason in found)
            raise InvalidDriverInfo(target, "", f"driver_info is wrong: {told}")
        return cls.model_validate(dict(driver_info))

    @classmethod
    def mistakes(cls, driver_info: Mapping[str, Any]) -> list[tuple[tuple[str | int, ...], str]]:
        """Where the driver_info is wrong (keys and indexes), and how; the values, which may be secret, are not told."""
        try:
            cls.model_validate(dict(driver_info))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            return [(mistake["loc"], mistake["msg"].removeprefix("Value error, ")) for mistake in found]
        return []

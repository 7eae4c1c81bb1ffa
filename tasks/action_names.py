"""Under which name an action is known in every process, and that no two share one."""

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.errors import DuplicateAction

#: Action name -> the file that declares it.
_declared: dict[str, Path] = {}


def name_of(body: Callable[..., Any], chosen: str | None) -> str:
    """Return the name of an action: the chosen one, else that of its module and function.

    Raises:
        DuplicateAction: another file declares an action of that name.
    """
    name = chosen or f"{_module_of(body)}.{body.__name__}"
    here = Path(inspect.getfile(inspect.unwrap(body))).absolute()
    first = _declared.setdefault(name, here)
    if first != here:
        raise DuplicateAction(name, str(first), str(here))
    return name


def _module_of(body: Callable[..., Any]) -> str:
    """The module as workers import it, also where this process runs it as its script."""
    script = sys.modules["__main__"]
    if body.__module__ != "__main__" or not getattr(script, "__file__", None):
        return body.__module__
    return script.__spec__.name if script.__spec__ else Path(str(script.__file__)).stem

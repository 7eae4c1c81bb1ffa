from typing import Any

from celery.result import AsyncResult

from tasks import pool


def parked(*results: AsyncResult[Any]) -> bool:
    """Tell whether all of these tasks are parked."""
    return all(pool.find(result.id).state == "parked" for result in results)

"""Ten thousand periodic tasks, for ``benchmarks/periodic.py``."""

from tasks.app import app
from tasks.periodic import periodic_task

app.conf.include = ()


def _work() -> None:
    pass


for number in range(10_000):
    periodic_task(spacing=60, name=f"crowd-{number}")(_work)

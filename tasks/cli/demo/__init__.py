"""The demo: a whole fleet on one machine, watched live."""

from tasks.cli.demo.command import demo

__all__ = ["demo"]

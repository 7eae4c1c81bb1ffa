"""The power sync: keeps what the inventory says of the nodes' power true, and says where that is hopeless."""

from tasks.power_sync.sync import nodes_in_service, sync

__all__ = ["nodes_in_service", "sync"]

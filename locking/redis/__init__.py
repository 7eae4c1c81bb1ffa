"""Locks in Redis or Valkey: one Lua script a verb."""

from locking.redis.store import RedisStore

__all__ = ["RedisStore"]

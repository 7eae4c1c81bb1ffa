"""Groups in Redis or Valkey."""

from partitioning.redis.store import RedisGroupStore

__all__ = ["RedisGroupStore"]

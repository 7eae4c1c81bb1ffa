"""Fills a central database with made-up identity rows, for the demo and for tests."""

import base64
import json
import random
from collections.abc import Mapping
from typing import Any

from tasks.drivers.base import unguarded
from tasks.drivers.identity_tables import IDENTITY, KEYS, metadata
from tasks.drivers.replication import keyed, replicate
from tasks.drivers.sql_side import SqlSide

_DOMAIN = "default"
_HASH_LETTERS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_FIRST_KEY_AT = 1_700_000_000.0


def seed_central(
    url: str, *, users: int = 50, groups: int = 5, projects: int = 10, roles: int = 4, keys: int = 3, seed: int = 0
) -> None:
    """Make a central database hold exactly so many rows; its tables are made when missing.

    The same arguments give the same rows, whatever was there before. Each user has one role on one project. Password
    hashes and keys look real, but are hashes and keys of nothing.

    Raises:
        DriverError: when the database cannot be written.
    """
    sizes = {"users": users, "groups": groups, "projects": projects, "roles": roles, "fernet_keys": keys}
    rows = _rows(random.Random(seed), sizes)  # noqa: S311 - nothing here is a secret
    side = SqlSide("the centre", url)
    try:
        with side.writing(unguarded) as connection:
            metadata.create_all(connection)
            for table in (*IDENTITY, *KEYS):
                replicate(connection, table, keyed(table, rows[table.name]))
    finally:
        side.close()


def _rows(dice: random.Random, sizes: Mapping[str, int]) -> dict[str, list[dict[str, Any]]]:
    makers = {"projects": _project, "roles": _role, "groups": _group, "users": _user, "fernet_keys": _key}
    rows = {name: [make(dice, number) for number in range(sizes[name])] for name, make in makers.items()}
    can_assign = rows["projects"] and rows["roles"]
    assigned = rows["users"] if can_assign else []
    return {**rows, "assignments": [_assignment(dice, user, rows["projects"], rows["roles"]) for user in assigned]}


def _entity(dice: random.Random, kind: str, number: int) -> dict[str, Any]:
    return {"id": f"{dice.getrandbits(128):032x}", "name": f"{kind}-{number:05d}", "domain_id": _DOMAIN}


def _user(dice: random.Random, number: int) -> dict[str, Any]:
    return {
        **_entity(dice, "user", number),
        "password_hash": "$2b$12$" + "".join(dice.choices(_HASH_LETTERS, k=53)),
        "default_project_id": None,
        "enabled": dice.random() < 0.95,
        "extra": json.dumps({"email": f"user-{number:05d}@example.org"}),
    }


def _project(dice: random.Random, number: int) -> dict[str, Any]:
    return {**_entity(dice, "project", number), "parent_id": _DOMAIN, "enabled": True, "description": ""}


def _role(dice: random.Random, number: int) -> dict[str, Any]:
    return {**_entity(dice, "role", number), "domain_id": ""}


def _group(dice: random.Random, number: int) -> dict[str, Any]:
    return {**_entity(dice, "group", number), "description": ""}


def _key(dice: random.Random, number: int) -> dict[str, Any]:
    body = base64.urlsafe_b64encode(dice.randbytes(32)).decode()
    return {"key_index": number, "body": body, "created_at": _FIRST_KEY_AT + 86_400.0 * number}


def _assignment(
    dice: random.Random, user: dict[str, Any], projects: list[dict[str, Any]], roles: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "type": "UserProject",
        "actor_id": user["id"],
        "target_id": dice.choice(projects)["id"],
        "role_id": dice.choice(roles)["id"],
        "inherited": False,
    }

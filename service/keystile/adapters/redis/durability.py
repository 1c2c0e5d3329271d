"""Whether Redis keeps what it acknowledged: floors and pending revocations depend on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink

_WANTED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


async def check_durability(link: RedisLink) -> list[tuple[str, str]]:
    """Return what is set otherwise than it must be, each with its fix. Raises `CannotTellError`."""
    faults = []
    for name, wanted in _WANTED.items():
        answer = await link.command("CONFIG", "GET", name)
        value = answer[1].decode() if answer else "unknown"
        if value != wanted:
            faults.append((f"{name} is {value}, not {wanted}", f"set '{name} {wanted}' in redis.conf"))
    return faults

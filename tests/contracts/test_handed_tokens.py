"""What every store of the tokens that were handed out promises."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from contracts.examples import OTHER_PEPPERS, PEPPERS
from keystile.adapters.memory.handed import InProcessHandedTokens
from keystile.adapters.redis.handed import MOST, RedisHandedTokens
from keystile.ports import HandedToken, HandedTokens

if TYPE_CHECKING:
    from keystile.adapters.redis.link import RedisLink

NOW = 1_800_000_000.5


@pytest.fixture(params=["in_process", "redis"])
def store(request: pytest.FixtureRequest) -> HandedTokens:
    if request.param == "in_process":
        return InProcessHandedTokens(MOST)
    return RedisHandedTokens(request.getfixturevalue("link"), PEPPERS)


def a_token(text: str = "one", *, gen: int = 1, lives: float = 300) -> HandedToken:
    return HandedToken(text=f"eyJ.{text}.sig", gen=gen, expires_at=NOW + lives)


async def test_token_is_found_by_its_key_until_it_ends(store: HandedTokens) -> None:
    """What was handed out for a key is told for that key alone, and not after its end."""
    short, long = a_token("short", lives=10), a_token("long", gen=3)
    assert await store.add("key-1", short, NOW)
    assert await store.add("key-1", long, NOW)
    assert set(await store.of("key-1", NOW)) == {short, long}
    assert await store.of("key-1", NOW + 10) == (long,)
    assert await store.of("key-2", NOW) == ()


async def test_same_token_again_changes_nothing(store: HandedTokens) -> None:
    """A token that is told twice is there once."""
    for _ in range(2):
        assert await store.add("key-1", a_token(), NOW)
    assert await store.of("key-1", NOW) == (a_token(),)


async def test_removed_tokens_are_gone(store: HandedTokens) -> None:
    """What was taken back is forgotten, and nothing else."""
    one, other = a_token("one"), a_token("other")
    for token in (one, other):
        await store.add("key-1", token, NOW)
    await store.remove("key-1", [one])
    await store.remove("key-1", [])
    await store.remove("key-2", [other])
    assert await store.of("key-1", NOW) == (other,)


async def test_a_key_has_so_many_living_tokens_and_no_more(store: HandedTokens) -> None:
    """What cannot be kept is said not to be, however many ask at once; room comes back as tokens end."""
    tokens = [a_token(str(number), lives=300 + number) for number in range(MOST + 10)]
    kept = await asyncio.gather(*(store.add("key-1", token, NOW) for token in tokens))
    assert kept.count(True) == len(await store.of("key-1", NOW)) == MOST
    assert await store.add("key-2", a_token(), NOW)
    assert await store.add("key-1", a_token("later", lives=900), NOW + 301)


async def test_redis_holds_no_token_to_be_read(link: RedisLink) -> None:
    """A stolen Redis yields nothing: no part of a token stands in it, and another pepper opens none."""
    await RedisHandedTokens(link, PEPPERS).add("key-1", a_token("secret-part"), NOW)
    (name,) = await link.command("KEYS", "*")
    (member,) = await link.command("ZRANGE", name, 0, -1)
    assert name == b"keystile:handed:key-1"
    assert b"secret-part" not in member
    assert b"secret-part" not in bytes.fromhex(member.decode())
    assert await RedisHandedTokens(link, OTHER_PEPPERS).of("key-1", NOW) == ()


async def test_redis_cannot_give_a_token_to_another_key(link: RedisLink) -> None:
    """Whoever writes to Redis and copies a token below another key, or scribbles, makes nobody revoke it."""
    store = RedisHandedTokens(link, PEPPERS)
    await store.add("key-1", a_token(), NOW)
    (member,) = await link.command("ZRANGE", "keystile:handed:key-1", 0, -1)
    await link.command("ZADD", "keystile:handed:key-2", NOW + 300, member)
    await link.command("ZADD", "keystile:handed:key-2", NOW + 300, "scribble")
    assert await store.of("key-2", NOW) == ()


async def test_redis_forgets_a_key_s_tokens_by_itself(link: RedisLink) -> None:
    """Nothing is left of a key when its last token has ended."""
    store = RedisHandedTokens(link, PEPPERS)
    await store.add("key-1", a_token(lives=300), NOW)
    await store.add("key-1", a_token("short", lives=10), NOW)
    assert 300 <= await link.command("TTL", "keystile:handed:key-1") <= 360

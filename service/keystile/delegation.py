"""Delegation: who may act for a key's owner, and how a JWT says who does (`act`, RFC 8693, section 4.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keystile.errors import KeyRefusedError, PolicyRefusedError, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystile.restrictions import Policy

MAX_DEPTH = 4  # actors in one JWT: each costs a read of its record
MAX_NAMED = 20
_MAX_NAME = 255
_KEY_ID = re.compile(r"[0-9a-z]{12}", re.ASCII)
_OWNER_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Actor:
    """A key that acts for another's owner. *gen* is the generation that its part of a JWT stands and falls with.

    *username* is its owner's, "" before the record was read.
    """

    key_id: str
    owner_id: str
    gen: int
    username: str = ""


def judge_actors(policy: Policy, actors: tuple[Actor, ...]) -> Reason | None:
    """Return why the owner of a key with this *policy* does not let them act one after the other, None if it does."""
    if len(actors) > min(policy.act_depth, MAX_DEPTH):
        return Reason.CHAIN_TOO_LONG
    named = all(any(_names(entry, actor) for entry in policy.may_act) for actor in actors)
    return None if named else Reason.ACTOR_DENIED


def act_claim(actors: tuple[Actor, ...]) -> dict[str, Any] | None:
    """Return the `act` claim: the one who asks outermost, whoever it got that from inside; None for nobody."""
    claim: dict[str, Any] | None = None
    for actor in reversed(actors):
        inner = {} if claim is None else {"act": claim}
        claim = {"sub": actor.owner_id, "client_id": actor.key_id, "gen": actor.gen, **inner}
    return claim


def actors_of(claims: Mapping[str, Any]) -> tuple[Actor, ...]:
    """Return who acts by the claims of one of our JWTs, the outermost first; refuses what has another form."""
    actors: list[Actor] = []
    level = claims.get("act")
    while level is not None:
        if len(actors) == MAX_DEPTH or not isinstance(level, dict):
            raise KeyRefusedError(Reason.JWT_INVALID)
        key_id, owner_id, gen = level.get("client_id"), level.get("sub"), level.get("gen")
        if not isinstance(key_id, str) or not isinstance(owner_id, str) or type(gen) is not int:
            raise KeyRefusedError(Reason.JWT_INVALID)
        actors.append(Actor(key_id, owner_id, gen))
        level = level.get("act")
    return tuple(actors)


def check_delegation(policy: Policy) -> None:
    """Raise a `PolicyRefusedError` that names the field, if what a new policy says of actors means nothing."""
    if len(policy.may_act) > MAX_NAMED:
        raise PolicyRefusedError(f"may_act: at most {MAX_NAMED}, not {len(policy.may_act)}", "may_act")
    if not all(_is_name(entry) for entry in policy.may_act):
        raise PolicyRefusedError("may_act: each is a key id, or an owner's id or username", "may_act")
    if not 1 <= policy.act_depth <= MAX_DEPTH:
        raise PolicyRefusedError(f"act_depth: it is 1 to {MAX_DEPTH}", "act_depth")


def _is_name(entry: str) -> bool:
    return 0 < len(entry) <= _MAX_NAME and entry.isprintable() and entry == entry.strip()


def _names(entry: str, actor: Actor) -> bool:
    """Tell whether an entry of `may_act` means *actor*: each entry can mean one kind of thing alone.

    The attack: somebody takes a username that looks like the key id, or the owner id, which stands on the list. So
    what looks like an id is one; a username that looks like an id is written `name:…`, an id of another form `key:…`.
    """
    kind, colon, name = entry.partition(":")
    if colon and kind in ("key", "owner", "name"):
        return name != "" and name == {"key": actor.key_id, "owner": actor.owner_id, "name": actor.username}[kind]
    if _KEY_ID.fullmatch(entry):
        return entry == actor.key_id
    if _OWNER_ID.fullmatch(entry):
        return entry == actor.owner_id
    return entry != "" and entry == actor.username

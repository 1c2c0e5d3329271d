"""Keycloak's admin and user events, polled: which owners were changed elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from keystile.adapters.keycloak.alerts import Alerts
from keystile.errors import CannotTellError, EventsLostError
from keystile.ports import PolledEvents

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from keystile.adapters.keycloak.client import KeycloakClient, Representation
    from keystile.ports import Ticks

USER_EVENTS = ("DELETE_ACCOUNT", "USER_DISABLED_BY_PERMANENT_LOCKOUT")
_OVERLAP = 10.0  # seconds; an event's time is taken before it is committed
_MOST = 500  # events asked for at first
_CONFIG_TTL = 30.0
_USERS = "users/"


class KeycloakEvents:
    """The `OwnerEvents` of a realm; *writer_id* is the name of the client whose changes are our own."""

    def __init__(
        self,
        reader: KeycloakClient,
        *,
        writer_id: str,
        alert: Callable[[str], None],
        ticks: Ticks = time.monotonic,
    ) -> None:
        self._reader = reader
        self._writer_name = f"service-account-{writer_id}".lower()
        self._writer_user_id = ""
        self._alert = Alerts(alert)
        self._ticks = ticks
        self._config_until = 0.0
        self._told: dict[str, int] = {}
        self._telling: dict[str, int] = {}
        self._polled_at = 0.0

    async def poll(self, since: float | None) -> PolledEvents:
        """See `OwnerEvents.poll`; moments are by Keycloak's clock.

        Who asks again with an earlier *since* than the last answer's `polled_at` is told the same again.
        """
        await self._check_config()
        polled_at = self._reader.server_time()
        if since is None:
            return PolledEvents(owner_ids=frozenset(), realm_wide=False, polled_at=polled_at)
        own_id = await self._own_id()
        first_ms = int((since - _OVERLAP) * 1000)
        query = {"dateFrom": first_ms, "direction": "asc"}
        admin = await _all(self._reader.admin_events, query)
        user = await _all(self._reader.user_events, query | {"type": list(USER_EVENTS)})
        self._remember(since, first_ms)
        self._polled_at = polled_at
        return _summary(self._news(admin), self._news(user), own_id, polled_at)

    def _remember(self, since: float, first_ms: int) -> None:
        """Count the last answer as told if the caller has moved on from it, and forget what cannot come again."""
        if since >= self._polled_at:
            self._told |= self._telling
        self._telling = {}
        self._told = {event: time_ms for event, time_ms in self._told.items() if time_ms >= first_ms}

    def _news(self, events: Iterable[Representation]) -> list[Representation]:
        news = [event for event in events if event["id"] not in self._told]
        self._telling |= {event["id"]: event["time"] for event in news}
        return news

    async def _check_config(self) -> None:
        if self._ticks() < self._config_until:
            return
        asked_at = self._ticks()
        config = await self._reader.events_config()
        missing = _missing(config)
        if missing:
            self._alert(f"the realm keeps no {missing}: changes made there are not seen; run 'keystile keycloak setup'")
            raise EventsLostError(f"the realm keeps no {missing}")
        self._config_until = asked_at + _CONFIG_TTL

    async def _own_id(self) -> str:
        if not self._writer_user_id:
            users = await self._reader.users(username=self._writer_name, exact=True, max=2)
            if not users:
                raise CannotTellError(f"the realm shows no {self._writer_name}")
            self._writer_user_id = users[0]["id"]
        return self._writer_user_id


def events_are_kept(config: Representation) -> bool:
    """Tell whether a realm's events config keeps all we follow."""
    return not _missing(config)


def _missing(config: Representation) -> str:
    if not config.get("adminEventsEnabled"):
        return "admin events"
    kept = config.get("enabledEventTypes") or USER_EVENTS  # none named: all
    if not config.get("eventsEnabled") or not set(USER_EVENTS) <= set(kept):
        return f"user events {' and '.join(USER_EVENTS)}"
    return ""


async def _all(ask: Callable[..., Awaitable[list[Representation]]], query: dict[str, Any]) -> list[Representation]:
    # Not page by page: Keycloak sorts by time alone, so events of one millisecond change places between two pages.
    # Measured: of 501 events of one import, pages of 500 showed 496.
    most = _MOST
    while len(events := await ask(**query, max=most)) >= most:
        most *= 4
    return events


def _summary(admin: list[Representation], user: list[Representation], own_id: str, polled_at: float) -> PolledEvents:
    own = {_user_of(event) for event in admin if _actor(event) == own_id}
    foreign = {_user_of(event) for event in admin if _actor(event) != own_id}
    foreign |= {event.get("userId", "") for event in user}
    return PolledEvents(
        owner_ids=frozenset(foreign - {""}),
        own_ids=frozenset(own - foreign - {""}),
        realm_wide="" in foreign | own,
        polled_at=polled_at,
    )


def _actor(event: Representation) -> str:
    """Return the id of the user who made the change; a service account's stands for its client."""
    return str(event.get("authDetails", {}).get("userId", ""))


def _user_of(event: Representation) -> str:
    """Return the id of the user that an admin event names, "" if it names none."""
    path = event.get("resourcePath", "")
    if event.get("resourceType") == "USER_PROFILE":  # its path is users/profile, and that is nobody's id
        return ""
    return unquote(path.removeprefix(_USERS).split("/")[0]) if path.startswith(_USERS) else ""

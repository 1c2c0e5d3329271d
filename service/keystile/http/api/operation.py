"""One operation of the management API: what it takes, answers, and which right it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from keystile.http.api.models import Nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pydantic import BaseModel

    from keystile.http.api.handlers import Call, Handlers
    from keystile.http.asgi import Answer
    from keystile.rights import Action

_ALWAYS = (400, 401, 403, 422, 429, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One route. *path* is below the API's base, *answers* are those of success; an *urgent* one waits for nobody.

    *takes_keys*: API keys stand in its body, as nowhere else.
    """

    name: str
    method: str
    path: str
    tag: str
    summary: str
    description: str
    action: Action
    handle: Callable[[Handlers, Call], Awaitable[Answer]]
    answers: Mapping[int, type[BaseModel] | None]
    refusals: tuple[int, ...] = ()
    body: type[BaseModel] | None = None
    query: type[BaseModel] = Nothing
    takes_keys: bool = False
    headers: tuple[str, ...] = ()
    urgent: bool = False

    @property
    def writing(self) -> bool:
        """Tell whether something is changed."""
        return self.method != "GET"

    @property
    def statuses(self) -> tuple[int, ...]:
        """Every status this operation may answer."""
        takes = () if self.body is None else (413, 415)
        return tuple(sorted({*self.answers, *_ALWAYS, *takes, *self.refusals}))

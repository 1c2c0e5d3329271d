"""One exchange: an API key in, a JWT out (RFC 6749 client_credentials, with RFC 8707's `resource`)."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystile.client.errors import ExchangeRefusedError, KeystileClientError, UnavailableError
from keystile.client.wire import post, server_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from keystile.client.keys import ApiKey, KeySource
    from keystile.client.wire import Answer

PATIENCE = 10.0  # seconds for everything: requests and what is waited between them
_SHORTEST_WAIT = 0.5  # seconds, whatever the server says
_TOO_MANY = 429
_BROKEN = 500
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}")
_USED_FOR = 0.8  # of a life
_LONGEST_LIFE = 86_400  # seconds; more is nonsense


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT with the answer it came in; *used_until* is a moment of the clock that the exchange was given."""

    text: str = field(repr=False)
    used_until: float
    document: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exchange:
    """Asks the token endpoint of *issuer* for a JWT for *resource* with the *scopes*; none of these: the defaults."""

    issuer: str
    key: KeySource
    resource: str = ""
    scopes: tuple[str, ...] = ()
    patience: float = PATIENCE
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token"

    def __call__(self) -> Token:
        """Return a fresh JWT, or raise a `KeystileClientError`; as often as `Retry-After` leaves time to ask again."""
        end = self.clock() + self.patience
        while True:
            try:
                return self._ask(self.key(), end)
            except UnavailableError as error:
                if error.retry_after is None:
                    raise
                wait = max(error.retry_after, _SHORTEST_WAIT)
                if self.clock() + wait >= end:
                    raise
            self.sleep(wait)

    def _ask(self, key: ApiKey, end: float) -> Token:
        wanted = {"resource": self.resource, "scope": " ".join(self.scopes)}
        form = {"grant_type": "client_credentials", **{name: value for name, value in wanted.items() if value}}
        asked_at = self.clock()  # the life of a JWT begins after this
        headers = {"Authorization": f"Bearer {key.reveal()}"}
        answer = post(self.url, within=end - asked_at, headers=headers, form=form)
        if answer.status != 200:  # noqa: PLR2004 - HTTP's
            raise refusal(self.url, answer, key)
        token = _token_in(answer.document or {}, asked_at)
        if token is None:
            raise ExchangeRefusedError(f"{self.url} answers no token: is {self.issuer} the issuer?", status=200)
        return token


def _token_in(document: dict[str, Any], asked_at: float) -> Token | None:
    text, life = document.get("access_token"), document.get("expires_in")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        return None
    if not isinstance(life, int) or not 0 < life <= _LONGEST_LIFE:
        return None
    return Token(text, asked_at + life * _USED_FOR, document)


def make_exchange(issuer: str, key: KeySource, resource: str, scope: str | Iterable[str], patience: float) -> Exchange:
    """Return an exchange at the checked address of *issuer*; *scope* is words in one string, or several."""
    scopes = scope.split() if isinstance(scope, str) else scope
    return Exchange(server_url(issuer), key, resource, tuple(scopes), patience)


def refusal(url: str, answer: Answer, key: ApiKey) -> KeystileClientError:
    """Return why *answer* is no JWT: what passes by itself, and what does not."""
    said = key.hidden_from(answer.said)
    if answer.status == _TOO_MANY or answer.status >= _BROKEN:
        return UnavailableError(f"{url} answers {said}", retry_after=answer.retry_after)
    error = key.hidden_from(answer.error)
    return ExchangeRefusedError(f"{url} answers {said}", status=answer.status, error=error)

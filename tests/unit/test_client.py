"""`KeystileAuth` against servers that answer as they are told: what is sent where, and what comes of it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import traceback
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest

from keystile.client import (
    AddressError,
    ExchangeRefusedError,
    KeystileAuth,
    KeystileClientError,
    NoKeyError,
    UnavailableError,
)
from keystile.client.exchange import Exchange
from keystile.client.keys import key_source
from keystile.client.wire import MAX_ANSWER, server_url
from unit.answering import KEY, Answering, Reply, a_token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MCP = "https://mcp.example.com/mcp"
TOKEN = "/sts/token"
_STRANGERS = "bcrypt cachetools cryptography granian jwt keycloak limits mcp pydantic quart redis structlog typer"


@pytest.fixture(autouse=True)
def no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KEYSTILE_API_KEY", raising=False)


def auth_for(server: Answering, **more: Any) -> KeystileAuth:  # noqa: ANN401 - any argument
    return KeystileAuth(server.issuer, MCP, **{"scope": "read", "api_key": KEY, **more})


def failure(server: Answering, **more: Any) -> KeystileClientError:  # noqa: ANN401 - any argument
    """Return why there is no JWT; the key is nowhere in it, nor in what led to it."""
    with httpx.Client(auth=auth_for(server, **more)) as http, pytest.raises(KeystileClientError) as refused:
        http.get(f"{server.url}/tool")
    assert server.asked_for("/tool") == []
    error = refused.value
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert (error.__cause__, error.__context__) == (None, None)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [frame.f_locals for frame in frames if "keystile/client/" in frame.f_code.co_filename]
    assert ours
    assert KEY not in repr(ours)
    return error


def exchange_with(server: Answering, waited: list[float], patience: float = 60.0) -> Exchange:
    now = [0.0]

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        assert len(waited) < 100
        now[0] += seconds

    return Exchange(server.issuer, key_source(KEY), MCP, ("read",), patience, lambda: now[0], sleep)


def test_importing_it_needs_httpx_alone() -> None:
    """Neither the server nor what it is built on is loaded, and httpx2 need not be there."""
    program = (
        "import sys; sys.modules['httpx2'] = None\n"
        "from keystile.client import KeystileAuth\n"
        f"loaded = {{name.partition('.')[0] for name in sys.modules}} & set({_STRANGERS!r}.split())\n"
        "ours = [name for name in sys.modules if name.startswith('keystile.') and '.client' not in name]\n"
        "print(sorted(loaded), ours, KeystileAuth('http://127.0.0.1:1/sts', api_key='k'))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[] [] KeystileAuth('http://127.0.0.1:1/sts', '')"


def test_a_request_carries_a_jwt_for_the_resource() -> None:
    """The token endpoint gets the key and what is asked for, once for two requests; the resource server the JWT."""
    with Answering({TOKEN: [a_token()], "/tool": [Reply()]}) as server, httpx.Client(auth=auth_for(server)) as http:
        assert [http.get(f"{server.url}/tool").status_code for _ in range(2)] == [200, 200]
    (asked,) = server.asked_for(TOKEN)
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.body == b"grant_type=client_credentials&resource=https%3A%2F%2Fmcp.example.com%2Fmcp&scope=read"
    assert [each.headers["Authorization"] for each in server.asked_for("/tool")] == ["Bearer jwt", "Bearer jwt"]


@asynccontextmanager
async def client_of(kind: str, auth: KeystileAuth) -> AsyncIterator[Any]:
    """Open a client of one of the libraries; each has a coroutine `post`."""
    if kind.endswith("async"):
        async with (httpx if kind == "httpx async" else httpx2).AsyncClient(auth=auth) as http:
            yield http.post
    else:
        with (httpx if kind == "httpx" else httpx2).Client(auth=auth) as opened:

            async def post(*words: Any, **more: Any) -> Any:  # noqa: ANN401 - httpx's
                return opened.post(*words, **more)

            yield post


@pytest.mark.parametrize("kind", ["httpx", "httpx async", "httpx2", "httpx2 async"])
async def test_a_401_costs_one_fresh_exchange_and_one_retry(kind: str) -> None:
    """The request is sent again as it was, with another JWT; a second 401 is the answer."""
    tokens = [a_token("one"), a_token("two"), a_token("three")]
    tool = [Reply(401), Reply(200), Reply(401)]
    with Answering({TOKEN: tokens, "/tool": tool}) as server:
        async with client_of(kind, auth_for(server)) as post:
            assert (await post(f"{server.url}/tool", json={"a": 1})).status_code == 200
            assert (await post(f"{server.url}/tool", json={"a": 2})).status_code == 401
    sent = [(each.headers["Authorization"][7:], each.body) for each in server.asked_for("/tool")]
    assert sent == [("one", b'{"a":1}'), ("two", b'{"a":1}'), ("two", b'{"a":2}'), ("three", b'{"a":2}')]


def test_a_stream_is_not_sent_twice() -> None:
    """What cannot be read again is not sent again: the 401 is the answer, and the next request has a fresh JWT."""
    with (
        Answering({TOKEN: [a_token("one"), a_token("two")], "/tool": [Reply(401), Reply(200)]}) as server,
        httpx.Client(auth=auth_for(server)) as http,
    ):
        answers = [http.post(f"{server.url}/tool", content=iter([b"a", b"b"])).status_code for _ in range(2)]
    assert answers == [401, 200]
    sent = [(each.headers["Authorization"][7:], each.body) for each in server.asked_for("/tool")]
    assert sent == [("one", b"ab"), ("two", b"ab")]


def test_the_key_follows_no_redirect() -> None:
    """The attack: an issuer that sends the client on, with the key, to somebody else."""
    with Answering({"/elsewhere": [a_token()]}) as other:
        away = Reply(307, headers={"Location": f"{other.url}/elsewhere"})
        with Answering({TOKEN: [away]}) as server:
            assert "answers 307" in str(failure(server))
    assert other.asked == []


def test_neither_key_nor_jwt_follow_a_resource_server_elsewhere() -> None:
    """A redirect of the resource server to another origin gets no credential."""
    with Answering({"/elsewhere": [Reply()]}) as other:
        away = Reply(307, headers={"Location": f"{other.url.replace('127.0.0.1', 'localhost')}/elsewhere"})
        with (
            Answering({TOKEN: [a_token()], "/tool": [away]}) as server,
            httpx.Client(auth=auth_for(server), follow_redirects=True) as http,
        ):
            assert http.get(f"{server.url}/tool").status_code == 200
    (asked,) = other.asked
    assert "Authorization" not in asked.headers


def test_no_proxy_reads_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment sees nothing of plain http, which is for this machine alone."""
    with Answering({TOKEN: [a_token()]}) as server, Answering() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        monkeypatch.setenv("no_proxy", "")
        assert exchange_with(server, [])().text == "jwt"
    assert proxy.asked == []


@pytest.mark.parametrize(
    "issuer",
    [
        "http://id.example.com/sts",
        "http://192.0.2.1/sts",
        "http://127.0.0.1.example.com/sts",
        "http://127.0.0.1@id.example.com/sts",
        "https://user:secret@id.example.com/sts",
        "https://id.example.com/sts?x=1",
        "https://id.example.com/sts#x",
        "ftp://id.example.com/sts",
        "https:///sts",
        "id.example.com",
        "https://[::1",
        "",
    ],
)
def test_no_key_goes_to_such_an_address(issuer: str) -> None:
    """Plain http leaves this machine for nobody, and an address says nothing but where the issuer is."""
    with pytest.raises(AddressError) as refused:
        KeystileAuth(issuer, api_key=KEY)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("issuer", "address"),
    [
        ("https://id.example.com/sts/", "https://id.example.com/sts"),
        ("http://localhost:8400/sts", "http://localhost:8400/sts"),
        ("http://[::1]:8400/sts", "http://[::1]:8400/sts"),
        ("http://127.0.0.2/sts", "http://127.0.0.2/sts"),
    ],
)
def test_such_an_address_will_do(issuer: str, address: str) -> None:
    """Https anywhere, and plain http on this machine."""
    assert server_url(issuer) == address


def test_plain_http_may_be_allowed_by_name() -> None:
    """A host inside a network of one's own, for who asks for no JWT there."""
    assert server_url("http://keystile:8400/sts", ("keystile",)) == "http://keystile:8400/sts"
    with pytest.raises(AddressError):
        server_url("http://other:8400/sts", ("keystile",))


def test_what_the_server_says_is_shown_without_the_key() -> None:
    """The error word and its description reach the caller; a key that they repeat does not, nor a control character."""
    document = {"error": "invalid_scope", "error_description": f"not\x1b[31m for {KEY}"}
    with Answering({TOKEN: [Reply(400, document)]}) as server:
        error = failure(server)
    assert isinstance(error, ExchangeRefusedError)
    assert (error.status, error.error) == (400, "invalid_scope")
    assert str(error).endswith("answers 400 invalid_scope not[31m for …")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(200, {"access_token": "jwt", "token_type": "Bearer"}),
        Reply(200, {"access_token": "a\r\nb", "expires_in": 300}),
        Reply(200, {"access_token": "jwt", "expires_in": 0}),
        Reply(200, {"access_token": "jwt", "expires_in": 10**400}),
        Reply(200, {"access_token": 7, "expires_in": 300}),
        Reply(200, ["jwt"]),
        Reply(200, body=b"<html>"),
        Reply(200, body=b"\xff"),
        Reply(204, body=b""),
        Reply(404),
    ],
)
def test_what_is_no_token_response_is_a_refusal(reply: Reply) -> None:
    """Whoever answers that is no token endpoint."""
    with Answering({TOKEN: [reply]}) as server:
        assert isinstance(failure(server), ExchangeRefusedError)


def test_errors_survive_a_copy() -> None:
    """They reach other processes whole."""
    error = pickle.loads(pickle.dumps(ExchangeRefusedError("no", status=400, error="invalid_scope")))  # noqa: S301
    assert (str(error), error.status, error.error) == ("no", 400, "invalid_scope")


def test_answers_are_bounded() -> None:
    """A server that goes on talking is not listened to for ever."""
    with Answering({TOKEN: [Reply(200, body=b" " * (MAX_ANSWER + 1))]}) as server:
        error = failure(server)
    assert isinstance(error, UnavailableError)
    assert "too much of an answer" in str(error)


def test_nobody_there_is_said_in_one_line() -> None:
    """A server that is not there is unavailable, and the error does not lead to the request."""
    with Answering() as server:
        pass
    assert "does not answer" in str(failure(server))


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    """The server is asked again when it said so, not before, and its next answer counts."""
    busy = Reply(status, {"error": "temporarily_unavailable"}, {"Retry-After": "3"})
    waited: list[float] = []
    with Answering({TOKEN: [busy, busy, a_token()]}) as server:
        assert exchange_with(server, waited)().text == "jwt"
    assert waited == [3.0, 3.0]


def test_retry_after_is_honoured_within_bounds() -> None:
    """Longer than one is willing to wait is an error at once, which says how long; nothing said is not asked again."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    for said, least in (("3600", 3600), (date, 3500)):
        with (
            Answering({TOKEN: [Reply(503, headers={"Retry-After": said})]}) as server,
            pytest.raises(UnavailableError) as refused,
        ):
            exchange_with(server, [])()
        assert refused.value.retry_after is not None
        assert least <= refused.value.retry_after <= 3600
    with Answering({TOKEN: [Reply(503, headers={"Retry-After": "soon"})]}) as server:
        assert getattr(failure(server), "retry_after", 0) is None
    waited: list[float] = []
    with (
        Answering({TOKEN: [Reply(503, headers={"Retry-After": "25"})]}) as server,
        pytest.raises(UnavailableError),
    ):
        exchange_with(server, waited)()
    assert waited == [25.0, 25.0]


def test_a_server_is_not_asked_without_a_pause() -> None:
    """Whatever it says: half a second lies between two questions."""
    waited: list[float] = []
    with Answering({TOKEN: [Reply(503, headers={"Retry-After": "0"}), a_token()]}) as server:
        assert exchange_with(server, waited)().text == "jwt"
    assert waited == [0.5]


def test_a_jwt_counts_from_before_it_was_asked_for() -> None:
    """Four fifths of its life, by the clock of whoever asks."""
    with Answering({TOKEN: [a_token(life=300)]}) as server:
        assert exchange_with(server, [])().used_until == 240.0


def test_the_key_comes_from_an_argument_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order; a file is read again each time."""
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    monkeypatch.setenv("KEYSTILE_API_KEY", "of_the_environment")
    assert key_source("of_the_argument", file)().reveal() == "of_the_argument"
    assert key_source()().reveal() == "of_the_environment"
    source = key_source(file=file)
    assert source().reveal() == KEY
    file.write_text("rotated")
    assert source().reveal() == "rotated"


@contextmanager
def no_key() -> Iterator[pytest.ExceptionInfo[NoKeyError]]:
    with pytest.raises(NoKeyError) as refused:
        yield refused
    assert KEY not in "".join(traceback.format_exception(refused.value))


def test_no_key_is_told_at_once_and_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing given, or what cannot be a key: the first use is too late to learn of it."""
    issuer = "https://id.example.com/sts"
    with no_key():
        KeystileAuth(issuer)
    monkeypatch.setenv("KEYSTILE_API_KEY", f'{{"api_key": "{KEY}"}}')
    with no_key():
        KeystileAuth(issuer)
    for content in (b"", f"key: {KEY}".encode(), b"\xff\xfe", KEY.encode() * 100):
        (tmp_path / "key").write_bytes(content)
        with no_key() as refused:
            KeystileAuth(issuer, key_file=tmp_path / "key")
        assert "holds no API key" in str(refused.value)
    with no_key() as refused:
        KeystileAuth(issuer, key_file=tmp_path / "none")
    assert "No such file" in str(refused.value)

"""`/sts/auth`: public-key credentials over HTTP, without a secret on either side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from quart import Response, request

from keystile.authority.challenges import NONCE_TTL, Answered, Question
from keystile.authority.newcomers import Newcomer
from keystile.authority.sign_in import LOGIN
from keystile.claims import parse_resource, parse_scope
from keystile.errors import ChangeRefusedError, KeystileError, PolicyRefusedError, RequestError
from keystile.http.api.public_keys import Algorithm, add_public_keys
from keystile.http.api.reading import Credentials, FieldsError, read_json
from keystile.http.asgi import json_answer
from keystile.http.doors import answer_to, limits_of
from keystile.public_keys import MAX_SIGNATURE_TEXT, PublicKey, decode, lookup_of, parse_public_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Quart

    from keystile.assembly import Deployment
    from keystile.http.asgi import Answer
    from keystile.http.doors import Contexts
    from keystile.policy import RequestContext

_DOOR = "auth"
_REFUSED = json_answer(401, {"error": "invalid_client"})
_TAKEN = json_answer(409, {"error": "invalid_request", "error_description": "somebody has this handle already"})
_Model = TypeVar("_Model", bound=BaseModel)


class Asked(BaseModel):
    """What a challenge is asked for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fingerprint: Annotated[str, StringConstraints(min_length=43, max_length=43)]
    alg: Algorithm
    purpose: Literal["login", "add-key"] = LOGIN

    def question(self) -> Question:
        """Return what the challenge is bound to, or raise a `RequestError`."""
        try:
            lookup_of(self.fingerprint)
        except ValueError as error:
            raise RequestError("invalid_request", str(error)) from error
        return Question(purpose=self.purpose, fingerprint=self.fingerprint, algorithm=self.alg)


class Signed(Asked):
    """An answer to a challenge: *signature* in base64url."""

    nonce: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    signature: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SIGNATURE_TEXT)]

    def answered(self) -> Answered:
        """Return the answer, or raise a `RequestError`."""
        try:
            return Answered(question=self.question(), nonce=self.nonce, signature=decode(self.signature))
        except ValueError as error:
            raise RequestError("invalid_request", str(error)) from error


class SignedLogin(Signed):
    """An answer that signs in, and what the JWT is to be for."""

    purpose: Literal["login"] = LOGIN
    resource: Annotated[str, StringConstraints(max_length=2_048)] = ""
    scope: Annotated[str, StringConstraints(max_length=8_192)] = ""
    public_key: dict[str, Any] | None = Field(None, max_length=20)
    handle: Annotated[str, StringConstraints(max_length=32)] | None = None

    def newcomer(self) -> Newcomer | None:
        """Return who asks to become an owner, None if nobody does; raises a `PolicyRefusedError` or `RequestError`."""
        if self.public_key is None:
            return None
        return Newcomer.called(parse_public_key(PublicKey.from_jwk, self.public_key), self.handle)


class AuthDoors:
    """Answers the requests below `/sts/auth`."""

    def __init__(self, deployment: Deployment, contexts: Contexts, send: Callable[[Answer], Response]) -> None:
        self._deployment = deployment
        self._contexts = contexts
        self._send = send
        self._credentials = Credentials.of(deployment.settings)

    async def challenge(self) -> Response:
        """Answer a nonce, the same way for every fingerprint: nothing is looked up."""
        return await self._answer(self._challenge)

    async def verify(self) -> Response:
        """Answer a JWT to whoever signed a challenge with a registered key."""
        return await self._answer(self._verify)

    async def _answer(self, answer: Callable[[], Awaitable[Answer]]) -> Response:
        try:
            await self._deployment.visits.count(self._context().address)
            return self._send(await answer())
        except PolicyRefusedError as error:
            return self._send(json_answer(400, {"error": "invalid_request", "error_description": str(error)}))
        except ChangeRefusedError:
            return self._send(_TAKEN)
        except KeystileError as error:
            return self._send(answer_to(error, _REFUSED))

    async def _challenge(self) -> Answer:
        asked = await self._read(Asked)
        nonce, exp = self._deployment.sign_in.challenges.make(asked.question())
        return json_answer(200, {"nonce": nonce, "exp": exp, "expires_in": NONCE_TTL})

    async def _verify(self) -> Answer:
        signed = await self._read(SignedLogin)
        context = self._context(
            audience=parse_resource(signed.resource) if signed.resource else None,
            scopes=parse_scope(signed.scope),
        )
        deployment = self._deployment
        entered = await deployment.sign_in.verify(signed.answered(), context, signed.newcomer())
        verdict = entered.verdict
        minted = await deployment.exchange.mint(verdict, context)
        identity = {"key_id": verdict.record.key_id, "handle": verdict.owner.username, "is_new_key": entered.is_new}
        return json_answer(
            200,
            {**minted.to_document(), **identity},
            *limits_of(verdict, deployment.verifier),
        )

    def _context(self, **asked: Any) -> RequestContext:  # noqa: ANN401 - fields of the context
        scope: Any = request.scope
        return self._contexts.of(scope, _DOOR, **asked)

    async def _read(self, model: type[_Model]) -> _Model:
        """Return the request's body; what is wrong with it is told without a word of it."""
        sent = await request.body
        try:
            document = read_json(request.headers.getlist("Content-Type"), sent, self._credentials, takes_keys=False)
            return model.model_validate(document)
        except FieldsError as error:
            raise RequestError("invalid_request", "a field holds what nobody may send") from error
        except ValidationError as error:
            names = {str(part) for fault in error.errors() for part in fault["loc"][:1]} & set(model.model_fields)
            raise RequestError("invalid_request", f"see the field {min(names)}" if names else "unknown field") from None


def add_auth(app: Quart, deployment: Deployment, contexts: Contexts, send: Callable[[Answer], Response]) -> None:
    """Add the doors below `/sts/auth` to *app*."""
    doors, base = AuthDoors(deployment, contexts, send), f"{deployment.settings.issuer_path}/auth"
    add_public_keys(app, deployment, contexts, send)
    for name, view in (("challenge", doors.challenge), ("verify", doors.verify)):
        options = {"methods": ["POST"], "provide_automatic_options": False}
        app.add_url_rule(f"{base}/{name}", endpoint=f"auth_{name}", view_func=view, **options)  # type: ignore[arg-type]

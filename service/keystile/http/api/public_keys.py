"""`/sts/auth/keys`: an owner's public keys, added by two proofs; who may do what is as in the management API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AliasChoices, Field, StringConstraints
from quart import Response, request

from keystile.authority.challenges import Answered, Question
from keystile.authority.sign_in import ADD_KEY
from keystile.documents import key_document
from keystile.errors import KeyUnknownError, PolicyRefusedError, TooManyFailuresError
from keystile.http.api import answers
from keystile.http.api.handlers import Call, Handlers, policy_fields
from keystile.http.api.models import NewKey
from keystile.http.api.operation import Operation
from keystile.http.api.problems import problem_of
from keystile.http.api.reading import Credentials
from keystile.http.api.routes import view_of
from keystile.http.asgi import json_answer
from keystile.public_keys import MAX_SIGNATURE_TEXT, PublicKey, decode, parse_public_key
from keystile.rights import Action

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Quart

    from keystile.assembly import Deployment
    from keystile.http.asgi import Answer
    from keystile.http.doors import Contexts

_PROOF = frozenset({"public_key", "alg", "nonce", "signature"})
Algorithm = Annotated[Literal["EdDSA", "ES256", "PS256"], Field(validation_alias=AliasChoices("alg", "algorithm"))]
"""RFC 7518 and 8037 call it `alg`; the whole word is understood too."""

_Encoded = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SIGNATURE_TEXT, pattern=r"^[A-Za-z0-9_-]+$")]


class NewPublicKey(NewKey):
    """A public key to add, with the proof that its other half is held: a challenge for `add-key`, signed by it."""

    public_key: dict[str, Any] = Field(max_length=20, description="a JWK")
    alg: Algorithm
    nonce: _Encoded
    signature: _Encoded


class PublicKeyHandlers:
    """What the operations do, over one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def add(self, handlers: Handlers, call: Call) -> Answer:
        """Add a key to whoever calls: the caller is proved already, the new key proves itself."""
        caller, body = call.asker.caller, call.body
        if not caller.username:
            raise PolicyRefusedError("a public key is added to one's own: this caller is nobody's user", "owner")
        key = parse_public_key(PublicKey.from_jwk, body.public_key)
        answered = _answered(body, key)
        await self._deployment.sign_in.prove_new(key, answered, call.asker.context)
        asked = policy_fields(body.model_dump(exclude_unset=True, exclude=_PROOF))
        new = handlers.new_request(call, caller.username)
        added = await self._deployment.administration.register(call.asker, new, asked, key)
        return json_answer(201, key_document(added.owner, added.record, self._deployment.verifier.clock()))

    async def list(self, _handlers: Handlers, call: Call) -> Answer:
        """List an owner's public keys, the dead ones too, oldest first."""
        owner = await self._deployment.administration.owner(call.asker, call.params["handle"], Action.LIST)
        now = self._deployment.verifier.clock()
        keys = [key_document(owner, record, now) for record in owner.by_age() if record.public_key is not None]
        return json_answer(200, {"keys": keys})

    async def revoke(self, handlers: Handlers, call: Call) -> Answer:
        """Revoke a public key of that owner: another owner's, and a key with a secret, is none."""
        key_id, handle = call.params["key_id"], call.params["handle"]
        owner, record = await self._deployment.administration.show(call.asker, key_id, Action.REVOKE)
        if record.public_key is None or handle.lower() not in (owner.username.lower(), owner.id.lower()):
            raise KeyUnknownError(f"this owner has no public key with the id {key_id}")
        return await handlers.delete_key(call)


def _answered(body: NewPublicKey, key: PublicKey) -> Answered:
    question = Question(purpose=ADD_KEY, fingerprint=key.fingerprint, algorithm=body.alg)
    try:
        return Answered(question=question, nonce=body.nonce, signature=decode(body.signature))
    except ValueError as error:
        raise PolicyRefusedError(str(error), "signature") from error


def _operations(own: PublicKeyHandlers) -> tuple[Operation, ...]:
    return (
        Operation(
            name="add_public_key",
            method="POST",
            path="/keys",
            summary="Add a public key.",
            action=Action.ISSUE,
            handle=own.add,
            body=NewPublicKey,
            answers={201: answers.ShownKey},
            tag="Keys",
            description="",
        ),
        Operation(
            name="list_public_keys",
            method="GET",
            path="/keys/{handle}",
            summary="List the public keys of a user.",
            action=Action.LIST,
            handle=own.list,
            answers={200: answers.KeyPage},
            tag="Keys",
            description="",
        ),
        Operation(
            name="revoke_public_key",
            method="DELETE",
            path="/keys/{handle}/{key_id}",
            summary="Revoke a public key.",
            action=Action.REVOKE,
            handle=own.revoke,
            answers={200: answers.ShownKey},
            tag="Keys",
            description="",
        ),
    )


def add_public_keys(app: Quart, deployment: Deployment, contexts: Contexts, send: Callable[[Answer], Response]) -> None:
    """Add the routes to *app*: an address may come there as often as to the other doors below `/sts/auth`."""
    credentials = Credentials.of(deployment.settings)
    handlers = Handlers(deployment)

    def counted(view: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        async def answer(**params: str) -> Response:
            scope: Any = request.scope
            try:
                await deployment.visits.count(contexts.of(scope, "auth").address)
            except TooManyFailuresError as error:
                return send(problem_of(error))
            return await view(**params)

        return answer

    for operation in _operations(PublicKeyHandlers(deployment)):
        app.add_url_rule(
            f"{deployment.settings.issuer_path}/auth" + operation.path.replace("{", "<id:").replace("}", ">"),
            endpoint=operation.name,
            view_func=counted(view_of(operation, deployment, handlers, contexts, credentials, send)),
            methods=[operation.method],
            provide_automatic_options=False,
        )

"""The options that make up a key's policy: the same for `keys issue` and `keys change`, written down once."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from keystile.claims import parse_resource, parse_scope
from keystile.delegation import MAX_DEPTH
from keystile.restrictions import Policy

Sent = Mapping[str, Any]
"""Fields of a policy, by name: those that were asked for."""

_CAPABILITY = {"resource", "actions", "constraints"}
_MAX_FILE = 16_384  # bytes: a record holds less


@dataclass(frozen=True, slots=True)
class _Option:
    """One option: the field of the policy it sets, its type, its help, and how what was typed is read."""

    field: str
    kind: Any
    help: str
    read: Callable[[Any], Any]
    least: int | None = None

    def parameter(self, name: str) -> inspect.Parameter:
        """Return what the command line is to know of it."""
        declared = typer.Option(help=self.help, min=self.least)
        annotated: Any = Annotated  # of a type that is known when this runs, and not before
        annotation = annotated[self.kind | None, declared]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _same(value: Any) -> Any:  # noqa: ANN401 - whatever was typed
    return value


def _each_once(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def _scopes(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(token for text in texts for token in parse_scope(text)))


def _audiences(texts: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(parse_resource(text) for text in texts))


def _capabilities(path: Path) -> tuple[Mapping[str, Any], ...]:
    try:
        with path.open("rb") as file:
            listed = json.loads(file.read(_MAX_FILE))
        read = Policy.from_document({"capabilities": listed}).capabilities
    except (OSError, ValueError, RecursionError) as error:
        raise _no_capabilities(path) from error
    if not all(isinstance(each.get("resource"), str) and each.keys() <= _CAPABILITY for each in read):
        raise _no_capabilities(path)
    return read


def _no_capabilities(path: Path) -> typer.BadParameter:
    example = '{"resource": "tools/search", "actions": ["call"], "constraints": {}}'
    return typer.BadParameter(f"{path} is no JSON list of objects like {example}", param_hint="--capabilities")


def _limit(field: str, what: str, least: int = 0) -> _Option:
    return _Option(field, int, what, _same, least)


_OPTIONS: Mapping[str, _Option] = {
    "scope": _Option("scopes", list[str], "A scope the key holds; repeat for more.", _scopes),
    "audience": _Option("audiences", list[str], "An audience it may ask for; repeat for more.", _audiences),
    "project": _Option("projects", list[str], "A project it is limited to; repeat for more.", _each_once),
    "level": _Option("level", str, "A level of KEYSTILE_LEVELS, whose limits all such keys of its owner share.", _same),
    "tenant": _Option("tenant", str, "The tenant it belongs to.", _same),
    "requests_per_hour": _limit("requests_per_hour", "Requests in an hour, of this key alone."),
    "requests_per_day": _limit("requests_per_day", "Requests in a day."),
    "requests_per_month": _limit("requests_per_month", "Requests in a month."),
    "cost_cents_per_month": _limit("cost_cents_per_month", "Cents in a month, as services report them."),
    "idle_days": _limit("idle_days", "It ends when nobody has used it for so many days.", 1),
    "allowed_ip": _Option("allowed_ips", list[str], "A CIDR it may be used from; repeat for more.", _each_once),
    "allowed_origin": _Option("allowed_origins", list[str], "A host of web pages that may use it; repeat.", _each_once),
    "require_tls": _Option("require_tls", bool, "Only over TLS, or over anything again.", _same),
    "allowed_endpoint": _Option(
        "allowed_endpoints", list[str], "'GET /v1/models', '* /files/**'; repeat for more.", _each_once
    ),
    "blocked_endpoint": _Option("blocked_endpoints", list[str], "The same, refused; repeat for more.", _each_once),
    "may_act": _Option(
        "may_act", list[str], "A key id, or an owner's id or username, that may act for its owner; repeat.", _each_once
    ),
    "act_depth": _limit("act_depth", f"How many of these one after the other, 1 to {MAX_DEPTH}.", 1),
    "max_tokens_per_request": _limit("max_tokens_per_request", "Carried in its JWTs, not enforced here."),
    "max_concurrent_requests": _limit("max_concurrent_requests", "Carried in its JWTs, not enforced here."),
    "capabilities": _Option("capabilities", Path, "A file with a JSON list, carried in its JWTs.", _capabilities),
}


def with_policy(command: Callable[..., None]) -> Callable[..., None]:
    """Give *command* every option of a policy; what was typed it gets as its last parameter, *policy*."""
    own = inspect.signature(command, eval_str=True)
    *kept, _ = own.parameters.values()
    added = [option.parameter(name) for name, option in _OPTIONS.items()]

    @functools.wraps(command)
    def run(**typed: Any) -> None:  # noqa: ANN401 - options of any type
        given = {name: typed.pop(name) for name in _OPTIONS}
        policy = {_OPTIONS[name].field: _OPTIONS[name].read(value) for name, value in given.items() if _is_set(value)}
        command(**typed, policy=policy)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in kept] + added
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # read by typer
    run.__annotations__ = {each.name: each.annotation for each in parameters} | {"return": None}
    return run


def cleared(names: list[str]) -> dict[str, Any]:
    """Return the defaults of the fields *names*: what a key has where nothing was asked for."""
    defaults = {each.name: getattr(Policy(), each.name) for each in fields(Policy)}
    wanted = [name.replace("-", "_") for name in names]
    unknown = [name for name in wanted if name not in defaults]
    if unknown:
        raise typer.BadParameter(f"{unknown[0][:40]} is none of {', '.join(defaults)}", param_hint="--clear")
    return {name: defaults[name] for name in wanted}


def _is_set(value: object) -> bool:
    return value is not None and value != []

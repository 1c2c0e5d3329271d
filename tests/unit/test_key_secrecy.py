from __future__ import annotations

import copy
import io
import logging
import pickle
import pprint
import traceback
from dataclasses import replace

import pytest
import structlog

from keystile.authority.lifecycle import IssuedKey
from keystile.errors import KeyRefusedError
from keystile.keys import ApiKey, KeyFormat
from unit.builders import FORMAT, PEPPERS, a_record, an_owner

OLDER = "mcpkey_live_" + "x" * 43


@pytest.fixture(params=["current", "older"])
def key(request: pytest.FixtureRequest) -> ApiKey:
    if request.param == "current":
        return FORMAT.generate("live")
    return KeyFormat(PEPPERS, older=True).parse(OLDER)


def test_no_way_of_printing_shows_the_key(key: ApiKey) -> None:
    """repr, str, format, %-formatting and pretty printing show the tag that may be logged, and nothing else."""
    shown = [repr(key), str(key), f"{key}", f"{key!r}", "%s" % key, "%r" % (key,), pprint.pformat(key)]  # noqa: UP031 - old ways too
    assert set(shown) == {f"<ApiKey {key.tag}>"}


def test_whatever_holds_a_key_does_not_show_it(key: ApiKey) -> None:
    """A key inside other objects stays hidden when those are printed."""
    issued = IssuedKey(key, a_record(), an_owner())
    secret = key.reveal()[-38:]
    assert secret not in repr(issued)
    assert secret not in repr([{"key": (key,)}])


def test_logging_does_not_show_the_key(key: ApiKey, caplog: pytest.LogCaptureFixture) -> None:
    """A key handed to a logger by mistake is logged as its tag."""
    with caplog.at_level(logging.INFO):
        logging.getLogger("test").info("presented %s and %r", key, key)
    printed = io.StringIO()
    structlog.wrap_logger(structlog.PrintLogger(printed), processors=[structlog.processors.JSONRenderer()]).info(
        "presented", key=key
    )
    for text in (caplog.text, printed.getvalue()):
        assert key.tag in text
        assert key.reveal()[-38:] not in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_key_cannot_be_pickled(key: ApiKey, protocol: int) -> None:
    """A key cannot be serialised on the way to a queue, a cache or another process."""
    with pytest.raises(TypeError, match="reveal") as refused:
        pickle.dumps(key, protocol)
    assert key.reveal() not in str(refused.value)


def test_key_cannot_be_copied(key: ApiKey) -> None:
    """No second copy of a key's text is made behind anybody's back."""
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="reveal"):
            copied(key)


def test_key_has_no_dictionary(key: ApiKey) -> None:
    """What prints an object's attributes finds none."""
    with pytest.raises(TypeError):
        vars(key)


def test_keys_do_not_compare_by_text(key: ApiKey) -> None:
    """Nobody compares keys with ==, which would not take constant time."""
    assert key != replace(key)


def test_refusal_does_not_hold_the_key(key: ApiKey) -> None:
    """Neither the error of a refused key nor its traceback shows what was presented."""
    forged = key.reveal()[:-1] + ("A" if key.reveal()[-1] != "A" else "B")
    try:
        FORMAT.parse(forged)
    except KeyRefusedError as refusal:
        told = "".join(traceback.format_exception(refusal)) + repr(refusal) + str(vars(refusal))
        assert forged not in told
        assert forged[-38:] not in told
    else:
        pytest.fail("a forged key was parsed")

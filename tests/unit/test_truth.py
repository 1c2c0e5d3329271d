from __future__ import annotations

import base64
import json
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from truth import Answer, Jwt, Key, Owner, Stranger, Truth

if TYPE_CHECKING:
    from truth.lives import Credential

NAMES = {"x-auth-key-id": "k3v9x0q2m7ab", "x-auth-username": "zo%C3%AB", "x-auth-subject": "u1"}


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Return the moment set."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def truth(clock: Clock) -> Truth:
    return Truth(clock=clock)


@pytest.fixture
def key(truth: Truth) -> Key:
    return truth.key("k3v9x0q2m7ab", truth.owner("zoë", "u1"))


def judge(
    truth: Truth, credential: Credential, status: int | None, sent: float, received: float = 0, door: str = "verify"
) -> str:
    headers = dict(NAMES) if status == 200 else {"retry-after": "1"}
    return truth.judge(Answer(credential, door, status, sent, received or sent + 0.01, headers))


def end(
    truth: Truth, clock: Clock, whose: Key | Owner, *, asked: float, answered: float, of_jwts: bool = False
) -> None:
    clock.now = asked
    with truth.ending(whose, bound=1.0, of_jwts=of_jwts):
        clock.now = answered


def test_live_key_is_accepted_and_never_refused(truth: Truth, key: Key) -> None:
    """A key nobody ended gets 200, and a 401 for it is wrong."""
    assert judge(truth, key, 200, 100) == ""
    assert judge(truth, key, 401, 101) == "refused while live"
    assert [wrong.why for wrong in truth.wrong] == ["refused while live"]
    assert truth.counts == {("verify", "key", 200): 1, ("verify", "key", 401): 1}


def test_revoked_key_is_accepted_until_its_bound_only(truth: Truth, clock: Clock, key: Key) -> None:
    """What counts is when the request was sent: up to the bound after the answer, not a moment later."""
    end(truth, clock, key, asked=110, answered=112)
    assert judge(truth, key, 200, 113.0, 120.0) == ""
    assert judge(truth, key, 200, 113.001) == "accepted 0.001 s too late"
    assert judge(truth, key, 401, 113.001) == ""


def test_refusal_may_come_as_soon_as_the_end_was_asked_for(truth: Truth, clock: Clock, key: Key) -> None:
    """A 401 received before anybody asked is wrong; one in whose time somebody asked is not."""
    end(truth, clock, key, asked=110, answered=112)
    assert judge(truth, key, 401, 109.0, 109.999) == "refused while live"
    assert judge(truth, key, 401, 109.0, 110.0) == ""


def test_acceptance_judged_before_the_end_is_answered_is_judged_again(truth: Truth, clock: Clock, key: Key) -> None:
    """A checker that hears late of an answered revoke still finds what was accepted too late."""
    clock.now = 110
    with truth.ending(key, bound=1.0):
        assert judge(truth, key, 200, 113.5) == ""
        clock.now = 112
    assert [wrong.why for wrong in truth.wrong] == ["accepted 0.500 s too late"]


def test_unanswered_end_proves_nothing(truth: Truth, clock: Clock, key: Key) -> None:
    """If the process that was asked died, the key may live or be dead, for ever."""
    clock.now = 110
    with suppress(ConnectionError), truth.ending(key, bound=1.0):
        raise ConnectionError
    assert judge(truth, key, 200, 500) == judge(truth, key, 401, 500) == ""


def test_owner_takes_keys_and_jwts_along(truth: Truth, clock: Clock, key: Key) -> None:
    """An owner's end is the end of its keys and of their JWTs, and of nobody else's."""
    jwt = truth.jwt(key, asked=100, received=100.1)
    other = truth.key("k3v9x0q2m7ab", truth.owner("zoë", "u1"))
    end(truth, clock, key.owner, asked=110, answered=111)
    assert judge(truth, key, 200, 112.5) == judge(truth, jwt, 200, 112.5) == "accepted 0.500 s too late"
    assert judge(truth, other, 401, 112.5) == "refused while live"


def test_resumed_key_must_be_accepted_again(truth: Truth, clock: Clock, key: Key) -> None:
    """From the moment of asking it may be accepted, from the bound after the answer it must be."""
    clock.now = 110
    with truth.ending(key, bound=1.0) as ending:
        pass
    clock.now = 120
    with truth.resuming(ending, bound=1.0):
        clock.now = 121
    assert judge(truth, key, 200, 119, 119.9) == "accepted 8.000 s too late"
    assert judge(truth, key, 200, 119, 120) == ""
    assert judge(truth, key, 401, 122.0) == ""
    assert judge(truth, key, 401, 122.001) == "refused while live"


def test_jwt_older_than_a_resumption_may_stay_dead(truth: Truth, clock: Clock, key: Key) -> None:
    """A suspension kills JWTs for good; a JWT made after the resumption must live."""
    clock.now = 110
    with truth.ending(key, bound=1.0) as ending:
        pass
    with truth.resuming(ending, bound=1.0):
        clock.now = 121
    old, new = truth.jwt(key, asked=100, received=101), truth.jwt(key, asked=123, received=124)
    assert judge(truth, old, 401, 130) == judge(truth, old, 200, 130) == judge(truth, new, 200, 130) == ""
    assert judge(truth, new, 401, 130) == "refused while live"


def test_signing_out_ends_older_jwts_and_spares_the_key(truth: Truth, clock: Clock, key: Key) -> None:
    """After "sign out all" the key gives new JWTs, the old ones are dead, and those made meanwhile are in doubt."""
    end(truth, clock, key.owner, asked=110, answered=111, of_jwts=True)
    old, meanwhile, new = (truth.jwt(key, asked=at, received=at + 0.5) for at in (109.0, 110.2, 113.1))
    assert judge(truth, old, 200, 113) == "accepted 1.000 s too late"
    assert judge(truth, meanwhile, 200, 113) == judge(truth, meanwhile, 401, 113) == ""
    assert judge(truth, key, 401, 120) == judge(truth, new, 401, 120) == "refused while live"


def test_jwts_and_keys_expire(truth: Truth, key: Key) -> None:
    """Expiry needs nobody to ask for it; a second either way is doubt, because only whole ones are kept."""
    jwt = truth.jwt(key, asked=100, received=101, expires_at=200)
    truth.expires(key, 300)
    assert judge(truth, jwt, 401, 198.9) == judge(truth, key, 401, 298.9) == "refused while live"
    assert judge(truth, jwt, 200, 201) == judge(truth, jwt, 401, 199) == ""
    assert judge(truth, jwt, 200, 201.5) == judge(truth, key, 200, 301.5) == "accepted 0.500 s too late"


@pytest.mark.parametrize("status", [500, 502, 504, 404, 204, 302, 400, 429])
def test_answers_that_no_live_key_may_get(truth: Truth, key: Key, status: int) -> None:
    """A fault of ours, or an answer about something else, is wrong whatever became of the key."""
    assert judge(truth, key, status, 100) == f"status {status}"


@pytest.mark.parametrize("retry_after", ["", "0", "-1", "1.5", "soon", "²"])
def test_503_must_say_when_to_come_back(truth: Truth, key: Key, retry_after: str) -> None:
    """Retry-After is a whole second or more."""
    answer = Answer(key, "verify", 503, 100, 101, {"retry-after": retry_after})
    assert truth.judge(answer) == "503 without a Retry-After of a second or more"
    assert judge(truth, key, 503, 100) == ""


def test_503_needs_a_fault_where_that_is_asked(clock: Clock) -> None:
    """A service that is always unavailable makes no mistake; so an outage must have a cause, just now."""
    truth = Truth(outages_need_a_cause=True, clock=clock)
    key = truth.key("k3v9x0q2m7ab", truth.owner("zoë"))
    clock.now = 110
    with truth.fault("Redis is stopped"):
        assert judge(truth, key, 503, 115) == ""
        clock.now = 120
    assert judge(truth, key, 503, 124.9, 128) == ""
    assert judge(truth, key, 503, 109, 109.9) == judge(truth, key, 503, 125.1) == "503 without a fault"
    assert judge(truth, Stranger.UNKNOWN, 503, 200) == ""
    assert truth.excused == {"Redis is stopped": 2, "no fault": 2}


def test_strangers_are_never_accepted(truth: Truth) -> None:
    """Forged and malformed keys get 401, always; well stamped unknown ones may also be told to wait."""
    assert judge(truth, Stranger.FORGED, 401, 100) == judge(truth, Stranger.UNKNOWN, 401, 100) == ""
    assert judge(truth, Stranger.FORGED, 200, 100) == "forged key accepted"
    assert judge(truth, Stranger.UNKNOWN, 200, 100) == "unknown key accepted"
    assert judge(truth, Stranger.FORGED, 503, 100) == "503 for a forged key"
    assert judge(truth, Stranger.FORGED, 429, 100) == "status 429"
    assert judge(truth, Stranger.UNKNOWN, 503, 100) == judge(truth, Stranger.UNKNOWN, 429, 100) == ""


@pytest.mark.parametrize("name", NAMES)
def test_acceptance_must_name_the_right_key_and_owner(truth: Truth, key: Key, name: str) -> None:
    """A 200 at a gateway's door that names somebody else, or nobody, is the worst of answers."""
    for value in ("somebody", ""):
        assert name in truth.judge(Answer(key, "verify", 200, 100, 101, NAMES | {name: value}))


def test_jwt_handed_out_must_be_the_keys_own(truth: Truth, key: Key) -> None:
    """Two callers at once must not get each other's JWT."""
    assert truth.judge(Answer(key, "token", 200, 100, 101, jwt=made_of("k3v9x0q2m7ab", "u1"))) == ""
    assert "client_id" in truth.judge(Answer(key, "token", 200, 100, 101, jwt=made_of("another", "u1")))
    assert "sub" in truth.judge(Answer(key, "token", 200, 100, 101, jwt=made_of("k3v9x0q2m7ab", "u2")))
    assert "client_id" in truth.judge(Answer(key, "token", 200, 100, 101, jwt="no.jwt"))


def test_refusals_of_other_doors(truth: Truth, key: Key) -> None:
    """A token exchange refuses with 400, an introspection with `active: false`."""
    assert judge(truth, key, 400, 100, door="exchange") == "refused while live"
    assert truth.judge(Answer(key, "introspect", 200, 100, 101, active=False)) == "refused while live"
    assert truth.judge(Answer(key, "introspect", 200, 100, 101, active=True)) == ""
    assert truth.judge(Answer(Stranger.FORGED, "introspect", 200, 100, 101, active=False)) == ""


def test_no_answer_is_counted_and_a_late_one_is_wrong(clock: Clock) -> None:
    """A cut connection is for the caller to judge; a pile-up is not."""
    truth = Truth(patience=5, clock=clock)
    key = truth.key("k3v9x0q2m7ab", truth.owner("zoë"))
    assert judge(truth, key, None, 100, 130) == ""
    assert judge(truth, key, 200, 100, 106) == "took 6.0 s"
    assert truth.counts["verify", "key", None] == 1


def test_many_threads_lose_nothing() -> None:
    """Keys may be ended while others judge."""
    truth = Truth()
    keys = [Key(f"k{n}", Owner("zoë")) for n in range(8)]

    def work(key: Key) -> None:
        for n in range(200):
            truth.judge(Answer(key, "token", 200, float(n), n + 0.5))
        with truth.ending(key, bound=1.0):
            truth.judge(Answer(key, "token", 200, 1e9, 1e9))

    threads = [threading.Thread(target=work, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert truth.counts["token", "key", 200] == 8 * 201
    assert len(truth.wrong) == 8


def test_jwt_of_a_rotated_secret_dies_with_it(truth: Truth, clock: Clock, key: Key) -> None:
    """Two secrets of one key id are two keys here: the end of the old one spares the new one."""
    new = truth.key(key.key_id, key.owner)
    jwts = [Jwt(each, 100, 101) for each in (key, new)]
    end(truth, clock, key, asked=110, answered=111)
    assert [bool(judge(truth, jwt, 200, 113)) for jwt in jwts] == [True, False]


def made_of(client_id: str, sub: str) -> str:
    claims = json.dumps({"client_id": client_id, "sub": sub}).encode()
    return f"e30.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.sig"

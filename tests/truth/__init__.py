"""What is true of every key, owner and JWT at every moment, and the judge of the answers seen meanwhile.

truth = Truth()
key = truth.key(document["key_id"], truth.owner("alice"))
with truth.ending(key, bound=1.0):
    revoke(key.key_id)
truth.judge(Answer(key, "verify", 200, sent, received, headers))
assert not truth.wrong
"""

from truth.answers import Answer
from truth.lives import Jwt, Key, Owner, Stranger
from truth.truth import Truth, Wrong

__all__ = ["Answer", "Jwt", "Key", "Owner", "Stranger", "Truth", "Wrong"]

"""Random lives of keys, step by step, against a model that says of every secret and JWT whether it is good.

run_state_machine_as_test(lambda: KeyLives(open_stand), settings=settings(max_examples=10))
"""

from machine.lives import KeyLives
from machine.stand import MOST_LIVE, Side, Stand

__all__ = ["MOST_LIVE", "KeyLives", "Side", "Stand"]

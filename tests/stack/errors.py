"""The one error of the launchers."""


class StackError(Exception):
    """A server cannot be had or will not run; the message says what to do, on one line."""

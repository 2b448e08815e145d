"""How a command fails: one sentence for the person and an exit code."""

from __future__ import annotations


class Failure(Exception):
    """Raised anywhere under a command; `main` prints the sentence and ends with `code`.

    An empty message means that everything has been said already.
    """

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class ApiFailure(Failure):
    """The engine answered with an error: `status` is HTTP's, the message the engine's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.status = status
        self.reason = message


def unless_missing(err: ApiFailure) -> None:
    """Pass over a 404, raise anything else."""
    if err.status != 404:
        raise err

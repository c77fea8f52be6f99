"""Errors that a person can act on: each names the file or setting, what is wrong with it and what to do."""


class UsageError(Exception):
    """The command cannot run as it was given (exit status 2)."""


class ScanError(Exception):
    """One scan cannot be used; the others go on (exit status 1)."""


def reason_of(error: BaseException) -> str:
    """Return on one line what is wrong: our own message where there is one, else that of the error's first cause."""
    while error.__cause__ is not None and not isinstance(error, (ScanError, UsageError)):
        error = error.__cause__
    message = " ".join(str(error).split()) or type(error).__name__
    return message if isinstance(error, (ScanError, UsageError, ValueError)) else f"{type(error).__name__}: {message}"

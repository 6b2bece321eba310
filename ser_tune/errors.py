"""The errors a user may meet, each with the exit status its command ends with.

A message says what was found, what was expected and what to do, in one line.
"""


class SerTuneError(Exception):
    """Base of every error that a command prints as one line, without a traceback."""

    exit_status = 1


class InputError(SerTuneError):
    """The configuration or the recordings cannot be used as they are."""

    exit_status = 2


class RunError(SerTuneError):
    """The run itself failed: a full disk, failed trials, a lost cluster."""


class AudioError(SerTuneError):
    """One recording cannot be decoded; the message is the reason, without the path."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM arrived; not an Exception, so that no clean-up mistakes it for a failure."""

    def __init__(self, signal_number: int):
        super().__init__(signal_number)
        self.signal_number = signal_number

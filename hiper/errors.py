"""The two exceptions that are no fault of the code: the command line prints them without a traceback."""


class UserError(Exception):
    """A mistake outside the code: says what was wrong, where, and what to do. The command line exits with status 2."""


class Interrupted(Exception):
    """Asked to stop in the middle of the work: what is done is saved, and the same command goes on from there. The
    command line exits with status 75."""

"""The one exception that means "a person can fix this": the command line prints it without a traceback."""


class UserError(Exception):
    """A mistake outside the code: says what was wrong, where, and what to do. The command line exits with status 2."""

"""The one error that a user is meant to read."""


class UserError(Exception):
    """Bad input: the message is one line that names the file, key or setting and says what to do.

    The command line prints it without a traceback and exits with code 2.
    """

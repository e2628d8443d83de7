"""Everything locant refuses, as one family of exceptions with one clear sentence each."""

from collections.abc import Iterable
from difflib import get_close_matches


class LocantError(Exception):
    """Base of every error a user can cause; the command line prints its text and exits with 1."""


class UnknownArchitecture(LocantError):
    """The model's type has no entry in the architecture table."""


class SelfCheckFailed(LocantError):
    """The architecture table does not describe the model it was given."""


class BadQuery(LocantError):
    """A query that cannot be asked of this model, named by its uid."""


class BadFile(LocantError):
    """A file that is missing, unreadable or of the wrong form."""


class UnknownName(LocantError):
    """A name that does not exist, or a setting that does not fit; the text says which ones do."""


class NoNumber(LocantError):
    """A loss, a weight or what a model says is no number: a training or an edit has destroyed the model."""


def nearest(name: str, known: Iterable[str]) -> str:
    """What a message about an unknown name says behind it: the known one that is nearest; empty if none is near."""
    known = list(known)
    swapped = [one for one in known if sorted(one) == sorted(name)]
    found = swapped or get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean {found[0]!r}?)" if found else ""

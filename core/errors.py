"""What can go wrong, said so that a person can act: who, where, what was given, what is allowed.

One base exception and few leaves. The command line prints these on one screen; anything else is a
defect and keeps its traceback (`--debug`).
"""

import difflib
from collections.abc import Iterable


class ContinualCodeError(Exception):
    """Base of every error that a user, an operator or a plugin author can act on."""


class UsageError(ContinualCodeError):
    """Something that was asked for cannot be asked: a bad flag, path, name or combination."""


class ConfigError(UsageError):
    """A configuration key or value is wrong; the message names the source and the nearest key."""


class PluginError(ContinualCodeError):
    """A plugin broke the contract: a bad hook, a name that two plugins claim, an invalid value."""


class ModelUnavailable(ContinualCodeError):
    """A model cannot be had: unknown name, no network, wrong hash, full disk, missing extra."""


class CapabilityMissing(ContinualCodeError):
    """A trainer needs what the chosen policy cannot do; the message names both."""


class UpdateError(ContinualCodeError):
    """An update could not be computed. The weights, the optimiser and the queue stand as before."""


class ReplayError(ContinualCodeError):
    """A log cannot be replayed: a record it needs is missing, unknown, or contradicts another."""


class ContentForgotten(ReplayError):
    """What a record held is needed, and was forgotten on purpose (`cc log forget`)."""


def nearest(given: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence: what is allowed, and the closest match first if there is one.

    >>> nearest("modle", ["model", "trainer"])
    "did you mean 'model'? Allowed: model, trainer"
    >>> nearest("x", ["model", "trainer"])
    'allowed: model, trainer'
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(given, names, n=1)
    hint = f"did you mean {close[0]!r}? Allowed" if close else "allowed"
    return f"{hint}: {', '.join(names) or 'nothing'}"

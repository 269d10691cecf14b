"""What powercut raises, by whose fault it is."""


class PowercutError(Exception):
    """Base of every error that powercut raises on purpose."""


class ProfileError(PowercutError):
    """A profile is unknown or malformed. Nothing was run."""


class TraceError(PowercutError):
    """A trace file is malformed, or names what does not exist. Nothing was run."""


class TreeError(PowercutError):
    """An observed tree is malformed, or contradicts itself. Nothing was run."""


class SubjectError(PowercutError):
    """A subject (the protocol under test) is unknown, or lacks the mode asked for."""


class IllegalCrashError(PowercutError):
    """A crash asks for a loss that the profile forbids; the message names the rule's victim."""


class UnknownEventError(IllegalCrashError):
    """A crash names an event that is not pending at that moment."""


class ConcurrencyError(PowercutError):
    """Two ops of different threads run at the same time and touch the same thing. Nothing moved."""


class CaseError(PowercutError):
    """A file of published cases is malformed. Nothing was run."""


class UndeclaredNeedError(PowercutError):
    """A rule reads what it did not declare that it needs. The fault is the rule's author's."""


class NotModelledError(PowercutError):
    """Something needs what the model does not have; the message names it."""

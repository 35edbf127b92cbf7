"""What can be wrong with a plugin, as this side finds it; becomes a state, or an error of a run."""


class BrokenContract(Exception):
    """A plugin does not do what contract 1 demands; the message names what is broken."""


class NotAnswering(Exception):
    """No answer came; the message says why."""


class NotReached(NotAnswering):
    """Nobody listens at the plugin's socket: nothing was sent."""


class TookTooLong(NotAnswering):
    """The time was over before the whole answer was there."""


class Closed(NotAnswering):
    """This process is ending."""

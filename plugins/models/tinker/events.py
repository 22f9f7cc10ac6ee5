"""What the log says of weights that are kept on a server."""

from continualcode.eventlog import Record


class CheckpointSaved(Record, frozen=True, kw_only=True, tag="tinker.checkpoint_saved"):
    """The weights of that digest, with the optimiser's state, are kept on the server at `path`.

    The digest is ours: of what the weights were made from. The path is the server's, and may have gone when
    it is needed; what it holds is then made again from the log.
    """

    weights: str
    path: str

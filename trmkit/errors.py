"""The error tree. Every error is written for the person who can act on it and says what to do next."""


class TrmError(Exception):
    """Base of every error this project raises on purpose; `next` is what the reader can do about it."""

    exit_code = 1

    def __init__(self, message: str, *, next: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next = next

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.next}" if self.next else self.message


class SpecError(TrmError):
    """A run file, or a `--set`, that cannot be used."""

    exit_code = 2


class DataError(TrmError):
    """Source data, or a built data set, that cannot be used."""


class StoreError(TrmError):
    """A place where runs live that cannot be read or written."""


class StoreUnavailableError(StoreError):
    """A place that does not answer now, and may later: asking again makes sense."""


class StoreConflictError(StoreError):
    """A conditional write that another writer was faster at."""


class StoreDamagedError(StoreError):
    """Something in a store that is incomplete, or is not what its manifest says."""


class CheckpointError(TrmError):
    """A checkpoint that is incomplete, damaged, or belongs to another model."""


class TrainError(TrmError):
    """Training that cannot go on: a loss that is not finite, or a model that does not fit its data."""


class ClusterError(TrmError):
    """Something with a cluster went wrong."""

    exit_code = 3


class ClusterUnreachableError(ClusterError):
    """The cluster does not answer, or there is no configuration that says where it is."""


class ClusterNotConfiguredError(ClusterUnreachableError):
    """Nothing on this machine says where a cluster is, or what talks to one is not installed."""


class ClusterForbiddenError(ClusterError):
    """This user may not do that in the cluster."""


class ClusterRefusedError(ClusterError):
    """The cluster does not take an object: it is not valid there, or an admission rule is against it."""

    exit_code = 2


class ClusterConflictError(ClusterError):
    """The name is taken, or somebody else changed the object first."""

    exit_code = 2


class ClusterMissingError(ClusterError):
    """There is no such object."""

    exit_code = 4


class ClusterNotReadyError(ClusterError):
    """The container has not started, so it says nothing yet."""


class TimedOutError(TrmError):
    """Something was waited for and did not happen in time."""

    exit_code = 5

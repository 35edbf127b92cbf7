"""The operator's errors. Foreign errors become one of these at the edge that met them.

OperatorError
├── ClusterError               the API server said no, or nothing
│   ├── TransientError         retried by the queue with backoff: 429, 5xx, timeouts, lost connections
│   ├── ConflictError          409: somebody else was faster; observe again
│   ├── NamespaceEndingError   403 because the namespace is being deleted: nothing is left to do
│   └── RefusedError           400, 403, 422: the same request will be refused again
├── RuntimeUnreachableError    a pod's management port did not answer usefully
├── ManifestError              an object is stored whose content the schema should have refused
└── OwnKeyError                the operator's own key cannot be had: nothing can be done without
"""


class OperatorError(Exception):
    """Root of the tree; `reason` is CamelCase and goes into metrics."""

    reason = "OperatorError"


class ClusterError(OperatorError):
    """The API server answered with an error."""

    reason = "ClusterError"

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class TransientError(ClusterError):
    """Worth trying again unchanged."""

    reason = "Transient"


class ConflictError(ClusterError):
    """The object changed, or a precondition (uid) failed."""

    reason = "Conflict"


class NamespaceEndingError(ClusterError):
    """Nothing can be created any more, and what is there goes by itself."""

    reason = "NamespaceEnding"


class RefusedError(ClusterError):
    """The API server refuses this content; its message says why."""

    reason = "Refused"


class RuntimeUnreachableError(OperatorError):
    """No usable answer from a pod's management port."""

    reason = "RuntimeUnreachable"


class ManifestError(OperatorError):
    """A stored object does not fit its model; the message names field, value and what is allowed."""

    reason = "InvalidSpec"


class OwnKeyError(OperatorError):
    """The message names the Secret or file of the operator's key, and what is wrong there."""

    reason = "OwnKey"

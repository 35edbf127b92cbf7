"""Every reason that the operator gives, and what it means.

Besides these, a reason can be the cluster's own word for what is wrong with a pod (ImagePullBackOff,
Unschedulable, FailedMount, ...), with the cluster's own message.
"""

from enum import StrEnum


class Reason(StrEnum):
    """One word for programs; the condition's message has the sentence for people."""

    # --- any kind
    #: An abnormal-true condition (Reconciling, Stalled) that does not hold.
    AS_EXPECTED = "AsExpected"
    #: The stored object breaks a rule that the schema could not check; the message names field and value.
    INVALID_SPEC = "InvalidSpec"
    #: A child's name is taken by an object that belongs to somebody else.
    NAME_TAKEN = "NameTaken"
    #: The API server refused a child; its own words are the message. Tried again now and then.
    CHILD_REJECTED = "ChildRejected"
    #: A child of an earlier object of the same name is still being removed.
    WAITING_FOR_DELETION = "WaitingForDeletion"
    #: Work on the object failed several times in a row, for a reason nobody foresaw or that may pass.
    RECONCILE_ERROR = "ReconcileError"

    # --- ModelBundle
    #: Every file is on the volume and verified.
    FILES_VERIFIED = "FilesVerified"
    #: At least one file is being fetched or waits for its Job.
    FETCHING = "Fetching"
    #: At least one file cannot be had as asked for; the message has the fetcher's reason and sentence.
    FETCH_FAILED = "FetchFailed"
    #: Two files of the bundle want the same place on the volume.
    PATH_CONFLICT = "PathConflict"
    #: The volume claim was lost: its volume is gone.
    VOLUME_LOST = "VolumeLost"

    # --- SDInstance
    #: Every replica holds the desired checkpoint and answers.
    CHECKPOINT_LOADED = "CheckpointLoaded"
    #: spec.replicas is 0 and no pod is left: healthy, but nothing is served.
    SCALED_TO_ZERO = "ScaledToZero"
    #: A ModelBundle in spec.models does not exist (yet).
    BUNDLE_NOT_FOUND = "BundleNotFound"
    #: The checkpoint, or a volume of spec.models, is not usable yet; the bundle's own status says why.
    BUNDLE_NOT_READY = "BundleNotReady"
    #: The bundle has no file of the name in spec.checkpoint.file.
    FILE_NOT_FOUND = "FileNotFound"
    #: All pods serve the checkpoint, and older ones are still being replaced or removed.
    ROLLING_OUT = "RollingOut"
    #: Not all pods serve the checkpoint yet: they start, load it, or become ready.
    LOADING = "Loading"
    #: The runtime could not load the checkpoint; its own sentence is the message.
    LOAD_FAILED = "LoadFailed"
    #: A pod reports another checkpoint than the desired one.
    WRONG_CHECKPOINT = "WrongCheckpoint"
    #: spec.gpu.backend asks for a GPU and the runtime computes on the CPU.
    GPU_NOT_USED = "GPUNotUsed"
    #: The Secret of spec.access.authSecretRef lacks what the runtime needs to let anybody in.
    CREDENTIALS_MISSING = "CredentialsMissing"
    #: A pod's management port does not answer the operator.
    RUNTIME_UNREACHABLE = "RuntimeUnreachable"

"""Every reason that the operator gives, what it means, and what to do about it.

Besides these, a reason can be the cluster's own word for what is wrong with a pod (ImagePullBackOff,
Unschedulable, FailedMount, ...), with the cluster's own message. docs/conditions.md is made of them.
"""

from enum import StrEnum
from typing import Self

#: Where to look; NAME is the object's.
_ANY = "kubectl get sd -o wide"
_OPERATOR_LOG = "kubectl logs -n sd-operator -l app.kubernetes.io/component=operator --tail=200"
_BUNDLE = "kubectl describe sdmb NAME"
_FILES = "kubectl get sdmb NAME -o jsonpath='{.status.files}'"
_FETCH_PODS = "kubectl describe jobs,pods -l sdoperator.dev/bundle=NAME"
_FETCH_LOG = "kubectl logs -l sdoperator.dev/bundle=NAME --prefix"
_CLAIMS = "kubectl describe pvc -l sdoperator.dev/bundle=NAME"
_ANY_CLAIM = "kubectl get pvc"
_USERS = "kubectl get sdmb NAME -o jsonpath='{.status.usedBy}'"
_INSTANCE = "kubectl describe sdi NAME"
_BUNDLES = "kubectl get sdmb -o wide"
_PODS = "kubectl get pods -l sdoperator.dev/instance=NAME -o wide"
_RUNTIME_LOG = "kubectl logs -l sdoperator.dev/instance=NAME -c runtime --prefix"
_PLUGINS = "kubectl get sdp --all-namespaces"
_PLUGIN_STATE = "kubectl get sdi NAME -o jsonpath='{.status.plugins}'"


class Reason(StrEnum):
    """One word for programs; the condition's message has the sentence for people."""

    meaning: str
    action: str
    look: str

    def __new__(cls, word: str, meaning: str, action: str, look: str) -> Self:
        """The word with its explanation."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.action = action
        member.look = look
        return member

    # --- any kind
    AS_EXPECTED = (
        "AsExpected",
        "The abnormal condition (Reconciling, Stalled) does not hold.",
        "Nothing.",
        _ANY,
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "The stored object breaks a rule that the schema could not check.",
        "Change the field that the message names.",
        _ANY,
    )
    NAME_TAKEN = (
        "NameTaken",
        "A child's name is taken by an object that belongs to somebody else. It is not touched.",
        "Rename one of the two, or remove the other object.",
        _ANY,
    )
    CHILD_REJECTED = (
        "ChildRejected",
        "The API server refused a child; its own words are the message. Tried again now and then.",
        "Change the field that the message names, or what refuses it: a quota, a policy, a missing class.",
        _ANY,
    )
    WAITING_FOR_DELETION = (
        "WaitingForDeletion",
        "A child of an earlier object of the same name is still being removed.",
        "Wait; if it stays, look at its finalizers and at who uses it.",
        _ANY,
    )
    RECONCILE_ERROR = (
        "ReconcileError",
        "Work on the object failed several times in a row, for a reason nobody foresaw or that may pass.",
        "Read the operator's log for this object; the work is tried again by itself.",
        _OPERATOR_LOG,
    )

    # --- ModelBundle
    FILES_VERIFIED = (
        "FilesVerified",
        "Every file is on the volume and verified.",
        "Nothing.",
        _BUNDLE,
    )
    FETCHING = (
        "Fetching",
        "At least one file is being fetched or waits for its Job.",
        "Wait; status.files tells which.",
        _FILES,
    )
    FETCH_FAILED = (
        "FetchFailed",
        "At least one file cannot be had as asked for; the message has the fetcher's reason and sentence.",
        "Change the source, its credentials or the digest, as the message says.",
        _FILES,
    )
    QUEUED = (
        "Queued",
        "The file waits for its turn: no more are fetched at a time than spec.fetch.parallelism says.",
        "Nothing.",
        _FILES,
    )
    RETRYING = (
        "Retrying",
        "An attempt failed for a reason that may pass; the message has it. The next goes on where it ended.",
        "Wait; what was downloaded is kept.",
        _FETCH_LOG,
    )
    CLAIM_NOT_FOUND = (
        "ClaimNotFound",
        "The claim of spec.storage.existingClaim does not exist (yet).",
        "Make it.",
        _ANY_CLAIM,
    )
    IN_USE = (
        "InUse",
        "The bundle is deleted with its volume, and SDInstances still use it.",
        "Delete them, or take the bundle out of their spec.models. To let the bundle go and keep the volume, "
        "set spec.storage.reclaimPolicy to Retain.",
        _USERS,
    )
    UNSAFE_FORMATS = (
        "UnsafeFormats",
        "Of the condition FormatsSafe: the format policy lets in files that run code when they are loaded.",
        "Set spec.formatPolicy to SafetensorsOnly or ScanPickle.",
        _BUNDLE,
    )
    PATH_CONFLICT = (
        "PathConflict",
        "Two files want the same place: of one bundle, of two bundles on one volume or in one instance, or "
        "something lies there that no bundle fetched.",
        "Give one of them another fileName, or remove what is in the way.",
        _FILES,
    )
    VOLUME_LOST = (
        "VolumeLost",
        "The volume claim was lost: its volume is gone.",
        "Delete the claim to start with a new one.",
        _CLAIMS,
    )

    # --- ModelBundle, of one file
    CREDENTIAL_INVALID = (
        "CredentialInvalid",
        "A Secret of spec.credentialSecrets does not say which host it is for, or holds no credential that "
        "is known.",
        "Give the Secret the keys that the message names; it is looked at again by itself.",
        _FILES,
    )
    UNAUTHORIZED = (
        "Unauthorized",
        "The source asks for credentials, or does not accept those that it was sent.",
        "Add a Secret for its host to spec.credentialSecrets, or mend it; it is tried again by itself.",
        _FILES,
    )
    FORBIDDEN = (
        "Forbidden",
        "The source knows who asks and refuses the file: gated, or not allowed.",
        "Accept the terms there, or use another token; it is tried again by itself.",
        _FILES,
    )
    NOT_FOUND = (
        "NotFound",
        "The source has no such file.",
        "Correct the address, repository, revision, version or key.",
        _FILES,
    )
    SOURCE_REFUSED = (
        "SourceRefused",
        "The source answered what no retry changes, such as a redirect that must not be followed.",
        "Correct the source as the message says.",
        _FILES,
    )
    RATE_LIMITED = (
        "RateLimited",
        "The source allows no more requests for now.",
        "Wait.",
        _FILES,
    )
    SERVER_ERROR = (
        "ServerError",
        "The source failed, or did not keep to HTTP.",
        "Wait; look at the source.",
        _FILES,
    )
    CONNECTION_FAILED = (
        "ConnectionFailed",
        "The source could not be reached, or the connection was lost.",
        "Wait; look at the network, spec.fetch.proxy and NetworkPolicies.",
        _FILES,
    )
    TIMEOUT = (
        "Timeout",
        "The source was silent, or much too slow.",
        "Wait; look at the source.",
        _FILES,
    )
    TLS = (
        "TLS",
        "The source's certificate is not trusted, is for another name, or has expired.",
        "Name the authority in spec.fetch.caBundle, or mend the certificate; it is tried again by itself.",
        _FILES,
    )
    DNS = (
        "DNS",
        "The source's host name is not known.",
        "Correct the name, or look at the cluster's DNS; it is tried again by itself.",
        _FILES,
    )
    ADDRESS_REFUSED = (
        "AddressRefused",
        "The source, or where it redirects to, is an address inside the cluster or of the node, which files "
        "are not fetched from.",
        "Use another source, or allow the network in the operator's settings.",
        _FILES,
    )
    TRUNCATED = (
        "Truncated",
        "The source ended the file before its end.",
        "Wait; look at the source.",
        _FILES,
    )
    FORMAT_REFUSED = (
        "FormatRefused",
        "The bytes are no safetensors file, or one that contradicts itself.",
        "Correct the source; for a pickle see spec.formatPolicy.",
        _FILES,
    )
    PICKLE_UNSAFE = (
        "PickleUnsafe",
        "The pickle holds more than tensors: what it would run is in the message.",
        "Do not use the file; look for it as safetensors.",
        _FILES,
    )
    TYPE_MISMATCH = (
        "TypeMismatch",
        "By its header the file is of another type than the spec says.",
        "Correct the file's type, or its source.",
        _FILES,
    )
    FAMILY_MISMATCH = (
        "FamilyMismatch",
        "By its header the file is for another architecture than the spec says.",
        "Correct the file's family, or its source.",
        _FILES,
    )
    HASH_MISMATCH = (
        "HashMismatch",
        "The file is whole and is not the one that sha256 names.",
        "Correct sha256, or the source.",
        _FILES,
    )
    NO_SPACE = (
        "NoSpace",
        "The volume is too small for what is still to come.",
        "Raise spec.storage.size, or take files out of the spec.",
        _CLAIMS,
    )
    VOLUME_ERROR = (
        "VolumeError",
        "The volume or its manifest cannot be read or written.",
        "Look at the volume's permissions and at whether it is read-only; it is tried again by itself.",
        _FETCH_LOG,
    )
    VOLUME_UNREACHABLE = (
        "VolumeUnreachable",
        "The storage does not answer.",
        "Wait; look at the storage.",
        _FETCH_PODS,
    )
    INTERRUPTED = (
        "Interrupted",
        "The fetch pod was told to stop; what it downloaded is kept.",
        "Nothing.",
        _FETCH_LOG,
    )
    INVALID_REQUEST = (
        "InvalidRequest",
        "The fetcher cannot do what it was asked: a name that only the source knows cannot be used, an "
        "address has a form that none can have, or operator and fetcher are of different versions.",
        "Do what the message says, such as setting fileName.",
        _FILES,
    )
    OOM_KILLED = (
        "OOMKilled",
        "The fetch pod needed more memory than it may use.",
        "Raise spec.fetch.resources.limits.memory.",
        _FETCH_PODS,
    )
    EVICTED = (
        "Evicted",
        "The node put the fetch pod out.",
        "Wait; raise spec.fetch.resources if it stays so.",
        _FETCH_PODS,
    )
    LOST = (
        "Lost",
        "A verified file is no longer on the volume.",
        "Nothing: it is fetched again.",
        _FILES,
    )
    ALTERED = (
        "Altered",
        "The bytes of a verified file are no longer those that were verified.",
        "Find out who writes to the volume; it is fetched again.",
        _FILES,
    )
    VERDICT_LOST = (
        "VerdictLost",
        "A fetch pod that succeeded is gone before it could be read.",
        "Nothing: what is on the volume is verified again.",
        _FILES,
    )
    JOB_REPLACED = (
        "JobReplaced",
        "A Job that waits or failed is made anew, as the spec or the operator's settings are others now.",
        "Nothing.",
        _FILES,
    )
    VOLUME_REPLACED = (
        "VolumeReplaced",
        "The claim is another than the one that the file was fetched to.",
        "Nothing: it is fetched again.",
        _FILES,
    )
    JOB_FAILED = (
        "JobFailed",
        "The Job failed and nothing says why.",
        "Look at the Job and its pods.",
        _FETCH_PODS,
    )
    NO_VERDICT = (
        "NoVerdict",
        "The fetch pod ended without saying why.",
        "Look at its log.",
        _FETCH_LOG,
    )

    # --- SDInstance
    CHECKPOINT_LOADED = (
        "CheckpointLoaded",
        "At least one replica serves this generation: the checkpoint is in memory by digest, a warm-up "
        "picture was made, the bundles' other files are there, users can log in, the Service sends to it.",
        "Nothing.",
        _INSTANCE,
    )
    SCALED_TO_ZERO = (
        "ScaledToZero",
        "spec.replicas is 0 and no pod is left: healthy, but nothing is served.",
        "Nothing, or scale up.",
        _INSTANCE,
    )
    SUSPENDED = (
        "Suspended",
        "spec.suspend is true: children stay as they are. Ready while the pods serve what they were made "
        "for and the spec asks for nothing else; Stalled when edits wait, or when nothing is served.",
        "Set spec.suspend to false.",
        _INSTANCE,
    )
    BUNDLE_NOT_FOUND = (
        "BundleNotFound",
        "A ModelBundle in spec.models, or one that a plugin needs, does not exist (yet).",
        "Create it, or correct spec.models; for a plugin, create it in the SDInstance's namespace.",
        _BUNDLES,
    )
    PLUGIN_NOT_FOUND = (
        "PluginNotFound",
        "An SDPlugin in spec.plugins does not exist (yet) where its scope says, or cannot be read. Pods go "
        "on with the plugins they have.",
        "Create it, or correct name and scope in spec.plugins.",
        _PLUGINS,
    )
    PLUGIN_NOT_READY = (
        "PluginNotReady",
        "A plugin does not answer in a pod, or not as the contract asks, with its reason and sentence in the "
        "message. Requests that need none of its modules are served. Of an SDPlugin: so it is in an "
        "SDInstance that uses it.",
        "Look at the log of the plugin's container, and at the SDPlugin's spec.image.",
        _PLUGIN_STATE,
    )
    BUNDLE_NOT_READY = (
        "BundleNotReady",
        "The checkpoint, or a volume of spec.models or of a plugin, is not usable yet; the bundle's own "
        "status says why.",
        "Wait, or look at the ModelBundle.",
        _BUNDLES,
    )
    FILE_NOT_FOUND = (
        "FileNotFound",
        "The bundle has no file of the name in spec.checkpoint.file.",
        "Correct the name, or add the file to the bundle.",
        _BUNDLES,
    )
    NO_GPU_FITS = (
        "NoGPUFits",
        "No GPU of the operator's profile table has the memory that is needed.",
        "Lower spec.gpu.memory, choose a smaller checkpoint, or add a profile to the operator's settings.",
        _INSTANCE,
    )
    ROLLING_OUT = (
        "RollingOut",
        "Pods of an earlier generation are still being replaced or removed.",
        "Wait.",
        _PODS,
    )
    LOADING = (
        "Loading",
        "Not all pods serve the checkpoint yet: they start, load it, or become ready.",
        "Wait; the runtime's log tells how far it is.",
        _RUNTIME_LOG,
    )
    LOAD_FAILED = (
        "LoadFailed",
        "The runtime could not load the checkpoint, or its warm-up picture failed; its own sentence is the "
        "message. Pods that served before go on serving.",
        "Change spec.checkpoint, spec.image or spec.resources, as the message says.",
        _RUNTIME_LOG,
    )
    WRONG_CHECKPOINT = (
        "WrongCheckpoint",
        "A pod reports another checkpoint than the desired one.",
        "Wait; if it stays, the file on the volume is not the verified one.",
        _INSTANCE,
    )
    OPTION_REFUSED = (
        "OptionRefused",
        "The runtime does not serve an option of spec.options, or not with this value; the others apply.",
        "Change or remove the option that the message names.",
        _INSTANCE,
    )
    FILES_MISSING = (
        "FilesMissing",
        "A verified file of the bundles is not on the volume that a pod mounts, or is another one there.",
        "Annotate the ModelBundle with sdoperator.dev/verify: what is lost or altered is fetched again.",
        _BUNDLES,
    )
    GPU_NOT_USED = (
        "GPUNotUsed",
        "spec.gpu asks for a GPU and the runtime computes on the CPU.",
        "Use an image with CUDA on a node with a driver, or set spec.gpu.backend to None.",
        _RUNTIME_LOG,
    )
    CREDENTIALS_MISSING = (
        "CredentialsMissing",
        "The Secret of spec.access.authSecretRef lacks what the runtime needs to let anybody in.",
        "Put username and password into the Secret.",
        _INSTANCE,
    )
    RUNTIME_UNREACHABLE = (
        "RuntimeUnreachable",
        "A pod's management port does not answer the operator.",
        "Look at the pod, and at NetworkPolicies between it and the operator.",
        _PODS,
    )

    # --- SDPlugin
    PLUGIN_ANSWERS = (
        "PluginAnswers",
        "It answers in all pods of every SDInstance that uses it.",
        "Nothing.",
        _PLUGINS,
    )
    NOT_USED = (
        "NotUsed",
        "No SDInstance with pods uses the plugin; it is there to be named in spec.plugins.",
        "Nothing.",
        _PLUGINS,
    )

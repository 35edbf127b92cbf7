"""Every reason that the operator gives, what it means, and what to do about it.

Besides these, a reason can be the cluster's own word for what is wrong with a pod (ImagePullBackOff,
Unschedulable, FailedMount, ...), with the cluster's own message. `python -m sd_operator.api.reasons` prints
docs/conditions.md.
"""

import sys
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """One word for programs; the condition's message has the sentence for people."""

    meaning: str
    action: str

    def __new__(cls, word: str, meaning: str, action: str) -> Self:
        """The word with its explanation."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning = meaning
        member.action = action
        return member

    # --- any kind
    AS_EXPECTED = (
        "AsExpected",
        "The abnormal condition (Reconciling, Stalled) does not hold.",
        "Nothing.",
    )
    INVALID_SPEC = (
        "InvalidSpec",
        "The stored object breaks a rule that the schema could not check.",
        "Change the field that the message names.",
    )
    NAME_TAKEN = (
        "NameTaken",
        "A child's name is taken by an object that belongs to somebody else. It is not touched.",
        "Rename one of the two, or remove the other object.",
    )
    CHILD_REJECTED = (
        "ChildRejected",
        "The API server refused a child; its own words are the message. Tried again now and then.",
        "Change the field that the message names, or what refuses it: a quota, a policy, a missing class.",
    )
    WAITING_FOR_DELETION = (
        "WaitingForDeletion",
        "A child of an earlier object of the same name is still being removed.",
        "Wait; if it stays, look at its finalizers and at who uses it.",
    )
    RECONCILE_ERROR = (
        "ReconcileError",
        "Work on the object failed several times in a row, for a reason nobody foresaw or that may pass.",
        "Read the operator's log for this object; the work is tried again by itself.",
    )

    # --- ModelBundle
    FILES_VERIFIED = ("FilesVerified", "Every file is on the volume and verified.", "Nothing.")
    FETCHING = (
        "Fetching",
        "At least one file is being fetched or waits for its Job.",
        "Wait; status.files tells which.",
    )
    FETCH_FAILED = (
        "FetchFailed",
        "At least one file cannot be had as asked for; the message has the fetcher's reason and sentence.",
        "Change the source, its credentials or the digest, as the message says.",
    )
    PATH_CONFLICT = (
        "PathConflict",
        "Two files want the same place: of one bundle on its volume, or of two bundles of one instance.",
        "Give one of them another fileName.",
    )
    VOLUME_LOST = (
        "VolumeLost",
        "The volume claim was lost: its volume is gone.",
        "Delete the claim to start with a new one.",
    )

    # --- SDInstance
    CHECKPOINT_LOADED = (
        "CheckpointLoaded",
        "At least one replica serves this generation: the checkpoint is in memory by digest, a warm-up "
        "picture was made, the bundles' other files are there, users can log in, the Service sends to it.",
        "Nothing.",
    )
    SCALED_TO_ZERO = (
        "ScaledToZero",
        "spec.replicas is 0 and no pod is left: healthy, but nothing is served.",
        "Nothing, or scale up.",
    )
    SUSPENDED = (
        "Suspended",
        "spec.suspend is true: children stay as they are. Ready while the pods serve what they were made "
        "for and the spec asks for nothing else; Stalled when edits wait, or when nothing is served.",
        "Set spec.suspend to false.",
    )
    BUNDLE_NOT_FOUND = (
        "BundleNotFound",
        "A ModelBundle in spec.models does not exist (yet).",
        "Create it, or correct spec.models.",
    )
    BUNDLE_NOT_READY = (
        "BundleNotReady",
        "The checkpoint, or a volume of spec.models, is not usable yet; the bundle's own status says why.",
        "Wait, or look at the ModelBundle.",
    )
    FILE_NOT_FOUND = (
        "FileNotFound",
        "The bundle has no file of the name in spec.checkpoint.file.",
        "Correct the name, or add the file to the bundle.",
    )
    NO_GPU_FITS = (
        "NoGPUFits",
        "No GPU of the operator's profile table has the memory that is needed.",
        "Lower spec.gpu.memory, choose a smaller checkpoint, or add a profile to the operator's settings.",
    )
    ROLLING_OUT = (
        "RollingOut",
        "Pods of an earlier generation are still being replaced or removed.",
        "Wait.",
    )
    LOADING = (
        "Loading",
        "Not all pods serve the checkpoint yet: they start, load it, or become ready.",
        "Wait; the runtime's log tells how far it is.",
    )
    LOAD_FAILED = (
        "LoadFailed",
        "The runtime could not load the checkpoint, or its warm-up picture failed; its own sentence is the "
        "message. Pods that served before go on serving.",
        "Change spec.checkpoint, spec.image or spec.resources, as the message says.",
    )
    WRONG_CHECKPOINT = (
        "WrongCheckpoint",
        "A pod reports another checkpoint than the desired one.",
        "Wait; if it stays, the file on the volume is not the verified one.",
    )
    OPTION_REFUSED = (
        "OptionRefused",
        "The runtime does not serve an option of spec.options, or not with this value; the others apply.",
        "Change or remove the option that the message names.",
    )
    FILES_MISSING = (
        "FilesMissing",
        "A verified file of the bundles is not on the volume that a pod mounts, or is another one there.",
        "Look at the ModelBundle; a file that was removed by hand is fetched again when its Job is deleted.",
    )
    GPU_NOT_USED = (
        "GPUNotUsed",
        "spec.gpu asks for a GPU and the runtime computes on the CPU.",
        "Use an image with CUDA on a node with a driver, or set spec.gpu.backend to None.",
    )
    CREDENTIALS_MISSING = (
        "CredentialsMissing",
        "The Secret of spec.access.authSecretRef lacks what the runtime needs to let anybody in.",
        "Put username and password into the Secret.",
    )
    RUNTIME_UNREACHABLE = (
        "RuntimeUnreachable",
        "A pod's management port does not answer the operator.",
        "Look at the pod, and at NetworkPolicies between it and the operator.",
    )


def document() -> str:
    """docs/conditions.md."""
    lines = [
        "# Conditions and their reasons",
        "",
        "Generated from `operator/sd_operator/api/reasons.py` (`make docs`).",
        "",
        "Every SDInstance and ModelBundle has three conditions, each with the generation it is about:",
        "",
        "- `Ready` is True when the object does what its spec of the observed generation asks for. An",
        "  SDInstance is ready as soon as one replica serves this generation with everything it needs.",
        "- `Reconciling` is True while the operator or the cluster works towards that, or waits for what may",
        "  come by itself. It can hold beside `Ready`: a service that answers while more replicas start.",
        "- `Stalled` is True when nothing will change until a person changes something, which the",
        "  message tells.",
        "",
        "kstatus (Flux, Helm 4) reads them as Current, InProgress and Failed.",
        "",
        "Besides the reasons below, a condition can carry the cluster's own word for what is wrong with",
        "a pod (`ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, `FailedMount`, …) with the",
        "cluster's own message, behind the field of the spec that it is about.",
        "",
        "| reason | what it means | what to do |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{reason.value}` | {reason.meaning} | {reason.action} |" for reason in Reason]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document())

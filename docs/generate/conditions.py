"""docs/conditions.md: what each reason of a condition means, what to do, and which command to look with."""

from sd_operator.api.reasons import Reason

_COLUMNS = "| reason | what it means | what to do | look with |"
#: Titles of the page, each with the reason that it begins with.
_SECTIONS = (
    ("Of any kind", Reason.AS_EXPECTED),
    ("ModelBundle", Reason.FILES_VERIFIED),
    ("A file of a ModelBundle", Reason.CREDENTIAL_INVALID),
    ("SDInstance", Reason.CHECKPOINT_LOADED),
    ("SDPlugin", Reason.PLUGIN_ANSWERS),
)


def document() -> str:
    """docs/conditions.md."""
    lines = [
        "# Conditions and their reasons",
        "",
        "Generated from `operator/sd_operator/api/reasons.py` (`make docs`).",
        "",
        "Every SDInstance, ModelBundle and SDPlugin has three conditions, each with the generation it is",
        "about:",
        "",
        "- `Ready` is True when the object does what its spec of the observed generation asks for. An",
        "  SDInstance is ready as soon as one replica serves this generation with everything it needs, its",
        "  plugins among it.",
        "- `Reconciling` is True while the operator or the cluster works towards that, or waits for what may",
        "  come by itself. It can hold beside `Ready`: a service that answers while more replicas start.",
        "- `Stalled` is True when nothing will change until a person changes something, which the",
        "  message tells.",
        "",
        "A ModelBundle also has `FormatsSafe`, False while spec.formatPolicy is Unsafe.",
        "",
        "kstatus (Flux, Helm 4) reads them as Current, InProgress and Failed.",
        "",
        "Besides the reasons below, a condition can carry the cluster's own word for what is wrong with",
        "a pod (`ImagePullBackOff`, `CrashLoopBackOff`, `Unschedulable`, `FailedMount`, …) with the",
        "cluster's own message, behind the field of the spec that it is about.",
        "",
        "Each reason below has a command to look closer with; NAME is that of the object, in whose namespace",
        "it is asked (that of the operator is `sd-operator` where nothing else was chosen).",
    ]
    starts = {first: title for title, first in _SECTIONS}
    for reason in Reason:
        if reason in starts:
            lines += ["", f"## {starts[reason]}", "", _COLUMNS, "| --- | --- | --- | --- |"]
        lines.append(f"| `{reason.value}` | {reason.meaning} | {reason.action} | `{reason.look}` |")
    return "\n".join(lines) + "\n"

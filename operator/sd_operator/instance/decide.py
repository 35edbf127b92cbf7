"""Decides what an instance's pods shall serve, and what is said about it. Pure.

`plan` looks at the spec and the bundles: is it refused, must it wait, which checkpoint do the pods load.
`readiness` looks at the pods: what do they say they hold, and what keeps them from it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sd_operator import errors, names
from sd_operator.api import fetching
from sd_operator.api.bundle import ModelBundle
from sd_operator.api.conditions import Verdict, reconciling, stalled
from sd_operator.api.instance import ModelReference, SDInstance
from sd_operator.api.reasons import Reason
from sd_operator.cluster import Object
from sd_operator.instance.checkpoint import Checkpoint, written_on
from sd_operator.instance.children.deployment import GPU
from sd_operator.instance.observe import Observed
from sd_operator.manifests import is_orphan, is_ours, was_ours

Check = Callable[[Observed], Verdict | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the pods load (None: leave the children as they are), and what is said whatever the pods say."""

    checkpoint: Checkpoint | None
    verdict: Verdict | None
    #: The instance that the children are built for: its own spec, with the volumes of the checkpoint above.
    instance: SDInstance


def plan(observed: Observed) -> Plan:
    """The checkpoint to serve, or why there is none."""
    instance = observed.instance
    wrong = _first(SPEC_CHECKS, observed)
    if wrong is not None:
        return Plan(None, wrong, instance)
    missing = _first(BUNDLE_CHECKS, observed)
    wanted = _verified(observed) if missing is None else missing
    if isinstance(wanted, Checkpoint):
        missing = _volumes_exist(observed)
        if missing is None:
            return Plan(wanted, None, instance)
        wanted = missing
    serving = served(observed)
    if serving is None or observed.deployment is None:
        return Plan(None, wanted, instance)
    if instance.spec.replicas:
        words = f"until then the pods keep serving {serving.reference}, sha256 {serving.sha256[:12]}…"
        wanted = replace(wanted, message=f"{wanted.message}; {words}")
    return Plan(serving, wanted, _as_deployed(instance, serving, observed.deployment))


def served(observed: Observed) -> Checkpoint | None:
    """The checkpoint that is written on the Deployment, where it is ours."""
    live = observed.deployment
    if live is None or not _is_child(observed, live):
        return None
    return written_on(live["spec"]["template"])


def _as_deployed(instance: SDInstance, serving: Checkpoint, deployment: Object) -> SDInstance:
    """The instance with the volumes that its pods mount today, so that nothing but the wish moves them."""
    containers = deployment["spec"]["template"].get("spec", {}).get("containers") or ()
    paths = [str(mount.get("mountPath")) for each in containers for mount in each.get("volumeMounts") or ()]
    mounted = [path.removeprefix(names.BUNDLES) for path in paths if path.startswith(names.BUNDLES)]
    models = tuple(ModelReference(name=name) for name in dict.fromkeys([*mounted, serving.bundle]))
    return instance.model_copy(update={"spec": instance.spec.model_copy(update={"models": models})})


def _first(checks: Iterable[Check], observed: Observed) -> Verdict | None:
    return next((verdict for check in checks if (verdict := check(observed)) is not None), None)


def _name(observed: Observed) -> Verdict | None:
    name = observed.instance.metadata.name
    if names.is_name(name):
        return None
    return stalled(
        Reason.INVALID_SPEC,
        f"metadata.name: {name!r} cannot be the name of a Service: at most 63 lower-case letters, digits and "
        "dashes, beginning with a letter and ending with a letter or digit",
    )


def _access(observed: Observed) -> Verdict | None:
    access = observed.instance.spec.access
    if access.auth == "Disabled" or access.auth_secret_ref is not None:
        return None
    return stalled(
        Reason.INVALID_SPEC,
        "spec.access.authSecretRef: missing; it is needed when spec.access.auth is Required: name a Secret "
        "of type kubernetes.io/basic-auth, or set auth to Disabled",
    )


def _gpu_resources(observed: Observed) -> Verdict | None:
    spec = observed.instance.spec
    if spec.resources is None:
        return None
    words = "it is set by spec.gpu.backend Whole; remove it here"
    if spec.gpu.backend == "None":
        words = "spec.gpu.backend is None; remove it here, or set spec.gpu.backend to Whole"
    for field, given in (("limits", spec.resources.limits), ("requests", spec.resources.requests)):
        if GPU in (given or {}):
            return stalled(Reason.INVALID_SPEC, f"spec.resources.{field}[{GPU}]: {words}")
    return None


def _checkpoint_bundle(observed: Observed) -> Verdict | None:
    spec = observed.instance.spec
    allowed = [model.name for model in spec.models]
    if spec.checkpoint.bundle in allowed:
        return None
    return stalled(
        Reason.INVALID_SPEC,
        f"spec.checkpoint.bundle: {spec.checkpoint.bundle!r} is not in spec.models ({', '.join(allowed)})",
    )


def _names_taken(observed: Observed) -> Verdict | None:
    metadata = observed.instance.metadata
    for resource, live in ((names.DEPLOYMENT, observed.deployment), (names.SERVICE, observed.service)):
        if live is None or _is_child(observed, live):
            continue
        if was_ours(live, resource=names.SDINSTANCE, name=metadata.name):
            return reconciling(
                Reason.WAITING_FOR_DELETION,
                f"{resource.kind} {metadata.name} of an earlier SDInstance of this name is being removed",
            )
        return stalled(
            Reason.NAME_TAKEN,
            f"{resource.kind} {metadata.name} exists and does not belong to this SDInstance; rename the "
            f"SDInstance or remove the {resource.kind}",
        )
    return None


def _is_child(observed: Observed, live: Object) -> bool:
    metadata = observed.instance.metadata
    return is_ours(live, uid=metadata.uid) or is_orphan(
        live, label=names.LABEL_SD_INSTANCE, owner=metadata.name
    )


def _bundles_exist(observed: Observed) -> Verdict | None:
    for index, model in enumerate(observed.instance.spec.models):
        bundle = observed.bundles.get(model.name)
        if isinstance(bundle, errors.ManifestError):
            return reconciling(
                Reason.BUNDLE_NOT_READY, f"spec.models[{index}].name: ModelBundle {model.name!r}: {bundle}"
            )
        if bundle is None:
            return reconciling(
                Reason.BUNDLE_NOT_FOUND,
                f"spec.models[{index}].name: there is no ModelBundle {model.name!r} in namespace "
                f"{observed.instance.metadata.namespace}; waiting for it",
            )
    return None


def _paths_apart(observed: Observed) -> Verdict | None:
    places: dict[str, str] = {}
    for model in observed.instance.spec.models:
        bundle = observed.bundles[model.name]
        if not isinstance(bundle, ModelBundle):
            continue
        for file in bundle.spec.files:
            place = file.place()
            if place is None:
                continue
            if places.get(place, model.name) != model.name:
                return stalled(
                    Reason.PATH_CONFLICT,
                    f"spec.models: the bundles {places[place]!r} and {model.name!r} both offer {place}; give "
                    "one of the files another fileName, or leave one bundle out",
                )
            places[place] = model.name
    return None


def _file_exists(observed: Observed) -> Verdict | None:
    wanted = observed.instance.spec.checkpoint
    bundle = observed.bundles[wanted.bundle]
    if not isinstance(bundle, ModelBundle):
        return None
    offered = [file.name for file in bundle.spec.files]
    if wanted.file in offered:
        return None
    return stalled(
        Reason.FILE_NOT_FOUND,
        f"spec.checkpoint.file: {wanted.file!r} is not a file of ModelBundle {wanted.bundle!r} "
        f"(it has {', '.join(offered)})",
    )


def _volumes_exist(observed: Observed) -> Verdict | None:
    for index, model in enumerate(observed.instance.spec.models):
        if model.name in observed.claims:
            continue
        trouble = "is being deleted" if model.name in observed.leaving_claims else "does not exist yet"
        return reconciling(
            Reason.BUNDLE_NOT_READY,
            f"spec.models[{index}].name: the volume of ModelBundle {model.name!r} "
            f"(PersistentVolumeClaim {names.claim_name(model.name)}) {trouble}",
        )
    return None


#: What is wrong with the spec alone, or clashes with what others made: the children are not touched.
SPEC_CHECKS: tuple[Check, ...] = (_name, _access, _gpu_resources, _checkpoint_bundle, _names_taken)
#: What the bundles lack: the pods that serve already are looked after all the same.
BUNDLE_CHECKS: tuple[Check, ...] = (_bundles_exist, _paths_apart, _file_exists)


def _verified(observed: Observed) -> Checkpoint | Verdict:
    """The checkpoint as the bundle has verified it, or what it still waits for."""
    wanted = observed.instance.spec.checkpoint
    bundle = observed.bundles[wanted.bundle]
    subject = f"spec.checkpoint: file {wanted.file!r} of ModelBundle {wanted.bundle!r}"
    # One sentence for everything that passes by itself: each other sentence would be a write.
    underway = reconciling(Reason.BUNDLE_NOT_READY, f"{subject} is not verified yet")
    if not isinstance(bundle, ModelBundle) or bundle.status.observed_generation != bundle.metadata.generation:
        return underway
    file = next((file for file in bundle.spec.files if file.name == wanted.file), None)
    status = fetching.told(bundle, file) if file is not None else None
    if status is None or (status.state in ("Pending", "Fetching") and status.reason is None):
        return underway
    if status.state != "Verified" or not status.path or not status.sha256:
        return reconciling(
            Reason.BUNDLE_NOT_READY, f"{subject} is {status.state}: {status.reason}: {status.message}"
        )
    return Checkpoint(
        bundle=wanted.bundle,
        file=wanted.file,
        path=status.path,
        sha256=status.sha256,
        size=status.size or 0,
    )

"""Decides what an instance's pods shall serve, on what, and what is said when that cannot be. Pure.

`plan` looks at the spec, the bundles and what the cluster offers: is the spec refused, must it wait, which
checkpoint do the pods load, which GPU do they ask for. What the pods make of it is for readiness.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sd_operator import claims, errors, names
from sd_operator.api import fetching
from sd_operator.api.bundle import BundleFile, FileStatus, ModelBundle
from sd_operator.api.conditions import Verdict, reconciling, stalled
from sd_operator.api.instance import ModelReference, SDInstance
from sd_operator.api.reasons import Reason
from sd_operator.cluster import Object
from sd_operator.gpu_profiles import GpuSettings
from sd_operator.instance import gpu, plugins
from sd_operator.instance.desired import Checkpoint, Desired, written_on
from sd_operator.instance.observe import Observed, mounted_bundles
from sd_operator.instance.plugins import Plugin
from sd_operator.manifests import is_orphan, is_ours, was_ours

Check = Callable[[Observed], Verdict | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the children are built from, and what is said whatever the pods say."""

    #: The instance that the children are built for: its own spec, with the volumes of the checkpoint served.
    instance: SDInstance
    #: None: leave the children as they are
    desired: Desired | None = None
    allocation: gpu.Allocation | None = None
    need: gpu.Need | None = None
    #: Those that the pods run: of the spec, or those that they ran before.
    plugins: tuple[Plugin, ...] = ()
    verdict: Verdict | None = None


def plan(observed: Observed, settings: GpuSettings) -> Plan:
    """What to serve and on what, or why not."""
    instance = observed.instance
    wrong = _first(SPEC_CHECKS, observed) or _gpu_resources(observed, settings)
    if wrong is not None:
        return Plan(instance=instance, verdict=wrong)
    missing = _first(BUNDLE_CHECKS, observed)
    wanted = _verified(observed) if missing is None else missing
    if isinstance(wanted, Checkpoint):
        missing = _volumes_exist(observed) or plugins.volumes_exist(observed)
        if missing is None:
            wished = Plan(
                instance=instance, desired=_desired(instance, wanted), plugins=plugins.resolved(observed)
            )
            return _on_gpu(observed, settings, wished)
        wanted = missing
    serving = served(observed)
    if serving is None or observed.deployment is None:
        return Plan(instance=instance, verdict=wanted)
    if instance.spec.replicas:
        words = f"until then the pods keep serving {serving.reference}, sha256 {serving.sha256[:12]}…"
        wanted = replace(wanted, message=f"{wanted.message}; {words}")
    kept = Plan(
        instance=_as_deployed(instance, serving, observed.deployment),
        desired=_desired(instance, serving),
        plugins=plugins.written_on(observed.deployment),
        verdict=wanted,
    )
    return _on_gpu(observed, settings, kept)


def _desired(instance: SDInstance, checkpoint: Checkpoint) -> Desired:
    return Desired(checkpoint=checkpoint, options=instance.spec.options or {})


def _on_gpu(observed: Observed, settings: GpuSettings, planned: Plan) -> Plan:
    """The plan with the GPU that its pods ask for; where none can ever do, nothing is touched."""
    spec = planned.instance.spec
    if planned.desired is None or spec.gpu.backend == "None":
        return planned
    need = gpu.need(spec.gpu, planned.desired.checkpoint, settings)
    live = observed.deployment
    previous = gpu.written_on(live) if live is not None else None
    chosen = gpu.choose(
        spec.gpu, need, settings.profiles, observed.offers, previous, node_selector=spec.node_selector
    )
    if isinstance(chosen, gpu.Refusal):
        return Plan(instance=observed.instance, verdict=stalled(Reason.NO_GPU_FITS, chosen.message))
    if chosen is not None:
        conflict = gpu.conflicts(spec, chosen)
        if conflict is not None:
            return Plan(instance=observed.instance, verdict=stalled(Reason.INVALID_SPEC, conflict))
        if chosen.profile.backend == "DRA" and not observed.serves_claims:
            words = "spec.gpu.backend: DRA is asked for, and the cluster does not serve resource.k8s.io/v1"
            return Plan(instance=observed.instance, verdict=stalled(Reason.INVALID_SPEC, words))
    return replace(planned, allocation=chosen, need=need)


def served(observed: Observed) -> Checkpoint | None:
    """The checkpoint that the pods were told to load, where the ConfigMap is ours."""
    live = observed.config
    if live is None or not is_child(observed, live):
        return None
    return written_on(live)


def exclusive(observed: Observed) -> frozenset[str]:
    """The bundles whose volume only one node can mount at a time."""
    return frozenset(name for name, claim in observed.claims.items() if claims.is_exclusive(claim))


def has_pickles(observed: Observed) -> bool:
    """Whether a bundle may have put pickles onto its volume, for the runtime to read."""
    return any(bundle.spec.format_policy == "Unsafe" for _, bundle in _of_runtime(observed))


def _of_runtime(observed: Observed) -> Iterable[tuple[str, ModelBundle]]:
    """The bundles that the runtime mounts, as far as they can be read; plugins have others besides."""
    for model in observed.instance.spec.models:
        bundle = observed.bundles.get(model.name)
        if isinstance(bundle, ModelBundle):
            yield model.name, bundle


def expected_files(observed: Observed, desired: Desired) -> Mapping[tuple[str, str], str]:
    """Mount path and path of every verified file but the checkpoint → its digest: pods must find them."""
    wanted = {}
    for name, bundle in _of_runtime(observed):
        if name not in observed.claims:
            continue
        for _, status in _verified_files(bundle):
            place = (names.bundle_mount_path(name), str(status.path))
            if (name, status.path) != (desired.checkpoint.bundle, desired.checkpoint.path):
                wanted[place] = str(status.sha256)
    return wanted


def _verified_files(bundle: ModelBundle) -> Iterable[tuple[BundleFile, FileStatus]]:
    for file in bundle.spec.files:
        status = fetching.told(bundle, file)
        if status is not None and status.state == "Verified" and status.path and status.sha256:
            yield file, status


def _as_deployed(instance: SDInstance, serving: Checkpoint, deployment: Object) -> SDInstance:
    """The instance with the volumes that its pods mount today, so that nothing but the wish moves them."""
    mounted = mounted_bundles(deployment)
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


def _gpu_resources(observed: Observed, settings: GpuSettings) -> Verdict | None:
    conflict = gpu.resources_conflict(observed.instance.spec, settings.profiles)
    return stalled(Reason.INVALID_SPEC, conflict) if conflict is not None else None


def _outputs(observed: Observed) -> Verdict | None:
    """Where the schema's rules came later than the object."""
    spec = observed.instance.spec
    if spec.outputs is None or spec.outputs.shared:
        return None
    if spec.replicas > 1:
        return stalled(
            Reason.INVALID_SPEC,
            f"spec.replicas: {spec.replicas} pods need spec.outputs.accessModes ReadWriteMany; it is "
            "ReadWriteOnce: set spec.replicas to 1, or make another SDInstance with ReadWriteMany outputs",
        )
    if spec.strategy == "Surge":
        return stalled(
            Reason.INVALID_SPEC,
            "spec.rollout.strategy: Surge needs spec.outputs.accessModes ReadWriteMany; it is ReadWriteOnce: "
            "use Drain or Recreate",
        )
    return None


def _env(observed: Observed) -> Verdict | None:
    for variable in observed.instance.spec.env or ():
        if variable.name in names.OWN_VARIABLES:
            return stalled(
                Reason.INVALID_SPEC,
                f"spec.env[{variable.name}]: the operator sets it; remove it here "
                f"(so are {', '.join(sorted(names.OWN_VARIABLES))})",
            )
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


def taken(observed: Observed, wishes: Iterable[Object]) -> Verdict | None:
    """Whether a child's name is in use by an object that is not ours."""
    instance = observed.instance.metadata.name
    for wish in wishes:
        kind, name = wish["kind"], wish["metadata"]["name"]
        live = observed.children.get((kind, name))
        if live is None or is_child(observed, live):
            continue
        if was_ours(live, resource=names.SDINSTANCE, name=instance):
            return reconciling(
                Reason.WAITING_FOR_DELETION,
                f"{kind} {name} of an earlier SDInstance of this name is being removed",
            )
        return stalled(
            Reason.NAME_TAKEN,
            f"{kind} {name} exists and does not belong to this SDInstance; rename the SDInstance or remove "
            f"the {kind}",
        )
    return None


def is_child(observed: Observed, live: Object) -> bool:
    """Whether the object is this instance's: by its owner reference, or as one that lost it."""
    metadata = observed.instance.metadata
    if is_ours(live, uid=metadata.uid):
        return True
    return is_orphan(live, label=names.LABEL_SD_INSTANCE, owner=metadata.name)


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
            place = bundle.place_of(file) or _told_place(bundle, file)
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


def _told_place(bundle: ModelBundle, file: BundleFile) -> str | None:
    """Where a file lies whose name only its source knows, once it was fetched."""
    status = fetching.told(bundle, file)
    return status.path if status is not None else None


def _file_exists(observed: Observed) -> Verdict | None:
    wanted = observed.instance.spec.checkpoint
    bundle = observed.bundles[wanted.bundle]
    if not isinstance(bundle, ModelBundle):
        return None
    offered = [file.name for file in bundle.spec.files if file.type == "Checkpoint"]
    if wanted.file in offered:
        return None
    other = next((file for file in bundle.spec.files if file.name == wanted.file), None)
    if other is not None:
        return stalled(
            Reason.INVALID_SPEC,
            f"spec.checkpoint.file: {wanted.file!r} of ModelBundle {wanted.bundle!r} is of type "
            f"{other.type}; a Checkpoint is needed (it has {', '.join(offered) or 'none'})",
        )
    return stalled(
        Reason.FILE_NOT_FOUND,
        f"spec.checkpoint.file: {wanted.file!r} is not a file of ModelBundle {wanted.bundle!r} "
        f"(it has {', '.join(offered)})",
    )


def _volumes_exist(observed: Observed) -> Verdict | None:
    for index, model in enumerate(observed.instance.spec.models):
        claim = observed.claims.get(model.name)
        if claim is not None and not claim["metadata"].get("deletionTimestamp"):
            continue
        trouble = "is being deleted" if claim is not None else "does not exist yet"
        return reconciling(
            Reason.BUNDLE_NOT_READY,
            f"spec.models[{index}].name: the volume of ModelBundle {model.name!r} "
            f"(PersistentVolumeClaim {observed.claim_names.get(model.name)}) {trouble}",
        )
    return None


#: What is wrong with the spec alone, or clashes with what others made: the children are not touched.
SPEC_CHECKS: tuple[Check, ...] = (_name, _access, _checkpoint_bundle, _outputs, _env)
#: What the bundles and plugins lack: the pods that serve already are looked after all the same.
BUNDLE_CHECKS: tuple[Check, ...] = (
    _bundles_exist,
    plugins.exist,
    plugins.bundles_exist,
    _paths_apart,
    plugins.paths_apart,
    _file_exists,
)


def _verified(observed: Observed) -> Checkpoint | Verdict:
    """The checkpoint as the bundle has verified it, or what it still waits for."""
    wanted = observed.instance.spec.checkpoint
    bundle = observed.bundles[wanted.bundle]
    subject = f"spec.checkpoint: file {wanted.file!r} of ModelBundle {wanted.bundle!r}"
    # One sentence for everything that passes by itself: each other sentence would be a write.
    underway = reconciling(Reason.BUNDLE_NOT_READY, f"{subject} is not verified yet")
    if not isinstance(bundle, ModelBundle):
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
        family=status.family or "",
    )

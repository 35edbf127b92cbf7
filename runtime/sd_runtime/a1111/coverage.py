"""Which routes of A1111's interface are not served, and why: what the doors answer, and the docs' table."""

_FIRST = "only txt2img is served"
_TRAINING = "training is not served"
_PINNED = "which checkpoint is resident is set by spec.checkpoint of the SDInstance"

#: Routes that A1111 has and this server answers with 501, below /sdapi/v1/.
NOT_SERVED: dict[str, str] = {
    "POST img2img": _FIRST,
    "POST extra-single-image": _FIRST,
    "POST extra-batch-images": _FIRST,
    "POST interrogate": _FIRST,
    "POST create/embedding": _TRAINING,
    "POST create/hypernetwork": _TRAINING,
    "POST train/embedding": _TRAINING,
    "POST train/hypernetwork": _TRAINING,
    "POST unload-checkpoint": _PINNED,
    "POST reload-checkpoint": _PINNED,
    "POST server-kill": "the process belongs to its pod",
    "POST server-restart": "the process belongs to its pod",
    "POST server-stop": "the process belongs to its pod",
}

#: Routes that are served, with what a client of A1111 should know; below /sdapi/v1/ where they begin without
#: a slash.
SERVED: dict[str, str] = {
    "POST txt2img": "fields below",
    "GET progress": "of the oldest unfinished request of the replica; no previews",
    "POST interrupt": (
        "ends the replica's oldest unfinished request; finished pictures are in its answer, whose info lists"
        " these alone (A1111's lists the seeds and prompts of all that were asked for)"
    ),
    "POST skip": "gives up the running iteration of that request; its answer and info leave its pictures out",
    "GET samplers": "",
    "GET schedulers": "",
    "GET sd-models": "",
    "GET options": "the options below",
    "POST options": (
        "for one replica, until it ends or the SDInstance's spec.options change; refuses by name what it"
        " cannot honour"
    ),
    "GET cmd-flags": "the few that are true of this server",
    "GET memory": "of the container; the GPU's is in the metrics of its exporter",
    "POST png-info": "base64 only",
    "POST refresh-checkpoints": "nothing to do: lists are always fresh",
    "POST refresh-vae": "as refresh-checkpoints",
    "POST refresh-loras": "as refresh-checkpoints",
    "POST refresh-embeddings": "as refresh-checkpoints",
    "GET upscalers": "empty",
    "GET latent-upscale-modes": "empty",
    "GET sd-vae": "empty",
    "GET loras": "empty",
    "GET hypernetworks": "empty",
    "GET embeddings": "empty",
    "GET face-restorers": "empty",
    "GET realesrgan-models": "empty",
    "GET prompt-styles": "empty",
    "GET scripts": "empty",
    "GET script-info": "empty",
    "GET extensions": "empty",
    "GET /internal/ping": "",
}

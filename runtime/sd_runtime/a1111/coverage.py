"""Which routes of A1111's interface are served, and which are not and why: what the doors answer, and the
docs' table."""

_TRAINING = "training is not served"
_PROCESS = "a client does not end the process that others use"

#: Routes that A1111 has and this server answers with 501, below /sdapi/v1/ where they begin without
#: a slash.
NOT_SERVED: dict[str, str] = {
    "POST interrogate": "captions need a network of their own, which is not served",
    "POST create/embedding": _TRAINING,
    "POST create/hypernetwork": _TRAINING,
    "POST train/embedding": _TRAINING,
    "POST train/hypernetwork": _TRAINING,
    "POST unload-checkpoint": "the served checkpoint stays loaded, as other clients use it",
    "POST server-kill": _PROCESS,
    "POST server-restart": _PROCESS,
    "POST server-stop": _PROCESS,
    "POST /controlnet/render_openpose_json": "poses are drawn where they are found, by openpose's modules",
}

_OF_THE_OLDEST = "the oldest unfinished request of the replica"
_FRESH = "nothing to do: lists are always fresh"

#: Routes that are served, with what a client of A1111 should know; below /sdapi/v1/ where they begin without
#: a slash.
SERVED: dict[str, str] = {
    "POST txt2img": "fields below",
    "POST img2img": "fields below",
    "POST extra-single-image": "fields below",
    "POST extra-batch-images": "fields below",
    "POST png-info": "also of pictures by NovelAI, JPEG, WebP and GIF",
    "GET progress": f"of {_OF_THE_OLDEST}; the preview is made when it is asked for",
    "POST interrupt": (
        f"ends {_OF_THE_OLDEST}; its answer has the pictures that are finished, and those under way as far as"
        " they have come; its info lists these alone (A1111's lists the seeds and prompts of all that were"
        " asked for)"
    ),
    "POST skip": f"as interrupt, for the batch under way of {_OF_THE_OLDEST}; the next batch follows",
    "GET options": "the options below",
    "POST options": (
        "for one replica, until it ends or the SDInstance's spec.options change; refuses by name what it"
        " cannot honour. Another sd_model_checkpoint is refused where an SDInstance says which is served;"
        " else the answer comes when it is served"
    ),
    "GET cmd-flags": "the few that are true of this server",
    "GET samplers": "",
    "GET schedulers": "",
    "GET upscalers": "without a file, then the files that are there; their scale is told by their names",
    "GET latent-upscale-modes": "",
    "GET sd-models": "hashes are null until a file's is known: nothing is hashed for a list",
    "GET sd-vae": "",
    "GET sd-modules": "Forge's; the VAEs",
    "GET hypernetworks": "",
    "GET face-restorers": "empty",
    "GET realesrgan-models": "those that are there",
    "GET prompt-styles": "",
    "GET embeddings": "loaded: those that fit the served checkpoint; skipped: the others, with the reason",
    "GET loras": "behind authentication, as every route",
    "GET scripts": "ControlNet, in both lists",
    "GET script-info": "ControlNet, for txt2img and img2img",
    "GET extensions": "empty",
    "GET memory": "of the container, and of a GPU; `peak` is that of the last call of the network",
    "POST refresh-checkpoints": _FRESH,
    "POST refresh-vae": _FRESH,
    "POST refresh-loras": _FRESH,
    "POST refresh-embeddings": _FRESH,
    "POST reload-checkpoint": "nothing to do: the served checkpoint is never unloaded",
    "GET /controlnet/version": "3, sd-webui-controlnet's",
    "GET /controlnet/model_list": (
        "files whose headers show no fault, with A1111's first kind of hash; `update` is nothing to do"
    ),
    "GET /controlnet/module_list": (
        "those of this server's plugins, and the few that need none; `alias_names`: labels"
    ),
    "GET /controlnet/control_types": "defaults are modules that are available and ControlNets that fit the"
    " served checkpoint",
    "GET /controlnet/settings": "",
    "POST /controlnet/detect": "fields below; maps count as the pictures of one request",
    "GET /internal/ping": "",
    "POST /internal/progress": "of the request that was sent with this force_task_id",
    "GET /internal/pending-tasks": "those sent with force_task_id",
}

"""The controllers of the fake cluster: claims are bound, Jobs run, Deployments have pods."""

import copy
import hashlib
import json

from operator_fakes import FakeCluster, Object, finish, run, timestamp, verified

from sd_operator import names


class Controllers:
    """Binds claims, runs Jobs, makes pods of Deployments: one `step` a round."""

    def __init__(self, cluster: FakeCluster) -> None:
        self.cluster = cluster
        #: What upkeep pods find damaged, by the files' names, and files that they were not told of.
        self.damaged: dict[str, str] = {}
        self.strays: list[dict[str, str]] = []
        #: What every upkeep pod was asked.
        self.upkeep: list[Object] = []

    def step(self) -> None:
        self.cluster.collect_garbage()
        for claim in self.cluster.all(names.CLAIM):
            claim["status"] = {"phase": "Bound", "capacity": {"storage": "20Gi"}}
        for job in self.cluster.all(names.JOB):
            if not job.get("status"):
                self._run_job(job)
        for deployment in self.cluster.all(names.DEPLOYMENT):
            self._run_deployment(deployment)

    def _run_job(self, job: Object) -> None:
        request = json.loads(job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])
        pod = self._pod(f"{job['metadata']['name']}-x", job, job["spec"]["template"])
        if "file" in request:
            finish(pod, verified(request["file"]["fileName"]))
        else:
            self.upkeep.append(request)
            finish(pod, self._kept(request))
        complete = {"type": "Complete", "status": "True", "lastTransitionTime": timestamp()}
        job["status"] = {"conditions": [complete]}

    def _kept(self, request: Object) -> str:
        bad = [
            {"name": each["name"], "reason": self.damaged[each["name"]]}
            for each in request["expect"]
            if request["verify"] and each["name"] in self.damaged
        ]
        removed = [each["path"] for each in request["remove"]]
        kept = {"intact": len(request["expect"]) - len(bad), "bad": bad, "removed": removed}
        return json.dumps({"state": "Done", "strays": self.strays, **kept})

    def _run_deployment(self, deployment: Object) -> None:
        wanted = deployment["spec"]["replicas"]
        template = deployment["spec"]["template"]
        name = deployment["metadata"]["name"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
        mine = [
            pod for pod in self.cluster.all(names.POD) if pod["metadata"]["name"].startswith(f"{name}-rs")
        ]
        for index, pod in enumerate(mine):
            if index >= wanted or revision not in pod["metadata"]["name"]:
                self.cluster.remove(names.POD, "ns", pod["metadata"]["name"])
        for index in range(wanted):
            pod_name = f"{name}-rs{revision}-{index}"
            if ("pods", "ns", pod_name) not in self.cluster.objects:
                run(self._pod(pod_name, deployment, template), ip=f"10.0.0.{index + 1}")
        deployment["status"] = {
            "observedGeneration": deployment["metadata"]["generation"],
            **({"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": wanted} if wanted else {}),
        }

    def _pod(self, name: str, owner: Object, template: Object) -> Object:
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "controller": True,
        }
        metadata = copy.deepcopy(template["metadata"])
        metadata.update(name=name, namespace="ns", ownerReferences=[reference])
        return self.cluster.add({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})

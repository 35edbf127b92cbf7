"""Writes the JSON schema of a chart's values from its values.yaml: `python hack/chart_schema.py charts/NAME`.

values.yaml is the one place where a value is described. The default tells the type; the comment that begins
with `# --` is the description; and one line `# @schema {…}` above it, a YAML flow mapping, says what
a default cannot: keywords of JSON schema (draft-07), laid over what was inferred, and five of our own,

    crd: sdinstances.spec.options    that part of crds/*.yaml, so that a value takes what the field takes
    k8s: tolerations                 a shape of Kubernetes' own (SHAPES)
    image: repository                a part of an image's name (IMAGE)
    gpu: profile                     what the operator is told of GPUs (GPU)
    web: endpoint                    where files come from (WEB)

An object with keys takes these keys only, and all of them are required. A value that is left out has its
default before Helm looks at the schema; so what is missing then was set to null, which no template expects.
Where null has a meaning, it is the default, and the @schema's type says so.
It knows nothing of what the templates do with a value.
"""

import functools
import json
import pathlib
import sys
from typing import Any

import yaml

Schema = dict[str, Any]

ROOT = pathlib.Path(__file__).resolve().parents[1]
DRAFT = "http://json-schema.org/draft-07/schema#"
MARK, DESCRIBED = "# @schema ", "# -- "
KEYWORDS = {
    *("type", "enum", "const", "pattern", "minLength", "maxLength", "minimum", "maximum", "multipleOf"),
    *("exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems", "uniqueItems", "items", "contains"),
    *("minProperties", "maxProperties", "properties", "patternProperties", "required"),
    *("additionalProperties", "anyOf", "allOf", "oneOf", "not", "if", "then", "else", "description"),
}
OURS = {"crd", "k8s", "image", "gpu", "web"}
NULL = "tag:yaml.org,2002:null"
# What a schema says of its objects' keys; once it is said, the keys of the default say nothing more.
SAYS_KEYS = {"additionalProperties", "properties", "patternProperties"}
TYPES = {
    "tag:yaml.org,2002:str": "string",
    "tag:yaml.org,2002:bool": "boolean",
    "tag:yaml.org,2002:int": "integer",
    "tag:yaml.org,2002:float": "number",
}


def closed(*required: str, **properties: Any) -> Schema:
    found: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**found, "required": list(required)} if required else found


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


# Grammar of Kubernetes' names, of objects and of labels and resources.
LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
SUBDOMAIN = "[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
QUALIFIED = "[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"

STRING: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "maxLength": 253, "pattern": rf"^{LABEL}(\.{LABEL})*$"}
STRINGS: Schema = {"type": "object", "additionalProperties": STRING}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
# A quantity may be written as a number; how a string must look, the API server says.
QUANTITIES: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
SECCOMP = closed("type", type=STRING, localhostProfile=STRING)
USER: Schema = {
    "runAsUser": INTEGER,
    "runAsGroup": INTEGER,
    "runAsNonRoot": BOOLEAN,
    "seccompProfile": SECCOMP,
}
USER |= {"appArmorProfile": SECCOMP, "seLinuxOptions": OBJECT, "windowsOptions": OBJECT}
SHAPES: dict[str, Schema] = {
    "labels": STRINGS,
    "annotations": STRINGS,
    "nodeSelector": STRINGS,
    "imagePullSecrets": array(closed("name", name=NAME)),
    "resources": closed(
        requests=QUANTITIES,
        limits=QUANTITIES,
        claims=array(closed("name", name=STRING, request=STRING)),
    ),
    "tolerations": array(
        closed(
            key=STRING,
            operator={"enum": ["", "Exists", "Equal", "Lt", "Gt"]},
            value=STRING,
            effect={"enum": ["", "NoSchedule", "PreferNoSchedule", "NoExecute"]},
            tolerationSeconds=INTEGER,
        )
    ),
    "affinity": closed(nodeAffinity=OBJECT, podAffinity=OBJECT, podAntiAffinity=OBJECT),
    "topologySpreadConstraints": array(
        closed(
            *("maxSkew", "topologyKey", "whenUnsatisfiable"),
            maxSkew=INTEGER,
            topologyKey=STRING,
            whenUnsatisfiable={"enum": ["DoNotSchedule", "ScheduleAnyway"]},
            labelSelector=OBJECT,
            matchLabelKeys=array(STRING),
            minDomains=INTEGER,
            nodeAffinityPolicy={"enum": ["Honor", "Ignore"]},
            nodeTaintsPolicy={"enum": ["Honor", "Ignore"]},
        )
    ),
    "podSecurityContext": closed(
        **USER,
        fsGroup=INTEGER,
        fsGroupChangePolicy={"enum": ["Always", "OnRootMismatch"]},
        supplementalGroups=array(INTEGER),
        supplementalGroupsPolicy={"enum": ["Merge", "Strict"]},
        sysctls=array(closed("name", "value", name=STRING, value=STRING)),
        seLinuxChangePolicy={"enum": ["MountOption", "Recursive"]},
    ),
    "securityContext": closed(
        **USER,
        allowPrivilegeEscalation=BOOLEAN,
        capabilities=closed(add=array(STRING), drop=array(STRING)),
        privileged=BOOLEAN,
        procMount=STRING,
        readOnlyRootFilesystem=BOOLEAN,
    ),
}


# Parts of an image's name. A registry may have a path, as mirrors do, and end in the slash that is copied
# with it. What makes no name, the API server takes all the same: only the node tells of it, and late.
HOST = r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]+)?"
PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
IMAGE: dict[str, Schema] = {
    "registry": {"type": "string", "maxLength": 255, "pattern": rf"^({HOST}(/{PATH})*/?)?$"},
    "repository": {"type": "string", "maxLength": 255, "pattern": rf"^({PATH}(/{PATH})*)?$"},
    "tag": {"type": "string", "pattern": "^([A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?$"},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
}

# Where files come from, as sd_operator/fetch/request.py takes it, but for port 0, which nobody listens on.
# A port may be left out after its colon.
PORT = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5]))))"
AUTHORITY = rf"(\[[0-9A-Fa-f:.]+(%[^\s/?#@\[\]]+)?\]|[^\s/?#@:\[\]]+)(:({PORT})?)?"
WEB: dict[str, Schema] = {
    "endpoint": {"type": "string", "maxLength": 512, "pattern": rf"^(https?://{AUTHORITY}(/[^\s?#]*)?)?$"}
}


def only_with(backend: str, *required: str, others: tuple[str, ...] = ()) -> Schema:
    """What a profile of one backend needs, and has besides what all profiles have."""
    fields: Schema = {key: {} for key in (*PROFILE, *required, *others)}
    return {
        "if": {"required": ["backend"], "properties": {"backend": {"const": backend}}},
        "then": closed(*required, **fields),
    }


# What sd_operator/gpu_profiles.py takes: it ends the operator at anything else.
MEMORY: Schema = {
    "type": "string",
    "maxLength": 64,
    # Above zero.
    "pattern": "^([0-9]*[1-9][0-9]*([.][0-9]+)?|[0-9]+[.][0-9]*[1-9][0-9]*)([kMGTP]|[KMGTP]i)?$",
}
RESOURCE: Schema = {"type": "string", "maxLength": 316, "pattern": f"^{SUBDOMAIN}/{QUALIFIED}$"}
LABEL_KEY: Schema = {"type": "string", "maxLength": 316, "pattern": f"^({SUBDOMAIN}/)?{QUALIFIED}$"}
CLASS: Schema = {"type": "string", "maxLength": 253, "pattern": f"^{SUBDOMAIN}$"}
PROFILE: dict[str, Schema] = {
    "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
    "backend": {"enum": ["Whole", "MIG", "DRA"]},
    "memory": MEMORY,
    "nodeSelector": {
        "type": "object",
        # Not by propertyNames, of which Helm says a wrong place.
        "patternProperties": {
            LABEL_KEY["pattern"]: {"type": "string", "maxLength": 63},
            f"^.{{{LABEL_KEY['maxLength'] + 1}}}": {"not": {}},
        },
        "additionalProperties": False,
    },
    "tolerations": SHAPES["tolerations"],
    "runtimeClassName": CLASS,
}
GPU: dict[str, Schema] = {
    "memory": MEMORY,
    "profile": {
        **closed(
            *("name", "backend", "memory"),
            **PROFILE,
            resource=RESOURCE,
            memoryLabel=LABEL_KEY,
            deviceClass=CLASS,
            driver=CLASS,
        ),
        "allOf": [
            only_with("Whole", others=("resource", "memoryLabel")),
            only_with("MIG", "resource"),
            only_with("DRA", others=("deviceClass", "driver")),
        ],
    },
}
NAMED = {"k8s": SHAPES, "image": IMAGE, "gpu": GPU, "web": WEB}


class Mistake(Exception):
    """What is wrong in a values.yaml, and on which line."""


@functools.cache
def kinds() -> dict[str, Schema]:
    """The structural schemas of our kinds, by plural."""
    found = [yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader) for file in (ROOT / "crds").glob("*.yaml")]
    return {
        crd["spec"]["names"]["plural"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for crd in found
    }


def crd_part(path: str) -> Schema:
    """A field of one of our kinds: its plural, and the way to the field."""
    plural, *steps = path.split(".")
    if plural not in kinds():
        raise Mistake(f"crd: {path}: no kind {plural} in crds/")
    node: Any = kinds()[plural]
    for step in steps:
        node = node.get("items") if step == "items" else node.get("properties", {}).get(step)
        if node is None:
            raise Mistake(f"crd: {path}: no field {step}")
    return draft7(node)


def draft7(node: Schema) -> Schema:
    """A structural schema in the words of JSON schema. Like strict validation it refuses unknown keys."""
    kept = {key: value for key, value in node.items() if key in KEYWORDS}
    if node.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if "properties" in node:
        kept["properties"] = {name: draft7(value) for name, value in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for container in ("items", "additionalProperties"):
        if isinstance(node.get(container), dict):
            kept[container] = draft7(node[container])
    if node.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    return kept


# Helm hands a condition's value on to the chart that it is about; where it is false, that chart is not there.
CONDITION: Schema = {
    "description": "Only for a chart that has this one as a dependency, with this as its `condition`.",
    "const": True,
}


class Values:
    """The nodes of a values.yaml, and the comments above them."""

    def __init__(self, text: str) -> None:
        self.lines = text.splitlines()
        self.root = yaml.compose(text, Loader=yaml.SafeLoader)

    def above(self, line: int) -> list[str]:
        """The comment that ends right above a line."""
        first = line
        while first > 0 and self.lines[first - 1].lstrip().startswith("#"):
            first -= 1
        return [text.strip() for text in self.lines[first:line]]

    def said(self, key: yaml.ScalarNode, path: str) -> tuple[str | None, Schema]:
        """The description of a key and its @schema, where it has them."""
        line = key.start_mark.line
        if not self.lines[line].lstrip().startswith(key.value):
            return None, {}  # within a flow mapping: what is above is said of the whole
        comment = self.above(line)
        marked = [text.removeprefix(MARK) for text in comment if text.startswith(MARK)]
        begins = [n for n, text in enumerate(comment) if text.startswith(DESCRIBED)]
        if (
            len(marked) > 1
            or len(begins) > 1
            or (begins and any(MARK in each for each in comment[begins[0] :]))
        ):
            raise Mistake(
                f"line {line + 1}: {path}: one @schema and one description are wanted, in this order"
            )
        description = None
        if begins:
            # `# @default -- …` is helm-docs': what the README says in place of a long default.
            later = [text for text in comment[begins[0] + 1 :] if not text.startswith("# @default ")]
            lines = [comment[begins[0]].removeprefix(DESCRIBED), *later]
            description = " ".join(filter(None, (text.removeprefix("#").strip() for text in lines)))
        return description, self.parsed(marked[0], line, path) if marked else {}

    def parsed(self, text: str, line: int, path: str) -> Schema:
        try:
            found = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise Mistake(f"line {line + 1}: {path}: @schema {text}: {error}") from error
        if not isinstance(found, dict):
            raise Mistake(f"line {line + 1}: {path}: @schema {text}: a mapping in one line is wanted")
        return found


def resolved(said: Schema) -> Schema:
    """An @schema with the shapes it names, at any depth, put in place; its other keywords lie over them."""
    unknown = set(said) - KEYWORDS - OURS
    if unknown:
        raise Mistake(f"@schema has no {', '.join(sorted(unknown))}")
    found: Schema = {}
    if "crd" in said:
        found = crd_part(said["crd"])
    for word, parts in NAMED.items():
        if word in said:
            if said[word] not in parts:
                raise Mistake(f"{word}: {said[word]}: one of {', '.join(parts)}")
            found = dict(parts[said[word]])
    for word, value in said.items():
        if word in ("properties", "patternProperties"):
            found[word] = {name: resolved(inner) for name, inner in value.items()}
        elif word in ("anyOf", "allOf", "oneOf"):
            found[word] = [resolved(inner) for inner in value]
        elif word in KEYWORDS:
            found[word] = resolved(value) if isinstance(value, dict) else value
    return found


def inferred(values: Values, node: yaml.Node, said: Schema, path: str, covered: bool) -> Schema:
    """What a default tells."""
    if isinstance(node, yaml.MappingNode):
        if SAYS_KEYS & set(said):
            return {"type": "object"}
        if not node.value and "type" not in said:
            raise Mistake(
                f"line {node.start_mark.line + 1}: {path}: {{}} tells no type: an @schema is needed"
            )
        return mapping(values, node, path, covered) if node.value else {}
    if isinstance(node, yaml.SequenceNode):
        if "items" not in said:
            raise Mistake(f"line {node.start_mark.line + 1}: {path}: an @schema with `items` is needed")
        return {"type": "array"}
    if node.tag in TYPES:
        return {} if {"enum", "const"} & set(said) else {"type": TYPES[node.tag]}
    if "null" not in said.get("type", ()):
        raise Mistake(
            f"line {node.start_mark.line + 1}: {path}: {node.value!r} tells no type: an @schema is needed, "
            "with a type that says null"
        )
    return {}


def mapping(values: Values, node: yaml.MappingNode, path: str = "", covered: bool = False) -> Schema:
    """The schema of an object by its keys."""
    properties, required = {}, []
    for key, value in node.value:
        inner = f"{path}.{key.value}".lstrip(".")
        description, said = values.said(key, inner)
        here = covered or description is not None
        if not here and not (isinstance(value, yaml.MappingNode) and value.value):
            raise Mistake(
                f"line {key.start_mark.line + 1}: {inner}: no description (a comment that begins with --)"
            )
        try:
            shape = resolved(said)
        except Mistake as mistake:
            raise Mistake(f"line {key.start_mark.line + 1}: {inner}: {mistake}") from None
        if not OURS & set(said):
            shape = {**inferred(values, value, said, inner, here), **shape}
        if description is not None:
            shape = {"description": description, **{k: v for k, v in shape.items() if k != "description"}}
        properties[key.value] = shape
        if value.tag != NULL:
            required.append(key.value)
    return closed(*required, **properties)


def schema(text: str) -> Schema:
    values = Values(text)
    if not isinstance(values.root, yaml.MappingNode):
        raise Mistake("line 1: a mapping of values is wanted")
    found = mapping(values, values.root)
    if "global" in found["properties"]:
        # A chart that holds this one among others tells all of them what is global.
        found["properties"]["global"]["additionalProperties"] = True
    if "enabled" not in found["properties"]:
        found["properties"]["enabled"] = CONDITION
    return {"$schema": DRAFT, **found}


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python hack/chart_schema.py CHART, a folder with a values.yaml")
    file = pathlib.Path(sys.argv[1]) / "values.yaml"
    try:
        found = schema(file.read_text(encoding="utf-8"))
    except Mistake as mistake:
        sys.exit(f"{file}: {mistake}")
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()

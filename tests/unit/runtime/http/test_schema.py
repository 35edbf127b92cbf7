"""What /openapi.json says of errors and credentials, held against what is answered."""

import jsonschema
import pytest

from sd_runtime.app import create_app

METHODS = {"get", "put", "post", "patch", "delete"}
#: Requests that are refused, each with another status.
REFUSED = [
    (401, "get", "/sdapi/v1/samplers", {"auth": ("alice", "wrong")}),
    (404, "get", "/v1/jobs/0123", {}),
    (422, "post", "/sdapi/v1/txt2img", {"json": {"steps": 0}}),
    (422, "post", "/v1/jobs", {"json": {"kind": "txt2img", "parameters": {"steps": 0}}}),
    (422, "post", "/sdapi/v1/txt2img", {"content": b"{"}),
]


def answer_schema(schema, operation, status):
    """What the schema says that the operation answers with this status, as JSON."""
    answers = operation["responses"]
    answer = answers.get(str(status)) or answers[f"{status // 100}XX"]
    return {**answer["content"]["application/json"]["schema"], "components": schema["components"]}


def told_at(schema, method, path):
    """The operation of the path, which may be an example of one with a name in it."""
    for pattern, operations in schema["paths"].items():
        parts = list(zip(pattern.split("/"), path.split("/"), strict=False))
        same = len(pattern.split("/")) == len(path.split("/"))
        if same and all(own == given or own.startswith("{") for own, given in parts):
            return operations[method]
    raise AssertionError(f"{path} is not told")


@pytest.mark.parametrize("status", [401, 404, 422, 429, 500, 503])
async def test_every_operation_tells_the_one_shape_of_errors(world, status):
    schema = create_app(world.services).openapi()
    operations = [each[method] for each in schema["paths"].values() for method in METHODS & set(each)]
    assert len(operations) > 40
    for operation in operations:
        told = answer_schema(schema, operation, status)
        assert told["$ref"] == "#/components/schemas/ErrorAnswer", operation["operationId"]
    error = schema["components"]["schemas"]["ErrorAnswer"]
    assert {name: each["type"] for name, each in error["properties"].items()} == dict.fromkeys(
        ("error", "detail", "body", "errors"), "string"
    )
    assert set(error["required"]) == set(error["properties"])


async def test_the_frameworks_own_shape_of_errors_is_told_nowhere(world):
    assert "ValidationError" not in str(create_app(world.services).openapi())


@pytest.mark.parametrize(("status", "method", "path", "request_"), REFUSED)
async def test_a_refusal_is_what_the_schema_says(world, status, method, path, request_):
    async with world.client() as client:
        schema = (await client.get("/openapi.json")).json()
        response = await client.request(method, path, **request_)
    assert response.status_code == status
    told = answer_schema(schema, told_at(schema, method, path), status)
    jsonschema.validate(response.json(), told)


async def test_the_schema_tells_of_both_kinds_of_credentials(world):
    async with world.client() as client:
        schema = (await client.get("/openapi.json")).json()
    schemes = schema["components"]["securitySchemes"]
    assert sorted((each["type"], each["scheme"]) for each in schemes.values()) == [
        ("http", "basic"),
        ("http", "bearer"),
    ]
    # One entry each: either will do.
    assert schema["security"] == [{name: []} for name in schemes]


async def test_without_authentication_the_schema_asks_for_no_credentials(make_world, prompt_engine):
    schema = create_app(make_world(prompt_engine, auth="disabled").services).openapi()
    assert "security" not in schema
    assert "securitySchemes" not in schema["components"]


async def test_a_jobs_result_is_told_to_be_what_a1111s_routes_answer(world):
    schema = create_app(world.services).openapi()
    of_result = answer_schema(schema, told_at(schema, "get", "/v1/jobs/0123/result"), 200)
    of_routes = [
        answer_schema(schema, told_at(schema, "post", f"/sdapi/v1/{name}"), 200)["$ref"]
        for name in ("txt2img", "extra-single-image")
    ]
    assert [each["$ref"] for each in of_result["anyOf"]] == of_routes

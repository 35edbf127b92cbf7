"""What JSON schema cannot say and a structural schema can: extras for pydantic's fields."""


def list_map(key: str) -> dict[str, object]:
    """Schema extras of a list whose items are known by one field."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def rules(*pairs: tuple[str, str]) -> dict[str, object]:
    """Schema extras: CEL rules, each with the sentence a person gets to see."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}

"""Reading specs: YAML with a safe loader, every mistake reported at once with its path, value and remedy."""

import difflib
import re
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import InvalidInput, Problem, SpecError
from contracts.specs.service import ServiceSpec, dangling_lanes
from contracts.units import WRITTEN_BY_HAND

LARGEST_SPEC_CHARS = 1_000_000
UNION_TAGS = {"availability", "latency", "score"}

Spec = TypeVar("Spec", bound=BaseModel)


class UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader with two surprises removed.

    A key that stands twice is refused (YAML would silently keep the last), and only ``true`` and ``false`` are
    booleans, as in YAML 1.2 (``on: [oom]`` is a key called on, not a key called True).
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
        """Return the mapping of a node.

        Raises:
            yaml.constructor.ConstructorError: naming the line of a repeated key.
        """
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float | bool | None):
                raise yaml.constructor.ConstructorError(None, None, "a key must be plain text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


UniqueKeyLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
UniqueKeyLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def load_service_spec(text: str, subject: str = "service spec") -> ServiceSpec:
    """Read a service from YAML or JSON text.

    Raises:
        SpecError: with every mistake found, references between the parts included.
    """
    document = parse_yaml(text, subject)
    try:
        return ServiceSpec.model_validate(document, context={WRITTEN_BY_HAND: True})
    except ValidationError as error:
        dangling = _dangling_in(document)
        problems = describe_problems(error, ServiceSpec, document)
        # What is wrong with the spec as a whole is dangling references, if there are any: told one by one instead.
        told = [problem for problem in problems if problem.path or not dangling]
        raise SpecError(subject, told + dangling) from None


def parse_yaml(text: str, subject: str) -> dict[str, Any]:
    """Return the mapping that YAML text holds, read with a safe loader.

    Raises:
        InvalidInput: when it isn't YAML, isn't a mapping, repeats a key or is larger than a spec can be.
    """
    if len(text) > LARGEST_SPEC_CHARS:
        raise InvalidInput(f"{subject} is larger than {LARGEST_SPEC_CHARS} characters", hint="split it")
    if "&" in text and any(isinstance(token, yaml.AliasToken) for token in _tokens(text, subject)):
        raise InvalidInput(f"{subject} uses YAML aliases (*name)", hint="write the values out")
    try:
        document = yaml.load(text, Loader=UniqueKeyLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInput(f"{subject} is not YAML: {' '.join(str(error).split())}", hint="check the line") from None
    if not isinstance(document, dict):
        raise InvalidInput(f"{subject} is not a mapping of keys to values", hint="it begins with 'service: NAME'")
    return document


def describe_problems(error: ValidationError, model: type[BaseModel], document: object) -> list[Problem]:
    """Return pydantic's errors as problems: paths as people write them, near misses of keys suggested."""
    return [_describe(item, model, document) for item in error.errors(include_url=False)]


def _tokens(text: str, subject: str) -> list[yaml.Token]:
    try:
        return list(yaml.scan(text, Loader=UniqueKeyLoader))
    except (yaml.YAMLError, RecursionError) as error:
        raise InvalidInput(f"{subject} is not YAML: {' '.join(str(error).split())}", hint="check the line") from None


def _describe(item: ErrorDetails, model: type[BaseModel], document: object) -> Problem:
    steps = [step for index, step in enumerate(item["loc"]) if not _is_union_tag(item["loc"], index)]
    path = ".".join(str(step) for step in steps if step != "[key]")
    kind, value = item["type"], item["input"]
    if kind == "extra_forbidden":
        return Problem(path, value, "unknown key", _nearest_key(item["loc"], model))
    if kind == "missing":
        return Problem(path, None, "is missing", f"add {steps[-1]}")
    message = item["msg"].removeprefix("Value error, ")
    message, _, remedy = message.partition("; ")
    shown = value if isinstance(value, str | int | float | bool) else None
    return Problem(path, shown, _plain(message), remedy)


def _plain(message: str) -> str:
    return message[:1].lower() + message[1:] if message.startswith(("Input ", "String ", "Field ")) else message


def _is_union_tag(location: tuple[int | str, ...], index: int) -> bool:
    return index == 2 and location[0] == "slos" and location[index] in UNION_TAGS


def _nearest_key(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    """Name the key that was probably meant, among those of the model that refused it."""
    keys = sorted(_keys_at(location[:-1], model))
    near = difflib.get_close_matches(str(location[-1]), keys, n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known keys: {', '.join(keys)}" if keys else "leave it out"


def _keys_at(location: tuple[int | str, ...], model: type[BaseModel]) -> set[str]:
    """Return the keys of the model that stands at a location, followed through the JSON Schema."""
    schema = model.model_json_schema()
    nodes = [schema]
    for step in location:
        nodes = [found for node in nodes for found in _descend(node, step, schema)]
    return {key for node in nodes for key in _resolve(node, schema).get("properties", {})}


def _descend(node: dict[str, Any], step: int | str, root: dict[str, Any]) -> list[dict[str, Any]]:
    node = _resolve(node, root)
    if step in UNION_TAGS and "oneOf" in node:
        wanted = f"{str(step).capitalize()}Slo"
        return [option for option in node["oneOf"] if option.get("$ref", "").endswith(wanted)]
    found = [node["properties"][step]] if step in node.get("properties", {}) else []
    found = found or list(node.get("patternProperties", {}).values())
    if not found and isinstance(step, int) and "items" in node:
        found = [node["items"]]
    return [option for candidate in found for option in candidate.get("anyOf", [candidate])]


def _resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target: dict[str, Any] = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        return target
    return node


def _dangling_in(document: dict[str, Any]) -> list[Problem]:
    """Check references in a document that failed validation, as far as its shape allows."""
    lanes = document.get("lanes") or {}
    lanes = lanes if isinstance(lanes, dict) else {}
    rules = document.get("route") if isinstance(document.get("route"), list) else []
    routes = [
        (f"route.{index}.lane", rule["lane"])
        for index, rule in enumerate(rules or [])
        if isinstance(rule, dict) and isinstance(rule.get("lane"), str)
    ]
    fallback = document.get("fallback")
    to = fallback.get("to") if isinstance(fallback, dict) else None
    known = ", ".join(map(str, lanes)) or "none is declared"
    return [
        Problem(path, name, "no such lane", f"lanes: {known}")
        for path, name in dangling_lanes(map(str, lanes), routes, to if isinstance(to, str) else None)
    ]

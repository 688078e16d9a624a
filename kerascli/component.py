"""The one mechanism behind every component of the YAML: layers, losses, optimizers, datasets and the rest.

A component is a frozen, strict pydantic model whose fields are Keras's argument names, plus pure methods. A *family*
is a direct subclass of Component that sets `family`; every further subclass whose name has no leading underscore is a
member and registers itself. A field annotated with a family accepts a mapping with `type`, or the bare type name.
"""

import difflib
import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MODULES = {
    "layer": "kerascli.layers",
    "activation": "kerascli.activations",
    "initializer": "kerascli.initializers",
    "regularizer": "kerascli.regularizers",
    "constraint": "kerascli.constraints",
    "loss": "kerascli.losses",
    "metric": "kerascli.metrics",
    "optimizer": "kerascli.optimizers",
    "schedule": "kerascli.schedules",
    "callback": "kerascli.callbacks",
    "dataset": "kerascli.sources",
}
"""Where each family lives: a module, or a folder whose every module is imported to find the members."""


@dataclass(frozen=True)
class Example:
    """A configuration that tests, documents and parity runs enumerate.

    `inputs` are the shapes of one sample of each input (layers), `dtype` that of the inputs; `high` bounds integers.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[tuple[int, ...], ...] = ()
    dtype: str = "float32"
    high: int = 10


class Component(BaseModel):
    """A part of the spec. Never holds arrays or state."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        defer_build=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    # Class variables say their types by their values: pydantic evaluates what stands in brackets for every subclass.
    family: ClassVar = ""
    aliases: ClassVar = tuple[str, ...]()
    """Keras's other identifiers, such as `mse`; the snake_case of the class name is one where the family says so."""
    examples: ClassVar = tuple[Example, ...]()
    members: ClassVar = dict[str, "type[Component]"]()
    """Of a family: its members by class name."""
    snake_names: ClassVar = False
    """Of a family: whether Keras also takes the snake_case class name (optimizers, losses, metrics, initializers …)."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        if Component in cls.__bases__:
            cls.members = {}
        elif not cls.__name__.startswith("_"):
            cls.members[cls.__name__] = cls

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        if Component not in cls.__bases__:
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            cls.parse,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda part: part.dump()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if Component in cls.__bases__:
            return {"family": cls.family}
        return handler(schema)

    @classmethod
    def parse(cls, value: Any) -> Self:
        """Build the member that `value` names: a mapping with `type`, a bare type name, or a member itself.

        Looked up at validation time, so that an error's `loc` is exactly the path in the YAML.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = {"type": value}
        if not isinstance(value, Mapping):
            raise PydanticCustomError(
                "component_type",
                "must be the name of {article} {family} or a mapping with `type`",
                {"family": cls.family, "article": "an" if cls.family[0] in "aio" else "a"},
            )
        if "type" not in value:
            raise PydanticCustomError("component_untyped", "needs a `type`", {"family": cls.family})
        name = value["type"]
        member = cls.find(name) if isinstance(name, str) else None
        if member is None:
            written = _written(cls.family)
            near = nearest(str(name), list(written.places))
            raise PydanticCustomError(
                "component_unknown",
                "unknown {family} `{name}`",
                {"family": cls.family, "name": str(name), "near": near, "names": written.members},
            )
        return member.model_validate({k: v for k, v in value.items() if k != "type"})  # type: ignore[return-value]

    @classmethod
    def find(cls, name: str) -> "type[Component] | None":
        """The member of this family that Keras knows under `name`; no more of the family is imported than it takes."""
        if module := _written(cls.family).places.get(name):
            importlib.import_module(module)
        return cls.members.get(name) or cls.loaded_names().get(name)

    @classmethod
    def spellings(cls) -> list[str]:
        """Every identifier of the family, class names first; nothing is imported."""
        return list(_written(cls.family).places)

    @classmethod
    def names(cls) -> dict[str, "type[Component]"]:
        """Every identifier of the family and the member it stands for, class names first."""
        load_family(cls.family)
        return cls.loaded_names()

    @classmethod
    def loaded_names(cls) -> dict[str, "type[Component]"]:
        """The same of what is imported so far."""
        found = dict(cls.members)
        for member in cls.members.values():
            others = (*member.aliases, *((snake_case(member.__name__),) if cls.snake_names else ()))
            for alias in others:
                found.setdefault(alias, member)
        return found

    @classmethod
    def type_name(cls) -> str:
        """What a spec calls it."""
        return cls.__name__

    def dump(self) -> dict[str, Any]:
        """The component as the YAML would write it, every default included."""
        return {"type": self.type_name(), **{k: plain(getattr(self, k)) for k in type(self).model_fields}}


def plain(value: Any) -> Any:
    """A value of the spec as plain data: components as mappings with `type`, every default included."""
    if isinstance(value, Component):
        return value.dump()
    if isinstance(value, BaseModel):
        return {k: plain(getattr(value, k)) for k in (*type(value).model_fields, *(value.model_extra or ()))}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def families() -> dict[str, type[Component]]:
    """The base class of every family."""
    known = {base.family: base for base in Component.__subclasses__()}
    for family in [family for family in MODULES if family not in known]:
        load_family(family)
    known = {base.family: base for base in Component.__subclasses__()}
    return {family: known[family] for family in MODULES}


@functools.cache
def load_family(family: str) -> None:
    """Import the family's folder, every module of it, so that its members are registered."""
    for module in _modules(family):
        importlib.import_module(module)


def _modules(family: str) -> dict[str, Path]:
    """The file of each module of the family."""
    base = importlib.import_module(MODULES[family])
    file = Path(base.__file__ or "")
    if not hasattr(base, "__path__"):
        return {base.__name__: file}
    names = (info.name for info in pkgutil.iter_modules(base.__path__))
    return {f"{base.__name__}.{name}": file.with_name(f"{name}.py") for name in names}


class _Written(NamedTuple):
    """What the texts of a family's modules say of it, so that none is imported which a spec does not name."""

    members: list[str]
    """Their class names."""
    places: dict[str, str]
    """The module of every identifier, class names first."""


@functools.cache
def _written(family: str) -> _Written:
    """Members are the classes with public names whose first base, or that one's first base …, is the family itself."""
    (root,) = (base for base in Component.__subclasses__() if base.family == family)
    bases: dict[str, str] = {}
    classes: dict[str, str] = {}
    others: dict[str, str] = {}
    for module, file in _modules(family).items():
        text = file.read_text("utf-8")
        for name, base in re.findall(r"\nclass (\w+)\((\w+)", text):
            bases[name], classes[name] = base, module
        for line in re.findall(r"\n    aliases.* = (.*)|\.by_shape\.update(.*)", text):
            others |= dict.fromkeys(re.findall(r'"(\w+)"', str(line)), module)

    def descends(name: str) -> bool:
        while name in bases and name != root.__name__:
            name = bases[name]
        return name == root.__name__

    members = [name for name in classes if name[0] != "_" and name != root.__name__ and descends(name)]
    if root.snake_names:
        others |= {snake_case(name): classes[name] for name in members}
    return _Written(members, {name: classes[name] for name in members} | others)


@functools.lru_cache(4096)
def snake_case(name: str) -> str:
    """Keras's own conversion: `Conv2D` → `conv2d`, `MaxPooling2D` → `max_pooling2d`, `GRU` → `gru`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def nearest(word: str, words: Sequence[str]) -> str:
    """The one of `words` that was probably meant by `word`, or the empty text."""
    same = [w for w in words if w.replace("_", "").lower() == word.replace("_", "").lower()]
    parts = _parts(word)
    fuller = [w for w in words if parts <= _parts(w)] if len(parts) > 1 else []  # sparse_crossentropy lacks a word
    near = difflib.get_close_matches(word, words, 1, 0.6)
    begun = [w for w in words if len(word) > 2 and w.lower().startswith(word.lower())]
    return (
        same or sorted(fuller, key=lambda w: (w[:1].isupper() != word[:1].isupper(), len(w))) or near or begun or [""]
    )[0]


def _parts(word: str) -> set[str]:
    """The words in `snake_case` and `CamelCase`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+", word)}


def tuple_of(rank: int) -> Callable[[Any], Any]:
    def broadcast(value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return (value,) * rank
        return tuple(value) if isinstance(value, list) else value

    return broadcast


def as_tuple(value: Any) -> Any:
    """A list of YAML as a tuple, which is what a frozen component keeps."""
    return tuple(value) if isinstance(value, list) else value


Pair = Annotated[tuple[int, int], BeforeValidator(tuple_of(2), json_schema_input_type=int | tuple[int, int])]
"""Two integers, or one that stands for both, as Keras broadcasts `kernel_size: 3`."""
Triple = Annotated[
    tuple[int, int, int], BeforeValidator(tuple_of(3), json_schema_input_type=int | tuple[int, int, int])
]
"""Three integers, or one that stands for all."""
Single = Annotated[tuple[int], BeforeValidator(tuple_of(1), json_schema_input_type=int | tuple[int])]
"""One integer, kept as Keras keeps it: a tuple of one."""
Ints = Annotated[tuple[int, ...], BeforeValidator(as_tuple)]
"""A list of integers, such as a shape."""


BASE: ContextVar[Path | None] = ContextVar("base", default=None)
"""The folder of the spec that is being loaded: relative paths start there."""


def _from_base(value: str) -> str:
    base = BASE.get()
    return value if base is None else str(base / Path(value).expanduser())


FilePath = Annotated[str, AfterValidator(_from_base)]
"""The path of a file that is read: a relative one starts from the spec's folder, and is absolute in a loaded spec."""

"""The whole document as one frozen model. `load` reads it, with overrides; `resolved` writes it with every default."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from kerascli import yamltext
from kerascli.callbacks.base import Callback
from kerascli.component import BASE, plain
from kerascli.diagnose import diagnose
from kerascli.errors import Problem, SpecFailure
from kerascli.layer import Layer
from kerascli.losses.base import Loss
from kerascli.metrics.base import Metric
from kerascli.optimizers.base import Optimizer
from kerascli.overrides import override
from kerascli.search import Search
from kerascli.sources.base import Source
from kerascli.yamltext import Document

SETTINGS = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)
BOUND = re.compile(r"\s*(<=|>=|<|>|==)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")


class Bound(NamedTuple):
    """What a figure of the finished run must be."""

    sign: Literal["<", "<=", ">", ">=", "=="]
    limit: float

    def holds(self, value: float) -> bool:
        """NaN meets no bound."""
        tests = {
            "<": value < self.limit,
            "<=": value <= self.limit,
            ">": value > self.limit,
            ">=": value >= self.limit,
            "==": value == self.limit,
        }
        return tests[self.sign]


def bound(text: Any) -> Bound:
    """Read a bound such as `>= 0.98`."""
    found = BOUND.fullmatch(text) if isinstance(text, str) else None
    try:
        return Bound(found[1], float(found[2]))  # type: ignore[index, arg-type]
    except (TypeError, ValueError):
        raise PydanticCustomError(
            "bound", 'must be a sign and a number in quotes, such as ">= 0.98" or "< 120"'
        ) from None


def _checked_bound(text: Any) -> Any:
    bound(text)
    return text


def checked_name(name: str) -> str:
    """Raises PydanticCustomError where a run's folder cannot be called so."""
    if not name.strip() or name in (".", "..") or re.search(r"[/\\\x00-\x1f\x7f]", name) or len(name.encode()) > 200:
        raise PydanticCustomError(
            "name", "must be a name that can be part of a folder's: without `/` and `\\`, not empty"
        )
    return name


def _weights_or_run(value: str) -> str:
    """A file is looked for beside the spec; what is no file there may be the name of a run."""
    base = BASE.get()
    path = base / Path(value).expanduser() if base else Path(value)
    return str(path) if path.exists() else value


class LayerWeights(BaseModel):
    """Weights of some layers alone, which the file knows by name."""

    model_config = SETTINGS

    path: Annotated[str, AfterValidator(_weights_or_run)]
    """A `.keras`, `.weights.h5` or legacy `.h5` file, or a run."""
    layers: list[str] | dict[str, str] = Field(min_length=1)
    """Names of the layers, or {name here: name in the file} where they differ."""

    @property
    def names(self) -> dict[str, str]:
        """The name in the file of each layer, by its name here."""
        return self.layers if isinstance(self.layers, dict) else {name: name for name in self.layers}


def _initial(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A mapping names layers; a union would spoil the path of errors."""
    return _adapter(LayerWeights).validate_python(value) if isinstance(value, Mapping) else handler(value)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _loss(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A mapping of outputs is told from a component by its lack of `type`; a union would spoil the path of errors."""
    parts = value.values() if isinstance(value, Mapping) and "type" not in value else ()
    if parts and all(isinstance(part, (str, Mapping, Loss)) for part in parts):
        return _adapter(dict[str, Loss]).validate_python(value)
    return Loss.parse(value)


def _metrics(value: Any, handler: Callable[[Any], Any]) -> Any:
    if not isinstance(value, Mapping):
        return _adapter(list[Metric]).validate_python(value)
    lists = {k: v if isinstance(v, list) else [v] for k, v in value.items()}
    return _adapter(dict[str, list[Metric]]).validate_python(lists)


InitialWeights = Annotated[
    Annotated[str, AfterValidator(_weights_or_run)] | LayerWeights | None, WrapValidator(_initial)
]
Losses = Annotated[Loss | dict[str, Loss], WrapValidator(_loss)]
Metrics = Annotated[list[Metric] | dict[str, list[Metric]], WrapValidator(_metrics)]


class Training(BaseModel):
    """How the model is trained."""

    model_config = SETTINGS

    epochs: int = Field(1, ge=1)
    """Passes over the training data."""
    batch_size: int = Field(32, ge=1)
    """Samples in a step."""
    shuffle: bool = True
    """Whether the training samples get a new order in every epoch."""
    class_weight: dict[int, float] | Literal["balanced"] | None = None
    """Weight of each class's samples in the loss; `balanced` is n / (classes × count)."""
    steps_per_epoch: int | None = Field(None, ge=1)
    """Steps in an epoch; by default as many as the data gives."""
    validation_freq: int = Field(1, ge=1)
    """Epochs from one validation to the next."""
    initial_weights: InitialWeights = None
    """Weights to start from: a `.keras`, `.weights.h5` or legacy `.h5` file, or a run; by structure for the whole
    model, or `{path: …, layers: [names]}` for some of its layers."""
    engine: Literal["numpy", "keras"] = "numpy"
    """What computes: kerascli's own NumPy engine, or real Keras on JAX, TensorFlow or PyTorch."""
    convolution: Literal["auto", "direct"] = "auto"
    """`auto` may use faster algorithms of convolution, whose rounding differs in the last digits."""


class Spec(BaseModel):
    """A model, its data and its training."""

    model_config = SETTINGS

    version: Literal[1] = 1
    """Version of this format."""
    name: Annotated[str, AfterValidator(checked_name)]
    """Name of the model, which begins the names of its runs; by default the file's name without its suffix."""
    description: str = ""
    """What this is about."""
    seed: int = Field(0, ge=0, lt=2**64)
    """Decides the initial weights, shuffling, dropout, augmentation and splits."""
    dataset: Source
    """The data."""
    layers: list[Layer] = Field(min_length=1)
    """The layers: a stack, or a graph by `name` and `inputs`."""
    outputs: list[str] | None = Field(None, min_length=1)
    """Names of the layers that are the model's outputs; by default the last layer."""
    loss: Losses
    """What training makes small: one loss, or one for each output by its name."""
    loss_weights: dict[str, float] | None = None
    """Weight of each output's loss in the sum; by default 1."""
    metrics: Metrics = []
    """Figures to show and log: a list, or one for each output by its name."""
    weighted_metrics: Metrics = []
    """Metrics that sample and class weights weigh."""
    optimizer: Optimizer = Field(default_factory=lambda: Optimizer.parse("RMSprop"))
    """How weights follow their gradients."""
    training: Training = Field(default_factory=Training)
    """How the model is trained."""
    callbacks: list[Callback] = []
    """What acts between epochs: early stopping, checkpoints and the like."""
    expect: dict[str, Annotated[str, BeforeValidator(_checked_bound)]] = {}
    """Bounds on the finished run's figures, such as `test_accuracy: ">= 0.98"`; a missed one makes `train` exit 1."""
    search: Search | None = None
    """What `kerascli sweep` varies; `train` takes the values as they are written elsewhere."""

    def bounds(self) -> dict[str, Bound]:
        """The bounds of `expect`, read."""
        return {figure: bound(text) for figure, text in self.expect.items()}


@dataclass(frozen=True)
class Loaded:
    """A spec with the text it came from, so that later stages can say where something is wrong."""

    spec: Spec
    document: Document
    path: Path

    @property
    def base(self) -> Path:
        """The folder that relative paths start from."""
        return self.path.resolve().parent


def load(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read a spec. Every fault of the text, or else every fault of the values, is in one SpecFailure."""
    path = Path(path)
    document = override(yamltext.read(path), overrides)
    if not isinstance(document.value, Mapping):
        given = yamltext.describe(document.value)
        raise SpecFailure(
            Problem(
                "E204",
                f"a spec must be a mapping with `dataset`, `layers` and `loss`; got {given}",
                document.root.span,
                help=yamltext.SMALLEST,
            )
        )
    return Loaded(read(document, path), document, path)


def read(document: Document, path: Path) -> Spec:
    """The document's values as a Spec."""
    token = BASE.set(path.resolve().parent)
    try:
        return Spec.model_validate({"name": path.stem, **document.value})
    except ValidationError as error:
        raise SpecFailure(diagnose(error, document, Spec)) from error
    finally:
        BASE.reset(token)


def resolved(spec: Spec) -> str:
    """The spec as YAML with every default written out and every path absolute; it trains to the same weights."""
    return yamltext.dump({key: plain(getattr(spec, key)) for key in Spec.model_fields})

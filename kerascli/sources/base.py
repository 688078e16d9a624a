"""What a source of data is: up to three splits of named arrays, and a signature that is known before they are read.

Class names are the CamelCase of what the YAML says: `BreastCancer` is `type: breast_cancer`, `Csv` is `type: csv`.

Problems: E401 a file cannot be read; E402 it is damaged or not of its format; E403 arrays are absent or do not fit
together; E404 NaN or infinity; E405 a target cannot be encoded; E406 a split is empty or given twice; E407 the text is
no proper table; E408 a value of the wrong type, or missing where it may not be; E409 no column or input of that name;
E410 an encoder cannot be fitted.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Component, FilePath, nearest, snake_case
from kerascli.errors import Failure, Problem, SpecFailure
from kerascli.files import cannot_read
from kerascli.learned import Learned
from kerascli.ops.ir import Array
from kerascli.ops.shape import without_one
from kerascli.sources.rows import Samples, Shape
from kerascli.sources.targets import resolve_encoding

if TYPE_CHECKING:  # tables, dates, texts and images: more than a spec of arrays needs to be checked
    from kerascli.preprocessing import Preprocessing

SPLITS = ("train", "validation", "test")
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class InputInfo:
    """One sample of an input."""

    shape: Shape
    dtype: str
    """float32, int32, uint8 or string: as served, never as stored."""


@dataclass(frozen=True)
class TargetInfo:
    """One sample of a target as it stands, before it is one-hot; `()` is one number or label a sample."""

    shape: Shape
    dtype: str
    classes: int | None = None
    """None where the values are no class labels."""
    class_names: tuple[str, ...] = ()

    def shape_as(self, encoding: str) -> Shape:
        """The shape under an encoding, as `load` serves it."""
        if resolve_encoding(encoding, self.classes) == "one_hot" and self.classes is not None:
            return (*without_one(self.shape), self.classes)
        return self.shape


@dataclass(frozen=True)
class Signature:
    """What a network needs to know of its data before any is read."""

    inputs: dict[str, InputInfo]
    targets: dict[str, TargetInfo]
    sizes: dict[str, int] = field(default_factory=dict)
    """Samples of each split there is; `missing: drop` may leave fewer."""
    learned: dict[str, Learned] = field(default_factory=dict)
    """What layers have learnt from the training split, by their names."""


@dataclass(frozen=True)
class Split:
    """Samples, in memory or streamed; keys are the names of inputs and targets."""

    inputs: Mapping[str, Samples]
    targets: Mapping[str, Samples]
    sample_weight: Array | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Dataset:
    """What training and evaluation read."""

    train: Split
    validation: Split | None
    test: Split | None
    preprocessing: "Preprocessing"
    fingerprint: str
    """`sha256:` and the digest of the files' bytes (of the configuration, for generated data)."""
    notes: tuple[str, ...] = ()
    """What is worth saying: rows dropped, categories that training never showed."""


@dataclass(frozen=True)
class Cut:
    """Rows `start` to `stop` of the part that is stored as `part`."""

    part: str
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


Encoding = Literal["auto", "integer", "one_hot", "none"]


def _alone_trains(value: Any) -> Any:
    return {"train": value} if isinstance(value, str) else value


PathsBySplit = Annotated[
    dict[SplitName, FilePath], BeforeValidator(_alone_trains, json_schema_input_type=str | dict[SplitName, str])
]
"""Where each split is stored, or a path alone, which is that of the training samples."""


class Source(Component):
    """A data set."""

    family = "dataset"
    snake_names = True
    own: ClassVar[tuple[str, ...]] = ("train",)
    """The splits that every use of this source has; sources that find theirs in files look there."""

    validation_split: float = Field(0.0, ge=0, lt=1)
    """Fraction of the training samples, cut from their end before any shuffling, that validates."""
    test_split: float = Field(0.0, ge=0, lt=1)
    """Fraction of the samples, cut from the end before `validation_split`, that tests."""
    limit: int | None = Field(None, ge=1)
    """At most this many samples, the first ones, of each split."""
    stratify: bool = False
    """Whether every class is spread evenly over the samples before the splits are cut, so that each has its share."""
    target_encoding: Encoding = "auto"
    """Labels as `integer` ids, `one_hot` vectors, or values as they are (`none`); `auto` is what the loss needs."""
    allow_nan: bool = False
    """Whether NaN and infinity may stand in the data."""

    @model_validator(mode="after")
    def _splits_once(self) -> Self:
        for split in ("validation", "test"):
            if split in self.own and getattr(self, f"{split}_split"):
                raise PydanticCustomError(
                    "dataset_split",
                    "{name} has a {split} split of its own: drop `{split}_split`",
                    {"name": self.type_name(), "split": split},
                )
        return self

    @classmethod
    def type_name(cls) -> str:
        """What the YAML calls it."""
        return snake_case(cls.__name__)

    def dump(self) -> dict[str, Any]:
        return {**super().dump(), "type": self.type_name()}

    def peek(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> Signature:
        """Shapes, dtypes and classes without reading the data.

        `inputs` and `outputs` are the names that the network has, where it names them: data go by those names. A
        single input or output takes what there is. `raw` are the inputs that want what is stored as it stands, as
        `string` or `int32`, where a source would else encode it.
        """
        raise NotImplementedError

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        """Read everything; `encoding` says for each target what `auto` means: `integer`, `one_hot` or `none`."""
        raise NotImplementedError

    def settled(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> "Source":
        """The same with what was found out from the data written down, as `resolved.yaml` has it."""
        return self

    def without(self, base: Path, file: Path) -> str | None:
        """The fingerprint of all files but this one; None where a sample has no file of its own."""
        return None

    def encoding_of(self, target: str, encoding: Mapping[str, str] | None) -> str:
        """The spec's word, else the caller's."""
        return self.target_encoding if self.target_encoding != "auto" else (encoding or {}).get(target, "auto")

    def cuts(self, rows: Mapping[str, int]) -> dict[str, Cut]:
        """The splits, given how many rows are stored of each: test off the end, then validation, as Keras cuts."""
        found = {split: Cut(split, 0, count) for split, count in rows.items()}
        for split, fraction in (("test", self.test_split), ("validation", self.validation_split)):
            if not fraction:
                continue
            if split in found:
                raise Failure(
                    Problem(
                        "E406",
                        f"the data have a {split} split of their own",
                        help=f"drop `{split}_split: {fraction:g}`",
                    )
                )
            train = found["train"]
            at = math.floor(train.stop * (1.0 - fraction))
            found |= {"train": replace(train, stop=at), split: Cut("train", at, train.stop)}
        for split, cut in found.items():
            if cut.stop <= cut.start:
                raise Failure(
                    Problem(
                        "E406",
                        f"the {split} split is empty: there are {rows[cut.part]} samples",
                        help="change `validation_split` or `test_split`",
                    )
                )
        return {split: found[split] for split in SPLITS if split in found}

    def limited(self, cuts: Mapping[str, Cut]) -> dict[str, Cut]:
        """The first `limit` rows of each split."""
        return {
            split: cut if self.limit is None else replace(cut, stop=min(cut.stop, cut.start + self.limit))
            for split, cut in cuts.items()
        }

    def sizes(self, cuts: Mapping[str, Cut]) -> dict[str, int]:
        """Samples of each split, within `limit`."""
        return {split: cut.stop - cut.start for split, cut in self.limited(cuts).items()}


def named(found: Mapping[str, object], wanted: Sequence[str], what: str) -> dict[str, str]:
    """Wanted name → name in the data. A single wanted name may stand for the single one there is."""
    if not wanted:
        return {name: name for name in found}
    if len(wanted) == 1 and len(found) == 1:
        return {wanted[0]: next(iter(found))}
    absent = [name for name in wanted if name not in found]
    if absent:
        have = ", ".join(f"`{name}`" for name in found)
        raise SpecFailure(
            [
                Problem(
                    "E409",
                    f"the dataset has no {what} for `{name}`",
                    label=did_you_mean(name, found),
                    help=f"it has {have}",
                )
                for name in absent
            ]
        )
    return {name: name for name in wanted}


def did_you_mean(name: str, names: Iterable[str]) -> str:
    near = nearest(name, list(names))
    return f"did you mean `{near}`?" if near else ""


def digest_of_files(paths: Iterable[Path]) -> str:
    """`sha256:` of the bytes of the files, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise cannot_read(path, error) from None
    return f"sha256:{digest.hexdigest()}"

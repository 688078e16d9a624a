"""What is found in a dataset, as plain data: the report, `--json` and the terminal show the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from kerascli.errors import Problem, Span

BINS = 16
"""Bars of a histogram."""
Severity = Literal["error", "warning", "note"]
"""An error spoils what is learnt or measured, a warning probably does, a note is worth knowing."""


@dataclass(frozen=True)
class Numbers:
    """Values of an input, a target or a column; figures are of the finite ones."""

    count: int
    minimum: float | None
    """None where no value is finite."""
    maximum: float | None
    mean: float | None
    deviation: float | None
    """The population's standard deviation."""
    zeros: float
    """Share of values that are 0."""
    not_finite: int
    """NaN and infinity."""
    histogram: tuple[int, ...] = ()
    """Values, or some that stand for all, in bins of equal width from the minimum to the maximum."""


@dataclass(frozen=True)
class Tokens:
    """Token ids: whole numbers in a row, 0 where a text has ended or not begun."""

    largest: int
    smallest: int
    padding: float
    """Share of ids that are 0."""
    unknown: float | None
    """Share of the other ids that stand for words outside the vocabulary; None where no id does."""
    lengths: Numbers
    """Ids of a sample that are not 0."""
    full: float
    """Share of samples without padding: longer texts were cut off, perhaps."""


@dataclass(frozen=True)
class Texts:
    """Texts as they stand."""

    words: Numbers
    """Words of a sample, parted by blanks."""
    longest: int
    """Characters of the longest."""
    empty: int
    """Samples without a word."""


@dataclass(frozen=True)
class InputFacts:
    """One input: of the model, or what a layer makes of texts before the net reads it."""

    shape: tuple[int, ...]
    """Of one sample."""
    dtype: str
    kind: Literal["images", "table", "texts", "tokens", "numbers"]
    numbers: dict[str, Numbers] = field(default_factory=dict)
    """By split, as the other figures are."""
    tokens: dict[str, Tokens] = field(default_factory=dict)
    texts: dict[str, Texts] = field(default_factory=dict)
    constant: int = 0
    """Places of a sample that have one value in all training samples: pixels, columns."""
    blank: dict[str, int] = field(default_factory=dict)
    """Samples whose places all have the same value."""


@dataclass(frozen=True)
class TargetFacts:
    """One target, as the loss reads it."""

    shape: tuple[int, ...]
    encoding: str
    """`integer`, `one_hot`, `none`, …"""
    kind: Literal["classes", "labels", "numbers"]
    """One class a sample (or a place), several labels a sample, or numbers."""
    names: tuple[str, ...] = ()
    """Of classes or labels."""
    columns: tuple[str, ...] = ()
    """Of the table; empty where the data are arrays already."""
    counts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """How often each class or label occurs, by split."""
    weights: tuple[float, ...] = ()
    """Of each class in the loss, where `class_weight` says so."""
    numbers: dict[str, Numbers] = field(default_factory=dict)
    runs: int | None = None
    """Stretches of equal classes from the first training sample to the last: as many as there are classes in sorted
    data."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column of a table, before it is encoded."""

    kind: str
    missing: dict[str, int]
    """Cells without a value, by split."""
    filled: str
    """What stands for them."""
    distinct: int
    """Different values in the training rows."""
    numbers: dict[str, Numbers] = field(default_factory=dict)
    frequent: tuple[tuple[str, int], ...] = ()
    """The five most frequent texts of the training rows, and how often they occur."""
    unseen: dict[str, int] = field(default_factory=dict)
    """Cells of other splits with texts that training never shows."""
    lengths: Numbers | None = None
    """Words of a text."""
    tells: float | None = None
    """How much this column alone tells of the target, of what the most frequent class or the mean leaves untold; None
    where it was not tried."""
    far: int = 0
    """Training values farther than ten deviations from the mean."""
    counts_rows: bool = False
    """Whether they are whole numbers, close together and all different, as numbers of rows are."""
    spellings: tuple[str, ...] = ()
    """Texts that differ in their case or blanks alone."""


@dataclass(frozen=True)
class PictureFacts:
    """Image files of a folder as they are stored; sizes are (height, width)."""

    files: int
    smallest: tuple[int, int]
    """The least height and the least width, which may be of two files."""
    median: tuple[int, int]
    largest: tuple[int, int]
    sizes: int
    """Different sizes."""
    formats: dict[str, int]
    """`PNG`, `JPEG`, … and how many files have it."""
    modes: dict[str, int]
    """How pixels are stored, as Pillow calls it: `RGB`, `L` (grey), `P` (a palette), …"""
    smaller: int
    """Files that are made larger in one direction at least."""
    distorted: int
    """Files whose proportions change by more than a quarter."""


@dataclass(frozen=True)
class Pair:
    """The same sample twice; numbered from 0 in their splits."""

    split: str
    index: int
    first_split: str
    first_index: int
    file: str = ""
    """Where each sample is a file."""
    first_file: str = ""

    @property
    def shown(self) -> str:
        """`test 20 = train 1`, or by the files."""
        both = ((self.split, self.index, self.file), (self.first_split, self.first_index, self.first_file))
        return " = ".join(f"{split} {f'`{file}`' if file else index}" for split, index, file in both)


@dataclass(frozen=True)
class Copies:
    """Samples whose inputs are the same, value by value."""

    within: dict[str, int]
    """By split: samples that stand before in the same split already."""
    across: dict[str, int]
    """By `validation in train` and the like: samples of the one that stand in the other too."""
    contradicting: int
    """Training samples that another one equals, but for its target."""
    examples: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One thing that is suspicious, and what to do about it."""

    kind: str
    """A stable word for it, such as `copies_across_splits`."""
    severity: Severity
    message: str
    help: str
    where: Span | None = None
    """The line of the spec to change, where there is one."""


@dataclass(frozen=True)
class Inspection:
    """Everything that is to be said of a dataset before training."""

    name: str
    dataset: str
    """Type of the source."""
    fingerprint: str
    samples: dict[str, int]
    """Of each split."""
    stratified: bool
    inputs: dict[str, InputFacts]
    targets: dict[str, TargetFacts]
    columns: dict[str, ColumnFacts]
    """Of a table, in their order."""
    sample_weight: dict[str, Numbers]
    copies: Copies
    notes: tuple[str, ...]
    """What the source says: rows dropped, encodings detected."""
    findings: tuple[Finding, ...]
    """The gravest first."""
    pictures: dict[str, PictureFacts] = field(default_factory=dict)
    """Of a folder of images, by the splits that have a folder."""
    problems: tuple[Problem, ...] = ()
    """What is wrong with the rest of the spec: the network does not fit the data."""

    @property
    def suspicious(self) -> bool:
        """Whether there is more than notes."""
        return any(finding.severity != "note" for finding in self.findings)

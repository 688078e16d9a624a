"""The small tables that come with the package. Their files are sorted by class in the originals: here the rows were
shuffled once, for good, so that the last fraction that `validation_split` cuts off has every class.
"""

from pathlib import Path
from typing import ClassVar

from kerascli.component import Example
from kerascli.sources.bundled import About, data_file
from kerascli.sources.separated import Separated
from kerascli.sources.tabular import _Tabular

_NOTE = "one piece, in an order shuffled once and for all: `validation_split` and `test_split` cut from its end"


class _BundledTable(_Tabular):
    about: ClassVar[About]
    target_name: ClassVar[str] = "class"

    def files(self, base: Path) -> dict[str, Path]:
        return {"train": data_file(self.about.file)}

    def target_columns(self) -> tuple[str, ...]:
        return (self.target_name,)

    def table_format(self) -> Separated:
        return Separated(",")


class Iris(_BundledTable):
    """Three species of iris by four measures of the flower: 150 rows in a fixed, shuffled order."""

    examples = (Example(),)
    about = About(
        "iris species from four measures", {"train": 150}, "iris.csv", "CC BY 4.0", "R. A. Fisher, UCI Iris", _NOTE
    )


class Wine(_BundledTable):
    """Three cultivars of wine by thirteen chemical measures: 178 rows in a fixed, shuffled order."""

    examples = (Example(),)
    about = About(
        "wine cultivars from thirteen measures",
        {"train": 178},
        "wine.csv",
        "CC BY 4.0",
        "Aeberhard and Forina, UCI Wine",
        _NOTE,
    )


class BreastCancer(_BundledTable):
    """Benign or malignant by thirty measures of cell nuclei: 569 rows in a fixed, shuffled order."""

    examples = (Example({"target_encoding": "integer"}),)
    about = About(
        "benign or malignant from thirty measures",
        {"train": 569},
        "breast_cancer.csv",
        "CC BY 4.0",
        "Wolberg, Mangasarian, Street and Street, UCI Breast Cancer Wisconsin (Diagnostic)",
        _NOTE,
    )


class Penguins(_BundledTable):
    """Three species of penguin by numbers and categories, with missing values: 344 rows in a fixed, shuffled order."""

    examples = (Example({"features": {"bill_length_mm": {}, "sex": {"missing": "most_frequent"}}}),)
    about = About(
        "penguin species; numbers, categories, gaps",
        {"train": 344},
        "penguins.csv",
        "CC0 1.0",
        "Gorman, Horst and Hill, palmerpenguins",
        _NOTE,
    )
    target_name = "species"

"""Tables in text files of separated values."""

from typing import Literal

from pydantic import Field

from kerascli.component import Example
from kerascli.sources.files import _TableFiles
from kerascli.sources.separated import Separated
from kerascli.sources.textfile import Encoding


class Csv(_TableFiles):
    """A table in a text file, plain or gzip: a row of column names, then a sample a row.

    Kinds are inferred: a column where every value is a number is numeric (where nearly every one is, the others are
    faults), one of ISO dates a date, one of long texts a text, any other a category. Empty, `NA`, `N/A`, `NaN`,
    `null` and `?` are missing values. The text is UTF-8, or UTF-16 with a byte order mark; quotation marks are as in
    RFC 4180, or what the first rows show. Rows without any value are passed over.

    A file is read some thousand rows at a time. Numbers and categories are kept, four to eight bytes each; texts above
    64 MiB wait in a temporary file (`TMPDIR` says where), and become vectors a batch at a time.
    """

    examples = (Example({"path": "table.csv", "target": "label", "validation_split": 0.2}),)

    separator: str | None = Field(None, min_length=1, max_length=1)
    """The character between values; by default that one of `,` `;` tab `|` that fits the first rows."""
    decimal: Literal[".", ","] = "."
    """The decimal mark of numbers."""
    encoding: Encoding | None = None
    """How characters are stored, such as `latin-1` or `cp1252`; by default UTF-8, or what a byte order mark says."""

    def table_format(self) -> Separated:
        return Separated(self.separator, self.decimal, self.encoding)

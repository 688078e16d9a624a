"""TextVectorization: texts become sequences of word numbers, or vectors of which words there are.

Texts are treated as TensorFlow does: only the letters A to Z have a lower case, only ASCII punctuation is stripped, and
words end at ASCII blanks. Departures from Keras: numbers are int32; a sample's length is fixed, so `output_mode: int`
needs `output_sequence_length`.
"""

import string
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, FilePath
from kerascli.layers.host import Modes, Never, _Host, spread
from kerascli.layers.lookup import StringLookup
from kerascli.learned import Learned
from kerascli.ops.ir import Array, Shape, ShapeError

PUNCTUATION = string.punctuation.encode()
LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())


def _no_function(*known: str) -> BeforeValidator:
    """Keras takes functions too; a spec has none."""

    def check(value: Any) -> Any:
        if value is not None and value not in known:
            names = ", ".join(f"`{name}`" for name in known)
            found = str(value)[:60]
            message = "must be {names} or null, not `{found}`: functions of one's own cannot be written in a spec"
            raise PydanticCustomError("no_function", message, {"names": names, "found": found})
        return value

    return BeforeValidator(check)


class TextVectorization(_Host):
    """Texts standardised, split into tokens, joined to n-grams and looked up: () or (1,) → numbers or a vector."""

    reads: ClassVar[tuple[str, ...]] = ("string",)
    examples = (
        Example({"vocabulary": ["good", "bad"], "output_sequence_length": 4}, inputs=((1,),), dtype="string"),
        Example({"vocabulary": ["a", "b"], "split": "character", "output_mode": "count"}, inputs=((),), dtype="string"),
        Example({"vocabulary": ["a", "a b"], "ngrams": 2, "output_mode": "multi_hot"}, inputs=((1,),), dtype="string"),
    )

    max_tokens: int | None = Field(None, ge=2)
    """Size of the vocabulary at most, the places of padding and of other words included; none: no limit."""
    standardize: Annotated[
        Literal["lower_and_strip_punctuation", "lower", "strip_punctuation"] | None,
        _no_function("lower_and_strip_punctuation", "lower", "strip_punctuation"),
    ] = "lower_and_strip_punctuation"
    """What is done to a text first; null: nothing."""
    split: Annotated[Literal["whitespace", "character"] | None, _no_function("whitespace", "character")] = "whitespace"
    """Where a text is cut into tokens; null: the input holds tokens already."""
    ngrams: Annotated[int, Field(ge=1)] | list[Annotated[int, Field(ge=1)]] | None = None
    """Joins neighbouring tokens: up to so many, or as many as the list says; none: tokens stay alone."""
    output_mode: Annotated[
        Literal["int", "multi_hot", "count", "tf_idf"],
        BeforeValidator(lambda mode: Modes.get(mode, mode) if isinstance(mode, str) else mode),
    ] = "int"
    """`int`: a number for each token; `multi_hot`: which there are in a text; `count`: how often; `tf_idf`: how often,
    times the word's rarity."""
    output_sequence_length: int | None = Field(None, ge=1)
    """Tokens of a text with `output_mode: int`: longer ones are cut, shorter ones end in zeros."""
    pad_to_max_tokens: bool = False
    """Whether vectors are `max_tokens` long, however few words there are."""
    vocabulary: list[str] | FilePath | None = None
    """The words, or a file with one a line; by default they are learnt from the training split."""
    idf_weights: list[float] | None = None
    """Weight of each word of `vocabulary` for `output_mode: tf_idf`; learnt with the vocabulary by default."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""
    ragged: Never = False
    """Keras's ragged tensors; always false here."""
    encoding: Literal["utf-8"] = "utf-8"
    """How texts are encoded: UTF-8."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.output_mode != "int" and self.output_sequence_length is not None:
            raise PydanticCustomError("text_length", "`output_sequence_length` needs `output_mode: int`")
        _ = self.lookup
        return self

    @property
    def lookup(self) -> StringLookup:
        """What finds the tokens' places."""
        return StringLookup(
            max_tokens=self.max_tokens,
            mask_token="",
            vocabulary=self.vocabulary,
            idf_weights=self.idf_weights,
            output_mode=self.output_mode,
            pad_to_max_tokens=self.pad_to_max_tokens,
        )

    @property
    def lacks(self) -> bool:
        return not isinstance(self.vocabulary, list)

    @property
    def widths(self) -> tuple[int, ...]:
        """Tokens of each kind of n-gram."""
        if isinstance(self.ngrams, int):
            return tuple(range(1, self.ngrams + 1))
        return tuple(self.ngrams or (1,))

    def infer_shape(self, shape: Shape) -> Shape:
        if self.split is not None and shape not in ((), (1,)):
            raise ShapeError(f"splits one text a sample, found samples of {shape}", "`split: null` takes tokens")
        if self.split is None and len(shape) > 1:
            raise ShapeError(f"takes samples of one axis, the tokens, found {shape}")
        if self.output_mode != "int":
            return (self.lookup.depth,)
        if self.output_sequence_length is None and self.split is not None:
            help = "write `output_sequence_length`: longer texts are cut, shorter ones end in zeros"
            raise ShapeError("how many tokens a text has must be fixed", help)
        tokens = shape[0] if shape else 1
        return (self.output_sequence_length or sum(max(tokens - width + 1, 0) for width in self.widths),)

    def infer_dtype(self, dtype: str) -> str:
        return "int32" if self.output_mode == "int" else "float"

    def learn(self, see: Callable[[], Iterator[Array]]) -> Learned:
        if self.vocabulary is not None:
            return self.lookup.learn(see)
        return self.lookup.learn_from(chain.from_iterable(map(self.documents, see())))

    def apply(self, x: Array) -> Array:
        lookup, found = self.lookup, list(self.documents(x))
        places = lookup.places(list(chain.from_iterable(found)))
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        rows = np.repeat(np.arange(len(found)), lengths)
        if self.output_mode != "int":
            return lookup.weighted(spread(rows, places, len(found), lookup.depth, self.output_mode))
        (width,) = self.infer_shape(x.shape[1:])
        columns = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        kept = columns < width
        numbers = np.zeros((len(found), width), np.int32)
        numbers[rows[kept], columns[kept]] = places[kept]
        return numbers

    def documents(self, x: Array) -> Iterator[list[str]]:
        """The tokens of every sample."""
        for sample in x.reshape(len(x), -1).tolist():
            if self.split is None:
                tokens = [self._standard(text).decode() for text in sample]
            elif self.split == "character":
                tokens = list(self._standard(sample[0]).decode())
            else:
                tokens = [token.decode() for token in self._standard(sample[0]).split()]
            yield (
                tokens
                if self.ngrams is None
                else [" ".join(tokens[k : k + width]) for width in self.widths for k in range(len(tokens) - width + 1)]
            )

    def _standard(self, text: str) -> bytes:
        """The text in UTF-8, where A to Z and punctuation are single bytes that occur nowhere else."""
        kind, data = self.standardize or "", str(text).encode(errors="replace")
        return data.translate(LOWER if "lower" in kind else None, PUNCTUATION if "strip" in kind else b"")

    def keras_variables(self) -> dict[str, Array]:
        own = self.lookup.keras_variables()
        return own | {f"_lookup_layer/{path}": array for path, array in own.items()}

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"vocabulary_size": self.lookup.first + len(self.lookup.words)}

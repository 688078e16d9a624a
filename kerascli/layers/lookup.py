"""Words and whole numbers to their places in a vocabulary, and back: StringLookup and IntegerLookup.

The place of the mask token (with `output_mode: int`) comes first, then those of what the vocabulary lacks, then its
words. A vocabulary that is learnt is in order of frequency; equally frequent words stand in reverse order, as Keras has
them. Departures from Keras: numbers are int32; what is learnt is written into the layer's config, which Keras reads,
and not into an asset; a vocabulary that is read from a file may begin with the special tokens.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kerascli.component import Example, FilePath
from kerascli.errors import Failure, Problem
from kerascli.files import cannot_read
from kerascli.hashes import fingerprints, salted
from kerascli.layers.host import INTEGERS, Mode, Never, _Host, encoded, encoded_shape, texts
from kerascli.learned import Learned
from kerascli.ops.ir import Array, Shape

Token = str | int
DROPPED, UNKNOWN = -1, -2
LARGEST_FILE = 1 << 28


def _two(salt: Any) -> Any:
    return [salt, salt] if isinstance(salt, int) and not isinstance(salt, bool) else salt


Salt = Annotated[
    Annotated[list[int], Field(min_length=2, max_length=2)] | None,
    BeforeValidator(_two, json_schema_input_type=int | list[int] | None),
]
"""A key of two numbers, or one that stands for both."""


class _Lookup(_Host):
    """The place of every token in a vocabulary."""

    max_tokens: int | None = Field(None, ge=2)
    """Size of the vocabulary at most, the mask token and those that stand for others included; none: no limit."""
    num_oov_indices: int = Field(1, ge=0)
    """Places for what the vocabulary lacks; with more than one, a hash chooses; with 0 it is an error."""
    idf_weights: list[float] | None = None
    """Weight of each word of `vocabulary` for `output_mode: tf_idf`; learnt with the vocabulary by default."""
    invert: bool = False
    """Whether places become tokens, rather than tokens places."""
    output_mode: Mode = "int"
    """`int`: places; `one_hot`: a vector for each; `multi_hot`: which there are in a sample; `count`: how often;
    `tf_idf`: how often, times the word's rarity."""
    pad_to_max_tokens: bool = False
    """Whether vectors are `max_tokens` long, however few words there are."""
    sparse: Never = False
    """Keras's sparse tensors; always false here."""
    oov_method: Literal["floormod", "farmhash"] = "floormod"
    """How numbers that the vocabulary lacks choose a place: by the rest of a division, or by FarmHash; texts always by
    FarmHash."""
    salt: Salt = None
    """Key of SipHash, which then takes FarmHash's part; one number, or two."""

    mask_token: Any
    oov_token: Any
    vocabulary: Any

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise PydanticCustomError("lookup_pad", "`pad_to_max_tokens` needs `max_tokens`")
        if self.max_tokens is not None and self.max_tokens <= self.first:
            raise PydanticCustomError("lookup_room", "`max_tokens` leaves no room for words beside the special tokens")
        if self.invert and self.output_mode != "int":
            raise PydanticCustomError("lookup_invert", "`invert` needs `output_mode: int`")
        if self.invert and self.oov_token is None:
            raise PydanticCustomError("lookup_invert_oov", "`invert` needs an `oov_token`")
        if self.idf_weights is not None and (self.output_mode != "tf_idf" or self.vocabulary is None):
            raise PydanticCustomError("lookup_idf", "`idf_weights` needs a `vocabulary` and `output_mode: tf_idf`")
        if self.vocabulary is not None and self.output_mode == "tf_idf" and self.idf_weights is None:
            raise PydanticCustomError("lookup_idf", "`output_mode: tf_idf` with a `vocabulary` needs `idf_weights` too")
        if isinstance(self.vocabulary, list):
            if fault := self.fault(self.vocabulary):
                raise PydanticCustomError("lookup_vocabulary", "{fault}", {"fault": fault})
            if self.idf_weights is not None and len(self.idf_weights) != len(self.vocabulary):
                raise PydanticCustomError("lookup_idf", "`idf_weights` must be as many as the words of `vocabulary`")
        return self

    @property
    def readable(self) -> tuple[str, ...]:
        return INTEGERS if self.invert else self.reads

    @property
    def first(self) -> int:
        """Place of the first word."""
        return self._start + self.num_oov_indices

    @property
    def _start(self) -> int:
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def lacks(self) -> bool:
        return not isinstance(self.vocabulary, list)

    @property
    def words(self) -> list[Any]:
        """The vocabulary without the special tokens that a given one may begin with."""
        given: list[Any] = self.vocabulary if isinstance(self.vocabulary, list) else []
        return given[self.first :] if self._begins_specially(given) else given

    @property
    def depth(self) -> int:
        """Length of a vector."""
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.first + len(self.words)

    def _begins_specially(self, given: Sequence[Token]) -> bool:
        special = [self.mask_token] * self._start + [self.oov_token] * self.num_oov_indices
        return bool(special) and list(given[: self.first]) == special

    def fault(self, given: Sequence[Token]) -> str:
        """What is wrong with a vocabulary."""
        words = given[self.first :] if self._begins_specially(given) else given
        if not given:
            return "`vocabulary` is empty"
        if repeated := [word for word, count in Counter(words).items() if count > 1]:
            return f"`vocabulary` has {', '.join(f'`{word}`' for word in repeated[:5])} more than once"
        for token, what in ((self.mask_token, "mask token"), (self.oov_token if self.invert else None, "OOV token")):
            if token is not None and token in words:
                return f"`vocabulary` has the {what} `{token}`: leave it out, or begin with all special tokens"
        if self.max_tokens is not None and self.first + len(words) > self.max_tokens:
            return f"`vocabulary` makes {self.first + len(words)} tokens, `max_tokens` is {self.max_tokens}"
        return ""

    def infer_shape(self, shape: Shape) -> Shape:
        return encoded_shape(shape, self.output_mode, self.depth)

    def infer_dtype(self, dtype: str) -> str:
        return "int32" if self.output_mode == "int" else "float"

    # ---- learning

    def learn(self, see: Callable[[], Iterator[Array]]) -> Learned:
        if isinstance(self.vocabulary, str):
            return Learned(vocabulary=self._from_file(Path(self.vocabulary)))
        return self.learn_from(chain.from_iterable(x.reshape(len(x), -1).tolist() for x in see()))

    def learn_from(self, documents: Iterable[Sequence[Token]]) -> Learned:
        """The most frequent tokens of all samples; for tf_idf in how many of them each is, too."""
        counts: Counter[Token] = Counter()
        within: Counter[Token] = Counter()
        number = 0
        for document in documents:
            counts.update(document)
            number += 1
            if self.output_mode == "tf_idf":
                within.update(set(document))
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        if not counts:
            raise Failure(Problem("E410", "the training samples have no token that a vocabulary could be made of"))
        ordered = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        words: Any = ordered[: None if self.max_tokens is None else self.max_tokens - self.first]
        if self.output_mode != "tf_idf":
            return Learned(vocabulary=words)
        rarity = np.log(1 + number / (1 + np.array([within[word] for word in words], np.float64)))
        return Learned(vocabulary=words, idf_weights=rarity.astype(np.float32).tolist())

    def _from_file(self, path: Path) -> list[Any]:
        """A word a line."""
        try:
            if path.stat().st_size > LARGEST_FILE:
                raise Failure(Problem("E402", f"the vocabulary `{path}` is larger than {LARGEST_FILE:,} bytes", path))
            lines = path.read_text("utf-8").split("\n")
        except OSError as error:
            raise cannot_read(path, error, " for the vocabulary") from None
        except UnicodeDecodeError:
            raise Failure(Problem("E402", f"the vocabulary `{path}` is not UTF-8 text", path)) from None
        while lines and not lines[-1]:
            lines.pop()
        words = self._read(lines, path)
        if fault := self.fault(words):
            raise Failure(Problem("E410", fault.replace("`vocabulary`", f"the vocabulary `{path.name}`", 1), path))
        return words

    def _read(self, lines: list[str], path: Path) -> list[Any]:
        return lines

    # ---- looking up

    def apply(self, x: Array) -> Array:
        if self.invert:
            return self._inverted(x)
        ids = self.places(self._tokens(x)).reshape(x.shape)
        return self.weighted(encoded(ids, self.output_mode, self.depth))

    def weighted(self, vectors: Array) -> Array:
        """Counts times the words' rarity, for tf_idf."""
        return vectors * self._rarity() if self.output_mode == "tf_idf" else vectors

    def places(self, tokens: Sequence[Token]) -> Array:
        """The place of each token; -1 for the mask token where it has none."""
        known: dict[Token, int] = {word: self.first + number for number, word in enumerate(self.words)}
        if self.mask_token is not None:
            known[self.mask_token] = 0 if self.output_mode == "int" else DROPPED
        strange = list(dict.fromkeys(token for token in tokens if token not in known))
        if strange:
            known |= zip(strange, self._outside(strange).tolist(), strict=True)
        return np.fromiter(map(known.__getitem__, tokens), np.int64, len(tokens))

    def _outside(self, tokens: Sequence[Token]) -> Array:
        """Places of tokens that the vocabulary lacks."""
        if not self.num_oov_indices:
            listed = ", ".join(f"`{str(token)[:40]}`" for token in tokens[:5])
            message = f"{type(self).__name__} meets {listed}, which its vocabulary lacks"
            raise Failure(Problem("E419", message, help="let `num_oov_indices` be 1 or more"))
        if self.num_oov_indices == 1:
            return np.full(len(tokens), self._start)
        return self._start + self._spread_over(tokens, self.num_oov_indices)

    def _spread_over(self, tokens: Sequence[Token], count: int) -> Array:
        data = [str(token).encode() for token in tokens]
        hashes = fingerprints(data) if self.salt is None else salted(data, (self.salt[0], self.salt[1]))
        return (hashes % np.uint64(count)).astype(np.int64)

    def _inverted(self, x: Array) -> Array:
        table = {self.first + number: word for number, word in enumerate(self.words)}
        if self.mask_token is not None:
            table[0] = self.mask_token
        found = [table.get(place, self.oov_token) for place in x.reshape(-1).tolist()]
        return self._array(found).reshape(x.shape)

    def _tokens(self, x: Array) -> list[Any]:
        return x.reshape(-1).tolist()

    def _array(self, tokens: list[Any]) -> Array:
        return np.array(tokens, np.int32)

    def _rarity(self) -> Array:
        """The weight of every place: for what the vocabulary lacks the average, unless it was given too."""
        given = np.asarray(self.idf_weights, np.float64)
        front = self.first if len(given) == len(self.words) else 0
        whole = np.zeros(self.depth, np.float32)
        whole[:front] = given.mean()
        whole[front : front + len(given)] = given
        return whole

    # ---- Keras's files

    def keras_variables(self) -> dict[str, Array]:
        return {"vars/idf_weights": self._rarity()} if self.output_mode == "tf_idf" else {}

    def keras_config(self, *shapes: Shape) -> dict[str, Any]:
        return {"vocabulary_size": self.first + len(self.words)}


class StringLookup(_Lookup):
    """The place of every text in a vocabulary: texts of any shape → numbers, or vectors of `output_mode`."""

    reads: ClassVar[tuple[str, ...]] = ("string",)
    examples = (
        Example({"vocabulary": ["a", "b", "c"]}, inputs=((3,),), dtype="string"),
        Example({"vocabulary": ["a", "b"], "output_mode": "one_hot"}, inputs=((1,),), dtype="string"),
        Example({"vocabulary": ["a", "b"], "mask_token": "", "num_oov_indices": 3}, inputs=((2,),), dtype="string"),
    )

    mask_token: str | None = None
    """Text that stands for nothing: place 0, and left out of vectors."""
    oov_token: str | None = "[UNK]"
    """What the inverse gives for a place that has no word."""
    vocabulary: list[str] | FilePath | None = None
    """The words, or a file with one a line; by default they are learnt from the training split."""
    encoding: Literal["utf-8"] = "utf-8"
    """How texts are encoded: UTF-8."""

    @model_validator(mode="after")
    def _numbers_are_inverted(self) -> Self:
        if self.invert and self.vocabulary is None:
            raise PydanticCustomError("lookup_invert_learns", "`invert` needs a `vocabulary`: numbers do not teach one")
        return self

    def infer_dtype(self, dtype: str) -> str:
        return "string" if self.invert else super().infer_dtype(dtype)

    def _tokens(self, x: Array) -> list[Any]:
        return texts(x)

    def _array(self, tokens: list[Any]) -> Array:
        return np.array(tokens, np.dtypes.StringDType())


class IntegerLookup(_Lookup):
    """The place of every whole number in a vocabulary: numbers of any shape → numbers, or vectors of `output_mode`."""

    reads: ClassVar[tuple[str, ...]] = INTEGERS
    examples = (
        Example({"vocabulary": [12, 36, 1138, 42]}, inputs=((3,),), dtype="int32"),
        Example({"vocabulary": [3, 5], "output_mode": "count"}, inputs=((4,),), dtype="int32"),
        Example({"vocabulary": [3, 5], "num_oov_indices": 2, "mask_token": 0}, inputs=((2, 2),), dtype="int32"),
    )

    mask_token: int | None = None
    """Number that stands for nothing: place 0, and left out of vectors."""
    oov_token: int | None = -1
    """What the inverse gives for a place that has no word."""
    vocabulary: list[int] | FilePath | None = None
    """The numbers, or a file with one a line; by default they are learnt from the training split."""
    vocabulary_dtype: Literal["int64"] = "int64"
    """Type of the vocabulary's numbers: int64."""

    @model_validator(mode="after")
    def _salt_is_used(self) -> Self:
        if self.salt is not None and self.oov_method != "farmhash":
            raise PydanticCustomError("lookup_salt", "`salt` needs `oov_method: farmhash`")
        return self

    def _spread_over(self, tokens: Sequence[Token], count: int) -> Array:
        if self.oov_method == "floormod":
            return np.asarray(tokens, np.int64) % count
        return super()._spread_over(tokens, count)

    def _read(self, lines: list[str], path: Path) -> list[Any]:
        found = []
        for number, line in enumerate(lines):
            try:
                found.append(int(line))
            except ValueError:
                message = f"line {number + 1} of the vocabulary `{path.name}` is no whole number: `{line[:40]}`"
                raise Failure(Problem("E408", message, path)) from None
        return found

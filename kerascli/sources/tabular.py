"""Sources that are tables: kinds inferred in one pass over the rows, encoders fitted on the training rows alone."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerascli.columns import Kind, TextColumn, Unseen
from kerascli.encoders import Text
from kerascli.features import Features
from kerascli.ops.ir import Array
from kerascli.preprocessing import InputLayout, Preprocessing, TargetLayout
from kerascli.sources.arrays import lacking
from kerascli.sources.base import Dataset, Signature, Source, Split, digest_of_files
from kerascli.sources.encoded import describe_unseen, encode_split, pack_texts
from kerascli.sources.layout import sample
from kerascli.sources.plan import Plan, Wishes, forget, make_plan, read_further
from kerascli.sources.table import Format, blocks
from kerascli.sources.targets import resolve_encoding


class _Tabular(Source):
    """A source whose samples are rows of a table."""

    features: Features | None = None
    """The columns to use and how: `{age: {kind: numeric, missing: mean, scale: standard}, sex: category}`, or a list of
    names. By default every column but the target, its kind inferred; a mapping that only ignores columns
    (`{id: ignore}`) takes all others. They form one vector in column order, categories one-hot, unless the network's
    inputs are named after them; one input of another name has all the others. A category has one place more than the
    training rows have values: it stands for values that they never showed, and is there even if there are none.

    Options of each kind: `numeric` takes `missing` (`mean`, `median`, `constant` with `constant`, `drop`) and `scale`
    (`standard`, `minmax`, `none`); `category` takes `missing` (`own`, `most_frequent`, `drop`) and `encoding`
    (`one_hot`, or `integer` for Embedding); `date` takes `parts` (year, month, day, weekday, day_of_year, hour,
    minute, second, days), `format` (as strptime has it) and what numbers take; `text` takes `vocabulary`,
    `sequence_length`, `output` (`int`, `multi_hot`, `count`), `lower`, `strip_html`, `padding`, `truncating` and
    `missing` (`empty`, `drop`)."""

    def files(self, base: Path) -> dict[str, Path]:
        """The file of each split."""
        raise NotImplementedError

    def target_columns(self) -> Sequence[str]:
        raise NotImplementedError

    def table_format(self) -> Format:
        raise NotImplementedError

    def labels_between(self) -> str | None:
        """What stands between the labels of a target's cell, where it may hold several."""
        return None

    def dump(self) -> dict[str, Any]:
        given = None if self.features is None else {name: each.plain() for name, each in self.features.items()}
        return super().dump() | {"features": given}

    def peek(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> Signature:
        plan = self._plan(base, inputs, outputs, raw)
        found = {name: sample(name, features, plan.samples) for name, features in plan.inputs.items()}
        sizes = {split: min(size, self.limit or size) for split, size in plan.sizes.items()}
        return Signature(found, plan.infos, sizes)

    def settled(
        self, base: Path, inputs: Sequence[str] = (), outputs: Sequence[str] = (), raw: Mapping[str, str] = {}
    ) -> Source:
        ignored = {name: options for name, options in (self.features or {}).items() if options.kind == "ignore"}
        return self.model_copy(update={"features": self._plan(base, inputs, outputs, raw).features | ignored})

    def load(
        self,
        base: Path,
        seed: int,
        encoding: Mapping[str, str] | None = None,
        inputs: Sequence[str] = (),
        outputs: Sequence[str] = (),
        raw: Mapping[str, str] = {},
    ) -> Dataset:
        plan = self._plan(base, inputs, outputs, raw)
        forget()
        preprocessing = self._fitted(plan, encoding)
        whole = read_further(plan)
        splits: dict[str, Split] = {}
        unseen: Unseen = {}
        for split, rows in whole.rows.items():
            table, rows = whole.tables[plan.cuts[split].part], rows[: self.limit]
            path = plan.wishes.files[plan.cuts[split].part]
            texts = pack_texts(preprocessing, path, plan.wishes.form, rows, len(table))
            where = None if self.allow_nan else f"the {split} split"
            splits[split] = encode_split(preprocessing, table, rows, unseen, texts, where)
        return Dataset(
            splits["train"],
            splits.get("validation"),
            splits.get("test"),
            preprocessing,
            digest_of_files(plan.wishes.files.values()),
            (*whole.notes, *describe_unseen(unseen), *lacking(splits, plan.cuts, preprocessing.targets)),
        )

    def _plan(self, base: Path, inputs: Sequence[str], outputs: Sequence[str], raw: Mapping[str, str]) -> Plan:
        return make_plan(
            Wishes(
                files=self.files(base),
                form=self.table_format(),
                features=self.features or {},
                targets=tuple(self.target_columns()),
                labels_between=self.labels_between(),
                cuts=self.cuts,
                stratify=self.stratify,
                allow_nan=self.allow_nan,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                raw=raw,
            )
        )

    def _fitted(self, plan: Plan, encoding: Mapping[str, str] | None) -> Preprocessing:
        """Encoders and layouts, as they are saved; the words of texts are learnt here."""
        train = plan.wishes.files["train"]
        encoders = plan.encoders | {
            name: Text.fit(name, options, self._texts(name, train, plan.rows["train"]))
            for name, options in plan.texts.items()
        }
        inputs = {name: (sample(name, features, plan.samples), features) for name, features in plan.inputs.items()}
        form, targets = self.table_format(), {}
        for name, columns in plan.targets.items():
            info, kind = plan.infos[name], plan.readings[columns[0]].name
            targets[name] = TargetLayout(
                columns=columns,
                kind="labels" if kind == "labels" else "category" if kind == "category" else "numeric",
                separator=self.labels_between() if kind == "labels" else None,
                encoding=resolve_encoding(self.encoding_of(name, encoding), info.classes),
                classes=info.classes,
                class_names=info.class_names,
            )
        return Preprocessing(
            decimal=getattr(form, "decimal", "."),
            encoding=getattr(form, "encoding", None),
            features=tuple(encoders[name] for name in plan.features),
            inputs={
                name: InputLayout(shape=info.shape, dtype=info.dtype, features=features)
                for name, (info, features) in inputs.items()
            },
            targets=targets,
        )

    def _texts(self, name: str, path: Path, rows: Array) -> Iterator[str]:
        """The texts of these rows of a file; no more than some thousand are in memory."""
        wanted = np.zeros(int(rows.max()) + 1, bool)
        wanted[rows] = True
        for block in blocks(path, self.table_format(), {name: Kind("text")}):
            column = block.by_name[name]
            assert isinstance(column, TextColumn)
            chosen = np.flatnonzero(wanted[block.first : block.first + len(block)])
            yield from (column.texts[code] for code in column.codes[chosen].tolist() if code >= 0)

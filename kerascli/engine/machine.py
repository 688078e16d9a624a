"""A plan bound to memory: for every stage and lane, the list of calls that a step makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from kerascli.engine.memory import SharedMemory
from kerascli.ops.ir import Array, Call, Carried, Constant, Input, Scope, Site, Value, Variable, Weight
from kerascli.ops.linear import MatMul, TransposeMatrix
from kerascli.program.plan import Plan, Slot, Step, is_contraction, is_copied, is_divided, slices_at_once


class Block(NamedTuple):
    """Samples `start` to `stop` of the batch, which a lane does at a time."""

    start: int
    stop: int
    lane: int = 0
    turn: int = 0
    """Its place among the blocks that are done before the lanes meet."""


@dataclass
class Bound:
    """The calls for batches of one size: `stages[s][lane]`."""

    rows: int
    stages: list[list[list[Call]]]


@dataclass
class Machine:
    """One plan with its buffers. Made before the lanes are forked; bound in each of them when first used."""

    plan: Plan
    memory: SharedMemory
    weights: Mapping[str, Array]
    variables: Mapping[str, Array]
    index: Array
    """int64[batch]: the rows of the data that make up the batch."""
    counters: Array
    """int64[batch, 2]: for each row that a block may begin with, that row and the step: counters of random streams."""
    seed: int
    homes: Mapping[Value, Array] = field(default_factory=dict)
    """Where the gradients of weights must be written: views of the flat gradient."""
    carried: Mapping[str, Array] = field(default_factory=dict)
    """What batches hand on, by path: (samples, ...)."""

    def __post_init__(self) -> None:
        plan = self.plan
        self.dtype = np.dtype(plan.dtype)
        self.constants: dict[tuple[float, str], Array] = {}
        self.arenas: dict[int, Array] = {}
        """Of each lane; the lanes of one worker have one arena, for they work one after the other."""
        self.wide: dict[Slot, Array] = {}
        """Of the whole batch, or of a round."""
        self.held: dict[Slot, Array] = {}
        self.sums: dict[Slot, list[Array]] = {}
        self.slots: dict[Value, Slot] = {}
        self.results: dict[tuple[Value, int], Array] = {}
        self.seen: set[Slot] = set()
        """Transposed matrices that are views of their originals."""
        homes = {slot.root(): array for slot in plan.slots() if (array := self.homes.get(slot.value)) is not None}
        for step in plan.steps():
            for slot in (*step.inputs, step.out, *step.further):
                self.slots.setdefault(slot.value, slot)
                root = slot.root()
                value = root.value
                if value.scope == Scope.BLOCK:
                    if (root.wide or root.common) and root not in self.wide:
                        rows = plan.batch if root.wide else plan.block * plan.lanes * plan.round
                        self.wide[root] = self.memory.zeros((rows * value.sample_size,), self._kind(value))
                elif root not in self.held:
                    if (seen := self._seen_transposed(root)) is not None:
                        self.held[root] = seen
                        self.seen.add(root)
                        continue
                    home = homes.get(root)
                    self.held[root] = home.reshape(value.shape) if home is not None else self._step_array(value)
            if is_contraction(step.value) and step.out.root() not in self.sums:
                first, kind = self.held[step.out.root()], self._kind(step.value)
                count = plan.lanes - 1 if is_copied(step.value) else 0
                more = [self.memory.zeros(step.value.shape, kind) for _ in range(count)]
                self.sums[step.out.root()] = [first, *more]

    def _seen_transposed(self, root: Slot) -> Array | None:
        """A matrix that only a product a block reads transposed is not copied for it: see TransposeMatrix."""
        if not isinstance(root.value.op, TransposeMatrix):
            return None
        if not all(
            isinstance(s.value.op, MatMul) for s in self.plan.steps() if any(i.root() is root for i in s.inputs)
        ):
            return None
        source = next(s.inputs[0] for s in self.plan.steps() if s.out is root)
        return self._array(source, Block(0, 0)).T

    def _kind(self, value: Value) -> np.dtype[np.generic]:
        return self.dtype if value.dtype == "float" else np.dtype(value.dtype)

    def _step_array(self, value: Value) -> Array:
        op = value.op
        if isinstance(op, Weight):
            return self.weights[op.path]
        if isinstance(op, Variable):
            return self.variables[op.name]
        if isinstance(op, Constant):
            return op.array(self.dtype)
        return self.memory.zeros(value.shape, self._kind(value))

    def result(self, value: Value, rows: int) -> Array:
        """The array of a sink: whole batch for a BLOCK value, the one array otherwise."""
        found = self.results.get((value, rows))
        if found is None:
            slot = self.slots[value]
            if value.scope == Scope.BLOCK:
                found = self.wide[slot.root()][: rows * value.sample_size].reshape(value.whole(rows * value.times))
            else:
                found = self.held[slot.root()].reshape(value.shape)
            self.results[value, rows] = found
        return found

    def bind(self, rows: int, feeds: Mapping[str, Array], lanes: Sequence[int]) -> Bound:
        """The calls of `lanes` (the other lanes' lists stay empty) for batches of `rows` samples from `feeds`."""
        if not self.arenas.keys() >= set(lanes):
            self.arenas |= dict.fromkeys(lanes, _aligned(self.plan.arena_bytes))
        shares = self._shares(rows)
        stages: list[list[list[Call]]] = []
        for number, steps in enumerate(self.plan.stages):
            if not self._has_work(number):
                continue
            if number % 2:
                stages += self._rounds(steps, shares, lanes, feeds)
            else:
                busy = [lane for lane, share in enumerate(shares) if share]
                work = self._step_calls(number, steps, rows, busy)
                stages.append([calls if lane in lanes else [] for lane, calls in enumerate(work)])
        return Bound(rows, stages)

    def _rounds(
        self, steps: list[Step], shares: list[list[Block]], lanes: Sequence[int], feeds: Mapping[str, Array]
    ) -> list[list[list[Call]]]:
        """The calls of a block stage: the lanes do some blocks each, then the sums that they make together of those."""
        own = [step for step in steps if not is_divided(step.value)]
        divided = [step for step in steps if is_divided(step.value)]
        stages = []
        for number in range(0, max(map(len, shares)), self.plan.round):
            done = (block for share in shares for block in share[number : number + self.plan.round])
            blocks = [block._replace(turn=turn) for turn, block in enumerate(done)]
            work: list[list[Call]] = [[] for _ in shares]
            for block in (block for block in blocks if block.lane in lanes):
                first = block.start == shares[block.lane][0].start
                for step in own:
                    work[block.lane] += self._block_calls(step, block, first, feeds)
            stages.append(work)
            if divided:
                work = [[] for _ in shares]
                for lane in lanes:
                    for step in divided:
                        work[lane] += self._divided_calls(step, lane, blocks, number == 0)
                stages.append(work)
        return stages

    def _has_work(self, stage: int) -> bool:
        """Whether a stage has calls at all. Workers must agree, so this looks at the plan and not at their calls."""
        if any(not s.value.op.view for s in self.plan.stages[stage]):
            return True
        return stage % 2 == 0 and any(is_copied(s.value) for s in self._before(stage))

    def _before(self, stage: int) -> list[Step]:
        return self.plan.stages[stage - 1] if stage else []

    def _shares(self, rows: int) -> list[list[Block]]:
        """For each lane, its blocks."""
        block, lanes = self.plan.block, self.plan.lanes
        starts = range(0, rows, block)
        cuts = [-(-len(starts) * k // lanes) for k in range(lanes + 1)]
        return [
            [Block(start, min(start + block, rows), lane) for start in starts[a:b]]
            for lane, (a, b) in enumerate(pairwise(cuts))
        ]

    # ---- arrays

    def _array(self, slot: Slot, block: Block) -> Array:
        root, value, rows = slot.root(), slot.value, block.stop - block.start
        size = value.sample_size
        if root.value.scope != Scope.BLOCK:
            return self.held[root].reshape(value.shape)
        if root.wide or root.common:
            first = block.start if root.wide else block.turn * self.plan.block
            array = self.wide[root][first * size : (first + rows) * size]
        else:
            array = self._in_arena(block.lane, self.plan.offsets[root], rows * size, self._kind(value))
        return array.reshape(value.whole(rows * value.times))

    def _in_arena(self, lane: int, offset: int, size: int, kind: np.dtype[np.generic]) -> Array:
        return self.arenas[lane][offset : offset + size * kind.itemsize].view(kind)

    def _temporary(self, step: Step, number: int, lane: int, shape: tuple[int, ...], dtype: str) -> Array:
        kind = self.dtype if dtype == "float" else np.dtype(dtype)
        return self._in_arena(lane, self.plan.offsets[step, number], prod(shape), kind).reshape(shape)

    # ---- calls

    def _block_calls(self, step: Step, block: Block, first: bool, feeds: Mapping[str, Array]) -> Sequence[Call]:
        value, op = step.value, step.value.op
        if op.view:
            return []
        if isinstance(op, Input):
            out, rows = self._array(step.out, block), slice(block.start, block.stop)
            if isinstance(op, Carried):
                return [partial(np.copyto, out, self.carried[op.name][rows])]
            return [partial(np.take, feeds[op.name], self.index[rows], 0, out, "clip")]
        inputs = [self._array(slot, block) for slot in step.inputs]
        if is_contraction(value):
            return self._sum_calls(step, block, block.lane, self.sums[step.out.root()][block.lane], inputs, first)
        return op.bind(self._site(step, block, block.lane), self._array(step.out, block), *inputs)

    def _divided_calls(self, step: Step, lane: int, blocks: Sequence[Block], first: bool) -> Sequence[Call]:
        """A lane's slices of a sum, of the blocks that the lanes have done: as if they were one, where that can be."""
        value, op, lanes = step.value, step.value.op, self.plan.lanes
        (total,), count, length = self.sums[step.out.root()], op.slices(step.value), slices_at_once(value)
        begin, end = count * lane // lanes, count * (lane + 1) // lanes
        if all(slot.root().common and slot.value.batch_axis == 0 for slot in step.inputs):
            blocks = [Block(0, sum(block.stop - block.start for block in blocks))]
        calls: list[Call] = []
        for at in range(begin, end, length):
            for number, block in enumerate(blocks):
                inputs = [self._array(slot, block) for slot in step.inputs]
                out, *parts = op.slice(at, min(at + length, end), total, *inputs)
                calls += self._sum_calls(step, block, lane, out, parts, first and number == 0)
        return calls

    def _sum_calls(
        self, step: Step, block: Block, lane: int, total: Array, inputs: Sequence[Array], first: bool
    ) -> Sequence[Call]:
        """A block's part of a sum, the first of which begins it; made by a lane."""
        site = self._site(step, block, lane)
        if first:
            return step.value.op.bind(site, total, *inputs)
        part = self._temporary(step, len(site.scratch), lane, total.shape, step.value.dtype)
        return [*step.value.op.bind(site, part, *inputs), partial(np.add, total, part, total)]

    def _site(self, step: Step, block: Block, lane: int) -> Site:
        value = step.value
        rows = (block.stop - block.start) * value.work_times
        shapes = value.op.scratch(rows, *value.inputs)
        scratch = [self._temporary(step, k, lane, shape, dtype) for k, (shape, dtype) in enumerate(shapes)]
        further = [self._array(slot, block) for slot in step.further]
        return Site(rows, self.dtype, scratch, further, self.counters[block.start], self.seed, self.constants)

    def _step_calls(self, number: int, steps: list[Step], rows: int, busy: list[int]) -> list[list[Call]]:
        """The work of a STEP stage dealt out to the lanes: dependent calls stay together, in order."""
        pieces: dict[Slot, list[list[Call]]] = {}
        leader: dict[Slot, Slot] = {}

        def find(slot: Slot) -> Slot:
            while leader.get(slot, slot) is not slot:
                slot = leader[slot]
            return slot

        order: list[Slot] = []
        for step in self._before(number):
            if is_copied(step.value):
                root = step.out.root()
                pieces[root] = self._lane_sums(root, busy)
                order.append(root)
        for step in steps:
            if step.value.op.view or step.out in self.seen:
                continue
            parts = self._strips(step, rows)
            root = step.out.root()
            near = {find(s.root()) for s in step.inputs if s.root() in pieces or find(s.root()) in pieces}
            for source in near:
                leader[source] = root
                calls = [call for piece in pieces.pop(source) for call in piece]
                parts = [[*calls, *(call for part in parts for call in part)]]
                order.remove(source)
            for slot in step.further:
                leader[slot] = root
            pieces[root] = parts
            order.append(root)
        work: list[list[Call]] = [[] for _ in range(self.plan.lanes)]
        turn = 0
        for root in order:
            for calls in pieces[root]:
                work[turn % self.plan.lanes] += calls
                turn += 1
        return work

    def _lane_sums(self, root: Slot, busy: list[int]) -> list[list[Call]]:
        """total += the sums of the other lanes that have blocks, in their order; long ones in strips."""
        total, *others = (self.sums[root][lane].reshape(-1) for lane in busy)
        strips = self.plan.lanes if total.size > 1 << 14 else 1
        cuts = [total.size * k // strips for k in range(strips + 1)]
        return [[partial(np.add, total[a:b], other[a:b], total[a:b]) for other in others] for a, b in pairwise(cuts)]

    def _strips(self, step: Step, rows: int) -> list[list[Call]]:
        op, value = step.value.op, step.value
        arrays = [self._array(slot, Block(0, rows)) for slot in (step.out, *step.inputs, *step.further)]
        out, inputs, aux = arrays[0], arrays[1 : 1 + len(step.inputs)], arrays[1 + len(step.inputs) :]
        rows *= value.work_times
        scratch = [
            np.empty(shape, self.dtype if dtype == "float" else np.dtype(dtype))
            for shape, dtype in op.scratch(rows, *value.inputs)
        ]
        site = Site(rows, self.dtype, scratch, aux, self.counters[0], self.seed, self.constants)
        return [list(calls) for calls in op.strips(site, self.plan.lanes, out, *inputs)]


def _aligned(size: int) -> Array:
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]

"""From a trace to a plan: what runs in which stage, what is redone, what shares memory, and where everything lies.

Stages alternate: even ones hold STEP work (done once, shared out to the lanes), odd ones BLOCK work (done for every
block of samples). A value that a later block stage reads is either redone there, if that is cheap and saves memory, or
kept for the whole batch (*wide*). Everything else of a block lies in the lane's arena and is gone when the block is
done. A few products with big matrices are made for the whole batch, in an even stage, where the batch must wait anyway.

Each lane has its own part of a sum over samples, but of the big ones, such as the gradients of wide layers over
sequences: there is one of those, of which each lane makes some slices, and what they read is shared by all (*common*).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from kerascli.ops.ir import LEAVES, Constant, Further, Input, Scope, Shape, Value, Variable, Weight

ALIGNMENT = 64
BIG_SUM = 1 << 17
"""Numbers of a sum over samples from which on lanes make it together."""
ROUND_BYTES = 1 << 27
"""What such sums read may take, that lanes need not meet after every block."""
SLICE = 1 << 19
"""Numbers of it that are made at a time."""


@dataclass(eq=False)
class Step:
    """One op call of the plan. A value redone in a later stage has a second Step."""

    value: Value
    stage: int
    inputs: list[Slot]
    out: Slot
    further: list[Slot]


@dataclass(eq=False)
class Slot:
    """The storage of one array of one stage."""

    value: Value
    stage: int
    wide: bool = False
    common: bool = False
    """The blocks of a round lie side by side, for sums that lanes make together."""
    alias: Slot | None = None

    def root(self) -> Slot:
        slot = self
        while slot.alias is not None:
            slot = slot.alias
        return slot


@dataclass
class Plan:
    stages: list[list[Step]]
    block: int
    """Samples a block, at most."""
    lanes: int
    batch: int
    offsets: dict[Slot | tuple[Step, int], int] = field(default_factory=dict)
    """Where slots and temporaries (step, number) of block stages lie in a lane's arena, in bytes."""
    arena_bytes: int = 0
    dtype: str = "float32"
    round: int = 1
    """Blocks that each lane does before the lanes make sums together."""

    def steps(self) -> Iterable[Step]:
        return (step for stage in self.stages for step in stage)

    def slots(self) -> Iterable[Slot]:
        return (slot for step in self.steps() for slot in (step.out, *step.further))


def itemsize(dtype: str, program_dtype: str) -> int:
    return np.dtype(program_dtype if dtype == "float" else dtype).itemsize


def is_contraction(value: Value) -> bool:
    """Its op runs in a block stage, its result has scope STEP."""
    return value.op.contracts and any(i.scope == Scope.BLOCK for i in value.inputs)


def is_divided(value: Value) -> bool:
    """A sum too big for every lane to have its own: each makes some slices of it, of the blocks of all lanes."""
    return is_contraction(value) and value.size >= BIG_SUM and value.op.slices(value) > 1


def is_copied(value: Value) -> bool:
    """A sum that every lane makes for itself of its blocks."""
    return is_contraction(value) and not is_divided(value)


def slices_at_once(value: Value) -> int:
    """Slices of a divided sum that are made in one call, before they are added to the sum."""
    return max(1, SLICE * value.op.slices(value) // value.size)


def reachable(sinks: Iterable[Value]) -> list[Value]:
    """All that the sinks need, in the order of the trace; dead values are left out."""
    found: set[Value] = set()
    todo = list(sinks)
    while todo:
        value = todo.pop()
        if value not in found:
            found.add(value)
            todo.extend(value.inputs)
    return sorted(found, key=lambda v: v.number)


def stage_of(values: Iterable[Value]) -> dict[Value, int]:
    """The stage every op runs in: BLOCK ops and contractions in odd ones, STEP ops in even ones."""
    stage: dict[Value, int] = {}
    for value in values:
        if isinstance(value.op, (Weight, Variable, Constant)):
            stage[value] = -1
            continue
        if isinstance(value.op, Further):
            stage[value] = stage[value.inputs[0]]
            continue
        # Sums over blocks are complete one stage after their blocks; the rest is a matter of odd and even.
        ready = max((stage[source] + is_contraction(source) for source in value.inputs), default=0)
        in_blocks = value.scope == Scope.BLOCK or is_contraction(value)
        if value.scope == Scope.BLOCK and value.op.at_once(value):
            in_blocks = stage[value.inputs[0]] <= 1 and not value.op.awaited(value)
        in_blocks = in_blocks and not value.op.mixes
        stage[value] = max(ready + (ready % 2 != in_blocks), int(in_blocks))
    return stage


class Scheduler:
    """Orders the steps and decides what is redone."""

    def __init__(self, sinks: Iterable[Value]) -> None:
        self.sinks = list(sinks)
        self.values = reachable(self.sinks)
        self.stage = stage_of(self.values)
        self.home: dict[tuple[Value, int], Slot] = {}
        self.stages: list[list[Step]] = [[] for _ in range(max(self.stage.values(), default=0) + 1)]

    def run(self) -> list[list[Step]]:
        for value in self.values:
            if not isinstance(value.op, (Further, Input, *LEAVES)):
                self._emit(value, self.stage[value])
        for sink in self.sinks:  # an input or a view may be asked for by itself
            if sink.scope == Scope.BLOCK:
                self._slot(sink, self.stage[sink]).root().wide = True
        if len(self.stages) % 2 == 0:
            self.stages.append([])  # where the lanes' sums of the last block stage are added up
        return self.stages

    def _emit(self, value: Value, stage: int) -> Slot:
        inputs = [self._read(source, value, stage) for source in value.inputs]
        out, *further = (Slot(v, stage, stage % 2 == 0 and v.scope == Scope.BLOCK) for v in (value, *value.further))
        self.home[value, stage] = out
        for v, slot in zip(value.further, further, strict=True):
            self.home[v, stage] = slot
        self.stages[stage].append(Step(value, stage, inputs, out, further))
        return out

    def _slot(self, value: Value, stage: int) -> Slot:
        """The storage of `value` for stage `stage`, computed there if need be."""
        if (value, stage) not in self.home:
            self._emit(_maker(value), stage)
        return self.home[value, stage]

    def _read(self, source: Value, reader: Value, stage: int) -> Slot:
        made = self.stage[source]
        if source.scope != Scope.BLOCK:
            return self.home.setdefault((source, made), Slot(source, made))
        if made == stage or (stage % 2 and not self._is_kept(source, stage)):
            return self._slot(source, stage)
        slot = self._slot(source, made)
        slot.wide = True
        return slot

    def _is_kept(self, source: Value, stage: int) -> bool:
        """Whether a value of an earlier stage is kept: it is already, must be, or costs no more than redoing it."""
        maker = _maker(source)
        if self._is_wide(source) or not _redone(maker):
            return True
        return bool(maker.inputs) and 0 < source.sample_size <= self._price(source, stage)

    def _price(self, value: Value, stage: int) -> int:
        """Numbers a sample that would have to be kept, and are not yet, if `value` were wanted in `stage`."""
        if value.scope != Scope.BLOCK or (value, stage) in self.home or self._is_wide(value):
            return 0
        maker = _maker(value)
        if not _redone(maker):
            return value.sample_size
        return sum(self._price(source, stage) for source in set(maker.inputs))

    def _is_wide(self, value: Value) -> bool:
        home = self.home.get((value, self.stage[value]))
        return home is not None and home.wide


def _maker(value: Value) -> Value:
    return value.inputs[0] if isinstance(value.op, Further) else value


def _redone(maker: Value) -> bool:
    return maker.op.cheap or isinstance(maker.op, Input)


def divide(stages: list[list[Step]]) -> None:
    """Let sums that lanes make together come last in their stages, so that lanes wait for one another but once."""
    for steps in stages:
        steps.sort(key=lambda step: is_divided(step.value))


def share_memory(stages: list[list[Step]]) -> None:
    """Views and in-place ops: let a result take its input's memory where nobody reads that later."""
    for number, steps in enumerate(stages):
        last: dict[Slot, int] = {}
        for position, step in enumerate(steps):
            for slot in step.inputs:
                last[slot] = position
        for position, step in enumerate(steps):
            op, out = step.value.op, step.out
            if op.view:
                _alias(out, step.inputs[0], last)
                continue
            if number % 2 == 0 or is_contraction(step.value):
                continue
            for k in op.in_place:
                source = step.inputs[k]
                root = source.root()
                if (
                    source.value.scope == Scope.BLOCK
                    and root.stage == number
                    and not root.wide
                    and last.get(root, -1) <= position
                    and last.get(source, -1) <= position
                    and source.value.type == out.value.type
                    and not isinstance(root.value.op, LEAVES)
                    and sum(s.root() is root for s in step.inputs) == 1
                ):
                    _alias(out, source, last)
                    break


def _alias(out: Slot, source: Slot, last: dict[Slot, int]) -> None:
    root = source.root()
    out.alias = source
    last[root] = max(last.get(root, -1), last.get(out, -1))
    if out.wide and root.value.scope == Scope.BLOCK:
        root.wide = True


def hold_in_common(stages: list[list[Step]]) -> set[Slot]:
    """What divided sums read lies where all lanes see it: of a round, where not of the whole batch."""
    read = {slot.root() for steps in stages for s in steps if is_divided(s.value) for slot in s.inputs}
    found = {root for root in read if root.value.scope == Scope.BLOCK and not root.wide}
    for root in found:
        root.common = True
    return found


def place(plan: Plan) -> None:
    """Offsets in the arena for everything that lives within one block, by first fit, biggest first."""
    for number, steps in enumerate(plan.stages):
        if number % 2 == 0:
            continue
        first: dict[Slot, int] = {}
        last: dict[Slot, int] = {}
        spans: list[tuple[int, int, int, Slot | tuple[Step, int]]] = []
        for position, step in enumerate(steps):
            for slot in (*step.inputs, step.out, *step.further):
                root = slot.root()
                first.setdefault(root, position)
                last[root] = position
            rows = plan.block * step.value.work_times
            value = step.value
            temporaries = list(value.op.scratch(rows, *value.inputs))
            if is_divided(value):
                temporaries.append(((value.size // value.op.slices(value) * slices_at_once(value),), value.dtype))
            elif is_copied(value):
                temporaries.append((value.shape, value.dtype))
            for k, (shape, dtype) in enumerate(temporaries):
                spans.append((_bytes(shape, dtype, plan.dtype), position, position, (step, k)))
        for slot, start in first.items():
            if slot.value.scope == Scope.BLOCK and not (slot.wide or slot.common) and slot.stage == number:
                shape = slot.value.whole(plan.block * slot.value.times)
                size = _bytes(shape, slot.value.dtype, plan.dtype)
                spans.append((size, start, last[slot], slot))
        _fit(plan, spans)


def _fit(plan: Plan, spans: list[tuple[int, int, int, Slot | tuple[Step, int]]]) -> None:
    placed: list[tuple[int, int, int, int]] = []
    for size, start, end, key in sorted(spans, key=lambda s: -s[0]):
        offset = 0
        for other, length, a, b in sorted(placed):
            if b < start or end < a:
                continue
            if offset + size <= other:
                break
            offset = max(offset, other + length)
        plan.offsets[key] = offset
        placed.append((offset, size, start, end))
        plan.arena_bytes = max(plan.arena_bytes, offset + size)


def _bytes(shape: Shape, dtype: str, program_dtype: str) -> int:
    return -(-prod(shape) * itemsize(dtype, program_dtype) // ALIGNMENT) * ALIGNMENT


L2_BYTES = 1 << 20
"""A constant, not the machine's cache: results may not depend on where a spec is run."""
STREAM_BYTES = 1 << 26
"""Memory of a lane that many rows of long sequences may take."""
CALL_FLOPS = 100_000
"""Work that makes the cost of a call (under a microsecond) small."""
SUM_FLOPS = 300
"""Work that makes the cost of adding one number to a lane's sums small."""


def make_plan(sinks: Iterable[Value], batch: int, dtype: str = "float32", lanes: int | None = None) -> Plan:
    """The plan for batches of up to `batch` samples. Block size and lanes follow from the trace and the batch alone."""
    sinks = list(sinks)
    stages = Scheduler(sinks).run()
    divide(stages)
    share_memory(stages)
    common = hold_in_common(stages)
    probes = [Plan(stages, block, 1, batch, dtype=dtype) for block in (1, 9)]
    for probe in probes:
        place(probe)
    held = sum(_bytes((slot.value.sample_size,), slot.value.dtype, dtype) for slot in common)
    arena = (probes[1].arena_bytes - probes[0].arena_bytes) // 8 + held
    flops, shared, calls, sums, copied = 0, 0, 0, 0, 0
    stepwise = any(step.value.op.stepwise for stage in stages for step in stage)
    for step in (step for stage in stages for step in stage):
        work = step.value.op.flops(step.value, step.value.work_times)
        if step.stage % 2:
            flops += work
            calls += 1
        elif step.value.scope == Scope.BLOCK or step.value.op.whole_batch:
            shared += work
        if is_contraction(step.value):
            sums += step.value.size
        if is_copied(step.value):
            copied += step.value.size
    block, count = block_and_lanes(batch, arena, flops, calls, sums, copied, shared, stepwise)
    lanes = lanes or count
    meeting = ROUND_BYTES // max(held * block * lanes, 1)
    plan = Plan(stages, block, lanes, batch, dtype=dtype, round=min(max(meeting, 1), -(-batch // (block * lanes))))
    place(plan)
    return plan


def block_and_lanes(
    batch: int, arena: int, flops: int, calls: int, sums: int, copied: int, shared: int, stepwise: bool = False
) -> tuple[int, int]:
    """Samples a block and number of lanes.

    A block's part of the arena should be about four times a core's cache (much less of it is in use at one time); but a
    call should do enough work to be worth making, and so should a block for the sums that it adds to.
    Memory that is walked through step by step need not fit the cache: there many rows are better.
    Lanes share the blocks; each has an accumulator for every sum that is not divided, `copied` numbers in all. Where
    they share the products of whole batches, and these are most of the work, small blocks are no reason for few lanes.
    """
    fits = 2 ** round(np.log2(max(4 * L2_BYTES / max(arena, 1), 1)))
    if stepwise:
        fits = min(64, max(STREAM_BYTES // max(arena, 1), 8))
    worth = 2 ** int(np.ceil(np.log2(max(max(calls * CALL_FLOPS, sums * SUM_FLOPS) / max(flops, 1), 1))))
    block = int(min(max(fits, min(worth, 64)), batch))
    if batch * (flops + shared) < 2e7:  # a step of well under a millisecond: a second lane costs more than it brings
        return min(block, batch), 1
    lanes = 8
    while lanes > 2 and (copied * lanes > 1 << 20 or (batch < lanes * block and shared < flops)):
        lanes //= 2
    return min(block, -(-batch // lanes)), lanes

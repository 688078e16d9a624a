"""A program as data and as text: operations by stage, where their results lie, bytes and FLOPs."""

from __future__ import annotations

from math import prod
from typing import Any

from kerascli.ops.ir import Op, Scope, Type, Value
from kerascli.program.plan import Plan, Slot, Step, is_contraction, is_divided, itemsize
from kerascli.program.program import Program

Facts = dict[str, Any]


def describe(program: Program, plan: Plan) -> Facts:
    """The whole plan: numbers for one block of samples in block stages, for the step in step stages."""
    stages = []
    for number, steps in enumerate(plan.stages):
        if steps:
            stages.append({"kind": "block" if number % 2 else "step", "ops": [_step(s, plan) for s in steps]})
    blocks = -(-plan.batch // plan.block)
    flops = sum(
        s.value.op.flops(s.value, (plan.block if s.stage % 2 else plan.batch) * s.value.work_times)
        * (blocks if s.stage % 2 else 1)
        for s in plan.steps()
    )
    roots = {s.root() for step in plan.steps() for s in (*step.inputs, step.out, *step.further)}
    wide = sum(_row_bytes(root, plan) for root in roots if root.wide)
    common = sum(_row_bytes(root, plan) for root in roots if root.common)
    return {
        "batch": plan.batch,
        "block": plan.block,
        "lanes": plan.lanes,
        "stages": stages,
        "flops_per_step": flops,
        "arena_bytes_per_lane": plan.arena_bytes,
        "round_bytes": plan.block * plan.lanes * plan.round * common,
        "whole_batch_bytes": plan.batch * wide,
        "gradients": {path: _name(value) for path, value in program.gradients.items()},
    }


def lines(facts: Facts) -> str:
    """The plan as text, an operation a line."""
    text = [
        f"batch {facts['batch']}, in blocks of {facts['block']} on {_count(facts['lanes'], 'lane')}; "
        f"{facts['flops_per_step'] / 1e6:,.1f} MFLOP a step; "
        f"{_bytes(facts['arena_bytes_per_lane'])} a lane, {_bytes(facts['round_bytes'])} that lanes share for sums, "
        f"{_bytes(facts['whole_batch_bytes'])} kept for the whole batch"
    ]
    for number, stage in enumerate(facts["stages"]):
        when = "for each block" if stage["kind"] == "block" else "once a step"
        text.append(f"\nstage {number}, {when}")
        for op in stage["ops"]:
            call = f"  {op['value']:>5} = {op['op']}({', '.join(op['inputs'])})"
            if len(call) > CALL:
                text.append(call)
                call = ""
            text.append(
                f"{call:<{CALL}} {'×'.join(map(str, op['shape'])) or 'number':>18} {op['dtype']:>7}  {op['place']:<17}"
                + f" {_bytes(op['bytes']):>8} {op['flops'] / 1e3:>10,.1f} kFLOP"
            )
    return "\n".join(text)


CALL = 50
"""Columns of an operation with its inputs; a longer one has a line of its own."""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _step(step: Step, plan: Plan) -> Facts:
    value, rows = step.value, plan.block if step.stage % 2 else plan.batch
    shape = value.whole(plan.block * value.times)
    return {
        "value": _name(value),
        "op": _op(value.op),
        "inputs": [_source(slot) for slot in step.inputs],
        "shape": list(shape),
        "dtype": plan.dtype if value.dtype == "float" else value.dtype,
        "place": _place(step.out, plan, is_contraction(value)),
        "bytes": prod(shape) * itemsize(value.dtype, plan.dtype),
        "flops": value.op.flops(value, rows * value.work_times),
    }


def _op(op: Op) -> str:
    """The op's name with the fields that say what it does."""
    fields = {k: v for k, v in vars(op).items() if not isinstance(v, (bytes, bool, Type))}
    return type(op).__name__ + (f"[{', '.join(str(v) for v in fields.values())}]" if fields else "")


def _source(slot: Slot) -> str:
    op = slot.value.op
    name = getattr(op, "path", None) or (getattr(op, "name", None) if not slot.value.inputs else None)
    return str(name) if name else _name(slot.value)


def _name(value: Value) -> str:
    return f"%{value.number}"


def _place(slot: Slot, plan: Plan, contracts: bool) -> str:
    root = slot.root()
    if root.value.scope != Scope.BLOCK:
        return ("shared sum" if is_divided(root.value) else "sum of lanes") if contracts else "step"
    if root.wide:
        return "whole batch"
    if root.common:
        return "shared by lanes"
    return ("in place " if root is not slot else "arena ") + f"@{plan.offsets.get(root, 0)}"


def _row_bytes(slot: Slot, plan: Plan) -> int:
    return slot.value.sample_size * itemsize(slot.value.dtype, plan.dtype)


def _bytes(count: int) -> str:
    return f"{count / 1024:,.1f} KB" if count < 1 << 20 else f"{count / (1 << 20):,.1f} MB"

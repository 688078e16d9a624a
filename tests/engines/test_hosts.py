"""Several devices and hosts on each of Keras's backends: the figures of one, and an end of all when one ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from kerascli.api import checked_again, resume, train
from kerascli.check import check
from kerascli.engines.cluster import Cluster, cluster, require
from kerascli.engines.limits import require_dealt
from kerascli.engines.meeting import Meeting, in_step
from kerascli.errors import Failure, Problem
from kerascli.model import Model
from kerascli.run import History, Run
from kerascli.trainer import Interrupted
from tests.cli.session import start

pytest.importorskip("keras")

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
SPEC = """
seed: 3
dataset: {type: synthetic, kind: classification, samples: 331, shape: [20], classes: 3, validation_split: 0.2}
layers:
  - {type: Dense, units: 12, activation: relu, kernel_regularizer: l2, kernel_constraint: MaxNorm}
  - {type: Dense, units: 3, activation: softmax}
loss: categorical_crossentropy
metrics: [accuracy, TruePositives, {type: F1Score, average: null}]
weighted_metrics: [accuracy]
optimizer: {type: SGD, momentum: 0.9, learning_rate: 0.05}
training: {epochs: 2, batch_size: 50, class_weight: balanced}
"""
"""Neither the 264 samples of an epoch nor the 67 of the validation end with a batch that two devices can halve."""
STATEFUL = """
dataset: {type: synthetic, kind: sequences, samples: 100, shape: [5], vocabulary: 30}
layers:
  - {type: Embedding, input_dim: 30, output_dim: 4}
  - {type: LSTM, units: 3, stateful: true, activity_regularizer: l2}
  - {type: Dense, units: 1, activation: sigmoid}
loss: binary_crossentropy
optimizer: {type: SGD, clipnorm: 1.0}
training: {batch_size: 20}
"""


def addresses(hosts: int = 2) -> tuple[str, ...]:
    """Of hosts on this machine; the port of the first is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return tuple(f"127.0.0.1:{port + number}" for number in range(hosts))


# ---- meeting


def meet(
    *numbers: int, hosts: int = 2, wait: float = 10.0, subject: str = "same", then: Mapping[int, str] | None = None
) -> list[str]:
    """What each of these hosts has to say: the last has the `subject`, and `then` are codes that they fail with."""
    listed, said = addresses(hosts), {}

    def one(place: int, number: int) -> None:
        try:
            with Meeting(listed, number, subject if place == len(numbers) - 1 else "same", wait, lambda text: None):
                if code := (then or {}).get(number):
                    raise Failure(Problem(code, "this host's own fault"))
                said[place] = "fine"
        except Failure as failure:
            said[place] = f"{failure.problems[0].message}; {failure.problems[0].help}".replace(listed[0], "FIRST")

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(numbers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [said[place] for place in range(len(numbers))]


def test_hosts_meet_in_any_order_and_part_when_all_are_done() -> None:
    assert meet(2, 0, 1, hosts=3) == ["fine"] * 3


def test_a_host_that_does_not_come_is_named_after_a_bounded_wait() -> None:
    first, second = meet(0, 1, hosts=3, wait=0.5)
    assert (
        first.startswith("host 2 (`127.0.0.1:") and "did not come within 0.5 s; start the same command there" in first
    )
    assert second.startswith("host 0 (`FIRST`) ended before all hosts were there")
    (alone,) = meet(1, wait=0.3)
    assert "host 0 (`FIRST`) did not answer within 0.3 s: Connection refused; start it with `--host 0`" in alone


def test_hosts_with_one_number_and_hosts_with_another_spec_are_told() -> None:
    assert meet(0, 1, 1, hosts=3)[0] == "two hosts were started with `--host 1`; give each host its own number"
    assert "is about to train something else; type the same command" in meet(0, 1, subject="another")[0]


def test_a_taken_port_and_an_unknown_address_are_told() -> None:
    first, _ = listed = addresses()
    with socket.create_server(("", int(first.rpartition(":")[2]))):
        for hosts, number, wanted in ((listed, 0, "is taken by another"), (("none.invalid:1", "b:2"), 1, "not known")):
            with pytest.raises(Failure, match=wanted), Meeting(hosts, number, "", 1.0, lambda text: None):
                pass


def test_who_is_gone_is_told_where_a_step_fails_for_it_and_not_where_a_host_has_a_fault_of_its_own() -> None:
    first, second, third = meet(0, 1, 2, hosts=3, then={0: "E518", 1: "E401", 2: "E518"})
    assert second == "this host's own fault; "
    for said in (first, third):
        assert said.startswith("host 1 (`127.0.0.1:") and "is gone, and the others cannot go on without it" in said


# ---- training


def one(folder: Path, text: str = SPEC) -> list[Mapping[str, float | None]]:
    """The figures of our own engine, in one process."""
    spec = folder / "spec.yaml"
    spec.write_text(text)
    return figures(train(check(spec), folder / "one", threads=1).run)


def figures(run: Path) -> list[Mapping[str, float | None]]:
    rows = History.load(run / "history.csv").rows
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def hosts(folder: Path, *words: str, **variables: str) -> list[subprocess.Popen[str]]:
    """Two of them, over loopback."""
    words = ("train", "spec.yaml", "--engine", "keras", "--hosts", ",".join(addresses()), *words)
    return [start(*words, "--host", str(number), folder=folder, **variables) for number in range(2)]


def only_run(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def until(seen: Callable[[], bool], seconds: float = 240.0) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it never came to this"
        time.sleep(0.05)


def test_ctrl_c_on_one_host_ends_all_after_the_same_step_and_the_run_goes_on(tmp_path: Path) -> None:
    wanted = one(tmp_path)
    both = hosts(tmp_path, "--set", "training.epochs=9999", XLA_FLAGS=QUICK)
    until(lambda: any(tmp_path.glob("runs/*/history.csv")) or both[0].poll() is not None)
    both[1].send_signal(signal.SIGINT)
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [130, 130], said
    assert "kerascli train --resume" in said[0] and "interrupted; host 0 has the run" in said[1]
    run = Run.open(only_run(tmp_path))
    assert run.status == "interrupted"
    epochs = len(figures(run.path)) + 1
    again = checked_again(run, settings=["training.engine=numpy", f"training.epochs={epochs}"])
    found = figures(resume(run, again, threads=1).run)
    assert len(found) == epochs and found[0] == pytest.approx(wanted[0], abs=1e-5)


@pytest.mark.parametrize("launcher", ["hosts", "torchrun"])
def test_two_processes_of_pytorch_come_to_the_figures_of_one(tmp_path: Path, launcher: str) -> None:
    pytest.importorskip("torch")
    wanted = one(tmp_path)
    if launcher == "hosts":
        processes = hosts(tmp_path, KERAS_BACKEND="torch")
    else:
        words = ("--nproc-per-node", "2", "--master-port", addresses()[0].split(":")[1], "-m", "kerascli", "train")
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *words, "spec.yaml", "--engine", "keras"],
                cwd=tmp_path,
                env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        ]
    said = [process.communicate(timeout=300) for process in processes]
    assert {process.returncode for process in processes} == {0}, said
    run = only_run(tmp_path)
    assert [out.strip() for out, _ in said if out] == [str(run.relative_to(tmp_path))]
    assert figures(run) == [pytest.approx(row, abs=1e-5) for row in wanted]
    facts = json.loads((run / "run.json").read_text())
    assert (facts["backend"], facts["devices"]) == ("torch", 2)


def test_two_devices_of_tensorflow_come_to_the_figures_of_one(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    wanted = one(tmp_path)
    words = ("train", "spec.yaml", "--engine", "keras", "--devices", "2")
    process = start(*words, folder=tmp_path, KERAS_BACKEND="tensorflow")
    said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert figures(only_run(tmp_path)) == [pytest.approx(row, abs=1e-5) for row in wanted]


# ---- what cannot be


def test_what_a_backend_cannot_deal_out_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec.yaml").write_text(STATEFUL)
    checked = check(tmp_path / "spec.yaml", ["training.engine=keras"])

    def told(backend: str, where: Cluster) -> list[str]:
        monkeypatch.setenv("KERAS_BACKEND", backend)
        with pytest.raises(Failure) as failure:
            require(checked.loaded, where)
            require_dealt(Model.of(checked), where)
        return [f"{getattr(p.where, 'line', '')} {p.message}: {p.help}" for p in failure.value.problems]

    pair = Cluster(hosts=addresses(), host=1)
    (devices,) = told("torch", Cluster(devices=2))
    assert "there is no `--devices`: `torchrun --nproc-per-node 2 -m kerascli train …`" in devices
    (hosts,) = told("tensorflow", pair)
    assert "does not train over several hosts on TensorFlow" in hosts and "`jax` or `torch`" in hosts
    (stateful,) = told("torch", pair)
    assert stateful.startswith("5 LSTM `lstm` is stateful")
    assert [line[:20] for line in told("tensorflow", Cluster(devices=2))] == [
        "5 LSTM `lstm` is sta",
        "5 LSTM `lstm` has a ",
        "8 with `clipnorm`, K",
    ]


def test_what_torchrun_says_of_the_processes_is_heard_on_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    loaded = check(tmp_path / "spec.yaml", ["training.engine=keras"]).loaded
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "3"), ("MASTER_ADDR", "10.0.0.1"), ("MASTER_PORT", "29500")):
        monkeypatch.setenv(name, value)
    assert cluster(loaded).single
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    found = cluster(loaded)
    assert (found.hosts, found.host, found.launched, found.writes) == (("10.0.0.1:29500", "", ""), 1, True, False)
    with pytest.raises(Failure, match="`torchrun` says which"):
        cluster(loaded, host=0)


def test_machines_with_several_processes_are_known_by_their_addresses() -> None:
    found = Cluster(hosts=("a:1", "b:1", "a:2", "a:3"), host=2)
    assert found.neighbours == (1, 1)


def test_only_an_end_that_was_agreed_on_is_an_end_of_all() -> None:
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise Interrupted from None
    except Interrupted as at_once:
        assert not in_step(at_once)
    assert in_step(None) and in_step(Interrupted()) and not in_step(ValueError())

"""The README does not drift: its cheap commands run, its spec is right, its error is the real one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kerascli.check import validate
from kerascli.cli.main import commands
from kerascli.cli.render import diagnostic

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text("utf-8")
LIMIT = 250


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new user's folder: the specs, and a `kerascli` that is this one."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "configs").symlink_to(ROOT / "configs")
    program = folder / "bin" / "kerascli"
    program.parent.mkdir()
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from kerascli.cli.main import main; sys.exit(main())"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
    return folder


def test_the_cheap_commands_run_one_after_another(folder: Path) -> None:
    cheap = [block for block in blocks("sh") if "pip install" not in block]
    assert sum(block.count("kerascli ") for block in cheap) > 10
    places = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ex", "-c", "\n".join(cheap)], cwd=folder, env=places, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "class_1,probability_1,class_2,probability_2\nsetosa," in done.stdout
    assert (folder / "model.keras").is_file()


def test_the_first_screen_has_the_two_commands() -> None:
    first = blocks("sh")[0].splitlines()
    assert first[0].startswith("pip install . && kerascli train configs/mnist_cnn.yaml")
    assert first[1].startswith("pip install -e '.[test]' && pytest")
    assert (ROOT / "configs" / "mnist_cnn.yaml").is_file()


def test_every_command_is_told_of_and_no_other() -> None:
    told = set(re.findall(r"^\| `kerascli (\w+)", TEXT, re.MULTILINE))
    assert told == set(commands())


def test_the_specs_shown_are_right(tmp_path: Path) -> None:
    for number, block in enumerate(blocks("yaml")):
        spec = tmp_path / f"spec{number}.yaml"
        spec.write_text(block, "utf-8")
        assert not validate(spec).problems


def test_the_errors_shown_are_the_real_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = next(block for block in blocks("text") if block.startswith("error["))
    lines = {int(n): text for n, text in re.findall(r"^ *(\d+) \| (.*)$", shown, re.MULTILINE)}
    spec = [
        "dataset: mnist",
        "layers:",
        lines[3],
        "  - Flatten",
        "  - {type: Dense, units: 10, activation: softmax}",
        lines[6],
    ]
    Path("cnn.yaml").write_text("\n".join([*spec, "metrics: [accuracy]", lines[8], ""]))
    assert "\n\n".join(diagnostic(p).plain for p in validate(Path("cnn.yaml")).problems) == shown.strip()


def test_every_file_named_is_there() -> None:
    for path in re.findall(r"configs/[\w/]+\.yaml|kerascli/data/\w+\.md", TEXT):
        assert (ROOT / path).is_file(), path


def test_it_can_be_read_in_one_sitting() -> None:
    assert len(TEXT.splitlines()) <= LIMIT

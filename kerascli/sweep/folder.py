"""The sweep's directory: what it searches, where its trials are kept, and how it is found by what the user types.

`runs/<name>-sweep-<time>/` holds `sweep.json`, `spec.yaml` (byte for byte), `trials.journal` (unless trials are kept
elsewhere), a folder for each worker, and `report.html`. The runs of the trials stand beside it, as any other run.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from kerascli import __version__, files, yamltext
from kerascli.check import checked
from kerascli.component import nearest
from kerascli.errors import Failure, Problem
from kerascli.overrides import override
from kerascli.run import claim
from kerascli.spec import Loaded, checked_name, read
from kerascli.sweep.space import Goal, Space

FORMAT = 1
"""Of `sweep.json` and of what is noted with a trial."""
FILE = "sweep.json"


@dataclass
class Sweep:
    """A sweep's directory and the facts of its `sweep.json`."""

    folder: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the directory and of Optuna's study."""
        return self.folder.name

    @property
    def runs(self) -> Path:
        """Where the runs of the trials are."""
        return self.folder.parent

    @property
    def spec(self) -> Path:
        return self.folder / "spec.yaml"

    @property
    def journal(self) -> Path:
        return self.folder / "trials.journal"

    @property
    def workers(self) -> Path:
        return self.folder / "workers"

    @property
    def page(self) -> Path:
        return self.folder / "report.html"

    @property
    def goal(self) -> Goal:
        return Goal(**self.facts["goal"])

    @property
    def resume_command(self) -> str:
        """What to type to go on, here or on another machine that sees the directory."""
        return f"kerascli sweep --resume {shlex.quote(str(self.folder))}"

    def space(self) -> Space:
        """The spec as it was when the sweep began; its relative paths start where it was."""
        origin = Path(self.facts["spec"])
        document = override(yamltext.parse(self.spec.read_bytes(), str(origin)), self.facts["settings"])
        return Space(checked(Loaded(read(document, origin), document, self.spec)), origin)

    def discard(self) -> None:
        """Take back a sweep that could not begin; whatever else is in its folder stays."""
        for file in (self.folder / FILE, self.spec, self.journal):
            file.unlink(missing_ok=True)
        for folder in (self.workers, self.folder):
            with suppress(OSError):
                folder.rmdir()

    def set_trials(self, trials: int, space: Space) -> None:
        """Change how many values are tried; of a grid there are no more than its points."""
        if space.search.sampler == "grid" or not space.parameters:
            trials = min(trials, len(space.grid()))
        self.facts["goal"]["trials"] = trials
        files.write_json(self.folder / FILE, self.facts)


def create(
    runs: Path, name: str | None, space: Space, goal: Goal, settings: Sequence[str], storage: str | None
) -> Sweep:
    """Make the directory of a new sweep."""
    spec = space.loaded.spec
    if name is None:
        folder = claim(runs, f"{spec.name}-sweep-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
    else:
        folder = runs / _allowed(name)
        if (folder / FILE).exists() or (folder / "run.json").exists():
            help = f"go on with it, `--resume {shlex.quote(name)}`, or take another name"
            raise Failure(Problem("E501", f"`{folder}` is there already", folder, help=help), exit_code=2)
        with files.writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
    if storage is not None and "://" not in storage:
        storage = str(Path(storage).resolve())
    facts = {
        "format": FORMAT,
        "kerascli": __version__,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "spec": str(space.origin.resolve()),
        "settings": list(settings),
        "storage": storage,
        "goal": asdict(goal),
    }
    found = Sweep(folder, facts)
    with files.writing(folder):
        found.workers.mkdir()
    files.write_bytes(found.spec, space.origin.read_bytes())
    files.write_json(folder / FILE, facts)
    return found


def opened(folder: Path) -> Sweep:
    """The sweep of a directory; what is missing, broken or of another version is a Problem."""
    file = folder / FILE
    try:
        facts = json.loads(file.read_text("utf-8"))
        version = facts["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failure(Problem("E520", f"`{folder}` is not the directory of a sweep: {error}", file)) from error
    if version != FORMAT:
        message = f"the sweep is of format {version}, and this kerascli knows {FORMAT}"
        help = f"it was begun by kerascli {facts.get('kerascli')}: go on with that one"
        raise Failure(Problem("E521", message, file, help=help))
    return Sweep(folder, facts)


def find(word: str, runs: Path) -> Sweep:
    """The sweep that `word` means: a path, `latest`, or a unique prefix of a name."""
    if (Path(word) / FILE).is_file():
        return opened(Path(word))
    known = sorted(_folders(runs), key=lambda folder: folder.stat().st_mtime)
    found = known[-1:] if word == "latest" else [folder for folder in known if folder.name.startswith(word)]
    exact = [folder for folder in found if folder.name == word]
    if len(exact or found) == 1:
        return opened((exact or found)[0])
    names = [folder.name for folder in found or known]
    if found:
        message = f"`{word}` begins {len(found)} names of sweeps: {', '.join(names[:5])}"
        raise Failure(Problem("E520", message, runs, help="type more of it"), exit_code=2)
    near = nearest(word, [*names, "latest"])
    label = f"did you mean `{near}`?" if near and names else ""
    help = f"there are {', '.join(names[-5:])}" if names else "there are none yet: `kerascli sweep SPEC` makes one"
    raise Failure(Problem("E520", f"no sweep `{word}` in `{runs}`", runs, label, help), exit_code=2)


def _folders(runs: Path) -> Iterator[Path]:
    return (file.parent for file in runs.glob(f"*/{FILE}"))


def _allowed(name: str) -> str:
    try:
        return checked_name(name)
    except PydanticCustomError as error:
        raise Failure(Problem("E205", f"the sweep's name {error.message()}"), exit_code=2) from None

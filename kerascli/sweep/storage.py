"""Optuna: the study of a sweep in its storage, samplers, pruners and distributions. The only door to it but for plots.

Whatever Optuna or a database says against it becomes a Problem.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kerascli.errors import Failure, Problem
from kerascli.search import Choice, Log, Uniform, Whole
from kerascli.sweep.folder import FORMAT, Sweep
from kerascli.sweep.space import Parameter, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.storages.journal import JournalFileOpenLock
    from optuna.study import Study

PACKAGES = ("optuna", "cmaes", "matplotlib", "jinja2")
DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""What the packages of databases are called where they are installed from, if not as they are imported."""
ATTRIBUTE = "kerascli"
"""Of the study: what it searches, so that no other sweep joins it."""
LOCKED = 30
"""Seconds to wait for a database that another process holds."""
PATIENCE = 10
"""Seconds after which the lock of a journal is that of a process that died."""


def require_packages() -> None:
    """Raise E516 where a package is absent, before anything else is done."""
    absent = [f"`{name}`" for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        several = len(absent) > 1
        message = f"a sweep needs the package{'s' * several} {', '.join(absent)}, which {'are' if several else 'is'}"
        raise Failure(Problem("E516", f"{message} not installed", help='`pip install "kerascli[sweep]"`'), exit_code=2)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """What Optuna says of parts that may change is for its programmers."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def study(sweep: Sweep, space: Space) -> Study:
    """The sweep's study, made where there is none."""
    import optuna

    goal = sweep.goal
    about = {"format": FORMAT, "monitor": goal.monitor, "seeds": goal.seeds, "search": space.search.model_extra or {}}
    with quiet(), refusals(sweep):
        found = optuna.create_study(
            storage=_storage(sweep),
            study_name=sweep.name,
            direction="maximize" if goal.direction == "maximize" else "minimize",
            pruner=pruner(space),
            load_if_exists=True,
        )
        known = found.user_attrs.get(ATTRIBUTE)
        if known is None:
            if found.get_trials(deepcopy=False):
                known = {"format": None}
            else:
                found.set_user_attr(ATTRIBUTE, about)
    if known is not None and known != about:
        raise _other(sweep, known, about)
    return found


def _storage(sweep: Sweep) -> BaseStorage:
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    url = sweep.facts["storage"]
    if url is None or "://" not in url:
        path = str(sweep.journal if url is None else url)
        return JournalStorage(JournalFileBackend(path, lock_obj=lock(path)))
    if url.startswith(("redis://", "rediss://")):
        from optuna.storages.journal import JournalRedisBackend

        return JournalStorage(JournalRedisBackend(url))
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": LOCKED}} if url.startswith("sqlite") else None)


def lock(journal: str) -> JournalFileOpenLock:
    """The lock of a journal: a file beside it.

    A link, which Optuna would make, leads nowhere from a relative path, and then the lock of a process that died is
    waited for without end.
    """
    from optuna.storages.journal import JournalFileOpenLock

    return JournalFileOpenLock(journal, grace_period=PATIENCE)


@contextlib.contextmanager
def refusals(sweep: Sweep) -> Iterator[None]:
    """What a storage refuses, in words."""
    place = sweep.facts["storage"] or str(sweep.journal)
    try:
        yield
    except Failure:
        raise
    except ImportError as error:
        message = f"the storage `{_shown(place)}` needs a package that is not installed: {error}"
        package = error.name or getattr(error.__cause__, "name", None)
        help = f"`pip install {DRIVERS.get(package, package)}`" if package else ""
        raise Failure(Problem("E516", message, help=help)) from error
    except Exception as error:
        raise Failure(_problem(place, error)) from error


def _problem(place: str, error: Exception) -> Problem:
    words = " ".join(str(error).split("\n(Background")[0].split()).replace(place, _shown(place))
    place = _shown(place)
    if "locked" in words:
        help = "another program holds it: close that, or wait; a journal (the default) is never locked for long"
        return Problem("E521", f"the storage `{place}` is locked", help=help)
    if "no longer compatible" in words or "upgrade" in words or "version" in words.lower():
        help = f"install that version, or bring it up to date: `optuna storage upgrade --storage {place}`"
        return Problem("E521", f"the storage `{place}` is of another version of Optuna: {_short(words)}", help=help)
    if isinstance(error, (ValueError, KeyError)) and "://" not in place:
        help = "name a file that is not there yet, or leave out `--storage`: the sweep then has a journal of its own"
        message = f"the journal `{place}` is damaged, or of another version of Optuna: {_short(words)}"
        return Problem("E521", message, help=help)
    help = "any URL that Optuna takes: `sqlite:///trials.db`, `postgresql://…`, `redis://…`, or the path of a journal"
    return Problem("E521", f"the storage `{place}` cannot be used: {_short(words)}", help=help)


def _shown(place: str) -> str:
    """A URL without its password."""
    return re.sub(r"(://[^:/@]*):[^/]*@", r"\1:***@", place)


def _short(words: str) -> str:
    return words if len(words) <= 200 else f"{words[:199]}…"


def _other(sweep: Sweep, known: dict[str, Any], about: dict[str, Any]) -> Failure:
    if known.get("format") != FORMAT:
        message = f"the storage has a study `{sweep.name}` that this kerascli has not begun"
    else:
        parts = [key for key in about if known.get(key) != about[key]]
        message = f"the study `{sweep.name}` in the storage is of another spec: its {' and '.join(parts)} differ"
    return Failure(Problem("E521", message, help="give this sweep a name of its own: `--name`"))


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The ranges as Optuna has them."""
    return {parameter.path: _distribution(parameter) for parameter in space.parameters}


def _distribution(parameter: Parameter) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    match parameter.range:
        case Choice():
            return CategoricalDistribution(parameter.labels)
        case Uniform(uniform=[low, high], step=step):
            return FloatDistribution(low, high, step=step)
        case Whole(ends=[low, high], step=step):
            return IntDistribution(low, high, step=step)
        case Log(log=[int(low), int(high)]):
            return IntDistribution(low, high, log=True)
        case Log(log=[low, high]):
            return FloatDistribution(low, high, log=True)
    raise AssertionError


def sampler(space: Space, seed: int) -> BaseSampler:
    """Chooses the next values. It is made anew for every trial, so that a sweep without a break gives no others."""
    from optuna import samplers

    with quiet():
        match space.search.sampler:
            case "tpe":
                return samplers.TPESampler(seed=seed, constant_liar=True)
            case "cmaes":
                return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            case _:  # the points of a grid are enqueued
                return samplers.RandomSampler(seed=seed)


def pruner(space: Space) -> BasePruner:
    """Decides by the figure after each epoch which trials are ended."""
    from optuna import pruners

    epochs = space.loaded.spec.training.epochs
    with quiet():
        match space.search.pruner:
            case "median":
                return pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1 + epochs // 10)
            case "halving":
                return pruners.SuccessiveHalvingPruner()
            case "hyperband":
                return pruners.HyperbandPruner(min_resource=1, max_resource=max(epochs, 1))
            case _:
                return pruners.NopPruner()

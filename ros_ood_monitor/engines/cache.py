"""
Engines on disk: one folder each, named by everything the engine depends on.

A folder holds ``backbone.plan``, ``scorer.plan`` and ``facts.json``, which says what was built by
what for what, with the plans' digests. It is written whole or not at all, and can be thrown away.
"""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
from dataclasses import asdict, dataclass, field
import hashlib
import json
import os
from pathlib import Path
import re
import shutil
import tempfile
import time
from typing import Any, Final

from ros_ood_monitor.atomic import new_folder
from ros_ood_monitor.errors import EngineError

__all__ = [
    'PARTS',
    'EngineFiles',
    'Identity',
    'cache_folder',
    'prepare_cache',
    'read_engines',
    'write_engine',
]

PARTS: Final = ('backbone', 'scorer')
"""The graphs of an engine."""

_SCHEMA: Final = 2
_LEFT: Final = re.compile(r'\.([0-9a-f]{24}|timing|probe)\.')
"""Names of what is written aside: the engine's or file's, between dots."""

_LEFT_AFTER_S: Final = 3600.0  # what is written aside is done within seconds


@dataclass(frozen=True)
class Identity:
    """
    Everything an engine depends on.

    Parameters
    ----------
    onnx : dict of str to str
        SHA-256 of each graph.
    precision : str
        The bundle's precision.
    library, version : str
        What built it.
    target : dict of str to str
        The GPU and its compute capability; or the compute capabilities that a portable engine is
        for. Not the driver: an engine outlives its updates, and one that does not says so.
    options : dict
        Batch profile and what else was asked for.

    """

    onnx: dict[str, str]
    precision: str
    library: str
    version: str
    target: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def meant_for(self) -> str:
        """Return its target for people, the GPU's name first."""
        names = sorted(self.target, key=lambda name: (name != 'gpu', name))
        return ', '.join(self.target[name] for name in names)

    @property
    def key(self) -> str:
        """Return the folder's name: a digest of all fields."""
        text = json.dumps({'schema': _SCHEMA, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class EngineFiles:
    """
    An engine on disk.

    Parameters
    ----------
    folder : Path
        Where it lies.
    identity : Identity
        What it depends on.
    about : dict
        Facts for people: the bundle's name and digest, build seconds, sizes, layers.
    digests : dict of str to str
        SHA-256 of each plan.
    mend : str
        The command that builds it again.

    """

    folder: Path
    identity: Identity
    about: dict[str, Any]
    digests: dict[str, str]
    mend: str = field(default='ood_monitor build-engine --force', compare=False)

    @property
    def is_whole(self) -> bool:
        """Return whether every plan is as it was written."""
        try:
            for part in PARTS:
                self.plan(part)
        except EngineError:
            return False
        return True

    @property
    def mib(self) -> float:
        """Return how large its plans are together, in MiB."""
        return sum((self.folder / f'{part}.plan').stat().st_size for part in PARTS) / 2**20

    def plan(self, part: str) -> bytes:
        """
        Return a plan after checking its digest.

        Parameters
        ----------
        part : {'backbone', 'scorer'}
            Which graph.

        Returns
        -------
        bytes
            What the library built.

        Raises
        ------
        EngineError
            If it is missing or differs from what was written.

        """
        path = self.folder / f'{part}.plan'
        try:
            content = path.read_bytes()
        except OSError as error:
            msg = (
                f'engine file is not readable: {error.strerror}; build it again: {self.mend}: '
                f'{path}'
            )
            raise EngineError(msg) from error
        got = hashlib.sha256(content).hexdigest()
        if got != self.digests[part]:
            msg = (
                f'engine file is damaged: expected sha256 {self.digests[part][:12]}, got '
                f'{got[:12]}; build it again: {self.mend}: {path}'
            )
            raise EngineError(msg)
        return content


def cache_folder(folder: str | Path | None = None) -> Path:
    """
    Return where engines lie.

    Parameters
    ----------
    folder : str or Path, optional
        Where they shall; by default ``$OOD_MONITOR_ENGINES``, else ``ood_monitor/engines`` in
        ``$XDG_CACHE_HOME``, else in ``~/.cache``.

    Returns
    -------
    Path
        The folder; it need not exist.

    """
    if folder:
        return Path(folder).expanduser()
    named = os.environ.get('OOD_MONITOR_ENGINES')
    if named:
        return Path(named).expanduser()
    base = os.environ.get('XDG_CACHE_HOME')
    return (Path(base) if base else Path.home() / '.cache') / 'ood_monitor' / 'engines'


def prepare_cache(cache: Path) -> None:
    """
    Make the folder of engines, show that it takes files, and clear what killed builds left there.

    Parameters
    ----------
    cache : Path
        Folder of all engines.

    Raises
    ------
    EngineError
        If nothing can be written there: better told before a build of minutes than after it.

    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix='.probe.', dir=cache):
            pass
    except OSError as error:
        raise _unwritten(cache, error) from error
    for path in cache.glob('.*'):
        with contextlib.suppress(OSError):
            if _LEFT.match(path.name) and time.time() - path.stat().st_mtime > _LEFT_AFTER_S:
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _unwritten(cache: Path, error: OSError) -> EngineError:
    return EngineError(
        f'engine cannot be written: {error.strerror or error}; give --cache: {cache}'
    )


def write_engine(
    cache: Path, identity: Identity, plans: Mapping[str, bytes], about: Mapping[str, Any]
) -> EngineFiles:
    """
    Write an engine, whole or not at all; one of the same identity is replaced.

    Parameters
    ----------
    cache : Path
        Folder of all engines.
    identity : Identity
        What it depends on.
    plans : mapping of str to bytes
        What the library built, by part.
    about : mapping
        Facts for people.

    Returns
    -------
    EngineFiles
        The engine as it lies there.

    Raises
    ------
    EngineError
        If it cannot be written.

    """
    digests = {part: hashlib.sha256(plans[part]).hexdigest() for part in PARTS}
    target = cache / identity.key
    facts = {'schema': _SCHEMA, **asdict(identity), 'about': dict(about), 'digests': digests}
    try:
        with new_folder(target) as folder:
            for part in PARTS:
                (folder / f'{part}.plan').write_bytes(plans[part])
            text = json.dumps(facts, indent=1, sort_keys=True)
            (folder / 'facts.json').write_text(text + '\n', encoding='utf-8')
    except OSError as error:
        raise _unwritten(cache, error) from error
    return EngineFiles(target, identity, dict(about), digests)


def read_engines(cache: Path) -> list[EngineFiles]:
    """
    List the engines in a folder.

    Parameters
    ----------
    cache : Path
        Folder of all engines; it need not exist.

    Returns
    -------
    list of EngineFiles
        The newest first. Folders that hold no readable facts are passed over: nothing in here
        cannot be built again.

    """
    found = []
    for path in cache.glob('[!.]*/facts.json'):
        try:
            facts = json.loads(path.read_text(encoding='utf-8'))
            if facts.pop('schema') != _SCHEMA:
                continue
            about, digests = dict(facts.pop('about')), facts.pop('digests')
            engine = EngineFiles(path.parent, Identity(**facts), about, digests)
            if engine.identity.key == path.parent.name and digests.keys() == set(PARTS):
                found.append((path.stat().st_mtime, engine))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return [engine for _, engine in sorted(found, key=lambda pair: pair[0], reverse=True)]

"""Scores of finished bags on disk, found again by what they depend on."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import json
import logging
import os
from pathlib import Path
import tempfile
from typing import Any, Final

from ros_ood_monitor import __version__
from ros_ood_monitor.atomic import new_file
from ros_ood_monitor.bags.files import find_files
from ros_ood_monitor.bundle import Bundle
from ros_ood_monitor.engines import Engine
from ros_ood_monitor.errors import BagError, ParameterError
from ros_ood_monitor.evaluation.bags.scored import ScoredBag

__all__ = ['ScoreStore', 'default_store']

_log = logging.getLogger(__name__)

_FORMAT: Final = 5


def default_store() -> Path:
    """Return the folder of the user's kept scores."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(base) / 'ood_monitor' / 'scores'


class ScoreStore:
    """
    Keeps the scores of bags.

    Parameters
    ----------
    folder : Path or None
        Where; None keeps nothing.
    **facts
        Plain values: everything that the scores of any bag depend on.

    """

    def __init__(self, folder: Path | None, **facts: Any) -> None:
        self.folder = folder
        self._is_full = False
        self._facts = {'format': _FORMAT, 'version': __version__, **facts}

    @classmethod
    def of_engine(
        cls,
        folder: Path | None,
        bundle: Bundle,
        engine: Engine,
        *,
        topics: Sequence[str] | None,
        every: int,
    ) -> ScoreStore:
        """
        Return the store of what an engine says of bags.

        Parameters
        ----------
        folder : Path or None
            As in the constructor.
        bundle : Bundle
            What was trained.
        engine : Engine
            The bundle, opened.
        topics : sequence of str or None
            Image topics that are read; None for all of them.
        every : int
            Each topic's every n-th frame.

        Returns
        -------
        ScoreStore
            Of these.

        """
        facts = {name: value for name, value in engine.describe().items() if name != 'chosen'}
        return cls(folder, bundle=bundle.digest, engine=facts, topics=topics, every=every)

    def key(self, bag: Path) -> str:
        """
        Return the name under which the scores of a bag are kept.

        Parameters
        ----------
        bag : Path
            Its folder or file; what counts is the names, sizes and times of its files.

        Returns
        -------
        str
            Hex digits.

        Raises
        ------
        BagError
            If there is no such bag, or it is out of reach.

        """
        files, missing = find_files(bag)
        try:
            stats = [(file.name, file.stat()) for file in files]
        except OSError as error:
            msg = f'bag could not be read ({error.strerror or error}): {bag}'
            raise BagError(msg) from error
        facts = {
            **self._facts,
            'files': [[name, found.st_size, found.st_mtime_ns] for name, found in stats],
            'missing': missing,
        }
        text = json.dumps(facts, sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def load(self, key: str) -> ScoredBag | None:
        """Return the scores kept under a key; None where there are none, or damaged ones."""
        if self.folder is None:
            return None
        try:
            return ScoredBag.from_bytes(self._file(key).read_bytes())
        except OSError:
            return None

    def check(self) -> None:
        """
        Refuse a folder that nothing can be kept in, before anything is scored.

        Raises
        ------
        ParameterError
            If no file can be made there.

        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            msg = (
                f'scores could not be kept ({error.strerror or error}); choose a folder with room '
                f'by --cache, or --no-cache: {self.folder}'
            )
            raise ParameterError(msg) from error

    def save(self, key: str, scored: ScoredBag) -> None:
        """
        Keep the scores of a bag; from the first that cannot be written on none is.

        Parameters
        ----------
        key : str
            From `key`.
        scored : ScoredBag
            The scores.

        """
        if self.folder is None or self._is_full:
            return
        try:
            with new_file(self._file(key)) as aside:
                aside.write_bytes(scored.to_bytes())
        except OSError as error:
            self._is_full = True
            _log.error(
                'scores are not kept any more (%s), the work goes on: %s',
                error.strerror or error, self.folder,
            )  # fmt: skip

    def _file(self, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f'{key}.npz'

"""A run on disk: a manifest that says what it is, and one file per unit of work.

run/manifest.json   recipe, model, data, settings, package version, status
run/units/          one Parquet file per unit, named by the hash of what it computes
run/tables/         what a person opens
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from locant.errors import BadFile
from locant.files import refuse_file, write_text

Manifest = dict[str, object]


class RunFolder:
    """A folder that one run, and only that run, fills."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def units(self) -> Path:
        return self.path / "units"

    @property
    def tables(self) -> Path:
        return self.path / "tables"

    def check(self, manifest: Manifest) -> None:
        """Whether this run may start here, or be resumed where it stopped; nothing is written.

        Raises:
            BadFile: the folder holds another run, named by its first difference, or something else.
        """
        place = self.path / "manifest.json"
        refuse_file(self.path)
        if place.is_file():
            self._refuse_other(place, manifest)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise BadFile(f"the folder {str(self.path)!r} is not empty and holds no run; name another with --out")

    def open(self, manifest: Manifest) -> None:
        """Say in the manifest that the run has begun."""
        self._write(manifest, "running")

    def finish(self, manifest: Manifest) -> None:
        """Say in the manifest that everything is there."""
        self._write(manifest, "complete")

    def unit(self, manifest: Manifest, work: object) -> Path:
        """The file of a unit, named by what it computes: the run's manifest and the unit's own work."""
        text = json.dumps([manifest, work], sort_keys=True, ensure_ascii=False)
        return self.units / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.parquet"

    def _refuse_other(self, place: Path, manifest: Manifest) -> None:
        try:
            found = json.loads(place.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise BadFile(f"{str(place)!r} is not a run's manifest") from None
        for name, old, new in _differences(found, manifest):
            raise BadFile(
                f"{str(self.path)!r} holds a run with {name} {_short(old)}, this one has {_short(new)}; "
                "name another folder with --out"
            )

    def _write(self, manifest: Manifest, status: str) -> None:
        text = json.dumps({**manifest, "status": status}, indent=1, ensure_ascii=False)
        write_text(self.path / "manifest.json", text + "\n")


def _differences(found: Manifest, wanted: Manifest) -> Iterator[tuple[str, object, object]]:
    """What differs, by name, settings one by one: what was found, what is wanted."""
    for name, new in wanted.items():
        old = found.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
            yield from _differences(old, new)
        elif old != new:
            yield name, old, new


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:77] + "..."

"""An edit on disk: the whole edited model, or only the matrices that it changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from locant.errors import BadFile, LocantError
from locant.files import refuse_file, write_text, write_whole
from locant.models import LanguageModel
from locant.models.rewriting import held, rewriting
from locant.types import EditRequest, Provenance, hash_of

RECORD = "edit.json"
"""What an edited model's folder says of the edit."""


def save_model(lm: LanguageModel, folder: Path, made_by: Provenance, requests: Sequence[EditRequest]) -> Path:
    """Write the model as it is, with its tokenizer and a record of what was edited.

    Raises:
        BadFile: the folder holds something already, or cannot be written to.
    """
    refuse_file(folder)
    if folder.exists() and any(folder.iterdir()):
        raise BadFile(f"{str(folder)!r} is not empty: give a folder that is, or a new one")
    record = {
        "made_by": asdict(made_by),
        "requests": [
            {
                "uid": one.uid,
                "prompt": one.query.prompt,
                "subject": one.subject,
                "old": one.query.answer,
                "new": one.new,
            }
            for one in requests
        ],
    }
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        lm.model.save_pretrained(beside)
        lm.tokenizer.save_pretrained(beside)
        write_text(beside / RECORD, json.dumps(record, indent=2, ensure_ascii=False))
        if folder.exists():
            folder.rmdir()
        beside.replace(folder)
    except OSError as error:
        raise BadFile(f"cannot write {str(folder)!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def save_weights(lm: LanguageModel, path: Path, before: Mapping[str, Tensor], made_by: Provenance) -> Path:
    """Write the changed matrices, with a digest of what they replace.

    Args:
        before: what was there, by parameter name.

    Raises:
        BadFile: the file cannot be written.
    """
    replaced = {name: hash_of(values) for name, values in before.items()}
    about = {"made_by": json.dumps(asdict(made_by)), "replaces": json.dumps(replaced)}
    now = {name: values.cpu().contiguous() for name, values in held(lm.model, before).items()}
    return write_whole(path, lambda beside: save_file(now, beside, metadata=about))


@contextmanager
def apply_weights(lm: LanguageModel, path: Path) -> Iterator[Provenance]:
    """Put a saved edit into the model it was made for, while the context lasts; gives how it was made.

    Raises:
        BadFile: the file is missing or no saved edit.
        LocantError: the model is another one, or not as it was before that edit.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            new = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        replaced = json.loads(about["replaces"])
        recorded = json.loads(about["made_by"])
        made_by = Provenance(**recorded | {"parents": tuple(recorded["parents"])})
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise BadFile(f"{str(path)!r} is no saved edit: {error}") from error
    own = dict(lm.model.named_parameters(remove_duplicate=False))
    for name, digest in replaced.items():
        if name not in own or hash_of(own[name]) != digest:
            raise LocantError(
                f"{str(path)!r} was made for {made_by.model}, whose {name} was not as {lm.name} has it: "
                "load the model that the edit was made for, unedited"
            )
    with rewriting(lm.model) as weights:
        weights.write({name: values.to(own[name].device) for name, values in new.items()})
        yield made_by

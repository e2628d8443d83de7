"""What a person should know of an archive before getting it, and beside a copy of it."""

from __future__ import annotations

from locant.archives.table import Archive

NOTICE = "NOTICE.txt"
"""The name of the notice beside a copy."""


def notice(archive: Archive) -> str:
    """Source, licence and what to cite, a line for each."""
    source = archive.source
    kept = [part.path for part in source.parts if part.path]
    lines = {
        "Source": source.url,
        "About": source.page,
        "Commit": source.commit,
        "Kept": ", ".join(kept),
        "SHA-256": source.sha256 or "",
        "Licence": f"{archive.permission}. {archive.remark}".rstrip(),
        "Cite": archive.cite,
    }
    told = [f"{name}: {text}" for name, text in lines.items() if text]
    return "\n".join([f"{archive.name}: {archive.what}", *told])

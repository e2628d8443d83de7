"""Public archives of facts and templates that locant reads: what they are, and how a checked copy is got.

    archive = find_archive("mlama")
    print(notice(archive))
    copy = get_archive(archive, Path("data/mlama"), accept_licence=True)

Nothing is reached over the network before `get_archive` is called.
"""

from locant.archives.get import Copy, find_copy, get_archive
from locant.archives.notice import NOTICE, notice
from locant.archives.table import ARCHIVES, Archive, Part, Source, find_archive
from locant.archives.trees import tree_id

__all__ = [
    "ARCHIVES",
    "NOTICE",
    "Archive",
    "Copy",
    "Part",
    "Source",
    "find_archive",
    "find_copy",
    "get_archive",
    "notice",
    "tree_id",
]

"""The archives: where each is published, under which licence, and by what its bytes are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from locant.errors import UnknownName, nearest

Terms: TypeAlias = Literal["free use", "no commercial use", "no licence stated"]
LARGEST_UNKNOWN = 400_000_000
"""Bytes that are read at most of an archive whose size nobody promises."""


@dataclass(frozen=True)
class Part:
    """A folder of an archive that is kept.

    Attributes:
        path: where it lies, below the archive's top folder; '' for all of that.
        tree: its git tree id; None where the whole archive has a checksum.
        place: where it goes, below the folder of the copy; '' for that folder itself.
    """

    path: str
    tree: str | None
    place: str = ""


@dataclass(frozen=True)
class Source:
    """Where an archive is had, and how what comes is checked.

    Attributes:
        url: of the archive, a .zip or .tar.gz.
        page: about it, for people.
        top: the archive's top folder; None for whichever there is.
        commit: of the repository, if it is one.
        size: bytes of the archive, where its bytes are promised to stay the same.
        sha256: of the archive, where its bytes are promised to stay the same.
    """

    url: str
    page: str
    parts: tuple[Part, ...]
    top: str | None = None
    commit: str = ""
    size: int | None = None
    sha256: str | None = None

    @property
    def limit(self) -> int:
        """Bytes that are read at most."""
        return LARGEST_UNKNOWN if self.size is None else self.size * 3 // 2


@dataclass(frozen=True)
class Archive:
    """A published set of facts or templates.

    Attributes:
        what: it holds, in a few words.
        licence: its short name.
        remark: what else there is to say of the licence, as sentences.
        terms: what the licence comes to; all but free use must be accepted.
        cite: the papers to cite.
        option: of 'locant run', which reads a copy in FOLDER (templates alone, with the facts of another archive).
        data_bytes: of the files kept, where that is known.
    """

    name: str
    what: str
    licence: str
    terms: Terms
    cite: str
    option: str
    source: Source
    remark: str = ""
    data_bytes: int | None = None

    @property
    def permission(self) -> str:
        """The licence, with what it forbids."""
        return f"{self.licence} ({self.terms})" if self.terms == "no commercial use" else self.licence


def find_archive(name: str) -> Archive:
    """The archive of that name.

    Raises:
        UnknownName: there is none.
    """
    if name not in ARCHIVES:
        raise UnknownName(
            f"no archive {name!r}{nearest(name, ARCHIVES)}; there are {', '.join(ARCHIVES)} (see: locant data list)"
        )
    return ARCHIVES[name]


def _github(repository: str, commit: str, *parts: Part) -> Source:
    """Folders of a repository, as of a commit. GitHub does not promise an archive's bytes, so trees are checked."""
    page = f"https://github.com/{repository}/tree/{commit}"
    return Source(f"https://codeload.github.com/{repository}/tar.gz/{commit}", page, parts, commit=commit)


_MLAMA = "Kassner, Dufter and Schütze 2021, Multilingual LAMA, arXiv:2102.00894"

_ALL = (
    Archive(
        name="mlama",
        what="mLAMA 1.1: facts and templates in 53 languages",
        licence="CC BY-NC-SA 4.0",
        terms="no commercial use",
        cite=_MLAMA,
        option="--data mlama:FOLDER",
        source=Source(
            url="http://cistern.cis.lmu.de/mlama/mlama1.1.zip",
            page="https://github.com/norakassner/mlama",
            parts=(Part("", None),),
            top="mlama1.1",
            size=40_772_287,
            # As recorded by Hugging Face's loading script of m_lama; the address itself is not encrypted
            sha256="043dc82b1b4b72de10ec98fb3a75341af13a1b439f6ee8e769398f42bd6d5883",
        ),
    ),
    Archive(
        name="mpararel",
        what="mParaRel: reviewed templates in 46 languages (kept of a repository of about 94 MB)",
        licence="none stated",
        remark="Its repository states no licence, so nothing is granted; the templates come from ParaRel and mLAMA.",
        terms="no licence stated",
        cite="Fierro and Søgaard 2022, Factual Consistency of Multilingual Pretrained Language Models, "
        "arXiv:2203.11552",
        option="--data mlama:data/mlama,FOLDER",
        source=_github(
            "coastalcph/mpararel",
            "7153b7bdc86901fbe23d0c2909a4f2d4609b09d9",
            Part("data/mpararel_reviewed/patterns", "da764f44e74770620158f20df835caeb3c2a88eb"),
        ),
        data_bytes=1_412_507,
    ),
    Archive(
        name="paraphrases6",
        what="aligned facts, each in several wordings, in 6 languages",
        licence="CC BY-NC",
        remark="Its repository says CC BY 4.0, but the facts are mLAMA's, which forbids commercial use.",
        terms="no commercial use",
        cite=f"Chen et al. 2024, arXiv:2405.14117; {_MLAMA}",
        option="--data paraphrases:FOLDER",
        source=_github(
            "heng840/Dataset",
            "b998783e9e55f8b9d68f6c7f3d925a478789a1f0",
            Part("Aligned_my_MLAMA", "7c91de20e84d4c942149d02be7216a6609f121e2"),
        ),
        data_bytes=17_925_444,
    ),
    Archive(
        name="bmlama17",
        what="BMLAMA-17: the same facts, with candidate answers, in 17 languages",
        licence="Apache-2.0, facts CC BY-NC-SA 4.0",
        remark="Its repository says Apache-2.0, but the facts are mLAMA's, which forbids commercial use.",
        terms="no commercial use",
        cite=f"Qi, Fernández and Bisazza 2023, arXiv:2310.10378; {_MLAMA}",
        option="--data bmlama:FOLDER",
        source=_github(
            "Betswish/Cross-Lingual-Consistency",
            "13c9d46c8a11e9f7798a6e6ec8bc5efa98a9e448",
            Part("1_easyrun/BMLAMA17", "b6f16e000cee47cd3de2abfff463ecdb1eb2457a"),
        ),
        data_bytes=23_822_935,
    ),
    Archive(
        name="pararel",
        what="ParaRel: English patterns, and the facts of T-REx that fill them",
        licence="MIT, facts CC BY-NC 4.0",
        remark="Its repository says MIT, but the facts are LAMA's, which forbids commercial use.",
        terms="no commercial use",
        cite="Elazar et al. 2021, Measuring and Improving Consistency in Pretrained Language Models, "
        "arXiv:2102.01017; Petroni et al. 2019, Language Models as Knowledge Bases?, arXiv:1909.01066",
        option="--data pararel:FOLDER",
        source=_github(
            "yanaiela/pararel",
            "cb5554678457beb5ac163d888f1ce8cf174b3f0b",
            # Each stays where it is in the repository, where read_pararel looks for it
            *(
                Part(path, tree, path)
                for path, tree in (
                    ("data/pattern_data/graphs_json", "b02f019584ade59d2207f1aa14d81f3e1b8e7685"),
                    ("data/trex_lms_vocab", "e705a801abdf3dae6b5578ca52d5d4b2a712057f"),
                )
            ),
        ),
        data_bytes=39_016 + 3_066_999,
    ),
)

ARCHIVES: dict[str, Archive] = {one.name: one for one in _ALL}

"""What locant must know of languages to join a prompt and its answer."""

UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "km"})
"""Languages whose words have no space between them."""


SCRIPTS: dict[str, str] = {
    language: script
    for script, languages in {
        "Arabic": "ar fa ur",
        "Armenian": "hy",
        "Bengali": "bn",
        "Burmese": "my",
        "Cyrillic": "be bg ru sr uk",
        "Devanagari": "hi",
        "Georgian": "ka",
        "Greek": "el",
        "Hangul": "ko",
        "Han": "ja zh zh-hans zh-hant",
        "Hebrew": "he",
        "Lao": "lo",
        "Latin": "af az ca ceb cs cy da de en es et eu fi fr ga gl hr hu id is it la lt lv ms nl pl pt ro sk sl sq "
        "sv tr vi",
        "Tamil": "ta",
        "Thai": "th",
    }.items()
    for language in languages.split()
}
"""The writing system of each language of mLAMA and mParaRel; Japanese is with Chinese for what they share."""


def gap(language: str) -> str:
    """What stands between a prompt and its answer: one space, or nothing where the script has none."""
    return "" if language in UNSPACED else " "


def stop(language: str) -> str:
    """What ends a sentence."""
    return "。" if language in UNSPACED else "."

"""Names and addresses that people cannot tell apart, and that are therefore refused on input.

Only new ones are: what the log holds stays valid, and the key of an address never changes, because
it places the user and another folding could give one address to two users. The decisions and the
reasons are in docs/decisions/0025.
"""

import re
import unicodedata

# Blank, although Unicode counts them as letters, marks or symbols: fillers of Hangul, vowels of
# Khmer that are not shown, the empty pattern of Braille, a note without a head, and the selectors
# of variants. Category Cf, format, has the others.
_BLANK = frozenset(
    "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u2800\U0001d159\u034f\u180b\u180c\u180d\u180f"
)
# They have an effect in the spelling of Persian, Indic and right-to-left names, and in emoji.
_JOINERS = frozenset("\u200c\u200d")
_MARKS_OF_DIRECTION = frozenset("\u200e\u200f\u061c")
_VISIBLE_CATEGORIES = frozenset("LNPS")
_WITHOUT_JOINERS = frozenset({"LATIN", "GREEK", "CYRILLIC"})
# Scripts that are written together in one word (Unicode's "highly restrictive" level, which Gmail
# requires of the addresses that it accepts mail from).
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
_WORD = re.compile(r"[^@.]+")
# Letters and digits, except for the blank ones among them, and what stands between the words of a
# name. One match takes a twentieth of the time of looking at each character. The possessive
# quantifiers take whole words at once, and never go back.
_PLAINLY_VISIBLE = re.compile(r"(?:[^\W_\u115f\u1160\u3164\uffa0]++|[ .'’-])++")


def is_plainly_visible(text: str) -> bool:
    """Return whether `text`, which does not end with a space, is neither blank nor has invisibles.

    False for a text that `is_blank` and `has_invisible` must decide.
    """
    return _PLAINLY_VISIBLE.fullmatch(text) is not None


def is_blank(text: str) -> bool:
    """Return whether nothing of `text` is visible."""
    shown = (c for c in text if c not in _BLANK)
    return not any(unicodedata.category(c)[0] in _VISIBLE_CATEGORIES for c in shown)


def has_invisible(text: str) -> bool:
    """Return whether `text` has a character that is invisible and has no effect where it is."""
    before = ""
    for character in text:
        if character in _JOINERS:
            if not before or before.isascii() or _script(before) in _WITHOUT_JOINERS:
                return True
        elif character not in _MARKS_OF_DIRECTION:
            is_format = unicodedata.category(character) == "Cf"
            if character in _BLANK or (is_format and not _is_tag(character)):
                return True
            before = character
    return False


def _is_tag(character: str) -> bool:
    """Return whether it is a tag, of which the flags of regions consist."""
    return "\U000e0020" <= character <= "\U000e007f"


def is_folded_further(email: str) -> bool:
    """Return whether the key of an address merges it with one that mail systems keep apart.

    Case folding turns ß into ss and ﬀ into ff, while a lower-case letter stays the same letter. A
    final sigma is no other letter than a sigma.
    """
    return email.casefold() != email.lower().replace("ς", "σ")


def has_compatibility_form(email: str) -> bool:
    """Return whether an address has full-width letters, ligatures or other variants of letters."""
    return not unicodedata.is_normalized("NFKC", email)


def mixes_scripts(email: str) -> bool:
    """Return whether a word of an address mixes scripts that are not written together."""
    for word in _WORD.findall(email):
        scripts = {_script(c) for c in word if unicodedata.category(c) in {"Ll", "Lu", "Lt", "Lo"}}
        if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
            return True
    return False


def _script(character: str) -> str:
    """Return the script of a letter, as the first word of its name states it."""
    return "LATIN" if character.isascii() else unicodedata.name(character, "UNKNOWN").split()[0]

"""Captions of emoji in plain words, from the names and short names of `emoji-datasource`."""

import re
from typing import Any

GENDERED = re.compile(r"1F46[89]-.*|.*-264[02](-.*)?")
"""Codes of a man or a woman who does something; there is one of a person, too."""

TONES = {
    "1F3FB": "light skin tone",
    "1F3FC": "medium-light skin tone",
    "1F3FD": "medium skin tone",
    "1F3FE": "medium-dark skin tone",
    "1F3FF": "dark skin tone",
}

PLAIN = {
    "heavy black heart": "red heart",
    "white smiling face": "smiling face with pink cheeks",
    "white frowning face": "frowning face",
    "white up pointing index": "index finger pointing up",
    "reversed hand with middle finger extended": "middle finger",
    "fisted hand sign": "oncoming fist",
    "person with folded hands": "folded hands",
    "sleeping accommodation": "person in bed",
    "father christmas": "Santa Claus",
    "adult": "person",
    "pedestrian": "person walking",
    "runner": "person running",
    "dancer": "woman dancing in a red dress",
    "guardsman": "guard",
    "black universal recycling symbol": "recycling symbol",
    "heavy large circle": "red ring",
    "white heavy check mark": "white check mark on green",
    "negative squared cross mark": "white cross on green",
    "black telephone": "telephone",
    "black scissors": "scissors",
    "black nib": "pen nib",
    "black question mark ornament": "red question mark",
    "heavy exclamation mark symbol": "red exclamation mark",
    "white question mark ornament": "white question mark",
    "white exclamation mark ornament": "white exclamation mark",
    "hash key": "keycap #",
    "keycap: *": "keycap *",
    "automated teller machine": "ATM sign",
    "gem stone": "blue gem stone",
    "aubergine": "eggplant",
    "ear of maize": "ear of corn",
    "white medium star": "yellow star",
    "black sun with rays": "sun with rays",
    "information source": "letter i button",
    "black square for stop": "stop button",
    "black circle for record": "record button",
}
"""Names that say little, or something else than the picture shows, and what stands in their place."""

WHERE = r"left|right|up|down"
RULES = [
    (rf"^white ({WHERE}) pointing backhand index$", r"hand pointing \1"),
    (r"^(man|woman|person): bald$", r"bald \1"),
    (r"^(man|woman|person): (beard)$", r"\1 with a \2"),
    (r"^(man|woman|person): (.+ hair)$", r"\1 with \2"),
    (r"^clock face (\w+) oclock$", r"clock at \1 o'clock"),
    (r"^clock face (\w+)-thirty$", r"clock at half past \1"),
    (r"^black (\w+) suit$", r"\1 suit"),
    (rf"^(?:black|white) (?=(?:{WHERE})-pointing)", ""),
    (r"\bblack (?=\w+wards)|(?<=wards )black ", ""),
    (r"^heavy ", ""),
    (r"^(?:negative squared|circled) (?:latin capital )?letter (\w)$", r"letter \1 button"),
    (r"^(?:negative )?squared cjk unified ideograph-(\w+)$", lambda m: f"Japanese {chr(int(m[1], 16))} button"),
    (r"^(?:negative )?squared (.+)$", r"\1 button"),
    (r"^circled ideograph (\w+)$", r"Japanese \1 button"),
    (r"(?<=hand|umbs) sign\b|(?<=down) sign$|(?<=up) sign$", ""),
    (r"’", "'"),
]
"""Patterns in the lower case of a name, and their replacement; all are applied, in this order."""

ODD = re.compile(
    r".{1,3}$|.*(\d|flag|male|black|heavy|arrow|white|capital|symbol|half|ideograph|lower_|negative|vertical|_pad|_sign"
    r"|bangbang|probing|sleuth|money|womans|punch|ok_|mag_|bullet|spock|shit|hankey|scissors_|_hand_)"
)
"""Short names that are codes, or no better than the name."""


def captions(emoji: dict[str, Any]) -> list[str]:
    """The caption of an emoji, and a second one where its short name has other words."""
    first = _plain(emoji["name"], country="flag" in emoji["subcategory"])
    second = next((name for name in emoji["short_names"] if not ODD.match(name)), "")
    second = re.sub(r"\s+", " ", re.sub(r"[_-]+", " ", second)).strip()
    new = set(second.split()) - set(re.split(r"[\s:,-]+", first.lower()))
    family = emoji["subcategory"] == "family"
    return [first, second] if new and not family else [first]


def _plain(name: str, country: bool) -> str:
    if country and name.endswith(" Flag"):
        return f"flag of {name.removesuffix(' Flag')}"
    plain = name.lower()
    if plain in PLAIN:
        return PLAIN[plain]
    for pattern, replacement in RULES:
        plain = re.sub(pattern, replacement, plain)
    return plain

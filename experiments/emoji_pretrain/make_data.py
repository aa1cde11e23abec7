"""Makes the pictures of the emoji experiments, with their captions, from npm's `emoji-datasource-twitter`.

python experiments/emoji_pretrain/make_data.py PACKAGE
"""

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captions import GENDERED, TONES, captions
from PIL import Image

HERE = Path(__file__).parent
SIDE = 32
HELD_OUT = 0.08  # of the emoji, each with all its skin tones
EPOCH = (1980, 1, 1, 0, 0, 0)  # of each file in the zip, so that the same pictures make the same zip


def pictures(package: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Split, file and captions of each picture; those of two skin tones are left out."""
    emoji = json.loads((package / "emoji.json").read_text(encoding="utf-8"))
    images, seen = package / "img" / "twitter" / "64", set[str]()
    for each in sorted(emoji, key=lambda each: each["sort_order"]):
        if not each["has_img_twitter"] or each["category"] == "Component":  # patches of skin
            continue
        split = "validation" if _share(each["unified"]) < HELD_OUT else "train"
        said = [caption for caption in captions(each) if caption not in seen]
        if not said:
            continue
        seen |= set(said)
        yield split, images / each["image"], said
        if GENDERED.fullmatch(each["unified"]):
            continue
        for tone, variation in each.get("skin_variations", {}).items():
            if tone in TONES:
                yield split, images / variation["image"], [f"{said[0]}, {TONES[tone]}"]


def _share(code: str) -> float:
    """A number in [0, 1) that depends on the code alone."""
    return int.from_bytes(hashlib.sha256(code.encode()).digest()[:8], "big") / 2**64


def small(path: Path) -> bytes:
    """The picture on white, as a WebP file without loss."""
    picture = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    target = io.BytesIO()
    picture = white.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    picture.save(target, "WEBP", lossless=True, quality=100, method=6)
    return target.getvalue()


def write_pictures(rows: list[tuple[str, Path, list[str]]], target: Path) -> None:
    """All pictures and `metadata.jsonl` in one zip."""
    lines: list[dict[str, Any]] = []
    with zipfile.ZipFile(target, "w") as file:
        for split, path, said in rows:
            name = f"{split}/{path.stem}.webp"
            lines.append({"file_name": name, "text": said if len(said) > 1 else said[0]})
            file.writestr(zipfile.ZipInfo(name, EPOCH), small(path))
        content = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        file.writestr(zipfile.ZipInfo("metadata.jsonl", EPOCH), content, zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    write_pictures(list(pictures(Path(sys.argv[1]))), HERE / "pictures.zip")

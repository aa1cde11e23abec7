"""Print the losses that the search found as Markdown: a row for each method or gate, a column for each rate."""

import json
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "digits.json"

if __name__ == "__main__":
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    rates = sorted({float(rate) for losses in found.values() for rate in losses})
    print(f"| | {' | '.join(f'{rate:g}' for rate in rates)} |\n| --- |{' ---: |' * len(rates)}")
    for what, losses in found.items():
        least = min(losses.values())
        cells = [losses.get(f"{rate:g}") for rate in rates]
        texts = ["" if loss is None else f"{1e3 * loss:+.3f}".replace("-", "−") for loss in cells]
        told = [f"**{text}**" if loss == least else text for text, loss in zip(texts, cells, strict=True)]
        print(f"| {what} | {' | '.join(told)} |")

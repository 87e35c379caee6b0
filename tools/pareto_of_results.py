"""Draw docs/results/compression.svg: the Pareto plot of the models and variants in the tables of the logbook.

python tools/pareto_of_results.py docs/results/logbook docs/results/compression.svg
"""

import re
import sys
from pathlib import Path
from typing import Any

from ecg_lightning.reports.pareto import pareto_figure

PAGES = ("2026-11-26-compression.md", "2026-11-30-side-by-side.md")
N_TEST = 434
VARIANTS = {
    "uncompressed": "uncompressed",
    "ptq": "ptq",
    "act_swap_prune_qat › quantize": "act_swap_prune_qat",
    "distill_prune_qat › quantize": "distill_prune_qat",
}


def main(folder: Path, path: Path) -> None:
    """Draw the figure into a file."""
    rows = [row for page in PAGES for row in rows_of((folder / page).read_text("utf-8"))]
    assert len({row["model"] for row in rows}) == 4, "the logbook has the tables of four models"
    pareto_figure(rows).savefig(path, metadata={"Date": None})


def rows_of(text: str) -> list[dict[str, Any]]:
    """Return the chosen variants of a page: each model has a table of scores and a table of sizes and speeds."""
    rows = []
    for section in text.replace("−", "-").split("\n## ")[1:]:
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
        scores = {f"{one[0]}; {one[1]}": one for one in cells if len(one) == 7 and one[1].startswith("openvino")}
        costs = {one[0]: one for one in cells if one[0] in scores}
        for key in costs:
            variant, precision = key.split("; openvino ")
            if variant not in VARIANTS or precision == "bf16":
                continue
            change = [float(number) for number in re.findall(r"[-+]?\d+\.\d+", scores[key][3])] or [None] * 3
            speed = re.findall(r"\d+(?:\.\d+)?", costs[key][4])
            fp32_ms = float(re.findall(r"[\d.]+", costs["uncompressed; openvino fp32"][4])[1])
            rows.append(
                {
                    "model": section.split(",")[0].split(" on ")[0].split("\n")[0],
                    "checkpoint": section[:20],
                    "hardware": "cpu",
                    "compression": VARIANTS[variant],
                    "variant": "baseline" if variant == "uncompressed" else VARIANTS[variant],
                    "precision": precision,
                    "f1": float(scores[key][2]),
                    **dict(zip(("f1_change", "f1_low", "f1_high"), change, strict=True)),
                    "megabytes": float(costs[key][1]),
                    "times_fp32": float(speed[0]),
                    "ms": fp32_ms / float(speed[0]),
                    "n_test": N_TEST,
                }
            )
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""The model and the recordings that come with the package, to try it; see `example/README.md`."""

from pathlib import Path

_FOLDER = Path(__file__).parents[1] / "example"

EXAMPLE_MODEL = _FOLDER / "resnet1d_wang_int8.onnx"
EXAMPLE_RECORDS = tuple(_FOLDER / f"synthetic_{name}.hea" for name in ("normal", "infarction", "block"))

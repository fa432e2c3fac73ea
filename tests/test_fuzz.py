"A few hundred inputs of `benchmarks/fuzz.py`: each is read, or refused by a message, within limits of memory and time."
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")
pytest.importorskip("pydicom")
sys.path.insert(0, str(Path(__file__).parents[1]/"benchmarks"))

import fuzz


@pytest.mark.parametrize("kind, inputs", (("weights", 80), ("graphs", 60), ("images", 200), ("records", 120)))
def test_fuzz(kind, inputs):
    table = fuzz.fuzz(inputs, seed=1, kinds=[kind], progress=False)
    assert len(table) == inputs
    wrong = table[~table["how"].isin(["read", "refused"])]
    assert wrong.empty, wrong[["i", "file", "how"]].to_string()

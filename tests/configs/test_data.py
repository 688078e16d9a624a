"""The arrays in `configs/data` are what their script makes, and small."""

from __future__ import annotations

import numpy as np
import pytest

from tests.configs.make_data import FOLDER, MADE


@pytest.mark.parametrize("name", MADE)
def test_an_archive_holds_what_its_script_makes(name: str) -> None:
    file = FOLDER / f"{name}.npz"
    assert file.stat().st_size < 300_000
    made = MADE[name]()
    with np.load(file, allow_pickle=False) as stored:
        assert set(stored.files) == set(made)
        for array, values in made.items():
            np.testing.assert_array_equal(stored[array], values, err_msg=array)

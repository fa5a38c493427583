"""Spawned DataLoader workers start from nothing: they have to find the stand-in for mmcv's ops by themselves."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

# An MMDetection data set as anyone's: knows mmcv, not ctc_mm.
PLAIN_DATASET = """
    import torch
    from mmcv.ops import nms

    BOXES_XYXY = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 20.0, 30.0, 30.0]])

    class PlainDataset(torch.utils.data.Dataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            info = torch.utils.data.get_worker_info()
            assert info is not None
            return nms(BOXES_XYXY, torch.tensor([0.5, 0.6, 0.7]) - 0.1 * index, 0.5)[1]
"""

# As our tools are written: ctc_mm at the top, all else inside main.
MAIN_WITH_CTC_MM_AT_THE_TOP = """
    import ctc_mm

    def main():
        from plain_dataset import PlainDataset
        from torch.utils.data import DataLoader

        loader = DataLoader(PlainDataset(), batch_size=None, num_workers=1, multiprocessing_context="spawn")
        print([kept.tolist() for kept in loader])

    if __name__ == "__main__":
        main()
"""

# As in a notebook, whose cells a worker does not run again: an object of ctc_mm brings it along.
MAIN_WITH_A_DATA_SET_OF_CTC_MM = """
    def main():
        import ctc_mm.datasets
        from torch.utils.data import DataLoader

        data_set = ctc_mm.datasets.CTCDetDataset(
            ann_file="cells.json", data_prefix=dict(img="."), pipeline=[dict(type="ctc_mm.LoadMicroscopyImage")]
        )
        loader = DataLoader(data_set, batch_size=None, num_workers=1, multiprocessing_context="spawn")
        print([tuple(results["img"].shape) for results in loader])

    if __name__ == "__main__":
        main()
"""


@pytest.fixture
def run_main(repo, tmp_path):
    """Run a main script in ``tmp_path``; return stdout."""

    def run(code):
        (tmp_path / "main.py").write_text(textwrap.dedent(code))
        environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            [sys.executable, "main.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


def test_main_script_that_imports_ctc_mm_at_its_top(run_main, tmp_path):
    (tmp_path / "plain_dataset.py").write_text(textwrap.dedent(PLAIN_DATASET))
    assert run_main(MAIN_WITH_CTC_MM_AT_THE_TOP).splitlines()[-1] == "[[2, 1], [2, 1]]"


def test_data_set_of_ctc_mm_brings_the_stand_in_along(run_main, tmp_path):
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "field.png"), np.full((6, 8), 7, np.uint8))
    coco = {
        "images": [{"id": 1, "file_name": "field.png", "width": 8, "height": 6}],
        "annotations": [],
        "categories": [{"id": 1, "name": "CTC"}, {"id": 2, "name": "WBC"}],
    }
    (tmp_path / "cells.json").write_text(json.dumps(coco))
    assert run_main(MAIN_WITH_A_DATA_SET_OF_CTC_MM).splitlines()[-1] == "[(6, 8, 3)]"

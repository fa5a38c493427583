from dataclasses import fields

import numpy as np
import pytest
from cell_predictions import predictions

from ctc_mm.errors import AnnotationError
from ctc_mm.evaluation.predictions import COLUMNS, Predictions, pool_predictions, read_predictions, write_predictions

FULL = predictions(
    [1, 0, 0],
    [0.1 + 0.2, 0.7, 1e-30],
    cell_id=["b, \"quoted\"", "ä/α", "a"],
    channel=["dapi", "dapi", ""],
    group=["P1", "", "P2"],
    path=["x/1.png", "x/2.tif#plane1", ""],
    box_xyxy=[[0.1, 2, 3, 4], [np.nan] * 4, [5, 6, 7.5, 8]],
    diameter_um=[12.25, np.nan, 1 / 3],
    calibrated=[0.4, 0.5, 0.6],
)  # fmt: skip


def test_header_is_the_agreed_one(tmp_path):
    write_predictions(tmp_path / "p.csv", FULL)
    assert (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[0] == (
        "cell_id,channel,group,source,path,x0,y0,x1,y1,label,gt,pred,score,calibrated,logit,diameter_um,diameter_px"
    )


def test_there_and_back_bit_for_bit_sorted_by_cell(tmp_path):
    write_predictions(tmp_path / "p.csv", FULL)
    read = read_predictions(tmp_path / "p.csv")
    assert read.cell_id.tolist() == ["a", 'b, "quoted"', "ä/α"]
    expected = FULL.take(np.array([2, 0, 1]))
    for one in fields(Predictions):
        np.testing.assert_array_equal(getattr(read, one.name), getattr(expected, one.name), err_msg=one.name)
    assert read.score[1] == 0.30000000000000004


def test_order_of_evaluation_leaves_no_trace(tmp_path):
    write_predictions(tmp_path / "a.csv", FULL)
    write_predictions(tmp_path / "b.csv", FULL.take(np.array([1, 2, 0])))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_folds_are_pooled_in_order():
    pooled = pool_predictions([FULL, predictions([1], [0.9])])
    assert len(pooled) == 4
    assert pooled.score.tolist() == [*FULL.score, 0.9]
    assert pooled.cell_id[-1] == "c0"
    assert pooled.box_xyxy.shape == (4, 4)
    with pytest.raises(ValueError, match="no predictions to pool"):
        pool_predictions([])


def test_missing_file_and_empty_table_are_named(tmp_path):
    with pytest.raises(AnnotationError, match=r"nothing\.csv: cannot be read"):
        read_predictions(tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(AnnotationError, match=r"empty\.csv: columns missing: cell_id, channel"):
        read_predictions(tmp_path / "empty.csv")
    (tmp_path / "header.csv").write_text(",".join(COLUMNS) + "\n")
    with pytest.raises(AnnotationError, match=r"header\.csv: holds no prediction"):
        read_predictions(tmp_path / "header.csv")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score", "high", "line 2, column score: no number. Received: 'high'"),
        ("score", "", "line 2, column score: no number. Received: ''"),
        ("score", "nan", "`score` must be finite"),
        ("gt", "2", "line 2, column gt: must be 0 or 1. Received: '2'"),
        ("gt", "0.5", "must be 0 or 1"),
        ("x0", "left", "column x0: no number"),
    ],
)
def test_damaged_cells_of_the_table_are_named(tmp_path, column, value, message):
    row = dict.fromkeys(COLUMNS, "") | {"cell_id": "a", "gt": "1", "pred": "1", "score": "0.5", "logit": "0.0"}
    row[column] = value
    path = tmp_path / "p.csv"
    path.write_text(",".join(COLUMNS) + "\n" + ",".join(row[name] for name in COLUMNS) + "\n")
    with pytest.raises(AnnotationError, match=message):
        read_predictions(path)


def test_row_cut_short_is_named(tmp_path):
    (tmp_path / "p.csv").write_text(",".join(COLUMNS) + "\na,dapi\n")
    with pytest.raises(AnnotationError, match=r"line 2, column .*: no number. Received: None"):
        read_predictions(tmp_path / "p.csv")


def test_arrays_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"`group` must have shape \(2,\)"):
        predictions([1, 0], [0.5, 0.5], group=["a"])
    with pytest.raises(ValueError, match=r"`box_xyxy` must have shape \(2, 4\)"):
        predictions([1, 0], [0.5, 0.5], box_xyxy=np.zeros((2, 2)))

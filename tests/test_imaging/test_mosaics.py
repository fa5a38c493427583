"""Mosaics: fields in their places, what lies between and over them, and tables that cannot be used."""

import threading

import numpy as np
import pytest
from damaged_slides import noise, spoil_tile, write_tiled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging import mosaic
from ctc_mm.imaging.damage import DamageTolerantField
from ctc_mm.imaging.io import list_fields, open_field, write_image, write_ome_tiff
from ctc_mm.imaging.resample import resampled_field

SLIDE = noise(1, 200, 300)[0]


def write_mosaic(folder, places, image=SLIDE, suffix=".png", header="file,x_px,y_px"):
    """Cut fields out of an image; places are (x, y, width, height) in pixels."""
    folder.mkdir()
    lines = [header]
    for number, (x, y, width, height) in enumerate(places):
        name = f"f{number}{suffix}"
        write_image(folder / name, image[y : y + height, x : x + width])
        lines.append(f"{name},{x},{y}")
    (folder / "positions.csv").write_text("\n".join(lines) + "\n")
    return folder


def write_positions(folder, text, encoding="utf-8"):
    (folder / "positions.csv").write_text(text, encoding=encoding)
    return folder


GRID = [(x, y, 110, 80) for y in (0, 70, 120) for x in (0, 100, 190)]


def read(path, **options):
    with open_field(path, **options) as field:
        return field, field.read()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_slide_comes_back_from_its_fields(tmp_path, suffix):
    folder = write_mosaic(tmp_path / "slide.1", GRID, suffix=suffix)
    field, pixels = read(folder)
    assert (field.name, field.channels, field.dtype, field.size_wh) == ("slide.1", ("0",), np.uint16, (300, 200))
    assert (field.um_per_px, field.gaps_xyxy) == (None, ())
    assert field.notes == (f"{folder}: a mosaic of 9 files at whole pixels, later ones over those before",)
    assert field.paths == (folder, folder / "positions.csv", *(folder / f"f{number}{suffix}" for number in range(9)))
    np.testing.assert_array_equal(pixels[0], SLIDE)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_region_is_a_part_of_the_whole(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "any_region"
    if not folder.exists():
        write_mosaic(folder, [*GRID[:4], *GRID[5:8]])
    x0, y0 = data.draw(st.integers(0, 299)), data.draw(st.integers(0, 198))
    x1, y1 = data.draw(st.integers(x0 + 1, 300)), data.draw(st.integers(y0 + 1, 199))
    with open_field(folder) as field:
        np.testing.assert_array_equal(field.read(None, (x0, y0, x1, y1)), field.read()[:, y0:y1, x0:x1])


def test_one_field_one_pixel_wide(tmp_path):
    field, pixels = read(write_mosaic(tmp_path / "m", [(5, 0, 1, 200)]))
    assert field.size_wh == (1, 200)
    np.testing.assert_array_equal(pixels[0], SLIDE[:, 5:6])


def test_gaps_are_background_and_told(tmp_path):
    image = np.where(np.arange(300) % 3, 200, 90).astype(np.uint8)[None].repeat(200, axis=0)
    folder = write_mosaic(tmp_path / "m", [(0, 0, 99, 200), (150, 20, 150, 180)], image)
    field, pixels = read(folder)
    assert field.gaps_xyxy == ((99, 0, 300, 20), (99, 20, 150, 200))
    missing = np.ones((200, 300), bool)
    missing[:, :99] = missing[20:, 150:] = False
    assert set(pixels[0][missing]) == {200}  # the median, as bright as the light, not black
    np.testing.assert_array_equal(pixels[0][~missing], image[~missing])
    assert field.notes[
        1
    ] == f"{folder}: {missing.sum() / 60000:.1%} of the mosaic lies between its fields, read as " + ("background")
    with resampled_field(open_field(folder, um_per_px=1.0), 2.0) as half:
        assert half.gaps_xyxy == ((50, 0, 150, 10), (50, 10, 75, 100))
    with DamageTolerantField(open_field(folder)) as tolerant:
        assert tolerant.gaps_xyxy == field.gaps_xyxy


def test_later_fields_lie_over_those_before(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for value in (10, 20, 30):
        write_image(folder / f"{value}.png", np.full((10, 10), value, np.uint8))
    write_positions(folder, "file,x_px,y_px\n20.png,0,0\n30.png,5,0\n10.png,8,0\n")
    assert read(folder)[1][0, 4].tolist() == [20] * 5 + [30] * 3 + [10] * 10


def test_fractions_of_a_pixel_and_places_of_the_stage(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for value in (10, 20, 30):
        write_image(folder / f"{value}.png", np.full((10, 10), value, np.uint8))
    # A stage counts from anywhere, and a European table has commas.
    write_positions(
        folder, "file;x_um;y_um\n10.png;-1000,5;33,0\n20.png;-995,6;33,2\n30.png;-1000,5;38,1\n", "utf-8-sig"
    )
    field, pixels = read(folder, um_per_px=0.5)
    assert (field.um_per_px, field.size_wh) == (0.5, (20, 20))
    assert field.gaps_xyxy == ((10, 10, 20, 20),)
    assert [pixels[0, 0, 9], pixels[0, 0, 10], pixels[0, 9, 0], pixels[0, 10, 0]] == [10, 20, 10, 30]
    with pytest.raises(ImageReadError, match=r"line 2: positions are in um, and neither .* give um_per_px \(--um-per"):
        open_field(folder)


def test_the_pixel_size_comes_from_the_table_or_the_fields(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    for number in range(2):
        write_ome_tiff(folder / f"{number}.ome.tif", SLIDE[None, :50, :40], ["DAPI"], 0.25)
    write_positions(folder, "file,x_um,y_um\n0.ome.tif,0,0\n1.ome.tif,10,0\n")
    field, _ = read(folder)
    assert (field.um_per_px, field.size_wh, field.channels) == (0.25, (80, 50), ("DAPI",))
    write_positions(folder, "file,x_um,y_um,um_per_px\n0.ome.tif,0,0,0.5\n1.ome.tif,10,0,0.5\n")
    assert (read(folder)[0].um_per_px, read(folder)[0].size_wh) == (0.5, (60, 50))
    assert (read(folder, um_per_px=1.0)[0].um_per_px, read(folder, um_per_px=1.0)[0].size_wh) == (1.0, (50, 50))


def test_a_file_for_each_channel(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    dapi, cep8 = noise(2, 60, 100)
    for name, plane in (("dapi", dapi), ("cep8", cep8)):
        write_image(folder / f"{name}_l.tif", plane[:, :50])
        write_image(folder / f"{name}_r.tif", plane[:, 50:])
    # The red of a channel that was drawn in a colour holds its grey values.
    drawn = np.zeros((60, 100, 3), np.uint8)
    drawn[..., 0] = 77
    write_image(folder / "cd45.png", drawn)
    lines = ["dapi_l.tif,0,0,dapi", "cep8_l.tif,0,0,cep8", "dapi_r.tif,50,0,dapi", "cd45.png,0,0,cd45"]
    write_positions(folder, "\n".join(["file,x_px,y_px,channel", *lines]))
    field, pixels = read(folder)
    assert (field.channels, field.dtype) == (("dapi", "cep8", "cd45"), np.uint16)
    assert field.gaps_xyxy == ((50, 0, 100, 60),)  # where cep8 has no field
    assert field.notes[-1] == f"{folder}: 1 images have no line in positions.csv, not read: cep8_r.tif"
    np.testing.assert_array_equal(pixels[0], dapi)
    np.testing.assert_array_equal(pixels[1, :, :50], cep8[:, :50])
    assert set(pixels[1, :, 50:].ravel()) == {np.sort(cep8[:, :50].ravel())[1500]}
    assert set(pixels[2].ravel()) == {77}
    with open_field(folder, "cep8=cep8,dapi=dapi") as field:
        np.testing.assert_array_equal(field.read(["dapi"], (40, 3, 60, 9))[0], dapi[3:9, 40:60])


def test_few_fields_are_held_and_threads_agree(tmp_path, monkeypatch):
    monkeypatch.setattr(mosaic, "MOST_OPEN", 2)
    folder = write_mosaic(tmp_path / "m", GRID)
    with open_field(folder) as field:
        results = []

        def work():
            for y in range(0, 200, 40):
                for x in range(0, 300, 50):
                    results.append((field.read(None, (x, y, x + 50, y + 40))[0] == SLIDE[y : y + 40, x : x + 50]).all())

        threads = [threading.Thread(target=work) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(field.channel_sources["0"].source._leases._entries) == 2
    assert results == [True] * 180


def test_a_field_that_cannot_be_decoded_is_lost_alone(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    left, right = noise(1, 256, 512)[:, :, :256], noise(1, 256, 512)[:, :, 256:]
    write_tiled(folder / "l.tif", left)
    write_tiled(folder / "r.tif", right)
    spoil_tile(folder / "l.tif", 0)
    write_positions(folder, "file,x_px,y_px\nl.tif,0,0\nr.tif,256,0\n")
    with pytest.raises(ImageReadError, match=r"l.tif: channel 0 of shape \(256, 256\) cannot be decoded"):
        read(folder)
    with DamageTolerantField(open_field(folder)) as field:
        pixels = field.read()
        assert field.damaged_xyxy == ((0, 0, 256, 256),)
    np.testing.assert_array_equal(pixels[:, :, 256:], right)


def test_a_png_that_is_cut_is_lost_alone(tmp_path):
    folder = write_mosaic(tmp_path / "m", [(0, 0, 100, 200), (150, 0, 150, 200)])
    data = (folder / "f0.png").read_bytes()
    (folder / "f0.png").write_bytes(data[: len(data) // 2])
    with DamageTolerantField(open_field(folder)) as field:
        field.read()
        (damage,) = field.damage
    assert damage[0] == (0, 0, 256, 200)
    assert damage[1].startswith(f"{folder / 'f0.png'}: damaged or truncated image")


def test_fields_that_do_not_go_together_are_errors_where_they_lie(tmp_path):
    folder = write_mosaic(tmp_path / "m", [(0, 0, 100, 200), (100, 0, 100, 200)])
    write_image(folder / "f1.png", np.zeros((200, 100, 3), np.uint8))
    with open_field(folder) as field:
        np.testing.assert_array_equal(field.read(None, (0, 0, 100, 200))[0], SLIDE[:, :100])
        with pytest.raises(ImageReadError, match=r"f1.png: uint8 pixels of channels \('red', 'green', 'blue'\).*where"):
            field.read()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "positions.csv: the table is empty"),
        (
            "name,x,y\nf0.png,0,0\n",
            "no line names the columns file,x_px,y_px or file,x_um,y_um; line 1 holds: name, x, y",
        ),
        ("file,x_px\nf0.png,0\n", "positions.csv: has the columns file, x_px; give the columns file,x_px,y_px or"),
        ("file,x_px,y_px,x_um,y_um\nf0.png,0,0,0,0\n", "has the columns file, x_px, y_px, x_um, y_um; give"),
        ("file,x_px,y_px,File\nf0.png,0,0,a\n", "has column 'file' twice; give"),
        ("file,x_px,y_px\n", "positions.csv: places no field; add a line for each"),
        ("file,x_px,y_px\nf9.png,0,0\n", r"line 2: .*f9.png is not there; put the field back, or remove the line"),
        ("file,x_px,y_px\nf0.png,0,left\n", r"line 2: column 'y_px' must be a number. Received: 'left'"),
        ("file,x_px,y_px\nf0.png,nan,0\n", r"line 2: column 'x_px' must be a number. Received: 'nan'"),
        (
            "file,x_px,y_px\n../m/f0.png,0,0\n",
            r"must name a file of the folder, relative to it. Received: '../m/f0.png'",
        ),
        ("file,x_px,y_px\n/f0.png,0,0\n", "must name a file of the folder"),
        ("file,x_px,y_px\n,0,0\n", "must name a file of the folder"),
        ("file,x_px,y_px\nf0.png,0,0\nf0.png,9,0\n", r"line 3: f0.png is placed before, in .*line 2; keep one"),
        ("file,x_px,y_px\nf0.png,5,0\nf1.png,5.2,0\n", r"line 3: f1.png lies exactly over f0.png; .* column 'channel'"),
        ("file,x_px,y_px,channel\nf0.png,0,0,\n", "line 2: no channel; fill in column 'channel', or remove it"),
        ("file,x_px,y_px,um_per_px\nf0.png,0,0,-1\n", "'um_per_px' must be above 0 and the same in all lines"),
        ("file,x_px,y_px,um_per_px\nf0.png,0,0,1\nf1.png,9,0,2\n", r"line 3: .*the same in all lines. Received: '2'"),
        ("file,x_px,y_px\nf0.png,0,0\nnotes.txt,200,0\n", "notes.txt: not an image file of a known kind"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    folder = write_mosaic(tmp_path / "m", [(0, 0, 100, 200), (100, 0, 100, 200)])
    (folder / "notes.txt").write_text("no image")
    write_positions(folder, text)
    with pytest.raises(ImageReadError, match=message):
        open_field(folder)


def test_all_missing_fields_are_named_at_once(tmp_path):
    folder = write_mosaic(tmp_path / "m", GRID)
    for number in (2, 5):
        (folder / f"f{number}.png").unlink()
    with pytest.raises(ImageReadError, match=r"(?s)line 4: .*f2.png is not there.*line 7: .*f5.png is not there"):
        open_field(folder)


def test_columns_that_are_not_used_are_told(tmp_path):
    folder = write_mosaic(tmp_path / "m", GRID[:1])
    write_positions(folder, "file,x_px,y_px,exposure\nf0.png,0,0,12\n")
    assert read(folder)[0].notes[-1] == f"{folder}: columns of positions.csv that are not used: exposure"


def test_a_mosaic_is_listed_as_one_field(tmp_path):
    write_mosaic(tmp_path / "s1", GRID)
    write_image(tmp_path / "alone.png", SLIDE)
    sources = list_fields(tmp_path)
    assert [(one.name, one.relative_path) for one in sources] == [("alone", "alone.png"), ("s1", "s1")]
    with sources[1].open(0.5) as field:
        np.testing.assert_array_equal(field.read()[0], SLIDE)
    assert [one.name for one in list_fields(tmp_path / "s1")] == ["s1"]

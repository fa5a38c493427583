"""The tool as a user calls it: what it prints and writes, how it ends."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from ctc_mm.cli import run_cli
from ctc_mm.imaging.io import read_image, write_image, write_ome_tiff
from ctc_mm.phantoms.brightfield import generate_field
from ctc_mm.phantoms.brightfield_config import BrightfieldPhantomConfig
from ctc_mm.phantoms.imfish import generate_imfish_field
from ctc_mm.phantoms.imfish_config import ImFISHPhantomConfig


@pytest.fixture(scope="module")
def tool(repo):
    spec = importlib.util.spec_from_file_location("inspect_image", repo / "tools" / "inspect_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A phantom as one OME-TIFF with names of its own, and as one file a channel."""
    folder = tmp_path_factory.mktemp("slide")
    config = ImFISHPhantomConfig(image_wh=(400, 360))
    phantom = generate_imfish_field(config, np.random.default_rng(2))
    write_ome_tiff(folder / "s.ome.tif", phantom.image_cyx, ["DAPI", "SpectrumOrange", "Cy5"], phantom.um_per_px)
    (folder / "files").mkdir()
    for number, plane in enumerate(phantom.image_cyx):
        write_image(folder / "files" / f"s_w{number}.tif", plane)
    return folder


def numbers(text):
    """The lines about what was found, without the place of the picture."""
    return [line for line in text.splitlines() if not line.startswith("written:")]


def test_nuclei_of_a_named_channel(tool, slide, tmp_path, capsys):
    out = tmp_path / "new" / "nuclei.png"
    assert run_cli(tool, [str(slide / "s.ome.tif"), "--what", "nuclei", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "nuclei: " in printed
    assert printed.splitlines()[-1] == f"written: {out}"
    assert read_image(out).shape[1] == 400 * 3
    again = tmp_path / "again.png"
    assert run_cli(tool, [str(slide / "s.ome.tif"), "--what", "nuclei", "--out", str(again)]) == 0
    assert again.read_bytes() == out.read_bytes()


def test_imfish_from_one_file_and_from_one_file_a_channel(tool, slide, tmp_path, capsys):
    one, many = tmp_path / "one.png", tmp_path / "many.png"
    arguments = ["--what", "imfish", "--zoom", "1"]
    named = ["--channels", "dapi=0,cep8=SpectrumOrange,cd45=2"]
    assert run_cli(tool, [str(slide / "s.ome.tif"), *arguments, *named, "--out", str(one)]) == 0
    first = numbers(capsys.readouterr().out)
    patterns = ["--channels", "dapi=*_w0.tif,cep8=*_w1.tif,cd45=*_w2.tif", "--um-per-px", "0.25"]
    for source in (slide / "files", slide / "files" / "s_w1.tif"):
        assert run_cli(tool, [str(source), *arguments, *patterns, "--out", str(many)]) == 0
        assert numbers(capsys.readouterr().out) == first
        assert (read_image(many)[:360] == read_image(one)[:360]).all()
    assert any(line.startswith("CTCs in the whole field:") for line in first)


def test_region_and_paper_mode(tool, slide, tmp_path, capsys):
    out = tmp_path / "part.png"
    arguments = ["--what", "imfish", "--mode", "paper", "--channels", "dapi=0,cep8=1", "--region", "100,80,300,200"]
    assert run_cli(tool, [str(slide / "s.ome.tif"), *arguments, "--zoom", "4", "--out", str(out)]) == 0
    assert read_image(out).shape[1] == 800
    printed = capsys.readouterr().out
    assert " shown of " in printed
    assert "cd45" not in printed


def test_bright_field_cells_in_grey_and_colour(tool, tmp_path, capsys):
    config = BrightfieldPhantomConfig(image_wh=(320, 300), wbc_count=(8, 8))
    phantom = generate_field(config, np.random.default_rng(3), blank=False)
    write_image(tmp_path / "grey.png", phantom.image)
    write_image(tmp_path / "colour.png", np.repeat(phantom.image[..., None], 3, axis=2))
    found = []
    for name in ("grey", "colour"):
        out = tmp_path / f"{name}_cells.png"
        arguments = ["--what", "cells", "--um-per-px", "0.6", "--out", str(out)]
        assert run_cli(tool, [str(tmp_path / f"{name}.png"), *arguments]) == 0
        found.append(numbers(capsys.readouterr().out))
        assert read_image(out).shape[1] == 320 * 3
    assert found[0] == found[1]
    assert int(found[0][0].removeprefix("cells: ").split()[0]) == pytest.approx(len(phantom.labels), abs=3)
    arguments = ["--what", "cells", "--um-per-px", "0.6", "--diameter-um", "28", "60", "--out", str(out)]
    assert run_cli(tool, [str(tmp_path / "grey.png"), *arguments]) == 0
    assert capsys.readouterr().out.startswith("cells: 0 ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--what", "nuclei", "--out", "x.jpg"], "ending in .png"),
        (["--what", "nuclei", "--out", "x.png", "--mode", "paper"], "--mode is for --what imfish"),
        (["--what", "nuclei", "--out", "x.png", "--diameter-um", "5", "9"], "--diameter-um is for --what cells"),
        (["--what", "cells", "--out", "x.png", "--method", "learned"], "--method learned is for nuclei"),
        (["--what", "nuclei", "--out", "x.png", "--region", "5,5,5,9"], "must have an area"),
        (["--what", "nuclei", "--out", "x.png", "--zoom", "1.5"], "zoom must be a whole number"),
        (["--what", "nuclei", "--out", "x.png", "--um-per-px", "0"], "above 0"),
        (["--what", "imfish", "--out", "x.png", "--channels", "dapi"], "pairs like dapi=0"),
        (["--what", "spots", "--out", "x.png"], "invalid choice"),
    ],
)
def test_bad_usage_ends_with_2_and_writes_nothing(repo, tmp_path, arguments, words):
    command = [sys.executable, str(repo / "tools" / "inspect_image.py"), "image.png", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_failures_end_with_1_and_write_nothing(tool, slide, tmp_path, capsys):
    out = ["--out", str(tmp_path / "x.png")]
    assert run_cli(tool, [str(slide / "none.tif"), "--what", "nuclei", *out]) == 1
    assert "none.tif" in capsys.readouterr().err
    assert run_cli(tool, [str(slide / "s.ome.tif"), "--what", "imfish", *out]) == 1
    assert "dapi=0,cep8=1" in capsys.readouterr().err
    two = ["--what", "imfish", "--channels", "dapi=0,cep8=1", *out]
    assert run_cli(tool, [str(slide / "s.ome.tif"), *two]) == 1
    assert "mode 'paper'" in capsys.readouterr().err
    assert run_cli(tool, [str(slide / "s.ome.tif"), "--what", "nuclei", "--region", "0,0,401,10", *out]) == 1
    assert "leaves field 's' of 400 x 360 px" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_picture_never_takes_the_place_of_the_image(tool, tmp_path, capsys):
    write_image(tmp_path / "s_w0.png", np.zeros((40, 50), np.uint8))
    write_image(tmp_path / "s_w1.png", np.zeros((40, 50), np.uint8))
    before = [(tmp_path / name).read_bytes() for name in ("s_w0.png", "s_w1.png")]
    image = str(tmp_path / "s_w0.png")
    assert run_cli(tool, [image, "--what", "nuclei", "--out", image]) == 1
    assert "s_w0.png: is the image itself" in capsys.readouterr().err
    channels = ["--channels", "dapi=*_w0.png,cep8=*_w1.png", "--mode", "paper"]
    assert run_cli(tool, [image, "--what", "imfish", *channels, "--out", str(tmp_path / "s_w1.png")]) == 1
    assert "s_w1.png: is the image itself" in capsys.readouterr().err
    assert [(tmp_path / name).read_bytes() for name in ("s_w0.png", "s_w1.png")] == before

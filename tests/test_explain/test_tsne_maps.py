"""Maps of layers, their file, and what is drawn and written of them."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from ctc_mm.explain.features_table import FeatureTable, MapPoint
from ctc_mm.explain.map_files import write_maps
from ctc_mm.explain.map_html import map_html, thumbnail_sheet
from ctc_mm.explain.map_plot import map_png
from ctc_mm.explain.map_view import PALETTE, Panel, colours_of, drawing_order, panels_of_maps, panels_of_placed
from ctc_mm.explain.tsne import NothingToMapError, TSNEOptions
from ctc_mm.explain.tsne_file import load_map, save_map
from ctc_mm.explain.tsne_maps import map_layers, place_layers

OPTIONS = TSNEOptions(perplexity=8, iterations=500)
EVIL = "</script><img src=x onerror=alert(1)>'\"&$\\alpha$"


def make_table(count=30, shift=0.0, seed=0):
    """CTCs and WBCs that two layers tell apart; every fifth cell is a copy, every seventh misjudged."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3 % 2  # two WBC... CTC, WBC, CTC
    centres = np.array([[0.0] * 6, [9.0] * 6])
    points = tuple(
        MapPoint(
            cell_id=EVIL if number == 0 else f"cell {number}",
            category=int(label),
            predicted="CTC",
            score=0.25,
            misjudged=number % 7 == 0,
            channel="brightfield",
            group=f"P{number % 2}",
            source="raw.tif",
            path=f"cells/{number}.png",
            box_xyxy=(1.0, 2.0, 11.0, 12.5) if number else None,
            copy_index=int(number % 5 == 4),
        )
        for number, label in enumerate(labels)
    )
    features = centres[labels] + generator.normal(0, 1, (count, 6)) + shift
    thumbnails = np.zeros((count, 48, 48, 3), np.uint8)
    thumbnails[np.arange(count), ..., 0] = np.linspace(0, 255, count).astype(np.uint8)[:, None, None]
    layers = {"conv5": features.astype(np.float32), "last_fc": features[:, :2].astype(np.float32)}
    return FeatureTable(points, ("CTC", "WBC"), layers, thumbnails, notes=("a note of the table",))


@pytest.fixture(scope="module")
def mapped():
    table = make_table()
    layers, notes = map_layers(table, OPTIONS)
    return table, layers, notes


# Layers


def test_each_layer_has_a_map_and_figures(mapped):
    table, layers, notes = mapped
    assert [layer.name for layer in layers] == ["conv5", "last_fc"]
    assert notes == ("a note of the table",)
    quality = layers[0].quality
    assert quality["samples"] == 30
    assert quality["neighbours"] == 10
    assert quality["kl_divergence"] == layers[0].tsne.kl_divergence
    assert 0.7 < quality["trustworthiness"] <= 1
    assert set(quality["silhouette_map"]) == {"CTC", "WBC", "all"}
    assert quality["silhouette_map"]["all"] > 0.4
    json.dumps(quality, allow_nan=False)


def test_dead_layer_is_left_out_and_said_and_only_dead_ones_are_an_error():
    table = make_table()
    dead = replace(table, features={**table.features, "dead": np.zeros((30, 4), np.float32)})
    layers, notes = map_layers(dead, OPTIONS)
    assert [layer.name for layer in layers] == ["conv5", "last_fc"]
    assert "no map of layer dead: all 30 samples have the same 4 features" in notes[-1]
    with pytest.raises(NothingToMapError, match="nothing to draw: layer dead: all 30 samples"):
        map_layers(replace(table, features={"dead": dead.features["dead"]}), OPTIONS)
    with pytest.raises(NothingToMapError, match="layer conv5: needs at least 4 samples; received 3.*; layer last_fc"):
        map_layers(table.chosen([0, 1, 2]), OPTIONS)
    empty = table.chosen([])
    with pytest.raises(NothingToMapError, match="received 0"):
        map_layers(empty, OPTIONS)


def test_layer_with_nan_is_named():
    table = make_table()
    broken = table.features["conv5"].copy()
    broken[3, 2] = np.nan
    with pytest.raises(ValueError, match="layer conv5: .*NaN or infinity in 1 of 30"):
        map_layers(replace(table, features={"conv5": broken}), OPTIONS)


def test_groups_further_apart_than_classes_are_told():
    """A layer that holds how an image was taken, not what it shows."""
    table = make_table()
    of_groups = np.array([int(point.group == "P1") for point in table.points], np.float32)[:, None] * 50
    shifted = replace(table, features={"conv5": table.features["conv5"] + of_groups})
    quality = map_layers(shifted, OPTIONS)[0][0].quality
    assert quality["silhouette_groups"] > 0.7 > 0.2 > quality["silhouette_features"]["all"]
    assert map_layers(table, OPTIONS)[0][0].quality["silhouette_groups"] < 0.1
    unknown = tuple(replace(point, group="") for point in table.points)
    assert map_layers(replace(table, points=unknown), OPTIONS)[0][0].quality["silhouette_groups"] is None


def test_one_class_has_a_map_without_silhouette():
    table = make_table()
    alone = table.chosen(np.flatnonzero(table.labels == 1))
    quality = map_layers(alone, OPTIONS)[0][0].quality
    assert quality["silhouette_map"] == {"WBC": None, "all": None}
    assert quality["kl_divergence"] > 0


# The map file


def test_map_file_gives_the_map_back(mapped, tmp_path):
    table, layers, _ = mapped
    for name in ("a.npz", "b.npz"):
        save_map(tmp_path / name, layers, table, {"pooling": "mean"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    # The map does not depend on threads, so neither does its file.
    threads = [replace(one, tsne=replace(one.tsne, options=replace(OPTIONS, jobs=2))) for one in layers]
    save_map(tmp_path / "c.npz", threads, table, {"pooling": "mean"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    saved = load_map(tmp_path / "a.npz")
    assert saved.categories == ("CTC", "WBC")
    assert saved.cell_ids == tuple(point.cell_id for point in table.points)
    assert saved.setting == {"pooling": "mean"}
    assert np.array_equal(saved.labels, table.labels)
    for layer in layers:
        back = saved.maps[layer.name]
        assert np.array_equal(back.coordinates, layer.tsne.coordinates)
        assert np.array_equal(back.features, layer.tsne.features)
        assert back.options == OPTIONS
        assert back.kl_divergence == layer.tsne.kl_divergence


def test_new_samples_go_to_their_class_in_a_map_from_a_file(mapped, tmp_path):
    table, layers, _ = mapped
    save_map(tmp_path / "map.npz", layers, table, {})
    saved = load_map(tmp_path / "map.npz")
    new = make_table(12, seed=1)
    placed, notes = place_layers(saved.maps, saved.labels, new)
    assert [layer.name for layer in placed] == ["conv5", "last_fc"]
    assert placed[0].coordinates.shape == (12, 2)
    assert placed[0].quality["agreement"]["all"] > 0.95
    assert placed[0].quality["neighbours"] == 10  # the map holds 10 WBCs
    assert set(placed[0].quality["agreement"]) == {"CTC", "WBC", "all"}
    assert notes == new.notes
    panels = panels_of_placed(placed, saved.maps, saved.labels)
    assert panels[0].background.coordinates.shape == (30, 2)
    picture = cv2.imdecode(np.frombuffer(map_png(panels, new, "placed"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 700
    with pytest.raises(ValueError, match="no new sample to place"):
        place_layers(saved.maps, saved.labels, new.chosen([]))
    wrong = replace(new, features={name: values[:, :1] for name, values in new.features.items()})
    with pytest.raises(ValueError, match="layer conv5: `features` have 1 values each, the map was made with 6"):
        place_layers(saved.maps, saved.labels, wrong)


def test_files_that_are_no_map_are_refused(mapped, tmp_path):
    table, layers, _ = mapped
    with pytest.raises(ValueError, match=r"none\.npz: no such map"):
        load_map(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz: not a map of tools/tsne\.py, or damaged"):
        load_map(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", coordinates=np.zeros((3, 2)))
    with pytest.raises(ValueError, match="'description' is missing"):
        load_map(tmp_path / "other.npz")
    save_map(tmp_path / "map.npz", layers, table, {})
    data = (tmp_path / "map.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"cut\.npz: not a map"):
        load_map(tmp_path / "cut.npz")
    with np.load(tmp_path / "map.npz") as file:
        arrays = dict(file)
    arrays["0.coordinates"] = arrays["0.coordinates"][:5]
    np.savez(tmp_path / "mixed.npz", **arrays)
    with pytest.raises(ValueError, match="the arrays of layer 'conv5' do not fit together"):
        load_map(tmp_path / "mixed.npz")


def test_map_file_cannot_run_code(tmp_path):
    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    np.savez(tmp_path / "evil.npz", description=np.array([Runs()], dtype=object))
    with pytest.raises(ValueError, match=r"evil\.npz: not a map"):
        load_map(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


# Pictures and pages


def test_rare_categories_are_drawn_last(mapped):
    order = drawing_order(mapped[0])
    labels = mapped[0].labels[order]
    counts = np.bincount(mapped[0].labels)
    assert labels[-1] == np.argmin(counts)
    assert (np.diff(counts[labels]) <= 0).all()
    assert colours_of(["a"] * 9)[:7] == PALETTE
    assert len(set(PALETTE)) == 7


def test_picture_shows_classes_copies_and_rings(mapped):
    table, layers, _ = mapped
    panels = panels_of_maps(layers)
    encoded = map_png(panels, table, EVIL)
    assert encoded == map_png(panels, table, EVIL)
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)

    def near(rgb):
        return int((np.abs(picture - rgb).max(axis=2) < 60).sum())

    filled = near((213, 94, 0))
    assert filled > 200  # vermillion, CTC
    assert near((0, 114, 178)) > 200  # blue, WBC
    hollow = replace(table, points=tuple(replace(point, copy_index=1) for point in table.points))
    emptied = cv2.imdecode(np.frombuffer(map_png(panels, hollow, EVIL), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    picture = emptied.astype(int)
    assert near((213, 94, 0)) < filled / 2


class Reader(HTMLParser):
    """Collects tags with their attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def data_of(html):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def test_page_asks_nothing_of_the_network_and_escapes_names(mapped):
    table, layers, notes = mapped
    html = map_html(panels_of_maps(layers), table, EVIL, [EVIL, *notes])
    tags = Reader(html).tags
    assert {tag for tag, _ in tags} == {
        "html", "head", "meta", "title", "style", "body", "h1", "p", "div", "label", "select", "span", "canvas",
        "option", "strong", "button", "table", "tbody", "script",
    }  # fmt: skip
    assert not any({"src", "href", "onerror", "onload", "action"} & set(attributes) for _, attributes in tags)
    policy = next(attributes["content"] for _, attributes in tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "http://" not in html
    assert "https://" not in html
    assert re.findall(r"url\((?!\"data:image/jpeg;base64,)", html) == []
    assert "@import" not in html
    assert "<img" not in html
    assert "innerHTML" not in html
    assert data_of(html)["points"]["cell_id"][0] == EVIL


def test_page_holds_every_sample(mapped):
    table, layers, _ = mapped
    data = data_of(map_html(panels_of_maps(layers), table, "map", []))
    assert data["categories"][0] == {"name": "CTC", "count": 20, "colour": "#d55e00"}
    assert [layer["name"] for layer in data["layers"]] == ["conv5", "last_fc"]
    np.testing.assert_allclose(data["layers"][1]["x"], layers[1].tsne.coordinates[:, 0], atol=1e-3)
    points = data["points"]
    assert points["box"][:2] == [None, [1.0, 2.0, 11.0, 12.5]]
    assert points["group"] == {"names": ["P0", "P1"], "index": [0, 1] * 15}
    assert points["copy"] == [int(number % 5 == 4) for number in range(30)]
    assert points["misjudged"] == [int(number % 7 == 0) for number in range(30)]
    assert sorted(data["order"]) == list(range(30))


@pytest.mark.parametrize("count", [1, 30, 14_000])
def test_thumbnails_share_a_sheet_of_bounded_size(count):
    thumbnails = np.zeros((count, 48, 48, 3), np.uint8)
    thumbnails[-1, ..., 1] = 200
    side, columns, uri = thumbnail_sheet(thumbnails)
    encoded = base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))
    sheet = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert sheet.shape[1] == side * columns
    assert sheet.shape[0] * sheet.shape[1] < 8_700_000
    assert side == (48 if count < 100 else 24)
    row, column = divmod(count - 1, columns)
    last = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side, 1]
    assert np.abs(last.astype(int) - 200).max() < 12
    assert thumbnail_sheet(np.empty((0, 48, 48, 3), np.uint8)) == (0, 1, "")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_script_of_the_page_is_sound(mapped, tmp_path):
    table, layers, _ = mapped
    html = map_html(panels_of_maps(layers), table, "map", [])
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    (tmp_path / "page.js").write_text(script)
    result = subprocess.run(["node", "--check", str(tmp_path / "page.js")], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_files_are_written_and_the_same_each_time(mapped, tmp_path):
    table, layers, notes = mapped
    quality = {layer.name: layer.quality for layer in layers}
    for name in ("a", "b"):
        files = write_maps(
            tmp_path / name, panels_of_maps(layers), table, quality, title="t", notes=notes, setting=dict(seed=0)
        )
    names = ["metrics.json", "tsne.csv", "tsne.html", "tsne.png"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == names
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a" / "tsne.csv").read_text())))
    assert len(rows) == 30
    assert rows[0]["cell_id"] == EVIL
    assert (rows[0]["x0"], rows[1]["x0"], rows[1]["y1"]) == ("", "1.0", "12.5")
    assert (rows[1]["label"], rows[1]["predicted"], rows[1]["score"]) == ("WBC", "CTC", "0.25")
    assert (rows[4]["copy_index"], rows[7]["misjudged"]) == ("1", "1")
    assert float(rows[2]["conv5_x"]) == layers[0].tsne.coordinates[2, 0]
    assert float(rows[2]["last_fc_y"]) == layers[1].tsne.coordinates[2, 1]
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert metrics["samples"] == {"CTC": 20, "WBC": 10}
    assert metrics["copies"] == 6
    assert metrics["layers"]["conv5"]["kl_divergence"] == layers[0].tsne.kl_divergence
    lines = files.lines()
    assert lines[0] == "t-SNE of 20 CTC, 10 WBC, 6 of them augmented copies"
    assert lines[1].startswith("conv5: KL divergence ")
    assert "a note of the table" in lines


def test_one_layer_needs_no_letter_and_many_fill_a_grid(mapped):
    table, layers, _ = mapped
    one = panels_of_maps(layers[:1])
    five = tuple(Panel(f"layer {number}", layers[0].tsne.coordinates, 1.0) for number in range(5))
    sizes = [
        cv2.imdecode(np.frombuffer(map_png(panels, table, ""), np.uint8), cv2.IMREAD_COLOR).shape
        for panels in (one, five)
    ]
    assert sizes[1][1] > 2 * sizes[0][1]
    assert sizes[1][0] < 2 * sizes[0][0]

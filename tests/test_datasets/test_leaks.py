import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ctc_mm.datasets import likeness
from ctc_mm.datasets.leaks import Duplicate, LeakReport, find_duplicates, find_leaks, find_split_leaks, join_groups
from ctc_mm.datasets.split_units import LeakWarning
from ctc_mm.datasets.splits import holdout, kfold
from ctc_mm.errors import ImageReadError, LeakError
from ctc_mm.imaging.cell_crops import crop_cell
from ctc_mm.imaging.io import read_image, write_image, write_png
from ctc_mm.phantoms import DEPArrayPhantomConfig
from ctc_mm.phantoms.deparray import generate_patients


@pytest.fixture(scope="session")
def phantom_cells():
    """60 bright-field and 60 DAPI crops of different cells, 80 px, which look much alike."""
    patients = generate_patients(DEPArrayPhantomConfig(), seed=3)
    cells = [cell for patient in patients for cell in patient.cells][:60]
    return [cell.brightfield for cell in cells], [cell.dapi for cell in cells]


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(io.BytesIO(buffer.getvalue())))


def write(folder, images):
    """A file for each image, of float, 8 or 16 bit; paths by unit."""
    paths = {}
    for name, image in images.items():
        paths[name] = [folder / f"{name}{'.tif' if image.dtype == np.float32 else '.png'}"]
        write_image(paths[name][0], np.ascontiguousarray(image))
    return paths


def test_no_image_no_duplicate():
    assert find_duplicates({}) == ([], [])
    assert find_leaks({"train": [], "test": []}, {}).is_clean
    assert str(LeakReport()) == "no leak found"


ALTERED = {
    "same": lambda image: image,
    "mirrored": lambda image: image[:, ::-1],
    "turned": lambda image: np.rot90(image),
    "turned_and_flipped": lambda image: np.rot90(image, 3)[::-1],
    "16_bit": lambda image: image.astype(np.uint16) * 257,
    "float": lambda image: (image / 255).astype(np.float32),
    "colour": lambda image: np.stack([image] * 3, axis=-1),
    "jpeg_90": lambda image: jpeg(image, 90),
    "jpeg_90_turned": lambda image: jpeg(np.ascontiguousarray(np.rot90(image)), 90),
    "brighter": lambda image: (image * 0.6 + 90).astype(np.uint8),
    "gamma": lambda image: np.rint((image / 255) ** 1.5 * 255).astype(np.uint8),
    "larger": lambda image: cv2.resize(image, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC),
    "smaller": lambda image: cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA),
}


@pytest.mark.parametrize("kind", [0, 1], ids=["brightfield", "dapi"])
@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_planted_copies_are_found_and_other_cells_are_not(phantom_cells, tmp_path, kind, alter):
    """One cell of twelve stands a second time in the set, changed."""
    cells = phantom_cells[kind][:12]
    paths = write(tmp_path, {f"c{n:02d}": image for n, image in enumerate(cells)} | {"copy": alter(cells[4])})
    (found,), unchecked = find_duplicates(paths)
    assert found.units == ("c04", "copy")
    assert found.paths == (paths["c04"][0], paths["copy"][0])
    assert unchecked == []


@pytest.mark.parametrize("name", ["same", "mirrored", "turned", "turned_and_flipped"])
def test_equal_pixels_are_told_as_such(phantom_cells, tmp_path, name):
    image = phantom_cells[0][0][:70]  # not square
    (found,), _ = find_duplicates(write(tmp_path, {"a": image, "b": ALTERED[name](image)}))
    assert found.is_exact
    assert found.likeness == 1


def test_different_cells_are_not_flagged(phantom_cells, tmp_path):
    for kind, images in zip(("brightfield", "dapi"), phantom_cells, strict=True):
        found, _ = find_duplicates(write(tmp_path, {f"{kind}{n}": image for n, image in enumerate(images)}))
        assert found == []


def test_different_blood_cells_are_not_flagged(shared_data, tmp_path):
    """Red blood cells look alike; none of 300 of five fields is taken for another."""
    paths, sources = {}, sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[:5]
    for source in sources:
        image = read_image(source)
        for n, centre_yx in enumerate((y, x) for y in range(40, 440, 65) for x in range(40, 600, 65)):
            paths |= write(tmp_path, {f"{source.stem}_{n:02d}": crop_cell(image, centre_yx, 64).pixels})
    assert len(paths) > 250
    assert find_duplicates(paths)[0] == []


def test_one_grey_value_is_not_compared(tmp_path, noise_image):
    images = {"a": np.zeros((30, 30), np.uint8), "b": np.zeros((30, 30), np.uint8), "c": noise_image(1, 30)}
    paths = write(tmp_path, images)
    found, unchecked = find_duplicates(paths)
    assert found == []
    assert unchecked == [paths["a"][0], paths["b"][0]]


def test_tiny_images_are_compared_by_their_pixels_alone(tmp_path, noise_image):
    small, pixel = noise_image(1, 5), np.full((1, 1), 7, np.uint8)
    images = {"a": small, "b": small.T, "c": np.roll(small, 1), "d": pixel, "e": (small // 2).astype(np.uint8)}
    found, unchecked = find_duplicates(write(tmp_path, images))
    assert [one.units for one in found] == [("a", "b")]
    assert [path.stem for path in unchecked] == ["d"]


def test_the_same_pixels_in_other_places_are_no_copy(tmp_path, noise_image):
    image = noise_image(1, 30)
    shuffled = np.random.default_rng(0).permutation(image.ravel()).reshape(image.shape)
    assert find_duplicates(write(tmp_path, {"a": image, "b": shuffled}))[0] == []


def test_channels_of_one_cell_are_no_duplicates_of_each_other(tmp_path, noise_image):
    a, b = write(tmp_path, {"a": noise_image(1, 30), "b": noise_image(1, 30)}).values()
    assert find_duplicates({"cell": [*a, *b]})[0] == []
    assert len(find_duplicates({"cell": a, "other": b})[0]) == 1


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(ImageReadError, match=r"a\.png"):
        find_duplicates({"a": [tmp_path / "a.png"]})


def test_nothing_is_missed_by_looking_at_what_turning_leaves_alike(phantom_cells):
    """The filter over all pairs lets through every pair that the full comparison would take."""
    prints = [likeness.fingerprint(image) for image in phantom_cells[1]]
    waves = np.stack([one.coarse for one in prints])
    full = np.max([np.einsum("nij,mij->nm", waves, turned) for turned in likeness._turned_waves(waves)], axis=0)
    expected = {(i, j) for i, j in np.argwhere(full >= likeness.LEAST_COARSE).tolist() if i < j}
    assert len(expected) > 20
    found = likeness._coarse_matches(prints, lambda first, second: np.ones(len(first), bool))
    assert {(i, j) for i, j, _ in found} == expected


def test_positions_of_pixels_and_of_frequencies_agree(phantom_cells):
    image = phantom_cells[0][0][:64, :64]
    waves = likeness.fingerprint(image).coarse
    for turned, expected in zip(likeness._positions(image), likeness._turned_waves(waves[None]), strict=True):
        np.testing.assert_allclose(likeness.fingerprint(turned).coarse, expected[0], atol=1e-5)


def duplicate(first, second):
    return Duplicate((first, second), (None, None), 0.5, False)


def test_leaks_between_parts():
    parts = {"train": ["a", "b"], "val": ["c"], "test": ["d", "e"]}
    group_of = {"a": "P1", "b": "P2", "c": "P1", "d": "P3", "e": None}
    report = find_leaks(parts, group_of, [duplicate("a", "b"), duplicate("b", "d"), duplicate("c", "d")], "2")
    assert [(leak.fold, leak.group, leak.parts) for leak in report.groups] == [("2", "P1", ("train", "val"))]
    assert [(leak.duplicate.units, leak.parts) for leak in report.duplicates] == [
        (("b", "d"), ("train", "test")),
        (("c", "d"), ("val", "test")),
    ]


def test_a_leak_fails_loudly_and_paper_modes_warn(tmp_path, noise_image):
    ids = [f"c{n:02d}" for n in range(40)]
    groups = [f"P{n % 8}" for n in range(40)]
    strata = ["CTC" if (n // 8) % 2 else "WBC" for n in range(40)]
    images = {name: noise_image(n, 24) for n, name in enumerate(ids)}
    split = holdout(ids, strata, groups)
    first, second = split.folds[0].train[0], split.folds[0].test[0]
    group_of = dict(zip(ids, groups, strict=True))
    assert find_split_leaks(split, group_of, write(tmp_path, images)).is_clean
    images[second] = np.rot90(images[first])
    report = find_split_leaks(split, group_of, write(tmp_path, images))
    with pytest.raises(
        LeakError, match=rf"two sides of the split: 1\n  fold 0: .*{min(first, second)} in .*equal pixels"
    ):
        report.require_clean()
    with pytest.warns(LeakWarning, match="two sides of the split: 1"):
        report.require_clean(warn_only=True)
    with pytest.warns(LeakWarning, match="ungrouped"):
        ungrouped = kfold(ids, strata)
    torn = find_split_leaks(ungrouped, group_of, write(tmp_path, images))
    assert {leak.group for leak in torn.groups} == set(groups)
    with pytest.raises(
        LeakError, match=r"groups that the split tears apart: \d\d\n(  fold .*\n){20}  \.\.\. and \d+ more"
    ):
        torn.require_clean()


def test_groups_that_share_a_picture_are_joined():
    group_of = {"a": "P1", "b": "P2", "c": "P3", "d": "P4", "e": "P4"}
    joined = join_groups(group_of, [duplicate("b", "c"), duplicate("a", "c"), duplicate("d", "e"), duplicate("a", "x")])
    assert joined == {"a": "P1", "b": "P1", "c": "P1", "d": "P4", "e": "P4"}
    assert join_groups({}, []) == {}


def test_planes_of_one_file(tmp_path, noise_image):
    planes = np.stack([noise_image(n, 24) for n in range(3)], axis=-1)
    write_png(tmp_path / "a.png", planes)
    write_png(tmp_path / "b.png", planes[::-1])
    assert len(find_duplicates({"a": [tmp_path / "a.png"], "b": [tmp_path / "b.png"]})[0]) == 1


def test_a_cell_photographed_in_two_fields_is_found(shared_data, tmp_path):
    """BCCD holds cells twice: BloodImage_00248 (train) and _00249 (test) show one, shifted and refocused."""
    boxes = {"BloodImage_00248": (148, 232, 354, 423), "BloodImage_00249": (163, 19, 362, 205)}
    images = {}
    for name, (x0, y0, x1, y1) in boxes.items():
        side = round(max(x1 - x0, y1 - y0) * 1.2)
        centre_yx = ((y0 + y1) / 2 - 0.5, (x0 + x1) / 2 - 0.5)
        field = read_image(shared_data / "bccd" / "JPEGImages" / f"{name}.jpg")
        images[name] = crop_cell(field, centre_yx, side).pixels
    (found,), _ = find_duplicates(write(tmp_path, images))
    assert found.units == tuple(boxes)
    assert 0.3 < found.likeness < 0.6

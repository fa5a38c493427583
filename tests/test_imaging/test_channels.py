"""Channel maps: what a user writes for ``--channels``."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_mm.errors import ImageReadError
from ctc_mm.imaging.channels import check_channel_map, display_names, find_channel
from ctc_mm.imaging.io import parse_channel_map


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dapi=0", {"dapi": 0}),
        ("dapi=0,cep8=SpectrumOrange,cd45=2", {"dapi": 0, "cep8": "SpectrumOrange", "cd45": 2}),
        (" cd45 = 2 , dapi = DAPI 405 nm ", {"cd45": 2, "dapi": "DAPI 405 nm"}),
        ("dapi=*_w1=DAPI.tif,cep8=CEP8/*.tif", {"dapi": "*_w1=DAPI.tif", "cep8": "CEP8/*.tif"}),
        ("dapi=-1", {"dapi": "-1"}),
    ],
    ids=["one", "places and a name", "blanks, order kept", "patterns", "no negative place"],
)
def test_a_channel_map_is_read(text, expected):
    channels = parse_channel_map(text)
    assert channels == expected
    assert list(channels) == list(expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "pairs like dapi=0"),
        ("dapi", "pairs like dapi=0.*'dapi'"),
        ("dapi=0,", "pairs like dapi=0"),
        ("=0", "pairs like dapi=0"),
        ("dapi=0,dapi=1", "channel 'dapi' is given twice"),
        ("dapi=0,cd45=0", "dapi, cd45 are all mapped to 0"),
        ("dapi=*_a.tif,cd45=2", "either all channels are file name patterns"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_channel_map(text)


@pytest.mark.parametrize("channels", [{"dapi": 1.5}, {"dapi": True}, {"dapi": -1}, {"dapi": ""}])
def test_values_of_another_kind_are_refused(channels):
    with pytest.raises(TypeError, match="its place .* or its name"):
        check_channel_map(channels)


def test_an_empty_map_is_refused():
    with pytest.raises(ValueError, match="channel map is empty"):
        check_channel_map({})


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.dictionaries(st.text("abcxyz", min_size=1), st.integers(0, 10**6), min_size=1))
def test_maps_are_read_as_they_are_written(channels):
    if len(set(channels.values())) < len(channels):
        with pytest.raises(ValueError, match="are all mapped to"):
            check_channel_map(channels)
        return
    assert parse_channel_map(",".join(f"{ours}={theirs}" for ours, theirs in channels.items())) == channels


@pytest.mark.parametrize(
    ("wanted", "place"), [(0, 0), (3, 3), ("DAPI", 0), ("dapi", 0), ("cy5", 1), ("CY5", 2), (405, 4), ("405", 4)]
)
def test_a_channel_is_found_by_place_or_name(wanted, place):
    assert find_channel(wanted, ("DAPI", "cy5", "CY5", None, "405"), "a.tif") == place


def test_a_missing_channel_is_told_beside_those_there():
    with pytest.raises(ImageReadError, match=r"a\.tif: has no channel 'cep8'; its channels are 0 \(DAPI\), 1"):
        find_channel("cep8", ("DAPI", None), "a.tif")
    with pytest.raises(ImageReadError, match="has no channel 2; its channels are 0, 1"):
        find_channel(2, (None, None), "a.tif")


def test_a_name_that_two_channels_bear_is_refused():
    with pytest.raises(ImageReadError, match=r"2 channels are named 'FITC' \(places \[0, 2\]\); give the place"):
        find_channel("FITC", ("FITC", "DAPI", "FITC"), "a.tif")


def test_channels_without_a_name_of_their_own_are_named_by_place():
    assert display_names(()) == ()
    assert display_names(("DAPI", None, "x", "x")) == ("DAPI", "1", "2", "3")

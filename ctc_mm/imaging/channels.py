"""Which image of a file, or which file of a folder, is which channel: ``dapi=0,cep8=SpectrumOrange,cd45=2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ctc_mm.errors import ImageReadError

ChannelMap = Mapping[str, int | str]


def parse_channel_map(text: str) -> dict[str, int | str]:
    """Read a channel map as written on a command line.

    Args:
        text: pairs ``ours=theirs`` with commas between; ``theirs`` is a number (the place in the file, from 0), a name
            (of the file's metadata), or, where each channel is a file of its own, a file name pattern whose ``*``
            stands for the name of the field (``*_w1DAPI.tif``, or ``DAPI/*.tif``).

    Returns:
        Our channel names in the order given, with int, name or pattern.

    Raises:
        ValueError: nothing given, a pair without ``=``, an empty side, one of our channels or one of theirs named
            twice, or patterns mixed with numbers and names.
    """
    channels: dict[str, int | str] = {}
    for pair in text.split(","):
        ours, equals, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and equals and theirs):
            raise ValueError(f"channels must be pairs like dapi=0,cep8=1,cd45=2. Received: {pair!r} in {text!r}")
        if ours in channels:
            raise ValueError(f"channel {ours!r} is given twice. Received: {text!r}")
        channels[ours] = int(theirs) if theirs.isdecimal() else theirs
    return check_channel_map(channels)


def check_channel_map(channels: ChannelMap) -> dict[str, int | str]:
    """Copy a channel map after looking for what cannot be meant.

    Raises:
        ValueError: an empty map, two of our channels on one image, a negative place, or patterns mixed with others.
        TypeError: a value that is neither int nor str.
    """
    if not channels:
        raise ValueError("the channel map is empty; give pairs like dapi=0,cep8=1,cd45=2")
    wrong = {ours: theirs for ours, theirs in channels.items() if not _is_place_or_name(theirs)}
    if wrong:
        raise TypeError(f"a channel is given by its place (0, 1, ...) or its name. Received: {wrong}")
    targets = list(channels.values())
    twice = next((target for target in targets if targets.count(target) > 1), None)
    if twice is not None:
        ours = ", ".join(name for name, target in channels.items() if target == twice)
        raise ValueError(f"channels {ours} are all mapped to {twice!r}; each needs an image of its own")
    if len({is_pattern(target) for target in targets}) > 1:
        raise ValueError(f"either all channels are file name patterns (with *) or none is. Received: {dict(channels)}")
    return dict(channels)


def is_pattern(theirs: int | str) -> bool:
    """Say whether a channel is given as a file name pattern."""
    return isinstance(theirs, str) and "*" in theirs


def find_channel(wanted: int | str, names: Sequence[str | None], where: str) -> int:
    """Find a channel of a file by place or name.

    A number that is no place, but the name of a channel (a wavelength, such as 405), is taken as the name. Upper and
    lower case are told apart only where the names need it.

    Args:
        wanted: place from 0, or name.
        names: names of the file's channels in their order; None where the file gives none.
        where: file name for errors.

    Returns:
        The place of the channel.

    Raises:
        ImageReadError: no such channel, or several of that name.
    """
    if isinstance(wanted, int) and 0 <= wanted < len(names):
        return wanted
    text = str(wanted)
    for same in (str.__eq__, lambda one, other: one.casefold() == other.casefold()):
        places = [place for place, name in enumerate(names) if name is not None and same(name, text)]
        if len(places) == 1:
            return places[0]
        if places:
            raise ImageReadError(
                f"{where}: {len(places)} channels are named {text!r} (places {places}); give the place"
            )
    listed = ", ".join(f"{place} ({name})" if name else str(place) for place, name in enumerate(names))
    raise ImageReadError(f"{where}: has no channel {wanted!r}; its channels are {listed}")


def display_names(names: Sequence[str | None]) -> tuple[str, ...]:
    """Name every channel: by its own name where it has one that no other has, otherwise by its place."""
    return tuple(name if name and names.count(name) == 1 else str(place) for place, name in enumerate(names))


def _is_place_or_name(theirs: object) -> bool:
    if isinstance(theirs, bool):
        return False
    return (isinstance(theirs, int) and theirs >= 0) or (isinstance(theirs, str) and bool(theirs))

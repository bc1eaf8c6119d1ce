"""How many channels the images have, and what nnU-Net is told to call them."""

from __future__ import annotations

from collections.abc import Sequence

from scribble_conversion.case import CaseResult
from scribble_conversion.console import UserError
from scribble_conversion.formats.natural import COLOURS
from scribble_conversion.source import Source


def settle_channel_names(source: Source, results: Sequence[CaseResult]) -> tuple[str, ...]:
    """Choose the names of the channels.

    Args:
        source: what a reader found.
        results: what the files turned out to hold.

    Returns:
        One name per channel: the source's own; else R, G, B (and A) for colour images, ``image`` for a single channel,
        ``channel_0`` and so on for several.

    Raises:
        UserError: if the cases differ in their number of channels, or if the source's names are more or fewer.
    """
    numbers = {result.channels: result.identifier for result in results}
    if len(numbers) > 1:
        listed = ", ".join(f"{case} has {number}" for number, case in sorted(numbers.items()))
        raise UserError(
            f"the cases have different numbers of channels ({listed}), but nnU-Net wants the same of all; "
            "convert or leave out the others"
        )
    number = next(iter(numbers))
    if source.channel_names:
        if len(source.channel_names) != number:
            raise UserError(
                f"there are {len(source.channel_names)} channel names ({', '.join(source.channel_names)}), but the "
                f"images have {number} channels; name as many as there are (--channel-names, or in dataset.json)"
            )
        return source.channel_names
    if number == 1:
        return ("image",)
    if len(source.cases[0].images) == 1:
        return COLOURS[number]
    return tuple(f"channel_{index}" for index in range(number))

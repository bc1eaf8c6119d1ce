"""Reader for any two folders of images and scribbles (and a third of dense labels) whose names can be matched."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from scribble_conversion.console import UserError
from scribble_conversion.files import find_files, require_folder
from scribble_conversion.formats.registry import ENDINGS, common_ending, ending_of
from scribble_conversion.naming import one_spelling, patients_by_name
from scribble_conversion.patterns import NUMBERED_CHANNEL, Named, NamePattern, suggest_patterns
from scribble_conversion.source import Case, name_some

LABEL_SUFFIXES = ("_scribble", "_scribbles", "_lab", "_label", "_seg", "_manual", "_gt")
"""What label files commonly add to the name of their image."""
_IMAGE_PATTERNS = (
    NamePattern.parse("{case}_{channel}", channel=NUMBERED_CHANNEL),
    NamePattern.parse("{case}"),
)
_LABEL_PATTERNS = tuple(NamePattern.parse(f"{{case}}{suffix}") for suffix in (*LABEL_SUFFIXES, ""))
_EXAMPLES = 3


@dataclass(frozen=True)
class Folder:
    """One side of the data.

    Attributes:
        content: what is in it, for people.
        path: the folder.
        option: the option that named it.
        pattern_option: the option for its names.
        pattern: the user's pattern; empty to try the usual ones.
        usual: those.
        telling: those of them that win wherever they fit, for nothing else is called so.
    """

    content: str
    path: Path
    option: str
    pattern_option: str
    pattern: str
    usual: tuple[NamePattern, ...]
    telling: tuple[NamePattern, ...] = ()

    @property
    def candidates(self) -> tuple[NamePattern, ...]:
        """The patterns to try."""
        return (NamePattern.parse(self.pattern, self.pattern_option),) if self.pattern else self.usual

    def files(self) -> list[Path]:
        """All files of known kinds in the folder."""
        found = [file for file in find_files(require_folder(self.path, self.option)) if ending_of(file.name)]
        if not found:
            raise UserError(
                f"{self.path} holds no image files ({', '.join(ENDINGS)}); give the folder that does with {self.option}"
            )
        return found


@dataclass(frozen=True)
class Pairs:
    """What was found.

    Attributes:
        cases: ordered by identifier.
        channels: the texts that tell the files of a case apart; a single empty one where patterns have no channel.
        file_ending: of the images when written.
        notes: the patterns that were chosen, where the user gave none, and what else was decided.
        left_out: files that fit no pattern, by folder; a line for each.
    """

    cases: tuple[Case, ...]
    channels: tuple[str, ...]
    file_ending: str
    notes: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # which takes a loop of links as it is


def image_folder(path: Path, pattern: str = "") -> Folder:
    """The folder of the images; as of the other two, by one spelling, so that a file in two of them is known as one."""
    return Folder("images", _real(path), "--images", "--image-pattern", pattern, _IMAGE_PATTERNS)


def scribble_folder(path: Path, pattern: str = "") -> Folder:
    """The folder of the scribbles."""
    telling = _LABEL_PATTERNS[:2]
    return Folder("scribbles", _real(path), "--scribbles", "--scribble-pattern", pattern, _LABEL_PATTERNS, telling)


def dense_folder(path: Path, pattern: str = "") -> Folder:
    """The folder of the dense labels."""
    return Folder("dense labels", _real(path), "--dense", "--dense-pattern", pattern, _LABEL_PATTERNS)


def find_pairs(
    images: Folder, scribbles: Folder, dense: Folder | None = None, channel_names: Sequence[str] = ()
) -> Pairs:
    """Match images, scribbles and dense labels by their names.

    Of the usual patterns those are taken that match the most pairs. The folders may be the same one: a file taken as
    a label is no image.

    Args:
        images: the images; several files per case are channels, ordered by number, else as in ``channel_names``, else
            by name.
        scribbles: the scribbles.
        dense: the dense labels, if there are any.
        channel_names: names of the channels, as the user gave them.

    Returns:
        All cases that have an image or a scribble.

    Raises:
        UserError: if a folder is missing or empty, a pattern cannot be read, nothing matches, two files are the same
            case, or a case lacks a channel that others have.
    """
    image_files = images.files()
    image_pattern, scribble_pattern, strokes = _match_labels(images, image_files, images.candidates, scribbles, {})
    chosen = [(images, image_pattern), (scribbles, scribble_pattern)]
    references: dict[Path, Named] = {}
    if dense is not None:
        _, dense_pattern, references = _match_labels(images, image_files, [image_pattern], dense, strokes)
        chosen.append((dense, dense_pattern))
    taken = strokes.keys() | references.keys()
    pictures = _matched(image_pattern, images.path, [file for file in image_files if file not in taken])
    scribbled = _identifiers(strokes) | _identifiers(references)
    labels = {} if images.pattern else _labels_among(pictures, scribbled)
    pictures = {file: named for file, named in pictures.items() if file not in labels}
    channels = _order_channels({named.channel for named in pictures.values()}, channel_names)
    notes = [*_renamed_channels(channels, channel_names)]
    notes += [f"{folder.content} were matched as '{pattern.text}'" for folder, pattern in chosen if not folder.pattern]
    patients = _patients([*pictures.values(), *strokes.values(), *references.values()], not images.pattern, notes)
    return Pairs(
        cases=_cases(pictures, _by_case(strokes, scribbles), _by_case(references, dense), channels, images, patients),
        channels=channels,
        file_ending=common_ending(pictures),
        notes=tuple(notes),
        left_out=(
            *_left_out([folder for folder, _ in chosen], taken | pictures.keys() | labels.keys()),
            *_left_out_labels(images, labels),
            *_left_out_references(dense, references, {named.identifier for named in pictures.values()}),
        ),
    )


def _labels_among(pictures: Mapping[Path, Named], scribbled: Collection[str]) -> dict[Path, Named]:
    """Those that are named like labels of others among them, ``c1_gt`` beside ``c1``, unless they have labels."""
    cases = {named.identifier for named in pictures.values()}
    of_others = {case + suffix for case in cases for suffix in LABEL_SUFFIXES}
    return {file: named for file, named in pictures.items() if named.identifier in of_others - set(scribbled)}


def _left_out_labels(images: Folder, labels: Collection[Path]) -> Iterator[str]:
    if labels:
        names = name_some((file.name for file in labels), _EXAMPLES)
        yield (
            f"warning: left out of {images.path}, because they are named like labels of other images: {names}; give "
            f"the folder with --dense if they are dense labels, or {images.pattern_option} if they are images"
        )


def _left_out_references(
    dense: Folder | None, references: Mapping[Path, Named], cases: Collection[str]
) -> Iterator[str]:
    lonely = [file.name for file, named in references.items() if named.identifier not in cases]
    if lonely and dense is not None:
        yield f"note: left out of {dense.path}, because they have no image: {name_some(lonely, _EXAMPLES)}"


def _patients(named: Sequence[Named], by_names: bool, notes: list[str]) -> dict[str, str]:
    """Case to patient: as the first pattern with ``{patient}`` tells, else perhaps by names of a kind that is known."""
    told: dict[str, str] = {}
    for name in named:
        if name.patient != name.identifier:
            told.setdefault(name.identifier, name.patient)
    by_name = patients_by_name({name.identifier for name in named} - told.keys()) if by_names else None
    if by_name is not None:
        notes.append(by_name[1])
    return one_spelling({**(by_name[0] if by_name else {}), **told})


def _left_out(folders: Sequence[Folder], taken: Collection[Path]) -> Iterator[str]:
    """Tell of files that fit no pattern; files in several folders once."""
    seen = set(taken)
    for folder in folders:
        others = [file for file in folder.files() if file not in seen]
        seen.update(others)
        if others:
            names = name_some((file.name for file in others), _EXAMPLES)
            if folder.pattern:
                yield f"note: {folder.pattern_option} leaves out of {folder.path}: {names}"
            else:
                cure = f"name them like the others, or give {folder.pattern_option}"
                yield f"warning: left out of {folder.path}, because they are named otherwise: {names}; {cure}"


def _match_labels(
    images: Folder,
    image_files: Sequence[Path],
    image_patterns: Sequence[NamePattern],
    labels: Folder,
    taken: Collection[Path],
) -> tuple[NamePattern, NamePattern, dict[Path, Named]]:
    """Choose the two patterns that bring the most images and labels together, a telling one wherever it brings any.

    Returns:
        The images' pattern, the labels' pattern, and the label files that fit it.
    """
    label_files = [file for file in labels.files() if file not in taken]
    most = False, 0
    best: tuple[NamePattern, NamePattern, dict[Path, Named]] | None = None
    for image_pattern in image_patterns:
        for label_pattern in labels.candidates:
            matched = _matched(label_pattern, labels.path, label_files)
            others = [file for file in image_files if file not in matched and file not in taken]
            pairs = len(_identifiers(_matched(image_pattern, images.path, others)) & _identifiers(matched))
            fit = pairs > 0 and label_pattern in labels.telling, pairs
            if fit > most:
                most, best = fit, (image_pattern, label_pattern, matched)
    if best is None:
        _refuse_unmatched(images, image_files, labels, label_files)
    return best


def _matched(pattern: NamePattern, folder: Path, files: Iterable[Path]) -> dict[Path, Named]:
    named = ((file, pattern.match(file, folder)) for file in files)
    return {file: name for file, name in named if name is not None}


def _identifiers(matched: Mapping[Path, Named]) -> set[str]:
    return {named.identifier for named in matched.values()}


def _by_case(matched: Mapping[Path, Named], folder: Folder | None) -> dict[str, Path]:
    """Map cases to their one label file."""
    files: dict[str, Path] = {}
    for file, named in matched.items():
        if named.identifier in files:
            assert folder is not None
            _refuse_twice(files[named.identifier], file, named.identifier, folder)
        files[named.identifier] = file
    return files


def _cases(
    pictures: Mapping[Path, Named],
    strokes: Mapping[str, Path],
    references: Mapping[str, Path],
    channels: Sequence[str],
    images: Folder,
    patients: Mapping[str, str],
) -> tuple[Case, ...]:
    files: dict[str, dict[str, Path]] = {}
    for file, named in pictures.items():
        of_case = files.setdefault(named.identifier, {})
        if named.channel in of_case:
            _refuse_twice(of_case[named.channel], file, named.identifier, images)
        of_case[named.channel] = file
    for identifier, of_case in files.items():
        missing = set(channels) - of_case.keys()
        if missing:
            raise UserError(
                f"{next(iter(of_case.values()))} and what else there is of {identifier} lack the channel "
                f"{name_some(missing)} that other cases have; add it, or leave out the case"
            )
    return tuple(
        Case(
            identifier=identifier,
            patient=patients.get(identifier, identifier),
            images=tuple(files[identifier][channel] for channel in channels) if identifier in files else (),
            scribble=strokes.get(identifier),
            dense=references.get(identifier),
        )
        for identifier in sorted(files.keys() | strokes.keys())
    )


def _order_channels(found: Collection[str], names: Sequence[str]) -> tuple[str, ...]:
    """By number where all are numbers, else as the user names them, else by name."""
    if all(channel.isdecimal() for channel in found):
        return tuple(sorted(found, key=int))
    order = {name.casefold(): index for index, name in enumerate(names)}
    if {channel.casefold() for channel in found} == order.keys():
        return tuple(sorted(found, key=lambda channel: order[channel.casefold()]))
    return tuple(sorted(found))


def _renamed_channels(channels: Sequence[str], names: Sequence[str]) -> Iterator[str]:
    """Tell which channel is called what, where the files call all of them by words that are not the user's."""
    words = not any(channel.isdecimal() for channel in channels)
    same = {channel.casefold() for channel in channels} == {name.casefold() for name in names}
    if len(channels) > 1 and words and len(names) == len(channels) and not same:
        called = ", ".join(f"{channel} is {name}" for channel, name in zip(channels, names, strict=True))
        yield f"the files call the channels otherwise than --channel-names, so they go by name: {called}"


def _refuse_twice(first: Path, second: Path, identifier: str, folder: Folder) -> NoReturn:
    raise UserError(
        f"{first} and {second} are the same case {identifier}; keep one of them, give a narrower folder with "
        f"{folder.option}, or tell them apart with {folder.pattern_option}"
    )


def _refuse_unmatched(
    images: Folder, image_files: Sequence[Path], other: Folder, other_files: Sequence[Path]
) -> NoReturn:
    """Show both sides' names and what to give."""
    names = [[file.name for file in files] for files in (image_files, other_files)]
    suggestion = suggest_patterns(names[0][:50], names[1][:50]) or ("{case}_{channel}", "{case}_scribble")
    raise UserError(
        f"no name in {images.path} ({name_some(names[0], _EXAMPLES)}) fits one in {other.path} "
        f"({name_some(names[1], _EXAMPLES)}); say which part of the names is the case, e.g. "
        f"{images.pattern_option} '{suggestion[0]}' {other.pattern_option} '{suggestion[1]}'"
    )

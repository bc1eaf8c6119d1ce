"""What is around the files: names, folders, archives, disks that are full, other processes."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from scribble_conversion.case import case_errors
from scribble_conversion.cli import main
from scribble_conversion.console import UserError
from scribble_conversion.source import Case
from tests.scribble_conversion.sound import BUILDERS, Sound, assert_one_sentence, build

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Sound]:
    """Makes the sound dataset of a reader and points nnU-Net and temporary files there."""

    def make(reader: str) -> Sound:
        sound = build(reader, tmp_path / "place")
        for variable, value in sound.environment().items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr(tempfile, "tempdir", None)
        return sound

    return make


def _raw_is_a_file(sound: Sound) -> None:
    sound.raw.rmdir()
    sound.raw.write_text("x")


def _target_is_a_file(sound: Sound) -> None:
    (sound.raw / "Dataset009_New").write_text("x")


def _target_is_a_dangling_link(sound: Sound) -> None:
    (sound.raw / "Dataset009_New").symlink_to("nowhere")


def _preprocessed_target_is_a_file(sound: Sound) -> None:
    (sound.preprocessed / "Dataset009_New").write_text("x")


def _splits_are_a_folder(sound: Sound) -> None:
    (sound.preprocessed / "Dataset009_New" / "splits_final.json" / "deep").mkdir(parents=True)


def _exists(sound: Sound) -> None:
    (sound.raw / "Dataset009_New").mkdir()


def _other_name(sound: Sound) -> None:
    (sound.preprocessed / "Dataset009_Old").mkdir()


def _nothing(sound: Sound) -> None:
    pass


PLACES: dict[str, tuple[Callable[[Sound], None], tuple[str, ...], str]] = {
    "raw is a file": (_raw_is_a_file, (), "cannot be written"),
    "target is a file": (_target_is_a_file, ("--overwrite",), "Dataset009_New is no folder"),
    "target is a dangling link": (_target_is_a_dangling_link, ("--overwrite",), "Dataset009_New is no folder"),
    "preprocessed target is a file": (_preprocessed_target_is_a_file, ("--overwrite",), "Dataset009_New is no folder"),
    "splits are a folder": (_splits_are_a_folder, ("--overwrite",), "cannot be put into its place"),
    "exists": (_exists, (), "exists already; replace it with --overwrite"),
    "id of another name": (_other_name, ("--overwrite",), "id 9 is in use by"),
    "name too long": (_nothing, ("-n", "x" * 200), "has 200 characters"),
    "name with a line break": (_nothing, ("-n", "a\nb"), "has to consist of letters"),
    "name with shell characters": (_nothing, ("-n", "$(reboot)"), "has to consist of letters"),
    "negative id": (_nothing, ("-d", "-3"), "1 to 999, got -3"),
}


@pytest.mark.parametrize("reader", ["acdc", "nifti", "mscmr", "scribblebench", "wsl4mis"])
@pytest.mark.parametrize("kind", PLACES)
def test_places(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, kind: str) -> None:
    sound = made(reader)
    spoil, more, sentence = PLACES[kind]
    spoil(sound)
    assert sentence in sound.refused(capfd, *more)


@pytest.mark.parametrize("reader", BUILDERS)
@pytest.mark.parametrize("folder", ["raw", "preprocessed"])
def test_folders_that_may_not_be_written(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, folder: str
) -> None:
    sound = made(reader)
    (sound.place / folder).chmod(0o500)
    if os.access(sound.place / folder, os.W_OK):
        pytest.skip("permissions do not bind this user")
    assert "cannot be written (Permission denied)" in sound.refused(capfd)


@pytest.mark.parametrize("folder", ["raw", "preprocessed"])
def test_a_file_system_that_is_read_only(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    sound = made("nifti")

    def refuse(original: Callable[..., object]) -> Callable[..., object]:
        def opened(path: object, *arguments: object, **more: object) -> object:
            if str(path).startswith(str(sound.place / folder) + os.sep):
                raise OSError(30, os.strerror(30), str(path))
            return original(path, *arguments, **more)

        return opened

    monkeypatch.setattr(Path, "write_text", refuse(Path.write_text))
    monkeypatch.setattr(os, "mkdir", refuse(os.mkdir))
    assert "cannot be written (Read-only file system)" in sound.refused(capfd)


NAMES = {
    "line break": ("a\nb", "must not have line breaks"),
    "escape sequence": ("a\x1b[31mred", "must not have line breaks"),
    "not UTF-8": (b"caf\xe9".decode("utf-8", "surrogateescape"), "UTF-8"),
    "too long": ("x" * 245, "has 257 bytes, at most 255 are possible"),
    "too long in bytes": ("ä" * 123, "has 258 bytes, at most 255 are possible"),
    "equal but for case": ("A", "the cases A and a differ only in upper and lower case"),
}


@pytest.mark.parametrize("kind", NAMES)
def test_names_that_cannot_be_kept(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], kind: str) -> None:
    sound = made("nifti")
    name, sentence = NAMES[kind]
    for file in (sound.image, sound.label):
        shutil.copy(file, file.with_name(f"{name}.nii.gz"))
    if (sound.image.parent / "A.nii.gz").exists() and kind != "equal but for case":
        pytest.skip("this file system takes upper and lower case for the same")
    told = sound.refused(capfd)
    assert sentence in told
    assert told.rstrip("\n").isprintable()


@pytest.mark.parametrize("reader", ["nifti", "nrrd", "mha", "png", "tif"])
def test_names_and_folders_of_any_script(
    made: Callable[[str], Sound], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    sound = made(reader)
    moved = sound.place / "Daten für Ärzte; $(touch /tmp/x) 'é' 数据\n"
    ending = "".join(sound.image.suffixes)
    names = ["心脏 1", "coração & `date`", "-rf *", "x" * 200]
    for folder in ("images", "scribbles"):
        for name in names:
            (moved / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(sound.source / folder / f"a{ending}", moved / folder / f"{name}{ending}")
    monkeypatch.setenv("nnUNet_raw", str(moved / "raw"))
    given = ["nifti", "--images", str(moved / "images"), "--scribbles", str(moved / "scribbles"), "-d", "9", "-np", "1"]
    assert main(given) == 0
    written = moved / "raw" / "Dataset009_Scribbles"
    assert sorted(file.name for file in (written / "imagesTr").iterdir()) == sorted(
        f"{name}_0000{ending}" for name in names
    )


def test_links_back_and_nnunet_below_the_sources(made: Callable[[str], Sound], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a link in a circle nor what an earlier conversion wrote is taken for a source."""
    sound = made("acdc")
    (sound.source / "training" / "again").symlink_to(sound.source / "training")
    monkeypatch.setenv("nnUNet_raw", str(sound.source / "training" / "raw"))
    assert main(list(sound.arguments)) == 0
    assert main([*sound.arguments, "-d", "10"]) == 0
    for dataset in ("Dataset009_New", "Dataset010_New"):
        assert len(list((sound.source / "training" / "raw" / dataset / "imagesTr").iterdir())) == 2


def _archive(sound: Sound, add: Callable[[zipfile.ZipFile], object]) -> tuple[str, str]:
    path = sound.source / "scribbles.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(Path(sound.source / "scribbles").iterdir()):
            archive.write(file, f"acdc_scribbles/{file.name}")
        add(archive)
    return "--scribbles", str(path)


def _symlink(archive: zipfile.ZipFile) -> None:
    member = zipfile.ZipInfo("patient021_frame02_scribble.nii.gz")
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(member, "/etc/passwd")


def _patch(path: Path, change: Callable[[bytearray, int], None]) -> None:
    """Change the last entry of an archive's directory, given where it starts."""
    content = bytearray(path.read_bytes())
    change(content, content.rindex(b"PK\x01\x02"))
    path.write_bytes(content)


def _encrypt(content: bytearray, entry: int) -> None:
    content[entry + 8] |= 1


def _declare_half(content: bytearray, entry: int) -> None:
    struct.pack_into("<I", content, entry + 24, struct.unpack_from("<I", content, entry + 24)[0] // 2)


def _declare_a_gigabyte(content: bytearray, entry: int) -> None:
    struct.pack_into("<I", content, entry + 24, 2**30 + 1)


def _unknown_method(content: bytearray, entry: int) -> None:
    struct.pack_into("<H", content, entry + 10, 77)


ARCHIVES: dict[str, tuple[Callable[[zipfile.ZipFile], object], Callable[[bytearray, int], None] | None, str]] = {
    "path upwards": (lambda archive: archive.writestr("../x_scribble.nii.gz", b"x"), None, "points outside"),
    "absolute path": (lambda archive: archive.writestr("/etc/x.nii.gz", b"x"), None, "points outside"),
    "path of Windows": (lambda archive: archive.writestr("C:\\x.nii.gz", b"x"), None, "points outside"),
    "case twice": (
        lambda archive: archive.writestr("b/patient021_frame01_scribble.nii.gz", b"x"), None, "more than once"
    ),
    "name too long": (lambda archive: archive.writestr("x" * 300 + ".nii.gz", b"x"), None, "cannot be unpacked"),
    "encrypted": (lambda archive: None, _encrypt, "encrypted"),
    "more than is declared": (lambda archive: None, _declare_half, "not a sound zip archive"),
    "a gigabyte declared": (lambda archive: None, _declare_a_gigabyte, "too large for scribbles"),
    "unknown compression": (lambda archive: None, _unknown_method, "not a sound zip archive"),
    "link": (_symlink, None, "scribbles have no image (patient021_frame02)"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archives(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], kind: str) -> None:
    sound = made("acdc")
    add, change, sentence = ARCHIVES[kind]
    given = _archive(sound, add)
    if change is not None:
        _patch(Path(given[1]), change)
    assert sentence in sound.refused(capfd, *given)


def test_archives_larger_than_they_may_be(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = made("acdc")
    given = _archive(sound, lambda archive: archive.writestr("bomb.nii.gz", bytes(2**20)))
    assert Path(given[1]).stat().st_size < 2**13
    with monkeypatch.context() as patched:
        patched.setattr("scribble_conversion.files.MAX_ARCHIVE_BYTES", 2**20)
        assert "too large for scribbles" in sound.refused(capfd, *given)
    free = shutil.disk_usage(sound.place)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "has only 1,048,576 left; free space there" in sound.refused(capfd, *given)


def test_members_without_a_name_and_archives_in_archives(made: Callable[[str], Sound]) -> None:
    """Neither is unpacked, neither does harm."""
    sound = made("acdc")

    def add(archive: zipfile.ZipFile) -> None:
        archive.writestr("./", b"")
        archive.writestr("more.zip", bytes(2**16))

    assert main([*sound.arguments, *_archive(sound, add)]) == 0


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".gipl", ".png", ".tif", ".nii.gz"])
def test_a_disk_that_is_full_for_a_label(ending: str, tmp_path: Path) -> None:
    """Some libraries do not notice by themselves."""
    import numpy as np
    import SimpleITK as sitk
    from skimage import io

    image = tmp_path / f"image{ending}"
    if ending in {".png", ".tif"}:
        io.imsave(image, np.zeros((64, 64), np.uint8), check_contrast=False)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 64, 64), np.uint8)), str(image))
    shape = (64, 64) if ending in {".png", ".tif"} else (4, 64, 64)
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from scribble_conversion.formats.registry import format_of\n"
        "path = Path(sys.argv[1])\n"
        f"labels = np.random.default_rng(0).integers(0, 255, {shape})\n"
        "try:\n"
        "    format_of(path).write_label(labels.astype(np.uint8), path, Path(sys.argv[2]))\n"
        "except OSError as error:\n"
        "    sys.exit(7)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(image), str(tmp_path / f"label{ending}")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
    )
    assert done.returncode == 7, done.stderr


@pytest.mark.parametrize("names", [("New", "New"), ("New", "Other")])
def test_two_conversions_at_once(made: Callable[[str], Sound], names: tuple[str, str]) -> None:
    sound = made("nifti")
    script = (
        "import sys, time, scribble_conversion.conversion as c\nfrom scribble_conversion.cli import main\n"
        "convert = c.convert_case\n"
        "def slowly(job):\n    time.sleep(0.7)\n    return convert(job)\n"
        "c.convert_case = slowly\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nsys.exit(main(sys.argv[1:]))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", script, *sound.arguments, "-n", name],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    told = [process.communicate(timeout=60)[1] for process in both]
    winner, loser = sorted(range(2), key=lambda index: both[index].returncode)
    assert [both[winner].returncode, both[loser].returncode] == [0, 1]
    assert told[winner] == ""
    assert_one_sentence(told[loser])
    assert "another conversion to dataset id 9 is under way" in told[loser]
    dataset = f"Dataset009_{names[winner]}"
    assert [path.name for path in sound.raw.iterdir()] == [dataset]
    assert [path.name for path in sound.preprocessed.iterdir()] == [dataset]
    assert len(list((sound.raw / dataset / "labelsTr").iterdir())) == 2
    assert (sound.raw / dataset / "dataset.json").is_file()


def test_sources_are_not_replaced(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str]) -> None:
    """Sources inside the target."""
    sound = made("nifti")
    shutil.move(sound.source, sound.raw / "Dataset009_New")
    given = [argument.replace("/source/", "/raw/Dataset009_New/") for argument in sound.arguments]
    moved = Sound(sound.place, tuple(given), sound.image, sound.label)
    assert "belongs to the dataset that would be replaced" in moved.refused(capfd, "--overwrite")


def test_a_full_target_is_not_said_to_be_the_source() -> None:
    case = Case("a", "a", (Path("source.nii.gz"),))
    full = OSError(28, "No space left on device", "source.nii.gz", None, "target.nii.gz")
    sentence = r"^target.nii.gz cannot be read or written \(No space left on device\)"
    with pytest.raises(UserError, match=sentence), case_errors(case):
        raise full

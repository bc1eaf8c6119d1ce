"""The page in a real browser: leafing through it, and what it does not do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.scribble_conversion.checking.hands import CASE, IGNORE, declare, edit_label, label, rename_cases
from tests.scribble_conversion.conftest import Acdc

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (the extra 'test' has it)")
by = pytest.importorskip("selenium.webdriver.common.by").By
keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="Chromium and its chromedriver are not installed"
)

SWITCHES = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)
SAMPLE = "return document.getElementById(arguments[0]).{}"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A browser with a fresh profile, which keeps a record of its requests and its console."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    yield driver
    driver.quit()


class Page:
    """A page that is open in the browser."""

    def __init__(self, driver, path: Path) -> None:
        driver.get("about:blank")
        driver.get_log("performance")
        driver.get_log("browser")
        self.driver, self.path = driver, path
        driver.get(path.as_uri())

    def find(self, identifier: str):
        return self.driver.find_element(by.ID, identifier)

    @property
    def place(self) -> tuple[str, str]:
        """The case and the slice that the page says it shows."""
        chosen = self.driver.execute_script(
            "const s = document.getElementById('case'); return s.options[s.selectedIndex].text"
        )
        return chosen.strip(), self.find("where").text

    def look(self) -> bytes:
        """What the picture looks like, decoded as it is on the screen."""
        self.driver.execute_async_script(
            "const done = arguments[0]; const images = [...document.querySelectorAll('#inner img')];"
            "Promise.all(images.map(image => image.decode())).then(() => requestAnimationFrame(() => done()));"
        )
        return self.find("stage").screenshot_as_png

    def choose(self, identifier: str, value: object, event: str) -> None:
        """Move a control like a hand does."""
        self.driver.execute_script(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "e.dispatchEvent(new Event(arguments[2], {bubbles: true}))",
            identifier,
            str(value),
            event,
        )

    def assert_quiet(self) -> None:
        """Nothing was asked of the network, and the console is empty."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        requests = [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert self.path.as_uri() in requests  # the record works
        assert [url for url in requests if not url.startswith("data:") and url != self.path.as_uri()] == []
        assert self.driver.get_log("browser") == []


@pytest.fixture
def open_page(chromium: object) -> Callable[[Path], Page]:
    return lambda path: Page(chromium, path)


def test_leafing_through(sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]) -> None:
    page = open_page(report())
    assert page.place == (CASE, "slice 3 of 4")
    looks = [page.look()]
    edit = page.find("next")
    edit.click()
    assert page.place == (CASE, "slice 4 of 4")
    looks.append(page.look())
    edit.click()  # on to the next case
    assert page.place == ("patient021_frame12", "slice 1 of 4")
    looks.append(page.look())
    page.find("previous").click()
    assert page.place == (CASE, "slice 4 of 4")
    assert page.look() == looks[1]
    page.choose("slice", 1, "input")
    assert page.place == (CASE, "slice 2 of 4")
    looks.append(page.look())
    page.choose("case", 4, "change")
    assert page.place == ("patient041_frame01", "slice 3 of 4")
    looks.append(page.look())
    assert len(set(looks)) == len(looks)
    page.assert_quiet()


def test_keys(sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]) -> None:
    page = open_page(report())
    body = page.driver.find_element(by.TAG_NAME, "body")
    body.send_keys(keys.ARROW_RIGHT)
    assert page.place == (CASE, "slice 4 of 4")
    body.send_keys(keys.ARROW_LEFT, keys.ARROW_LEFT)
    assert page.place == (CASE, "slice 2 of 4")
    body.send_keys(keys.ARROW_DOWN)  # scrolls, as everywhere
    assert page.place == (CASE, "slice 2 of 4")
    page.find("viewer").send_keys(keys.ARROW_DOWN)
    assert page.place == ("patient021_frame12", "slice 3 of 4")
    page.find("viewer").send_keys(keys.ARROW_UP, keys.ARROW_UP)
    assert page.place == (CASE, "slice 3 of 4")
    page.find("slice").send_keys(keys.ARROW_RIGHT)
    assert page.place == (CASE, "slice 4 of 4")
    page.assert_quiet()


def test_the_ends(sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]) -> None:
    page = open_page(report())
    page.choose("slice", 0, "input")
    assert not page.find("previous").is_enabled()
    page.choose("case", 7, "change")
    page.choose("slice", 3, "input")
    assert not page.find("next").is_enabled()
    page.find("viewer").send_keys(keys.ARROW_RIGHT, keys.ARROW_DOWN)
    assert page.place[0] == "patient081_frame12"
    page.assert_quiet()


def test_layers_and_zoom(sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]) -> None:
    edit_label(label(sound), lambda array: array[2].__setitem__(array[2] == 3, IGNORE))
    page = open_page(report())
    everything = page.look()
    count = "return document.querySelectorAll('#inner {}').length"
    rows = page.find("legend").find_elements(by.TAG_NAME, "label")
    assert [row.text for row in rows] == ["background", "RV", "MYO", "LV"]
    assert ["absent" in row.get_attribute("class") for row in rows] == [False, False, False, True]
    assert page.driver.execute_script(count.format("img.stroke")) == 3
    assert page.driver.execute_script(count.format("path")) == 3
    rows[1].click()
    assert page.driver.execute_script(count.format("img.stroke")) == 2
    without = page.look()
    page.find("outlines").click()
    assert page.driver.execute_script(count.format("path")) == 0
    bare = page.look()
    page.find("zoom").click()
    size = page.driver.execute_script(
        "const b = document.getElementById('inner').getBoundingClientRect(); return [b.width, b.height]"
    )
    stage = page.find("stage").size
    assert size == pytest.approx([stage["width"], stage["height"]], abs=1)
    assert len({everything, without, bare, page.look()}) == 4
    page.assert_quiet()


def test_pixels_that_are_not_square(
    sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]
) -> None:
    import SimpleITK as sitk

    for path in (*(sound.dataset / "imagesTr").iterdir(), *(sound.dataset / "labelsTr").iterdir()):
        volume = sitk.ReadImage(str(path))
        volume.SetSpacing((3.0, 1.5, 9.0))
        sitk.WriteImage(volume, str(path))
    shutil.rmtree(sound.dataset / "labelsTr_dense")
    page = open_page(report())
    page.find("zoom").click()
    stage = page.find("stage").size
    assert stage["width"] == pytest.approx(2 * stage["height"], abs=2)
    page.assert_quiet()


def test_hostile_names_do_nothing(sound: Acdc, report: Callable[..., Path], open_page: Callable[[Path], Page]) -> None:
    hostile = "<script>window.hacked=1<&img src=x onerror=window.hacked=1>"
    rename_cases(sound, lambda case: hostile + case)
    names = ["</script><script>window.hacked=1</script>", "<img src=x onerror=window.hacked=1>", "&lt;LV"]
    declare(sound, labels={"background": 0, **{name: index for index, name in enumerate(names, 1)}, "ignore": 4})
    edit_label(label(sound, hostile + CASE), lambda array: np.where(array == 1, IGNORE, array))
    page = open_page(report())
    page.find("next").click()
    assert page.place[0].startswith(hostile + CASE)
    rows = page.find("legend").find_elements(by.TAG_NAME, "label")
    assert [row.text for row in rows] == ["background", *names]
    assert page.driver.execute_script("return window.hacked === undefined")
    assert page.driver.execute_script("return document.querySelectorAll('script').length") == 2
    page.assert_quiet()

"""The page in a real Chromium: what people do with it, with the mouse, the keyboard, in the dark and on a phone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.runs import main
from tests.experiments.reports.conftest import NASTY

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    # A test may be started by root, or in a container, where Chromium can't make its sandbox.
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ):
        options.add_argument(word)
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    options.binary_location = next(filter(None, map(shutil.which, names)))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    assert main(["report", "--dir", str(root), "--journal-only", "--output", str(file)]) == 0
    return file


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The page, freshly loaded; it must have said nothing on the console, and asked nobody for anything."""
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map((each) => each.name)") == []
    assert browser.title != "broken"


def texts(browser: Any, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())"
    return list(browser.execute_script(script, selector))


def column(browser: Any, field: str) -> list[str]:
    fields = browser.execute_script(
        "return [...document.querySelectorAll('#table thead th')].map((e) => e.dataset.field)"
    )
    return texts(browser, f"#table tbody tr > :nth-child({fields.index(field) + 1})")


ACCURACY = "result.test.student.accuracy"


def test_sorting(opened: Any) -> None:
    assert len(column(opened, "id")) == 10
    head = f'#table th[data-field="{ACCURACY}"]'
    opened.find_element("css selector", f"{head} button").click()
    down = [text for text in column(opened, ACCURACY) if text]
    assert [float(text.split("\u00a0")[0]) for text in down] == [95.0, 90.0, 80.0, 70.0, 70.0, 60.0, 50.0, 45.0]
    # Those without a result come last either way.
    assert column(opened, ACCURACY)[-2:] == ["", ""]
    from selenium.webdriver.common.keys import Keys

    opened.switch_to.active_element.send_keys(Keys.ENTER)
    assert opened.find_element("css selector", head).get_attribute("aria-sort") == "ascending"
    assert column(opened, ACCURACY)[0] == "45.0\u00a0%"
    assert column(opened, ACCURACY)[-2:] == ["", ""]


@pytest.mark.parametrize(
    ("words", "count", "told"),
    [
        ("glyphs", 3, "3 of 10 runs."),
        ("seed=8", 2, "2 of 10 runs."),
        ("data.name=digits accuracy>=0.8", 3, "3 of 10 runs."),
        ("teaching~^cons seed!=0", 2, "2 of 10 runs."),
        ("nosuchword", 0, "0 of 10 runs."),
        ("bakend=x", 10, "no run has a field “bakend”."),
        ("seed~(", 10, "“(” is no regular expression."),
    ],
)
def test_filtering(opened: Any, words: str, count: int, told: str) -> None:
    opened.find_element("id", "filter").send_keys(words)
    assert len(column(opened, "id")) == count
    assert texts(opened, "#filter-told") == [told]


def legend(browser: Any) -> dict[str, str]:
    names = texts(browser, ".u-legend .u-label")
    return dict(zip(names, texts(browser, ".u-legend .u-value"), strict=True))


def test_hovering_shows_the_values_at_a_step(opened: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    select(opened, "metric", "training loss")
    assert set(legend(opened).values()) <= {"–", "--"}
    over = opened.find_element("css selector", "#chart .u-over")
    ActionChains(opened).move_to_element(over).perform()
    shown = legend(opened)
    step = int(shown.pop("step"))
    assert 40 <= step <= 60
    assert len(shown) == 8
    assert {float(value) for value in shown.values()} == {float(f"{10 / step:.4g}")}


def select(browser: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_visible_text(text)


def picture(browser: Any) -> str:
    return str(browser.execute_script("return document.querySelector('#chart canvas').toDataURL()"))


@pytest.mark.parametrize("axis", ["log-x", "log-y", "smooth"])
def test_axes_and_smoothing_change_the_curves_and_back(opened: Any, axis: str) -> None:
    select(opened, "metric", "training gradient norm")
    before = picture(opened)
    box = opened.find_element("id", axis)
    box.click()
    changed = settled(opened, before)
    assert changed != before
    box.click()
    assert settled(opened, changed) == before


def test_logarithmic_axes_are(opened: Any) -> None:
    """The loss is 10 / step, from step 1 to 100: on both axes step 10 and loss 1 are in the middle."""
    from selenium.webdriver.common.action_chains import ActionChains

    select(opened, "metric", "training loss")
    assert height_of_step_ten(opened) > 0.85
    for axis in ("log-x", "log-y"):
        opened.find_element("id", axis).click()
    assert 0.4 < height_of_step_ten(opened) < 0.6
    ActionChains(opened).move_to_element(opened.find_element("css selector", "#chart .u-over")).perform()
    assert 8 <= int(legend(opened)["step"]) <= 13


def height_of_step_ten(browser: Any) -> float:
    """Where its mark is, from 0 at the top to 1 at the bottom."""
    from selenium.webdriver.common.keys import Keys

    chart = browser.find_element("id", "chart")
    chart.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * 9)
    assert legend(browser)["step"] == "10"
    script = """const over = document.querySelector('#chart .u-over').getBoundingClientRect();
        const mark = document.querySelector('#chart .u-cursor-pt').getBoundingClientRect();
        return ((mark.top + mark.bottom) / 2 - over.top) / over.height"""
    return float(browser.execute_script(script))


def settled(browser: Any, before: str) -> str:
    """The curves once they are others than before."""
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 10).until(lambda driver: picture(driver) != before)
    return picture(browser)


def test_the_keyboard_moves_along_the_curves(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    chart = opened.find_element("id", "chart")
    chart.send_keys(Keys.HOME)
    assert texts(opened, "#readout")[0].startswith("Step 10: ")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert texts(opened, "#readout")[0].startswith("Step 20: ")
    chart.send_keys(Keys.END)
    last = texts(opened, "#readout")[0]
    # Accuracy in percent; the run that was resumed is one curve to its end.
    assert last.startswith("Step 100: ")
    assert " 50;" in last
    assert "teacher 97" in "; ".join(f"{name} {value}" for name, value in legend(opened).items())


def test_a_run_has_its_classes_images_sheet_lineage_and_command(opened: Any) -> None:
    show(opened, "seed=8")
    assert texts(opened, "#by-class thead th") == ["class", "images", "student", "teacher"]
    assert len(texts(opened, "#by-class tbody tr")) == 5
    shares = [float(text.split()[0].rstrip("%")) for text in texts(opened, "#by-class tbody td:nth-child(3)")]
    assert shares == sorted(shares)
    loaded = "return [...document.querySelectorAll(arguments[0])].map((each) => each.complete && each.naturalWidth)"
    opened.execute_script("document.querySelectorAll('img').forEach((each) => { each.loading = 'eager'; })")
    waiting(opened, lambda: all(opened.execute_script(loaded, "#run img")))
    assert opened.execute_script(loaded, "#disagreements img") == [96] * 16
    assert opened.execute_script(loaded, "img.sheet") == [80]
    kl = [float(re.findall(r"KL ([\d.]+)", text)[0]) for text in texts(opened, "#disagreements figcaption")]
    assert kl == sorted(kl, reverse=True)
    assert ["from the beginning" in line or "from step 40" in line for line in texts(opened, "#run ol li")] == [
        True
    ] * 2
    assert texts(opened, "#again") == ["python -m experiments.run with digits seed=8 backend=torch"]
    # The segment before is a click away, and its comment is text.
    opened.find_element("css selector", "#run ol a").click()
    assert NASTY in texts(opened, "#run dd")
    assert any(text.startswith("No answers are stored with this run") for text in texts(opened, "#run p"))
    assert "FloatingPointError" in texts(opened, "#run pre")[0]


def show(browser: Any, words: str) -> None:
    browser.find_element("id", "filter").send_keys(words)
    browser.find_element("css selector", "#table tbody a").click()


def waiting(browser: Any, ready: Callable[[], bool]) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 10).until(lambda driver: ready())


def test_without_a_teacher_there_are_the_surest_errors(opened: Any) -> None:
    show(opened, "labels")
    assert texts(opened, "#by-class thead th") == ["class", "images", "student"]
    assert "The student’s surest errors" in texts(opened, "#run h3")


def test_drawing_and_comparing(opened: Any) -> None:
    opened.find_element("id", "draw-none").click()
    assert texts(opened, "#chart .empty") == ["No run is drawn: tick some in the table."]
    assert texts(opened, "#differing td") == ["Draw two runs or more to compare them."]
    opened.find_element("id", "filter").send_keys("seed=2")
    opened.find_element("id", "draw-shown").click()
    rows = {row[0]: row[1:] for row in table(opened, "#differing")}
    assert rows["config.data.name"] == ["glyphs", "digits"]
    assert "config.seed" not in rows
    assert len(legend(opened)) == 4


def table(browser: Any, selector: str) -> list[list[str]]:
    script = """return [...document.querySelectorAll(arguments[0] + ' tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent.trim()))"""
    return [list(row) for row in browser.execute_script(script, selector)]


def test_columns_can_be_chosen(opened: Any) -> None:
    opened.find_element("css selector", "#columns summary").click()
    boxes = opened.find_elements("css selector", "#columns label")
    next(box for box in boxes if box.text.strip() == "config.optimizer.weight_decay").click()
    assert {*column(opened, "config.optimizer.weight_decay")} >= {"0.001"}


@pytest.fixture
def emulated(browser: Any) -> Iterator[Callable[..., None]]:
    def emulate(scheme: str = "light", width: int = 1280) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    yield emulate
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(opened: Any, emulated: Callable[..., None], scheme: str) -> None:
    emulated(scheme)
    colours = opened.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    ink, paper = (luminance(colour) for colour in colours)
    assert (ink < paper) == (scheme == "light")
    # WCAG's contrast of ordinary text, its stricter level.
    assert (max(ink, paper) + 0.05) / (min(ink, paper) + 0.05) > 7


def luminance(colour: str) -> float:
    linear = [(int(part) / 255) ** 2.2 for part in re.findall(r"\d+", colour)[:3]]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_is_wider_than_a_phone(opened: Any, emulated: Callable[..., None]) -> None:
    emulated(width=390)
    opened.refresh()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= 390
    assert opened.execute_script("return document.querySelector('#chart canvas').clientWidth") > 300


def test_one_run_alone(browser: Any, root: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.html"
    uid = sorted(path.name for path in (root / "runs").iterdir())[0]
    assert main(["report", uid, "--dir", str(root), "--journal-only", "--output", str(file)]) == 0
    browser.get(file.as_uri())
    assert texts(browser, "h1") == [f"Run {uid}"]
    assert column(browser, "id") == [uid]
    data = json.loads(browser.execute_script("return document.getElementById('data').textContent"))
    assert data["same"] == {}
    assert browser.get_log("browser") == []

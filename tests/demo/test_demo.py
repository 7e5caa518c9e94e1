"""The page in a real browser: search, compose, recommend, watch."""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from sidiff.demo.render import reason, steps_table
from sidiff.serving import Bundle, Recommender
from sidiff.serving.recommender import ListOptions

from ..serving.conftest import bundle, folder, recommender, shop

__all__ = ["bundle", "folder", "recommender", "shop"]

DEMO = """
import sys
for name in ("kedro", "kedro_mlflow", "mlflow"):
    sys.modules[name] = None
from sidiff.__main__ import main
main(sys.argv[1:])
"""
SECONDS = 60
PICTURE = "SIDIFF_DEMO_PICTURE"
"""Environment variable: where the test leaves a picture of the page."""


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    # A bundle of a trained shop makes the better picture.
    shown = os.environ.get("SIDIFF_DEMO_BUNDLE", str(folder))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", DEMO, "demo", shown, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(4 * SECONDS):
            try:
                if httpx.get(url).status_code == 200:
                    break
            except httpx.TransportError:
                assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--window-size=1400,1950"):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=driver)
    with webdriver.Chrome(options=options, service=service) as running:
        yield running


def wait(browser: webdriver.Chrome, script: str, *arguments: Any) -> Any:
    """What a script in the page returns, as soon as that is something."""
    return WebDriverWait(browser, SECONDS).until(
        lambda page: page.execute_script(script, *arguments)
    )


TEXT = "return document.querySelector(arguments[0])?.innerText?.trim()"
BOXES = "return [...document.querySelectorAll('#found input[type=checkbox]')]"


def test_a_list_is_composed_made_and_watched(
    address: str, browser: webdriver.Chrome
) -> None:
    browser.get(address)
    wait(browser, "return document.querySelector('#found input') !== null")
    title = wait(browser, TEXT, "#found label")
    first_word = title.split()[0]
    browser.find_element(By.CSS_SELECTOR, "#words textarea").send_keys(first_word)
    same = "return [...document.querySelectorAll('#found label')].every(label =>"
    same += " label.innerText.toLowerCase().includes(arguments[0]))"
    wait(browser, same, first_word.lower())
    time.sleep(1)
    chosen = []
    for place in range(2):
        box = wait(browser, BOXES)[place]
        chosen.append(box.find_element(By.XPATH, "./..").text)
        box.click()
    browser.find_element(By.ID, "add").click()
    history = "return document.querySelector('#history textarea')?.value"
    shown = wait(browser, history)
    assert [line.partition(". ")[2] for line in shown.splitlines()] == chosen
    browser.find_element(By.ID, "go").click()
    listed = wait(browser, TEXT, "#list table")
    assert "Semantic ID" in listed
    assert "transitions in training add" in listed
    assert not [name for name in chosen if f"\n{name}\n" in listed]
    steps = wait(browser, TEXT, "#steps table")
    assert "Runners-up" in steps
    assert "digit 1" in steps
    # Another item has other steps.
    before = wait(browser, TEXT, "#steps p")
    another = browser.find_elements(By.CSS_SELECTOR, "#picked label")[1]
    name = another.text
    another.click()
    assert name != before
    told = "return document.querySelector('#steps p')?.innerText === arguments[0]"
    wait(browser, told, name)
    time.sleep(1)  # the page fades in
    if os.environ.get(PICTURE):
        browser.execute_script("window.scrollTo(0, 0)")
        browser.save_screenshot(os.environ[PICTURE])


def test_nothing_comes_from_elsewhere(address: str, browser: webdriver.Chrome) -> None:
    browser.get(address)
    wait(browser, "return document.querySelector('#found input') !== null")
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(entry => entry.name)"
    )
    assert len(loaded) > 5
    assert not [name for name in loaded if not name.startswith((address, "data:"))]


def typical(titles: list[str], catalogue: list[str]) -> list[str]:
    """The four words by titles with them, times the log of the ratio of frequencies."""

    def counted(some: list[str]) -> Counter[str]:
        return Counter(
            word for title in some for word in set(re.findall(r"\w{3,}", title.lower()))
        )

    here, everywhere = counted(titles), counted(catalogue)
    rank = {
        word: n * math.log(n / len(titles) * len(catalogue) / everywhere[word])
        for word, n in here.items()
    }
    best = sorted(rank, key=lambda word: (-rank[word], word))
    return [word for word in best[:4] if rank[word] > 0]


def test_titles_are_no_html(bundle: Bundle) -> None:
    recommender = Recommender(bundle)
    ids = recommender.names.item_ids[:3].to_list()
    (found,) = recommender.lists([ids], ListOptions(1, explain=True))
    item = type(found[0])(**{**vars(found[0]), "title": "<script>alert(1)</script>"})
    page = steps_table(item, recommender.names)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    steps = item.steps or ()
    assert page.count("<tr>") == 1 + len(steps)
    codes = sum(
        len({step.code, *(one.code for one in step.likeliest)}) for step in steps
    )
    assert page.count("such as ") == codes, "a runner-up has its items as well"
    first = steps[0]
    same = [
        title
        for title, sid in zip(
            recommender.names.titles, recommender.names.semantic_ids, strict=True
        )
        if sid.split("-")[first.digit] == str(first.code)
    ]
    assert f"{len(same)} items, such as {escape(same[0])}" in page
    words = typical(same, recommender.names.titles.to_list())
    assert f"<i>{escape(', '.join(words))}</i>" in page
    assert "transitions in training" in reason(item, found)
    popular = recommender.recommend([], 1)
    assert "no item of the history" in reason(popular[0], popular)

import re
import xml.etree.ElementTree as ET

import matplotlib as mpl
from matplotlib.figure import Figure

from distlab.report.plots import svg
from distlab.report.plots.style import SETTINGS


def drawn(name: str) -> str:
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(3, 2))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1 / 3], marker="o")
        axes.set_title("0.123456 < 1 & <b>")
        axes.set_ylabel("up")
        return svg.element(figure, name)


def test_text_is_text_and_keeps_its_digits() -> None:
    texts = [one.text for one in ET.fromstring(drawn("one")).iter(f"{{{svg.SVG}}}text")]
    assert "0.123456 < 1 & <b>" in texts
    assert "up" in texts


def test_ids_are_those_that_are_referred_to_and_begin_with_the_name() -> None:
    text = drawn("one")
    ids = re.findall(r'\bid="([^"]*)"', text)
    referred = re.findall(r'(?:href="|url\()#([^")]*)', text)
    assert ids and set(ids) == set(referred)
    assert all(one.startswith("one-") for one in ids)
    assert not set(ids) & set(re.findall(r'\bid="([^"]*)"', drawn("two")))


def test_numbers_are_of_a_tenth_of_a_point_and_font_and_looks_are_said_once() -> None:
    text = drawn("one")
    assert text.count("font-family") == 1
    assert "<g>" not in text
    sheet = "".join(re.findall(r"<style>(.*?)</style>", text))
    places = re.sub(r"<style>.*?</style>|>[^<]*<", "><", text)
    assert not re.search(r" (d|x|y)=\"[^\"]*\d\.\d{2}", places)
    looks = re.findall(r'style="([^"]*)"', places)
    assert len(looks) == len(set(looks))
    classes = re.findall(r"\.(\w+)\{", sheet)
    assert set(classes) == set(re.findall(r'class="([^"]*)"', places))
    assert classes and all(one.startswith("one_") for one in classes)


def test_a_style_sheet_says_nothing_of_the_rest_of_a_page() -> None:
    for sheet in re.findall(r"<style[^>]*>(.*?)</style>", drawn("one")):
        assert re.sub(r"\.one_\d+\{[^}]*\}", "", sheet) == ""

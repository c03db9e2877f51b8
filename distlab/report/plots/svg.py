"""A figure as an SVG element for a page: small, with text as text, sharing no id with another."""

import io
import re
import xml.etree.ElementTree as ET
from collections import Counter

from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FONT = "font-family"
LINES = "stroke-linejoin:round;stroke-linecap:butt"
UNSEEN = "fill:none"
"""The look of what matplotlib draws only to know where it is."""


def element(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element.

    matplotlib writes an id for each part, a group around each mark, the font of each text and the
    look of each line. Kept are the ids that something refers to and groups that say something;
    the font is said once, and looks that recur are classes of a style sheet.

    Parameters
    ----------
    figure:
        What is drawn.
    name:
        What its ids and classes begin with.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(text.getvalue())
    # What matplotlib says of itself, and a style sheet that would be one of the whole page.
    for one in list(root)[:2]:
        if one.tag == f"{{{SVG}}}metadata" or one.find(f"{{{SVG}}}style") is not None:
            root.remove(one)
    _rename(root, name)
    _flatten(root)
    _join(root)
    root.set("style", LINES)
    fonts = {_fonts(one) for one in root.iter(f"{{{SVG}}}text")} - {None}
    if len(fonts) == 1:
        for one in root.iter(f"{{{SVG}}}text"):
            one.set("style", _without_font(one.get("style", "")))
        root.set("style", f"{LINES};{FONT}:{fonts.pop()}")
    _classify(root, name)
    ET.register_namespace("", SVG)
    return ET.tostring(root, encoding="unicode")


def _rename(root: ET.Element, name: str) -> None:
    """Give ids that are referred to names of their own, and take away the others."""
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", ET.tostring(root, encoding="unicode")))
    names = {old: f"{name}-{number}" for number, old in enumerate(sorted(used))}
    for one in root.iter():
        for attribute, value in list(one.attrib.items()):
            del one.attrib[attribute]
            value = re.sub(r"url\(#([^)]+)\)", lambda to: f"url(#{names[to[1]]})", value)
            if attribute == "id":
                if value in names:
                    one.set("id", names[value])
            elif attribute == f"{{{XLINK}}}href":
                one.set("href", f"#{names[value[1:]]}" if value.startswith("#") else value)
            elif attribute == "style":
                one.set("style", re.sub(r"\s*([:;])\s*", r"\1", _rounded(value, 2)).strip("; "))
            elif attribute == "fill":
                # Of a hatching's ground: as a look, it has the page's colours.
                one.set("style", f"fill:{value}")
            elif attribute == "d":
                one.set("d", re.sub(r"\s*([A-Za-z])\s*", r"\1", _rounded(value, 1)).strip())
            elif not (attribute == "transform" and value.startswith("rotate(-0 ")):
                one.set(attribute, _rounded(re.sub(r"\s+", " ", value).strip(), 1))


def _rounded(value: str, digits: int) -> str:
    """An attribute's numbers to so many decimals: a tenth of a point is less than a pixel."""

    def short(number: re.Match[str]) -> str:
        return f"{float(number[0]):.{digits}f}".rstrip("0").rstrip(".")

    return re.sub(rf"-?\d+\.\d{{{digits + 1},}}", short, value)


def _flatten(parent: ET.Element) -> None:
    """Put the content of groups that say nothing in their places, and leave out what is unseen."""
    kept: list[ET.Element] = []
    for child in list(parent):
        _flatten(child)
        child.tail = None
        if child.get("style") == UNSEEN and child.tag == f"{{{SVG}}}path":
            continue
        plain = child.tag == f"{{{SVG}}}g" and not child.attrib
        kept += list(child) if plain else [child]
    if parent.tag != f"{{{SVG}}}text":
        parent.text = (parent.text or "").strip() or None
    parent[:] = kept


def _join(parent: ET.Element) -> None:
    """Make one group of neighbours that say the same, such as where they are cut off."""
    kept: list[ET.Element] = []
    for child in list(parent):
        _join(child)
        group = child.tag == f"{{{SVG}}}g"
        if group and kept and (kept[-1].tag, kept[-1].attrib) == (child.tag, child.attrib):
            kept[-1].extend(child)
        else:
            kept.append(child)
    parent[:] = kept


def _classify(root: ET.Element, name: str) -> None:
    """Looks that more than one part has become classes."""
    parts = [one for one in root.iter() if one is not root and one.get("style")]
    times = Counter(one.attrib["style"] for one in parts)
    classes = {
        look: f"{name}_{number}"
        for number, look in enumerate(look for look, count in times.items() if count > 1)
    }
    for one in parts:
        if one.attrib["style"] in classes:
            one.set("class", classes[one.attrib.pop("style")])
    if classes:
        sheet = ET.Element(f"{{{SVG}}}style")
        sheet.text = "".join(f".{known}{{{look}}}" for look, known in classes.items())
        root.insert(0, sheet)


def _fonts(text: ET.Element) -> str | None:
    found = re.search(rf"{FONT}:([^;]+)", text.get("style", ""))
    return found[1] if found else None


def _without_font(style: str) -> str:
    return re.sub(rf"{FONT}:[^;]+;?", "", style)

"""A figure as an SVG element for a page: small, with text as text, sharing no id with another."""

import io
import re
import xml.etree.ElementTree as ET

from matplotlib.figure import Figure

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
FONT = "font-family"


def element(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element.

    matplotlib writes an id for each part, a group around each mark, and the font of each text;
    kept are the ids that something refers to, groups that say something, and one font for all.

    Parameters
    ----------
    figure:
        What is drawn.
    name:
        What its ids begin with.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(text.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _rename(root, name)
    _flatten(root)
    fonts = {_fonts(one) for one in root.iter(f"{{{SVG}}}text")} - {None}
    if len(fonts) == 1:
        for one in root.iter(f"{{{SVG}}}text"):
            one.set("style", _without_font(one.get("style", "")))
        root.set("style", f"{FONT}: {fonts.pop()}")
    for prefix, uri in (("", SVG), ("xlink", XLINK)):
        ET.register_namespace(prefix, uri)
    return ET.tostring(root, encoding="unicode")


def _rename(root: ET.Element, name: str) -> None:
    """Give ids that are referred to names of their own, and take away the others."""
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", ET.tostring(root, encoding="unicode")))
    names = {old: f"{name}-{number}" for number, old in enumerate(sorted(used))}
    for one in root.iter():
        for attribute, value in list(one.attrib.items()):
            if attribute == "id" and value not in names:
                del one.attrib["id"]
            elif attribute == "id":
                one.set("id", names[value])
            elif attribute == "transform" and value.startswith("rotate(-0 "):
                del one.attrib["transform"]
            elif value.startswith("#") and value[1:] in names:
                one.set(attribute, f"#{names[value[1:]]}")
            else:
                value = re.sub(r"url\(#([^)]+)\)", lambda to: f"url(#{names[to[1]]})", value)
                one.set(attribute, _rounded(re.sub(r"\s+", " ", value).strip()))


def _rounded(value: str) -> str:
    """An attribute's numbers to a hundredth of a point."""

    def short(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    return re.sub(r"-?\d+\.\d{3,}", short, value)


def _flatten(parent: ET.Element) -> None:
    """Put the content of groups that say nothing in their places."""
    kept: list[ET.Element] = []
    for child in list(parent):
        _flatten(child)
        plain = child.tag == f"{{{SVG}}}g" and not child.attrib
        kept += list(child) if plain else [child]
        child.tail = None
    if parent.tag != f"{{{SVG}}}text":
        parent.text = (parent.text or "").strip() or None
    parent[:] = kept


def _fonts(text: ET.Element) -> str | None:
    found = re.search(rf"{FONT}: ([^;]+)", text.get("style", ""))
    return found[1] if found else None


def _without_font(style: str) -> str:
    return re.sub(rf"{FONT}: [^;]+;? ?", "", style)

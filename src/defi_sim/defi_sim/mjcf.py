"""Writing MuJoCo's XML: one element at a time."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement


def add(parent: Element, tag: str, **attributes: str) -> Element:
    """A new element under `parent`; attributes are MuJoCo's own names and units."""
    return SubElement(parent, tag, attributes)


def section(root: Element, tag: str) -> Element:
    """The section `tag` of a document, made when it is missing."""
    found = root.find(tag)
    return add(root, tag) if found is None else found


def numbers(*values: float) -> str:
    """Numbers as MuJoCo writes them: with spaces between."""
    return " ".join(f"{value:.6g}" for value in values)

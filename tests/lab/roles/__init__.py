"""Roles: what a device does on the wire, and which texts about itself that carries.

`play(device, play)` starts a role; `texts(spec, play)` lists `(protocol and field, text)` for the ground truth: an attribute is carried
where its value stands in such a text.
"""

import importlib
from dataclasses import dataclass
from typing import Callable

MODULES = ("base", "building", "dicom", "hl7v2", "laboratory", "media", "monitor", "names", "office", "snmp")
ROLES = {}


@dataclass
class Role:
    """A role of that name."""

    play: Callable
    texts: Callable


def role(name, texts=lambda spec, play: []):
    """Registers the function that plays a role."""

    def register(play):
        ROLES[name] = Role(play, texts)
        return play

    return register


def attributes(spec, play, *names):
    """Attributes as a role writes them: the role's own wording first, then the device's."""
    return [str(play.get(name, spec.get(name, ""))) for name in names]


for module in MODULES:
    importlib.import_module(f"roles.{module}")

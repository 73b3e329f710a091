"""Models of the extended tasks: edited stock ones, and bodies of our own."""

from collections.abc import Mapping
from importlib import resources
from xml.etree import ElementTree

from dm_control.suite import common

LINK_M = 0.09
"""Distance from joint to joint of the three-link arm."""
HAND_M = 0.10
ARM_RADIUS_M = 0.01
JOINT_RANGE_DEG = 80
ARM_GEAR = 0.05

ASSETS: Mapping[str, bytes] = common.ASSETS
"""What the models include: the suite's sky, lights and materials."""


def walker_xml() -> bytes:
    """Return the stock walker on a floor twice as long, so that it can walk backward."""
    return _replace_once(common.read_model("walker.xml"), b'size="250 .8 .2"', b'size="500 .8 .2"')


def cheetah_xml() -> bytes:
    """Return the stock cheetah on a ground twice as long, so that it can run backward."""
    return _replace_once(common.read_model("cheetah.xml"), b'size="100 .8 .5"', b'size="200 .8 .5"')


def stock_xml(name: str) -> bytes:
    """Return a stock model as it is."""
    return common.read_model(f"{name}.xml")


def own_xml(name: str) -> bytes:
    """Return the model of a body of ours: ``giraffe``, ``spinner`` or ``jumper``."""
    return (
        resources.files("reverie.envs.domains.dmcontrol_ext")
        .joinpath("bodies", f"{name}.xml")
        .read_bytes()
    )


def reacher_xml() -> bytes:
    """Return the stock reacher's arena with an arm of three links."""
    root = ElementTree.fromstring(common.read_model("reacher.xml"))
    root.set("model", "three-link planar reacher")
    world, actuators = root.find("worldbody"), root.find("actuator")
    if world is None or actuators is None:
        raise RuntimeError("The suite's reacher has no world body or no actuators.")
    old_arm = next(body for body in world if body.get("name") == "arm")
    place = list(world).index(old_arm)
    world.remove(old_arm)
    world.insert(place, _arm())
    for motor in list(actuators):
        actuators.remove(motor)
    for joint in ("shoulder0", "shoulder1", "wrist"):
        motor = {"name": joint, "joint": joint, "gear": str(ARM_GEAR)}
        ElementTree.SubElement(actuators, "motor", motor)
    return ElementTree.tostring(root)


def _arm() -> ElementTree.Element:
    first = ElementTree.Element("body", {"name": "arm0", "pos": "0 0 .01"})
    ElementTree.SubElement(first, "joint", {"name": "shoulder0"})
    _add_link(first, "arm0", LINK_M)
    second = _add_body(first, "arm1", "shoulder1")
    _add_link(second, "arm1", LINK_M)
    hand = _add_body(second, "hand", "wrist")
    _add_link(hand, "hand", HAND_M)
    finger = ElementTree.SubElement(hand, "body", {"name": "finger", "pos": f"{LINK_M} 0 0"})
    ElementTree.SubElement(finger, "camera", {"name": "hand", "pos": "0 0 .2", "mode": "track"})
    tip = {"name": "finger", "type": "sphere", "size": str(ARM_RADIUS_M), "material": "effector"}
    ElementTree.SubElement(finger, "geom", tip)
    return first


def _add_body(parent: ElementTree.Element, name: str, joint: str) -> ElementTree.Element:
    body = ElementTree.SubElement(parent, "body", {"name": name, "pos": f"{LINK_M} 0 0"})
    reach = f"{-JOINT_RANGE_DEG} {JOINT_RANGE_DEG}"
    ElementTree.SubElement(body, "joint", {"name": joint, "limited": "true", "range": reach})
    return body


def _add_link(body: ElementTree.Element, name: str, length_m: float) -> None:
    shape = {"type": "capsule", "fromto": f"0 0 0 {length_m} 0 0", "size": str(ARM_RADIUS_M)}
    ElementTree.SubElement(body, "geom", {"name": name, "material": "self", **shape})


def _replace_once(text: bytes, old: bytes, new: bytes) -> bytes:
    if text.count(old) != 1:
        raise RuntimeError(f"A model of the suite holds {old!r} {text.count(old)} times, not once.")
    return text.replace(old, new)

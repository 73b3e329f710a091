"""The table of the Meta-World domain. No simulator is imported here."""

from reverie.core.types import ActionSpec
from reverie.envs.spec import TaskSpec

_LANES = ("hand right", "hand forward", "hand up", "close gripper")


def _task(name: str, instruction: str, *, is_targeted: bool = False) -> TaskSpec:
    return TaskSpec(
        name=f"mw-{name}",
        domain="metaworld",
        instruction=instruction,
        action=ActionSpec(width=len(_LANES)),
        action_names=_LANES,
        max_steps=100,
        action_repeat=2,
        score_rule="1 if the task is solved at the last step, else 0",
        is_targeted=is_targeted,
        extra="metaworld",
        has_qualities=True,
        factory="reverie.envs.domains.metaworld.make:make_env",
        expert="reverie.envs.domains.metaworld.make:make_expert",
    )


TASKS = (
    _task("assembly", "Pick up the hollow object by its handle and place it over the peg"),
    _task("basketball", "Pick up the basketball and place it into the hoop"),
    _task("button-press-topdown", "Press the button from above"),
    _task("button-press-topdown-wall", "Press the button from above, avoiding the wall"),
    _task("button-press", "Press the button from the side"),
    _task("button-press-wall", "Press the button from the side, avoiding the wall"),
    _task("coffee-button", "Press the button on the coffee machine"),
    _task("coffee-pull", "Pull the coffee cup to the target position"),
    _task("coffee-push", "Push the coffee cup to the target position"),
    _task("dial-turn", "Turn the dial"),
    _task("disassemble", "Pick up the hollow object by its handle and remove it from the peg"),
    _task("door-open", "Open the door"),
    _task("door-close", "Close the door"),
    _task("drawer-close", "Close the drawer"),
    _task("drawer-open", "Open the drawer"),
    _task("faucet-open", "Open the faucet by turning the handle"),
    _task("faucet-close", "Close the faucet by turning the handle"),
    _task("hammer", "Hammer the peg into the hole"),
    _task("handle-press-side", "Press down the handle"),
    _task("handle-press", "Press down the handle"),
    _task("handle-pull-side", "Pull up the handle"),
    _task("handle-pull", "Pull up the handle"),
    _task("lever-pull", "Pull the lever up"),
    _task("peg-insert-side", "Insert the peg into the hole"),
    _task("peg-unplug-side", "Unplug the peg from the hole"),
    _task("pick-out-of-hole", "Pick the object out of the hole"),
    _task("pick-place", "Pick up the object and move it to the target position"),
    _task(
        "pick-place-wall",
        "Pick up the object and move it to the target position, avoiding the wall",
    ),
    _task("plate-slide", "Slide the hockey puck into the goal"),
    _task("plate-slide-side", "Slide the hockey puck into the goal"),
    _task("plate-slide-back", "Slide the hockey puck into the goal"),
    _task("plate-slide-back-side", "Slide the hockey puck into the goal"),
    _task("push-back", "Push the object to the target position"),
    _task("push", "Push the object to the green target", is_targeted=True),
    _task("push-wall", "Push the object around the wall and to the target position"),
    _task("reach", "Reach for the target position"),
    _task("reach-wall", "Reach for the target position, avoiding the wall"),
    _task("soccer", "Push the soccer ball into the goal"),
    _task("stick-push", "Push the thermo bottle to the target position using the stick"),
    _task("stick-pull", "Pull the thermo bottle to the target position using the stick"),
    _task("sweep-into", "Place the object at the target position"),
    _task("sweep", "Pick up the object and place it at the target position"),
    _task("window-open", "Open the window"),
    _task("window-close", "Close the window"),
    _task("bin-picking", "Pick up the object from the red bin and place it in the blue bin"),
    _task("box-close", "Close the box"),
    _task("door-lock", "Lock the door"),
    _task("door-unlock", "Unlock the door"),
    _task("hand-insert", "Move the object to the target position"),
)

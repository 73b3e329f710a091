"""The ``reverie`` command: find the sub-command, import only that, parse its flags, call it."""

import logging
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import reverie
from reverie.core.errors import ReverieError
from reverie.core.registry import Registry

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """One line of ``reverie --help``."""

    words: str
    """What is typed, such as ``"tasks list"``."""
    target: str
    """``"module:function"``, or ``"module:TABLE"`` with the last word as key."""
    summary: str
    example: str = ""
    """Arguments that make a useful call, shown in the help."""

    @property
    def line(self) -> str:
        """The example as it is typed."""
        return f"reverie {self.words} {self.example}".rstrip()


COMMANDS = (
    Command(
        words="demo",
        target="reverie.cli.demo:demo",
        summary="Evaluate the shipped model, then play its dream in the browser.",
    ),
    Command(
        words="tasks list",
        target="reverie.cli.tasks:COMMANDS",
        summary="List the tasks and what each needs.",
    ),
    Command(
        words="tasks show",
        target="reverie.cli.tasks:COMMANDS",
        summary="Show the facts of one task.",
        example="pygame-pong",
    ),
    Command(
        words="tasks experts",
        target="reverie.cli.experts:COMMANDS",
        summary="Measure scripted experts beside noise.",
        example="og-point-maze --episodes 4",
    ),
    Command(
        words="tasks check",
        target="reverie.cli.tasks:COMMANDS",
        summary="Run tasks and check that they keep the contract.",
        example="pygame-pong",
    ),
    Command(
        words="tasks gallery",
        target="reverie.cli.tasks:COMMANDS",
        summary="Draw one picture with a frame of every task that runs here.",
        example="--domain miniarcade --out gallery.png",
    ),
    Command(
        words="collect",
        target="reverie.cli.collect:collect",
        summary="Play tasks with a behaviour and store the episodes.",
        example="pygame-pong --episodes 20 --size-px 64",
    ),
    Command(
        words="data show",
        target="reverie.cli.data:COMMANDS",
        summary="Describe stored episodes and draw a contact sheet.",
        example="data/episodes --out sheet.png",
    ),
    Command(
        words="data check",
        target="reverie.cli.data:COMMANDS",
        summary="Verify every checksum and decode every stored frame.",
        example="data/episodes",
    ),
    Command(
        words="data download",
        target="reverie.cli.data:COMMANDS",
        summary="Fetch MMBench2's released data from the Hub, verified.",
        example="--partitions expert --tasks walker-run",
    ),
    Command(
        words="data import",
        target="reverie.cli.data:COMMANDS",
        summary="Convert MMBench2's released data into an episode store.",
        example="downloads/mmbench2 --partitions expert --out data/mmbench2",
    ),
    Command(
        words="data export",
        target="reverie.cli.data:COMMANDS",
        summary="Write episodes as a dataset of Hugging Face's library datasets.",
        example="data/episodes --out exported",
    ),
    Command(
        words="data import-hf",
        target="reverie.cli.data:COMMANDS",
        summary="Bring such a dataset back into an episode store, exactly.",
        example="exported --out data/again",
    ),
    Command(
        words="data weights",
        target="reverie.cli.weights:COMMANDS",
        summary="Write how often each task or episode is drawn in training.",
        example="data/episodes --strategy uniform",
    ),
    Command(
        words="train",
        target="reverie.cli.train:train",
        summary="Run a recipe; the same command resumes.",
        example="pocket",
    ),
    Command(
        words="evaluate",
        target="reverie.cli.evaluate:evaluate",
        summary="Measure a model on held-out episodes and write a report.",
        example="pocket",
    ),
    Command(
        words="evaluate stats",
        target="reverie.cli.stats:COMMANDS",
        summary="Print pooled and within-task statistics of a CSV of clips.",
        example="clips.csv",
    ),
    Command(
        words="evaluate looks",
        target="reverie.cli.evaluate_benches:COMMANDS",
        summary="What do looks that a tokenizer never saw cost, and does u_r tell?",
        example="pocket --tasks pygame-pong --unseen pygame-cowboy",
    ),
    Command(
        words="evaluate branches",
        target="reverie.cli.evaluate_benches:COMMANDS",
        summary="Several futures from one moment: does the dream part as reality does?",
        example="pocket --tasks pygame-pong",
    ),
    Command(
        words="evaluate tokenizers",
        target="reverie.cli.evaluate_tokenizers:COMMANDS",
        summary="Compare tokenizers, ours and others: PSNR, numbers a frame, speed.",
        example="pocket",
    ),
    Command(
        words="calibrate",
        target="reverie.cli.calibrate:calibrate",
        summary="Fit and judge the probability that a dream goes wrong.",
        example="pocket",
    ),
    Command(
        words="plan",
        target="reverie.cli.plan:plan",
        summary="Plan in a model's dream, act in the simulator, count the score.",
        example="--task pygame-point-maze-var1 --model pocket --episodes 4",
    ),
    Command(
        words="adapt",
        target="reverie.cli.adapt:adapt",
        summary="Teach a model a new task: collect where it dreams badly, finetune, repeat.",
        example="--task pygame-air-hockey --model pocket --episodes 50",
    ),
    Command(
        words="study detection",
        target="reverie.cli.study_detection:COMMANDS",
        summary="Judge how well readings say that a dream goes wrong.",
        example="--models pocket",
    ),
    Command(
        words="study cautious",
        target="reverie.cli.study:COMMANDS",
        summary="Does caution help planning? Same starts with and without it.",
        example="--tasks pygame-point-maze-var1 --episodes 5",
    ),
    Command(
        words="study targeted",
        target="reverie.cli.study:COMMANDS",
        summary="Which data teach a model a new task? Curiosity beside other sources.",
        example="--tasks pygame-air-hockey --seeds 2",
    ),
    Command(
        words="study coverage",
        target="reverie.cli.study:COMMANDS",
        summary="Rare tasks as often as common ones: does it help? Against a re-weighted loss.",
        example="--seeds 2",
    ),
    Command(
        words="study mitigations",
        target="reverie.cli.study_mitigations:COMMANDS",
        summary="What keeps a controller from exploiting its dream? Each cure alone.",
        example="--seeds 3",
    ),
    Command(
        words="study macro",
        target="reverie.cli.study_macro:COMMANDS",
        summary="For how many macro-actions do dreams match real play?",
        example="runs/cartpole-dream/model --rollouts 200",
    ),
    Command(
        words="play",
        target="reverie.cli.play:play",
        summary="Drive simulator and dream side by side in the browser.",
    ),
    Command(
        words="serve",
        target="reverie.cli.serve:serve",
        summary="Serve a frozen model over HTTP: encode, imagine, act, verify.",
        example="runs/cartpole-dream/model",
    ),
    Command(
        words="serve fit",
        target="reverie.cli.serve:COMMANDS",
        summary="Measure what is usual in real play, for verify.",
        example="runs/cartpole-dream/model data/held-out",
    ),
    Command(
        words="model list",
        target="reverie.cli.model:COMMANDS",
        summary="List the models that ship with Reverie.",
    ),
    Command(
        words="model inspect",
        target="reverie.cli.model:COMMANDS",
        summary="Describe a model: size, tasks, config, data.",
        example="pocket",
    ),
    Command(
        words="model download",
        target="reverie.cli.model:COMMANDS",
        summary="Fetch MMBench2's released weights from the Hub, verified.",
        example="combined",
    ),
    Command(
        words="model import",
        target="reverie.cli.model:COMMANDS",
        summary="Turn released MMBench2 weights into a model folder.",
        example="downloads/combined --out models/combined",
    ),
    Command(
        words="doctor",
        target="reverie.cli.doctor:doctor",
        summary="Say what this machine can and cannot do, and how to mend it.",
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and return the exit code.

    Args:
        arguments: The words after ``reverie``; None takes them from the process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    is_debug = bool(os.environ.get("REVERIE_DEBUG"))
    if words and words[0] == "--debug":
        is_debug, words = True, words[1:]
    logging.basicConfig(
        level=logging.DEBUG if is_debug else logging.INFO, format="%(message)s", stream=sys.stderr
    )
    for noisy in ("matplotlib", "asyncio", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        code = run(words)
        # Here, not at exit, so that a reader who left is noticed in time.
        sys.stdout.flush()
        return code
    except ReverieError as error:
        if is_debug:
            traceback.print_exc()
        print(f"reverie: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("\nStopped. What was written is whole; the same command goes on.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader left (such as `| head`). Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE


def run(words: list[str]) -> int:
    """Run one command line without an exit code for errors: they are raised."""
    if not words or words[0] in ("--help", "-h", "help"):
        print(help_text())
        return 0
    if words[0] == "--version":
        print(f"reverie {reverie.__version__}")
        return 0
    function, name, rest = find_function(words)
    if function is None:
        print(help_text(group=name))
        return 0
    import tyro

    result = tyro.cli(function, args=rest, prog=f"reverie {name}")
    # A command may return an exit code; anything else it returns is for tests.
    return result if type(result) is int else 0


def find_function(words: list[str]) -> tuple[Callable[..., Any] | None, str, list[str]]:
    """Import what a command line names.

    Returns:
        The function (None if only a group such as ``tasks`` was named), the words that name it,
        and the arguments that follow.

    Raises:
        UnknownNameError: There is no such command.
    """
    groups = Registry("command", "'reverie --help' lists all")
    for command in COMMANDS:
        first = command.words.split()[0]
        if first not in groups:
            groups.add(first, command.target)
    first = words[0]
    groups.target(first)
    members = {c.words.split()[1]: c for c in COMMANDS if c.words.startswith(f"{first} ")}
    is_command = any(command.words == first for command in COMMANDS)
    if is_command and (len(words) == 1 or words[1] not in members):
        # Such as `evaluate MODEL`, which has `evaluate stats FILE` beside it.
        return groups.load(first), first, words[1:]
    if len(words) == 1 or words[1] in ("--help", "-h"):
        return None, first, []
    registry = Registry(f"'reverie {first}' command", f"'reverie {first} --help' lists all")
    for second, command in members.items():
        registry.add(second, command.target)
    return registry.load(words[1])[words[1]], f"{first} {words[1]}", words[2:]


def help_text(group: str | None = None) -> str:
    """Write the list of commands, or of one group's commands, with examples."""
    chosen = [c for c in COMMANDS if group is None or c.words.startswith(f"{group} ")]
    width = max(len(command.words) for command in chosen)
    lines = [
        "Reverie: world models that know when they dream wrong.",
        "",
        f"usage: reverie {group or ''}{' ' if group else ''}COMMAND [--help] …",
        "",
        *(f"  {command.words:<{width}}  {command.summary}" for command in chosen),
        "",
        "examples:",
        *(f"  {command.line}" for command in chosen),
    ]
    if group is None:
        lines += [
            "",
            "options:",
            "  --version   Print the version.",
            "  --debug     Before the command: show the trace of an error, like REVERIE_DEBUG=1.",
        ]
    return "\n".join(lines)

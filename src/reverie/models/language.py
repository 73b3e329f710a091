"""Instruction embeddings of tasks: stored, CLIP's, or a deterministic stand-in that says so."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reverie.core.errors import ConfigError, DataError
from reverie.core.registry import require_extra

LanguageSource = Literal["one-hot", "words", "clip", "stored"]
"""``one-hot``: the task's number. ``words``: hashed words, offline. ``clip``: CLIP's text tower
through transformers. ``stored``: a JSON file of embeddings."""
CLIP_MODEL = "openai/clip-vit-base-patch32"
"""512 numbers wide, as the embeddings that MMBench2 stores."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LanguageTable:
    """One embedding per task, and the honest name of what made them."""

    made_by: str
    embeddings: Float[Tensor, "task e"]


def make_language_table(
    source: LanguageSource,
    instructions: Mapping[str, str],
    *,
    width: int,
    file: Path | None = None,
) -> LanguageTable | None:
    """Embed the instruction of every task; None where tasks are one-hot.

    Args:
        source: Where embeddings come from.
        instructions: Text of each task, in the order of the table.
        width: Numbers per embedding.
        file: For ``stored``: JSON, ``{task: {"text_embedding": [...]}}`` or ``{task: [...]}``.

    Raises:
        ConfigError: The source cannot give embeddings of this width, or CLIP is out of reach.
        DataError: The file lacks a task.
    """
    if source == "one-hot":
        return None
    if source == "stored":
        return _stored(file, tuple(instructions), width)
    if source == "clip":
        return _clip(tuple(instructions.values()), width)
    rows = [word_embedding(text, width) for text in instructions.values()]
    name = "hashed words (offline stand-in: alike only where words are shared, no meaning)"
    return LanguageTable(made_by=name, embeddings=torch.stack(rows))


def word_embedding(text: str, width: int) -> Float[Tensor, " e"]:
    """Return a unit vector that depends only on the words of a text, the same on every machine.

    Each word has a fixed random direction; a text is the direction of their sum.
    """
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    total = torch.zeros(width, dtype=torch.float64)
    for word in words or [""]:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=7).digest(), "big")
        rng = torch.Generator().manual_seed(seed)
        total += torch.randn(width, generator=rng, dtype=torch.float64)
    return (total / total.norm()).float()


def _stored(file: Path | None, tasks: Sequence[str], width: int) -> LanguageTable:
    if file is None or not file.exists():
        raise DataError(
            f"Stored task embeddings need a JSON file, got {file}. Name the 'tasks.json' of the "
            f"data set, or choose another source: words, clip or one-hot."
        )
    values = json.loads(file.read_text())
    rows: list[Tensor] = []
    for task in tasks:
        entry = values.get(task)
        found = entry.get("text_embedding") if isinstance(entry, dict) else entry
        if not isinstance(found, list) or len(found) != width:
            raise DataError(
                f"'{file}' has no embedding of {width} numbers for '{task}'. Use the file that "
                f"belongs to the data, or choose another source: words, clip or one-hot."
            )
        rows.append(torch.tensor(found, dtype=torch.float32))
    return LanguageTable(made_by=f"stored in {file.name}", embeddings=torch.stack(rows))


def _clip(texts: Sequence[str], width: int) -> LanguageTable:
    transformers = require_extra("transformers", "text", "embed instructions with CLIP")
    try:
        tokenizer = transformers.CLIPTokenizerFast.from_pretrained(CLIP_MODEL)
        model = transformers.CLIPTextModel.from_pretrained(CLIP_MODEL)
    except OSError as error:
        raise ConfigError(
            f"CLIP's weights, '{CLIP_MODEL}', are neither here nor to be fetched: {error}. Fetch "
            f"them where there is a network, or choose another source: words or stored."
        ) from error
    return embed_with_clip(tokenizer, model, texts, width=width, made_by=CLIP_MODEL)


@torch.no_grad()
def embed_with_clip(
    tokenizer: object, model: torch.nn.Module, texts: Sequence[str], *, width: int, made_by: str
) -> LanguageTable:
    """Return the mean over real tokens of CLIP's last text states, as MMBench2 stores them.

    Args:
        tokenizer: A CLIP tokenizer of transformers.
        model: A ``CLIPTextModel`` of transformers.
        texts: Instructions.
        width: Numbers per embedding, for the check.
        made_by: Name of the model.
    """
    words = tokenizer(list(texts), padding=True, return_tensors="pt")  # type: ignore[operator]
    states = model(**words).last_hidden_state
    if states.shape[-1] != width:
        raise ConfigError(
            f"{made_by} gives {states.shape[-1]} numbers per word, the model reads {width}. Set "
            f"dynamics.language_dim={states.shape[-1]}."
        )
    real = words["attention_mask"][..., None].to(states)
    return LanguageTable(made_by=made_by, embeddings=(states * real).sum(1) / real.sum(1))

"""Where instruction embeddings come from, and that the stand-in admits to being one."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from reverie.core.errors import ConfigError, DataError
from reverie.models.language import embed_with_clip, make_language_table, word_embedding

TEXTS = {"walk": "Walk forward", "run": "Run forward", "other": "Put the red cup away"}


def test_hashed_words_repeat_and_are_alike_where_words_are_shared() -> None:
    walk, run, other = (word_embedding(text, 64) for text in TEXTS.values())
    assert torch.equal(walk, word_embedding("walk, FORWARD!", 64))
    assert float(walk @ run) > float(walk @ other) + 0.2
    assert float(walk.norm()) == pytest.approx(1.0)


def test_the_stand_in_names_itself() -> None:
    table = make_language_table("words", TEXTS, width=32)
    assert table is not None
    assert table.embeddings.shape == (3, 32)
    assert "offline stand-in" in table.made_by


def test_one_hot_needs_no_table() -> None:
    assert make_language_table("one-hot", TEXTS, width=32) is None


def test_stored_embeddings_are_read_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    values = {name: {"text_embedding": [float(i)] * 4} for i, name in enumerate(TEXTS)}
    path.write_text(json.dumps(values))
    table = make_language_table("stored", dict(reversed(TEXTS.items())), width=4, file=path)
    assert table is not None
    assert table.embeddings[:, 0].tolist() == [2.0, 1.0, 0.0]
    with pytest.raises(DataError, match=r"no embedding of 5 numbers for 'walk'\. Use the file"):
        make_language_table("stored", TEXTS, width=5, file=path)
    with pytest.raises(DataError, match="need a JSON file, got None"):
        make_language_table("stored", TEXTS, width=4)


class FakeWords:
    """Stands for the tokenizer, whose vocabulary must be downloaded."""

    def __call__(self, texts: list[str], **_: object) -> dict[str, torch.Tensor]:
        counts = [len(text.split()) for text in texts]
        mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
        return {"input_ids": mask.long() * 5, "attention_mask": mask.long()}


def test_clip_that_is_out_of_reach_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = importlib.import_module("transformers")

    def fail(name: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(transformers.CLIPTokenizerFast, "from_pretrained", fail)
    with pytest.raises(ConfigError, match=r"neither here nor to be fetched: no network\. .*words"):
        make_language_table("clip", {"a": "walk"}, width=512)


def test_clip_states_are_averaged_over_real_words() -> None:
    transformers = importlib.import_module("transformers")
    config = transformers.CLIPTextConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
    )
    model = transformers.CLIPTextModel(config).eval()
    texts = list(TEXTS.values())
    both = embed_with_clip(FakeWords(), model, texts, width=16, made_by="tiny")
    alone = embed_with_clip(FakeWords(), model, texts[:1], width=16, made_by="tiny")
    torch.testing.assert_close(both.embeddings[:1], alone.embeddings)
    with pytest.raises(ConfigError, match=r"Set dynamics\.language_dim=16"):
        embed_with_clip(FakeWords(), model, texts, width=512, made_by="tiny")

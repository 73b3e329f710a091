"""Short and long batches: one length a step, the same on all ranks, resumable."""

from reverie.data.lengths import MixedLengths
from reverie.data.sampling import SamplerConfig, WindowSampler
from reverie.data.shards import EpisodeEntry
from reverie.data.windows import list_windows

FIRST_ALL_LONG = 90


def _mixed(rank: int = 0, num_ranks: int = 1) -> MixedLengths:
    entry = EpisodeEntry(
        id="a",
        task="t",
        source="random",
        seed=0,
        num_steps=60,
        action_width=1,
        terminated=False,
        score=0.0,
    )
    short, long = (
        WindowSampler(
            list_windows([entry], length),
            SamplerConfig(batch_size=size // num_ranks, seed=3),
            rank=rank,
            num_ranks=num_ranks,
        )
        for length, size in ((5, 8), (20, 2))
    )
    return MixedLengths(short, long, long_share=0.2, first_all_long=FIRST_ALL_LONG, seed=7)


def test_a_step_has_one_length_and_about_as_many_frames_either_way() -> None:
    mixed, lengths = _mixed(), []
    for step in range(100):
        refs = mixed.draw(step)
        assert len({ref.length for ref in refs}) == 1
        assert sum(ref.length for ref in refs) == 40
        lengths.append(refs[0].length)
    assert set(lengths[FIRST_ALL_LONG:]) == {20}
    assert 8 <= lengths[:FIRST_ALL_LONG].count(20) <= 30


def test_two_ranks_draw_one_length_and_together_what_one_process_draws() -> None:
    alone, ranks = _mixed(), [_mixed(rank, 2) for rank in range(2)]
    for step in range(40):
        assert alone.draw(step) == [ref for rank in ranks for ref in rank.draw(step)]


def test_a_resumed_one_goes_on_where_it_was() -> None:
    whole, half = _mixed(), _mixed()
    drawn = [whole.next_batch() for _ in range(12)]
    for _ in range(5):
        half.next_batch()
    later = _mixed()
    later.load_state_dict(half.state_dict())
    assert [later.next_batch() for _ in range(7)] == drawn[5:]

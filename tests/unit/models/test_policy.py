"""The cloned policy: its distributions, its targets, and lanes that do not exist."""

import pytest
import torch
from torch.testing import assert_close

from reverie.models.dynamics.actions import BinnedActions, NormalActions
from reverie.models.dynamics.heads import HeadsConfig, PolicyHead

WIDTH, LANES, AGENTS = 12, 3, 2
HEADS = {
    "fixed": HeadsConfig(num_policy_distances=2),
    "learned": HeadsConfig(num_policy_distances=2, policy_std=None),
    "binned": HeadsConfig(num_policy_distances=2, policy="binned"),
}


def make_head(name: str) -> PolicyHead:
    torch.manual_seed(0)
    head = PolicyHead(WIDTH, HEADS[name], LANES)
    with torch.no_grad():
        head.out.weight.normal_(std=0.3)
    return head


def rows(seed: int = 0) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    agents = torch.randn(2, 5, AGENTS, WIDTH, generator=rng)
    actions = torch.rand(2, 5, LANES, generator=rng) * 2 - 1
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    seen = torch.ones(2, 5, dtype=torch.bool)
    seen[0, 0] = False
    return agents, actions, mask, seen


def test_gaussian_actions_equal_those_of_torch() -> None:
    mean, std, action = (
        torch.rand(3, 4, LANES) - 0.5,
        torch.rand(3, 4, LANES) + 0.1,
        torch.rand(3, 4, LANES),
    )
    mine, prior = NormalActions(mean, std), NormalActions(mean + 0.2, std + 0.3)
    theirs = torch.distributions.Normal(mean, std)
    ones = torch.ones(LANES)
    assert_close(mine.log_prob(action, ones), theirs.log_prob(action).sum(-1))
    other = torch.distributions.Normal(mean + 0.2, std + 0.3)
    wanted = torch.distributions.kl_divergence(theirs, other).sum(-1)
    assert_close(mine.kl(prior, ones), wanted)


def test_binned_actions_equal_those_of_torch() -> None:
    logits, prior = torch.randn(3, LANES, 41), torch.randn(3, LANES, 41)
    mine, theirs = BinnedActions(logits), torch.distributions.Categorical(logits=logits)
    index = torch.randint(41, (3, LANES))
    ones = torch.ones(LANES)
    assert_close(mine.log_prob(mine.bins[index], ones), theirs.log_prob(index).sum(-1))
    wanted = torch.distributions.kl_divergence(
        theirs, torch.distributions.Categorical(logits=prior)
    )
    assert_close(mine.kl(BinnedActions(prior), ones), wanted.sum(-1))
    drawn = mine.sample(torch.Generator().manual_seed(1))
    assert bool(torch.isclose(drawn[..., None], mine.bins).any(-1).all())


@pytest.mark.parametrize("name", HEADS)
def test_distance_k_is_the_action_taken_from_frame_t_plus_k(name: str) -> None:
    """Law (mask): changing any entry that is no target changes no loss; any other does."""
    head = make_head(name)
    agents, actions, mask, seen = rows()
    loss = head.loss(agents, actions, mask, seen)
    assert float(loss.detach()) > 0
    # Nothing led to row 0's first frame, and what led to row 1's is taken from no frame here.
    for row in range(2):
        changed = actions.clone()
        changed[row, 0] = 0.9
        assert torch.equal(head.loss(agents, changed, mask, seen), loss)
    changed = actions.clone()
    changed[1, 4, 0] = -changed[1, 4, 0].sign()
    assert not torch.equal(head.loss(agents, changed, mask, seen), loss)


@pytest.mark.parametrize("name", HEADS)
def test_lanes_that_do_not_exist_change_no_loss(name: str) -> None:
    head = make_head(name)
    agents, actions, mask, seen = rows()
    changed = actions.clone()
    changed[1, :, 1:] = 0.77
    assert torch.equal(
        head.loss(agents, changed, mask, seen), head.loss(agents, actions, mask, seen)
    )


@pytest.mark.parametrize("name", HEADS)
def test_a_policy_learns_what_the_players_did(name: str) -> None:
    head = make_head(name)
    agents, _, mask, seen = rows()
    actions = torch.tanh(agents[:, :, 0, :LANES]).roll(1, dims=1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    first = float(head.loss(agents, actions, mask, seen).detach())
    for _ in range(150):
        optimizer.zero_grad()
        loss = head.loss(agents, actions, mask, seen)
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.2 * first

"""n-step and λ-returns against numbers a person can check, and against each other."""

import pytest
import torch

from qframe.functional.backup import Backup, Law, apply, mix
from qframe.functional.returns import lambda_horizons, lambda_return, n_step_return
from qframe.functional.value_learning import selected_value, soft_value, td_zero


def test_td_zero_by_hand():
    target = td_zero(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), torch.tensor([10.0, 10.0]))
    assert target.tolist() == [6.0, 2.0]


@pytest.mark.parametrize("beyond", [torch.nan, torch.inf, -torch.inf])
def test_nothing_beyond_a_terminal_state_reaches_a_target(beyond):
    assert td_zero(torch.tensor(3.0), torch.tensor(0.0), torch.tensor(beyond)).item() == 3.0
    assert n_step_return(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]), torch.tensor(beyond)).item() == 3.0
    one, cut = torch.ones(2), torch.tensor([1.0, 0.0])
    assert lambda_return(one, cut, torch.tensor([5.0, beyond]), one).tolist() == [2.0, 1.0]


def test_n_step_return_by_hand():
    # 1 + .9·2 + .81·3 + .729·10
    value = n_step_return(torch.tensor([1.0, 2.0, 3.0]), torch.full((3,), 0.9), torch.tensor(10.0))
    assert value.item() == pytest.approx(12.52)


def test_lambda_return_by_hand():
    # G_1 = 2 + .9·5 = 6.5;  G_0 = 1 + .9·(4 + .8·(6.5 − 4)) = 6.4
    reward, value = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0])
    returns = lambda_return(reward, torch.full((2,), 0.9), value, torch.full((2,), 0.8))
    assert returns.tolist() == pytest.approx([6.4, 6.5])


def test_lambda_zero_is_td_zero_and_one_is_the_n_step_return():
    generator = torch.Generator().manual_seed(0)
    reward, value = torch.randn(2, 3, 5, generator=generator)
    discount = torch.full((3, 5), 0.9)
    zero, one = torch.zeros(3, 5), torch.ones(3, 5)
    torch.testing.assert_close(lambda_return(reward, discount, value, zero), td_zero(reward, discount, value))
    whole = n_step_return(reward, discount, value[:, -1])
    torch.testing.assert_close(lambda_return(reward, discount, value, one)[:, 0], whole)


def test_a_cut_trace_keeps_the_next_episode_out():
    # Step 0 ends an episode by truncation: it bootstraps on its own next state, whatever comes after.
    reward, value = torch.tensor([1.0, 1000.0]), torch.tensor([4.0, 1000.0])
    returns = lambda_return(reward, torch.full((2,), 0.5), value, torch.tensor([0.0, 0.9]))
    assert returns[0].item() == 3.0


def test_the_mixture_over_horizons_has_the_lambda_return_as_its_mean():
    generator = torch.Generator().manual_seed(1)
    reward, value, trace = torch.rand(3, 4, 6, generator=generator)
    discount = torch.where(torch.rand(4, 6, generator=generator) < 0.2, 0.0, 0.95)
    trace = torch.where(torch.rand(4, 6, generator=generator) < 0.2, 0.0, trace)
    horizons = lambda_horizons(reward, discount, trace)
    torch.testing.assert_close(horizons.weight.sum(-1), torch.ones(4, 6))
    per_horizon = value.unsqueeze(-2).expand(4, 6, 6).unsqueeze(-1)  # [B, T, K, 1]
    law = apply(horizons, Law(per_horizon, torch.ones_like(per_horizon)))
    torch.testing.assert_close(law.mean, lambda_return(reward, discount, value, trace))


def test_a_backup_moves_and_mixes_atoms():
    law = Law(torch.tensor([[0.0, 2.0], [10.0, 10.0]]), torch.tensor([[0.5, 0.5], [0.25, 0.75]]))  # K = 2
    backup = Backup(torch.tensor([1.0, 5.0]), torch.tensor([0.5, 0.0]), torch.tensor([0.4, 0.6]))
    target = apply(backup, law)
    assert target.location.tolist() == [1.0, 2.0, 5.0, 5.0]
    assert target.mass.tolist() == pytest.approx([0.2, 0.2, 0.3, 0.3])
    assert target.mean.item() == pytest.approx(0.4 * 1.5 + 0.6 * 5.0)


def test_double_selection_evaluates_the_action_that_the_other_network_prefers():
    value, selector = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 9.0, 8.0]])
    assert selected_value(value, selector).item() == 2.0
    assert selected_value(value, selector, torch.tensor([True, False, True])).item() == 3.0
    assert selected_value(value, value).item() == 3.0


def test_the_soft_value_lies_above_the_maximum_by_at_most_the_entropy():
    # τ·log Σ exp(q/τ) = log(e¹ + e²)
    assert soft_value(torch.tensor([1.0, 2.0]), 1.0).item() == pytest.approx(2.3132617)
    masked = soft_value(torch.tensor([1.0, 2.0, -torch.inf]), 1.0, torch.tensor([True, True, False]))
    assert masked.item() == pytest.approx(2.3132617)


@pytest.mark.parametrize("beyond", [torch.nan, torch.inf])
def test_a_cut_trace_ignores_the_next_episode(beyond):
    reward, value = torch.tensor([1.0, beyond]), torch.tensor([4.0, beyond])
    returns = lambda_return(reward, torch.full((2,), 0.5), value, torch.tensor([0.0, 0.9]))
    assert returns[0].item() == 3.0


def test_the_last_trace_is_not_read():
    one = torch.ones(2)
    for last in (0.5, torch.nan):
        assert lambda_return(one, one, torch.tensor([3.0, torch.inf]), torch.tensor([0.0, last]))[1].item() == torch.inf
        assert lambda_return(one, one, 3 * one, torch.tensor([0.0, last])).tolist() == [4.0, 4.0]


def test_horizons_with_more_batch_dimensions_are_those_of_each_row():
    generator = torch.Generator().manual_seed(2)
    rows = torch.rand(3, 2, 3, 4, generator=generator)  # reward, discount, trace, each [2, 3, T]
    together = lambda_horizons(*rows)
    for i in range(2):
        for j in range(3):
            alone = lambda_horizons(*rows[:, i, j])
            for whole, part in zip(together, alone, strict=True):
                assert torch.equal(whole[i, j], part)


def test_a_law_of_weight_zero_is_left_out_of_a_mixture():
    law = Law(torch.tensor([[1.0, 3.0], [torch.nan, torch.inf]]), torch.tensor([[0.5, 0.5], [torch.nan, torch.nan]]))
    mixed = mix(torch.tensor([1.0, 0.0]), law)
    assert mixed.mean.item() == 2.0
    assert mixed.mass.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_the_double_selection_gives_one_value_per_batch_entry():
    value = torch.arange(12.0).view(2, 2, 3)
    assert selected_value(value, -value).tolist() == [[0.0, 3.0], [6.0, 9.0]]

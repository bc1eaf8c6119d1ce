import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

from nnunetv2_pclmix.losses.supervised import PartialDiceCELoss

IGNORE = 3


def _stock(batch_dice: bool = True, ignore_label: int | None = IGNORE, **weights: float) -> DC_and_CE_loss:
    dice = {"batch_dice": batch_dice, "smooth": 1e-5, "do_bg": False, "ddp": False}
    return DC_and_CE_loss(dice, {}, ignore_label=ignore_label, dice_class=MemoryEfficientSoftDiceLoss, **weights)


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("ignored", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("grid", [(6, 5), (3, 4, 5)])
def test_value_and_gradient_are_those_of_nnunets_loss(batch_dice, ignored, grid):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, *grid, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 1, *grid), generator=generator)
    target[torch.rand(target.shape, generator=generator) < ignored] = IGNORE
    of_logits = PartialDiceCELoss(_stock(batch_dice))
    of_scores = PartialDiceCELoss(_stock(batch_dice), of_logits=False)
    values, gradients = [], []
    for loss in (_stock(batch_dice), of_logits, lambda x, t: of_scores(x.log_softmax(1), t)):
        mine = logits.clone().requires_grad_()
        value = loss(mine, target)
        value.backward()
        values.append(value.item())
        gradients.append(mine.grad)
    for value, gradient in zip(values[1:], gradients[1:], strict=True):
        assert value == pytest.approx(values[0], rel=1e-9, abs=1e-12)
        assert torch.allclose(gradient, gradients[0], rtol=1e-9, atol=1e-12)


def test_nnunets_loss_is_left_as_it_is_and_compiled_where_it_was():
    stock = _stock()
    before = stock.dc.apply_nonlin
    PartialDiceCELoss(stock)
    assert stock.dc.apply_nonlin is before
    stock.dc = torch.compile(stock.dc, backend="eager")
    dice = PartialDiceCELoss(stock).dice
    assert isinstance(dice, type(stock.dc))
    assert dice._orig_mod.apply_nonlin is torch.exp


def test_another_loss_than_nnunets_own_is_refused():
    for stock in (_stock(ignore_label=None), _stock(weight_ce=0.5)):
        with pytest.raises(ValueError, match="with an ignore label and weights of 1"):
            PartialDiceCELoss(stock)

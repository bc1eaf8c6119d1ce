import itertools

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet, ResidualEncoderUNet
from monai.networks.nets.swin_unetr import BasicLayer, get_window_size
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.network.dual_decoder import DualDecoderUNet, DualOutput
from nnunetv2_pclmix.network.swin_decoder import _RecomputedBlock


def _unet(
    kind=PlainConvUNet, dim: int = 2, features=(8, 16, 32, 64), strides=None, classes: int = 4, channels: int = 1
):
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dim == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    n = len(features)
    strides = strides or [[1] * dim] + [[2] * dim] * (n - 1)
    blocks = {"n_conv_per_stage": 2} if kind is PlainConvUNet else {"n_blocks_per_stage": [1] * n}
    return kind(
        input_channels=channels,
        n_stages=n,
        features_per_stage=list(features),
        conv_op=conv,
        kernel_sizes=[[3] * dim] * n,
        strides=strides,
        num_classes=classes,
        n_conv_per_stage_decoder=[1] * (n - 1),
        conv_bias=True,
        norm_op=norm,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
        **blocks,
    )


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
@pytest.mark.parametrize(
    ("dim", "patch", "strides"),
    [
        (2, (64, 48), None),
        (2, (40, 72), None),  # 10 x 18 tokens: not divisible by the window
        (3, (16, 32, 32), None),
        (3, (5, 32, 32), [[1, 1, 1], [1, 2, 2], [1, 2, 2], [1, 2, 2]]),  # anisotropic, thinner than the window
    ],
)
def test_shapes(kind, dim, patch, strides):
    network = add_training_parts(_unet(kind, dim, strides=strides, channels=2), 4, patch, PCLMixConfig())
    x = torch.randn(2, 2, *patch)
    output = network.train()(x)
    assert isinstance(output, DualOutput)
    assert [m.shape[0] for m in output.main] == [2] * 3
    assert output.main[0].shape == output.auxiliary.shape == (2, 4, *patch)
    assert output.embedding.shape[:2] == (2, PCLMixConfig().embedding_dimension)
    coarsest = [p // 8 if patch[0] > 5 or axis > 0 else p for axis, p in enumerate(patch)]
    assert list(output.embedding.shape[2:]) == coarsest


@pytest.mark.parametrize(
    ("patch", "features"),
    [
        ((224, 192), (8, 16, 32, 64, 128, 128)),  # 7 x 6 tokens at the bottom
        ((64, 320), (8, 16, 32, 64, 128)),  # 4 x 20
        ((320, 64), (8, 16, 32, 64, 128)),
        ((32, 64, 128), (8, 16, 32, 64)),  # 4 x 8 x 16
        ((128, 96, 32), (8, 16, 32, 64)),
    ],
)
def test_equal_offsets_in_a_window_share_a_bias_and_no_unlike_ones(patch, features):
    network = add_training_parts(_unet(dim=len(patch), features=features), 4, patch, PCLMixConfig())
    stages = [(n, swin) for n, swin in enumerate(network.auxiliary_decoder.swin) if isinstance(swin, BasicLayer)]
    assert len(stages) == len(features) - 3  # from stride 8 on
    for level, swin in stages:
        grid = [size // 2 ** (len(features) - 1 - level) for size in patch]
        window, _ = get_window_size(grid, swin.window_size, swin.shift_size)  # as a block asks
        tokens = list(itertools.product(*map(range, window)))
        offsets = [tuple(i - j for i, j in zip(a, b, strict=True)) for a in tokens for b in tokens]
        for block in swin.blocks:
            index = block.attn.relative_position_index[: len(tokens), : len(tokens)].flatten().tolist()
            assert len(set(zip(offsets, index, strict=True))) == len(set(offsets)) == len(set(index))
            assert max(index) < len(block.attn.relative_position_bias_table)


@pytest.mark.parametrize("kind", [PlainConvUNet, ResidualEncoderUNet])
def test_weights_are_exactly_the_planned_networks(kind):
    torch.manual_seed(0)
    planned = _unet(kind)
    network = add_training_parts(_unet(kind), 4, (32, 32), PCLMixConfig())
    assert list(network.state_dict()) == list(planned.state_dict())
    network.load_state_dict(planned.state_dict())
    planned.load_state_dict(network.state_dict(), strict=True)
    x = torch.randn(1, 1, 32, 32)
    for mine, theirs in zip(network.eval()(x), planned.eval()(x), strict=True):
        assert torch.equal(mine, theirs)


def test_state_has_no_training_parts_under_a_prefix_either():
    wrapper = nn.Sequential(add_training_parts(_unet(), 4, (32, 32), PCLMixConfig()))
    assert list(wrapper.state_dict()) == [f"0.{key}" for key in _unet().state_dict()]


def test_training_parts_survive_a_checkpoint():
    network, other = (add_training_parts(_unet(), 4, (32, 32), PCLMixConfig()) for _ in range(2))
    other.load_state_dict(network.state_dict())
    before = {k: v.clone() for k, v in other.training_only_state().items()}
    assert not all(torch.equal(v, network.training_only_state()[k]) for k, v in before.items())
    other.load_training_only_state(network.training_only_state())
    assert all(torch.equal(v, network.training_only_state()[k]) for k, v in other.training_only_state().items())


def test_every_parameter_gets_a_gradient():
    network = add_training_parts(_unet(), 4, (32, 32), PCLMixConfig(auxiliary_drop_path=0.0)).train()
    output = network(torch.randn(2, 1, 32, 32))
    (
        sum(m.square().mean() for m in output.main) + output.auxiliary.square().mean() + output.embedding.mean()
    ).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_evaluation_computes_the_planned_network_only():
    network, planned = add_training_parts(_unet(), 4, (32, 32), PCLMixConfig()).eval(), _unet().eval()
    x = torch.randn(1, 1, 32, 32)
    flops = []
    for model in (network, planned):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(x)
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]


@pytest.mark.parametrize("features", [(8, 16, 32, 64, 128, 128), (32, 64, 128, 256, 512, 512)])
def test_the_auxiliary_decoder_adds_at_most_30_percent(features):
    with torch.device("meta"):
        network = add_training_parts(_unet(features=features), 4, (256, 224), PCLMixConfig())
        x = torch.randn(1, 1, 256, 224)
        flops = []
        for training in (False, True):
            network.train(training)
            with FlopCounterMode(display=False) as counter:
                network(x)
            flops.append(counter.get_total_flops())
    assert 1.0 < flops[1] / flops[0] <= 1.3


def test_a_network_without_encoder_is_refused():
    with pytest.raises(ValueError, match=r"needs a U-Net with an encoder.*Sequential"):
        add_training_parts(nn.Sequential(), 4, (32, 32), PCLMixConfig())
    with pytest.raises(ValueError, match="expected a U-Net with an encoder"):
        DualDecoderUNet(nn.Sequential(), nn.Identity(), nn.Identity(), 0)


@pytest.mark.parametrize(("dim", "patch"), [(2, (64, 48)), (3, (16, 32, 32))])
def test_computing_the_blocks_again_changes_no_gradient(dim, patch):
    gradients, x = [], torch.randn(2, 1, *patch)
    for recompute in (False, True):
        torch.manual_seed(0)  # weights and drop path
        network = add_training_parts(_unet(dim=dim), 4, patch, PCLMixConfig(), recompute=recompute).train()
        assert any(isinstance(module, _RecomputedBlock) for module in network.modules()) is recompute
        network(x).auxiliary.square().mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("dim", "patch"), [(2, (64, 48)), (3, (16, 32, 32))])
def test_compiles_without_graph_breaks_and_agrees_with_eager(dim, patch, recompute):
    torch._dynamo.reset()  # or shapes seen in other tests would make these dynamic
    network = add_training_parts(_unet(dim=dim), 4, patch, PCLMixConfig(), recompute=recompute).train()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True, dynamic=False)  # raises at a break
    x = torch.randn(2, 1, *patch)
    outputs = []
    for model in (network, compiled):
        torch.manual_seed(0)  # drop path
        output = model(x)
        outputs.append([*output.main, output.auxiliary, output.embedding])
    for eager, traced in zip(*outputs, strict=True):
        assert torch.allclose(eager, traced, atol=1e-5)

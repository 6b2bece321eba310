import pytest
import torch
from torch import Tensor, nn

from ser_tune.config import FeatureConfig, ModelConfig
from ser_tune.errors import InputError
from ser_tune.model import Dropout, build_network, summarise, weights_sha256


def published() -> torch.nn.Module:
    features = FeatureConfig()
    return build_network(ModelConfig(), features.n_coefficients, features.n_frames, 8)


def test_the_default_network_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in published().parameters()) == 3_444_488


def test_the_layers_are_the_published_ones_in_order() -> None:
    features = FeatureConfig()
    network = build_network(ModelConfig(), features.n_coefficients, features.n_frames, 8)
    rows = summarise(network)
    assert [row.layer for row in rows] == [
        "Conv2d(1, 32, 3, padding 1)", "MaxPool2d(2)", "ReLU", "Dropout(0.2)",
        "Conv2d(32, 64, 3, padding 1)", "MaxPool2d(2)", "ReLU", "Dropout(0.2)",
        "Flatten", "Linear(13248, 256)", "ReLU", "Linear(256, 128)", "ReLU", "Linear(128, 8)", "Softmax",
    ]  # fmt: skip
    assert rows[6].output == (64, 9, 23)
    assert rows[-1].output == (8,)


def test_the_network_and_its_gradients_are_those_of_the_published_order_of_layers() -> None:
    torch.manual_seed(0)
    network = build_network(ModelConfig(dropout=0.0), 39, 94, 8)
    first, second, *linear = (layer for layer in network.layers if isinstance(layer, nn.Conv2d | nn.Linear))
    pool = nn.MaxPool2d(2)

    def published(features: Tensor) -> Tensor:
        convolved = pool(torch.relu(second(pool(torch.relu(first(features.unsqueeze(1)))))))
        logits: Tensor = nn.Sequential(nn.Flatten(), linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])(convolved)
        return logits

    features = torch.randn(5, 39, 94)
    features[:, :, 60:] = 0  # padding: many values tie for the maximum
    gradients = []
    for forward in (network, published):
        network.zero_grad()
        forward(features).square().sum().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    assert torch.equal(network(features), published(features))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*gradients, strict=True) if ours is not None)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_at_random_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(1)
    values = torch.ones(64, 8, 19, 47).to(memory_format=torch.channels_last)
    dropped = Dropout(rate)(values)
    kept, n = dropped != 0, values.numel()
    assert abs(kept.double().mean() - (1 - rate)) < 5 * (rate * (1 - rate) / n) ** 0.5
    torch.testing.assert_close(dropped[kept], torch.full((int(kept.sum()),), 1 / (1 - rate)), rtol=1e-4, atol=0)
    assert (kept[0] != kept[1]).any()
    together = (kept[:, 0] & kept[:, 1]).double().mean()  # neighbours in memory are independent
    assert abs(together - (1 - rate) ** 2) < 0.01
    assert torch.equal(Dropout(rate).eval()(values), values)
    assert torch.equal(Dropout(0.0)(values), values)


def test_the_first_linear_layer_follows_the_features() -> None:
    network = build_network(ModelConfig(channels=(4, 6), hidden=(10, 5)), 30, 47, 3)
    assert network(torch.zeros(2, 30, 47)).shape == (2, 3)
    assert "Linear(462, 10)" in [row.layer for row in summarise(network)]  # 6 x 7 x 11


def test_the_network_gives_logits_and_serves_probabilities() -> None:
    network = build_network(ModelConfig(), 39, 94, 8).eval()
    features = torch.randn(3, 39, 94)
    logits = network(features)
    assert not torch.allclose(logits.exp().sum(dim=1), torch.ones(3))
    expected = torch.exp(logits) / torch.exp(logits).sum(dim=1, keepdim=True)
    torch.testing.assert_close(network.probabilities(features), expected)


@pytest.mark.parametrize("shape", [(2, 39, 93), (2, 1, 39, 94), (39, 94)])
def test_another_shape_is_refused_with_the_expected_and_the_found_one(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\[batch, 39, 94\]") as error:
        build_network(ModelConfig(), 39, 94, 8)(torch.zeros(shape))
    assert str(list(shape)) in str(error.value)


def test_features_too_small_for_two_poolings_are_refused() -> None:
    with pytest.raises(InputError, match="too small for two poolings"):
        build_network(ModelConfig(), 3, 94, 8)


def test_the_weights_hash_changes_with_any_single_weight() -> None:
    torch.manual_seed(0)
    network = build_network(ModelConfig(), 39, 94, 8)
    first = next(network.parameters())
    before = weights_sha256(network.state_dict())
    assert before == weights_sha256({name: tensor.clone() for name, tensor in network.state_dict().items()})
    with torch.no_grad():
        first[0, 0, 0, 0] += 1e-6
    assert weights_sha256(network.state_dict()) != before

"""Networks that nobody wrote for this project, as its users have them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Perceptron(nn.Module):
    """The 20 lines that most people start with."""

    def __init__(
        self, width: int = 9, depth: int = 1, dropout: float = 0.0, outputs: int = 4
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        units = 12
        for _ in range(depth):
            layers += [nn.Linear(units, width), nn.ReLU(), nn.Dropout(dropout)]
            units = width
        self.layers = nn.Sequential(*layers, nn.Linear(units, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Residual(nn.Module):
    """A small ResNet with batch normalization, for images of two channels."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.start = nn.Conv2d(2, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.head = nn.Linear(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.start(x)).relu()
        h = (h + self.norm2(self.conv(h))).relu()
        return self.head(h.mean((2, 3)))


class Attention(nn.Module):
    """torch's own transformer, the features read as a sequence of four."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(3, 1, 8, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x.view(-1, 4, 3)).flatten(1))


class Recurrent(nn.Module):
    """torch's own LSTM, which vmap does not stack."""

    def __init__(self, units: int = 5, outputs: int = 4) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, units, batch_first=True)
        self.head = nn.Linear(units, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out, _ = self.lstm(x.view(-1, 4, 3))
        return self.head(out[:, -1])


class TextClassifier(nn.Module):
    """An embedding bag over words, here the signs of the features."""

    def __init__(self, size: int = 6) -> None:
        super().__init__()
        self.words = nn.EmbeddingBag(24, size, mode="mean")
        self.head = nn.Linear(size, 4)

    def forward(self, x: Tensor) -> Tensor:
        places = 2 * torch.arange(12, device=x.device) + (x > 0).long()
        return self.head(self.words(places))


def forgetful() -> nn.Module:
    """A function that returns a module, with randomness of its own."""

    class Forgetful(Perceptron):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.dropout(x, 0.5, self.training))

    return Forgetful()


def broken(size: int) -> nn.Module:
    return nn.Linear(size, 4)


def nothing() -> int:
    return 3


def clash(learning_rate: float = 0.1) -> nn.Module:
    return nn.Linear(12, 4)


class Devious(Perceptron):
    """The same, in a way that nobody would take for plain layers."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 1.0


class Unused(Perceptron):
    """With a layer that no input passes."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(2, 2)


class Shared(nn.Module):
    """One layer twice."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(4, 4)
        self.layers = nn.Sequential(layer, nn.ReLU(), layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Skips(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x[:, :4]


class Biasless(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4))


class TwoActivations(nn.Sequential):
    def __init__(self) -> None:
        layers = (nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
        super().__init__(*layers)


def redefined(outputs: int) -> type[Perceptron]:
    """The class of a notebook's cell, which is run again with another body."""

    class Redefined(Perceptron):
        def __init__(self) -> None:
            super().__init__(outputs=outputs)

    return Redefined


class Loose(nn.Module):
    """Arguments as people write them."""

    def __init__(
        self,
        units,
        hidden=[4],  # noqa: B006
        *,
        extra: int | None = None,
        kind: Literal["relu", "tanh"] = "relu",
        sizes: list[int] | None = None,
        norm: Any = None,
        **others: object,
    ) -> None:
        super().__init__()
        assert (type(units), type(norm), others) == (int, str, {})
        sizes = [12] + hidden + (sizes or [])
        layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], units), nn.ReLU())
        self.head = nn.Linear(units, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x))


def schedules(epochs: int = 3) -> nn.Module:
    return nn.Linear(12, 4)


class DropsTwice(nn.Module):
    """One dropout for all layers, as many people have it; the layers are of equal width or not."""

    def __init__(self, rate: float = 0.4, first: int = 8, second: int = 6) -> None:
        super().__init__()
        self.drop = nn.Dropout(rate)
        self.one = nn.Sequential(nn.Linear(12, first), nn.ReLU(), self.drop)
        self.two = nn.Sequential(nn.Linear(first, second), nn.ReLU())
        self.head = nn.Linear(second, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.drop(self.two(self.one(x)))))


class Lazy(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.LazyLinear(5), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(4))


class Frozen(nn.Module):
    """A layer that is not to be trained, as of another network, and one that none reads."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(12, 6).requires_grad_(False)
        self.head = nn.Linear(6, 4)
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.base(x).relu())


class FrozenNorm(nn.Module):
    """Batch normalization by the statistics of another network, as fine-tuning often has it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm.eval()(x))


class Centred(nn.Module):
    """Buffers of its own, one set anew and one changed in place in each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(12, 4)
        self.register_buffer("mean", torch.zeros(12))
        self.register_buffer("factors", torch.ones(12))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
            self.factors.mul_(0.99)
        return self.head((x - self.mean) * self.factors)


class Probabilities(Perceptron):
    """Which gives something else in validation than in training."""

    def forward(self, x: Tensor) -> Tensor:
        outputs = super().forward(x)
        return outputs if self.training else outputs.softmax(1)


class Counting(Perceptron):
    """Whose outputs change from call to call."""

    def forward(self, x: Tensor) -> Tensor:
        self.count = getattr(self, "count", 0) + 1
        return super().forward(x) / self.count


def averaging() -> nn.Module:
    """Its running statistics are a mean of all minibatches, the number of which no row has."""
    return nn.Sequential(nn.Linear(12, 4), nn.BatchNorm1d(4, momentum=None))


class HiddenRandomness(Recurrent):
    """Random numbers that vmap does not come to see."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(x), 0.5, self.training)


class ForeignStart(nn.Linear):
    """Weights from NumPy's random numbers."""

    def __init__(self) -> None:
        super().__init__(12, 4)
        self.weight.data = torch.as_tensor(np.random.default_rng().normal(size=(4, 12)))


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 4, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        return (x.to(torch.cfloat) @ self.weight).abs()


class Pair(Perceptron):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


class Exits(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        raise SystemExit("bye")


class Rounded(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).long()


class PastTheCall(nn.Module):
    """Reads the weights of its layers past their calls."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(12, 9), nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = nn.functional.linear(x, self.layer.weight, self.layer.bias).relu()
        return h @ self.head.weight.T + self.head.bias


class Tied(nn.Module):
    """Two layers with one weight, as a language model ties what it reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 4), nn.Linear(4, 4)
        self.leave.weight = self.enter.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.enter(x).relu())


class TwoLayers(nn.Module):
    """What those below change."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(12, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(x).relu()) * 1.0  # so that it is no chain of plain layers


class ShapeRead(TwoLayers):
    """Scales by a number of units that it reads from the weights."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc(x).tanh() / self.fc.weight.shape[0])


class MaxNorm(TwoLayers):
    """Limits a norm that is within the limit at the start."""

    def forward(self, x: Tensor) -> Tensor:
        norm = self.fc.weight.norm()
        h = self.fc(x)
        return self.head(torch.where(norm > 9.0, h * 9.0 / norm, h).relu())


class CalledPast(TwoLayers):
    """Calls a layer's forward, which no hook sees."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, :9] + self.fc.forward(x).mean(-1, keepdim=True))


class CalledWhole(TwoLayers):
    """Calls a layer's forward, and needs all of its units."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.fc.forward(x).relu()) * 1.0


class Hooked(TwoLayers):
    """Keeps the outputs of a layer by a hook, as people do who look at them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc.register_forward_hook(lambda module, given, h: nn.functional.normalize(h, dim=-1))


class Forwarded(TwoLayers):
    """Replaces a layer's forward."""

    def __init__(self) -> None:
        super().__init__()
        plain = self.fc.forward
        self.fc.forward = lambda x: 3 * plain(x).sin()


class Keyword(TwoLayers):
    """Calls its layers by keyword."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(input=self.fc(input=x).relu()) * 1.0


class Recomputed(TwoLayers):
    """Computes a layer anew on the way back, to keep less in memory."""

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(lambda x: self.fc(x).tanh(), x, use_reentrant=False)
        return self.head(h)


def hooked_chain() -> nn.Module:
    """A chain of plain layers, but for a hook."""
    net = nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 4))
    net[0].register_forward_hook(lambda module, given, h: 3 * h.sin())
    return net

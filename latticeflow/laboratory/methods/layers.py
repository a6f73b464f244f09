"""Bijections of R^d that compose to flows, each with its log determinant in both directions."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus
from zuko.nn import MaskedMLP
from zuko.transforms import MonotonicRQSTransform

from latticeflow.laboratory.methods.density_flow import DensityFlow

Pair = tuple[Tensor, Tensor]


class Layer(nn.Module, ABC):
    """A bijection, from data towards noise."""

    @abstractmethod
    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """(n, d) -> (n, d), and log |dz / dx|, (n,)."""

    @abstractmethod
    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """The inverse, and log |dz / dx|, (n,), of the same direction."""

    def prepare(self, x: Tensor) -> None:
        """Begin from the draws that this layer will see; nothing by default."""


class LayeredFlow(DensityFlow):
    """Layers one after the other.

    Args:
        layers: from data to noise.
        dimension, condition_size: see `DensityFlow`.
    """

    def __init__(self, layers: list[Layer], dimension: int, condition_size: int = 0):
        super().__init__(dimension, condition_size)
        self.layers = nn.ModuleList(layers)

    def _prepare(self, u: Tensor, condition: Tensor | None) -> None:
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.prepare(u)
            u, _ = layer.to_noise(u, condition)

    def to_noise(self, u: Tensor, condition: Tensor | None) -> Pair:
        """See `DensityFlow.to_noise`."""
        total = u.new_zeros(len(u))
        for layer in self.layers:
            assert isinstance(layer, Layer)
            u, log_det = layer.to_noise(u, condition)
            total = total + log_det
        return u, total

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `DensityFlow.to_data`."""
        total = z.new_zeros(len(z))
        for layer in reversed(self.layers):
            assert isinstance(layer, Layer)
            z, log_det = layer.to_data(z, condition)
            total = total + log_det
        return z, total


def network(inputs: int, outputs: int, width: int, unit: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Two hidden layers of the given units, with outputs that begin at zero."""
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, width), unit(), nn.Linear(width, width), unit(), last)


def joined(x: Tensor, condition: Tensor | None) -> Tensor:
    """Features beside those of the condition."""
    return x if condition is None else torch.cat((x, condition.to(x.dtype)), dim=1)


class Coupling(Layer):
    """Moves some coordinates, each by a map of one variable whose parameters see the others.

    Args:
        moved: indices of the coordinates that move.
        dimension, condition_size: see `DensityFlow`.
        parameters: numbers that describe the map of one coordinate.
        width: of the hidden layers.
        unit: theirs.
    """

    def __init__(
        self,
        moved: Tensor,
        dimension: int,
        condition_size: int,
        *,
        parameters: int,
        width: int,
        unit: type[nn.Module] = nn.SiLU,
    ):
        super().__init__()
        kept = torch.tensor([k for k in range(dimension) if k not in set(moved.tolist())], dtype=torch.long)
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("moved", moved, persistent=False)
        self.register_buffer("order", torch.cat((kept, moved)).argsort(), persistent=False)
        self.net = network(len(kept) + condition_size, len(moved) * parameters, width, unit)

    def _apply_map(self, x: Tensor, condition: Tensor | None, inverse: bool) -> Pair:
        kept = x[:, self.get_buffer("kept")]
        moved = x[:, self.get_buffer("moved")]
        parameters = self.net(joined(kept, condition)).unflatten(1, (moved.shape[1], -1))
        moved, log_det = self.map(moved, parameters, inverse)
        return torch.cat((kept, moved), dim=1)[:, self.get_buffer("order")], log_det.sum(1)

    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_noise`."""
        return self._apply_map(x, condition, False)

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_data`."""
        return self._apply_map(z, condition, True)

    @staticmethod
    @abstractmethod
    def map(x: Tensor, parameters: Tensor, inverse: bool) -> Pair:
        """Map each coordinate, (n, m) and (n, m, parameters) -> (n, m), and log |dz / dx| of each."""


class AdditiveCoupling(Coupling):
    """z = x + t, which keeps volumes (NICE: Dinh, Krueger, Bengio, arXiv:1410.8516)."""

    @staticmethod
    def map(x: Tensor, parameters: Tensor, inverse: bool) -> Pair:
        """See `Coupling.map`."""
        shift = parameters[..., 0]
        return (x - shift if inverse else x + shift), torch.zeros_like(x)


class AffineCoupling(Coupling):
    """z = x exp(s) + t (RealNVP: Dinh, Sohl-Dickstein, Bengio, arXiv:1605.08803)."""

    @staticmethod
    def map(x: Tensor, parameters: Tensor, inverse: bool) -> Pair:
        """See `Coupling.map`."""
        return affine(x, parameters, inverse)


class SplineCoupling(Coupling):
    """Monotonic rational-quadratic splines on [-5, 5] (Durkan et al., arXiv:1906.04032; zuko supplies the map)."""

    @staticmethod
    def map(x: Tensor, parameters: Tensor, inverse: bool) -> Pair:
        """See `Coupling.map`."""
        bins = (parameters.shape[-1] + 1) // 3
        spline = MonotonicRQSTransform(*parameters.split([bins, bins, bins - 1], -1), slope=1e-4)
        if inverse:
            y = spline.inv(x)
            return y, spline.log_abs_det_jacobian(y, x)
        return spline.call_and_ladj(x)


def affine(x: Tensor, parameters: Tensor, inverse: bool) -> Pair:
    """Scale, kept between exp(-3) and exp(3), and shift; (n, m) and (n, m, 2) -> (n, m), log |dz / dx| of each."""
    s, t = parameters.unbind(-1)
    s = 3 * torch.tanh(s / 3)
    return ((x - t) * torch.exp(-s) if inverse else x * torch.exp(s) + t), s


class Autoregressive(Layer):
    """z_i = x_i exp(s_i) + t_i, where s_i and t_i see the coordinates before i; zuko supplies the masked network.

    To noise it takes one pass, to data one for each coordinate (MAF: Papamakarios, Pavlakou, Murray, arXiv:1705.07057).
    Inverted, it is the other way round (IAF: Kingma et al., arXiv:1606.04934).

    Args:
        dimension, condition_size, width: as of `Coupling`.
        backwards: whether the last coordinate comes first.
        inverted: whether draws, and not densities, take one pass.
    """

    def __init__(self, dimension: int, condition_size: int, *, width: int, backwards: bool, inverted: bool):
        super().__init__()
        self.dimension, self.inverted = dimension, inverted
        order = torch.arange(dimension)
        order = order.flip(0) if backwards else order
        sees = torch.cat((order[:, None] > order, torch.ones(dimension, condition_size, dtype=torch.bool)), dim=1)
        self.net = MaskedMLP(sees.repeat_interleave(2, dim=0), hidden_features=(width, width), activation=nn.SiLU)
        with torch.no_grad():
            self.net[-1].weight.mul_(0.1)

    def _fast(self, x: Tensor, condition: Tensor | None, inverse: bool) -> Pair:
        z, s = affine(x, self.net(joined(x, condition)).unflatten(1, (self.dimension, 2)), inverse)
        return z, s.sum(1)

    def _slow(self, y: Tensor, condition: Tensor | None, inverse: bool) -> Pair:
        x = torch.zeros_like(y)
        for _ in range(self.dimension):  # each pass makes one more coordinate right
            x, s = affine(y, self.net(joined(x, condition)).unflatten(1, (self.dimension, 2)), inverse)
        return x, s.sum(1)

    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_noise`."""
        return self._slow(x, condition, False) if self.inverted else self._fast(x, condition, False)

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_data`."""
        return self._fast(z, condition, True) if self.inverted else self._slow(z, condition, True)


class Planar(Layer):
    """z = x + a tanh(w . x + b), with w . a > -1 (Rezende, Mohamed, arXiv:1505.05770); a, w and b see the condition.

    To data by bisection, and one step of Newton's, through which the gradients flow.
    """

    def __init__(self, dimension: int, condition_size: int):
        super().__init__()
        self.dimension = dimension
        self.free = nn.Parameter(torch.randn(2 * dimension + 1) / dimension**0.5)
        self.net = nn.Linear(condition_size, 2 * dimension + 1) if condition_size else None

    def _vectors(self, condition: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        free = self.free[None] if self.net is None else self.free + self.net(condition.to(self.free.dtype))  # type: ignore[union-attr]
        a, w, b = free.split([self.dimension, self.dimension, 1], dim=1)
        product = (a * w).sum(1, keepdim=True)
        a = a + (softplus(product) - 1 - product) * w / (w.square().sum(1, keepdim=True) + 1e-9)
        return a, w, b

    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_noise`."""
        a, w, b = self._vectors(condition)
        h = torch.tanh((x * w).sum(1, keepdim=True) + b)
        slope = 1 + (1 - h**2) * (a * w).sum(1, keepdim=True)
        return x + a * h, (slope + 1e-9).log()[:, 0]

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_data`."""
        a, w, b = self._vectors(condition)
        product, along = (a * w).sum(1, keepdim=True), (z * w).sum(1, keepdim=True)
        with torch.no_grad():
            low, high = along - product.abs(), along + product.abs()
            for _ in range(60):
                middle = (low + high) / 2
                above = middle + product * torch.tanh(middle + b) > along
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
            h = torch.tanh((low + high) / 2 + b)
            root, slope = (low + high) / 2, 1 + product * (1 - h**2)
        root = root - (root + product * torch.tanh(root + b) - along) / (slope + 1e-9)
        x = z - a * torch.tanh(root + b)
        return x, self.to_noise(x, condition)[1]


class ActNorm(Layer):
    """z = (x - m) exp(s), which begins by scaling its first draws (Glow: Kingma, Dhariwal, arXiv:1807.03039)."""

    def __init__(self, dimension: int):
        super().__init__()
        self.shift, self.log_scale = nn.Parameter(torch.zeros(dimension)), nn.Parameter(torch.zeros(dimension))

    def prepare(self, x: Tensor) -> None:
        """See `Layer.prepare`."""
        self.shift.copy_(x.mean(0))
        self.log_scale.copy_(-(x.std(0) + 1e-6).log())

    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_noise`."""
        return (x - self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_data`."""
        return z * (-self.log_scale).exp() + self.shift, self.log_scale.sum().expand(len(z))


class InvertibleLinear(Layer):
    """z = P L (U + diag(sign e^s)) x, which begins as a random rotation (Glow's 1x1 convolution, of vectors)."""

    def __init__(self, dimension: int):
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(dimension, dimension)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())
        self.register_buffer("unit", torch.eye(dimension), persistent=False)
        self.lower, self.upper = nn.Parameter(lower.tril(-1)), nn.Parameter(upper.triu(1))
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())

    def _factors(self) -> tuple[Tensor, Tensor, Tensor]:
        diagonal = torch.diag(self.get_buffer("sign") * self.log_scale.exp())
        lower = self.lower.tril(-1) + self.get_buffer("unit").to(self.lower.dtype)
        return self.get_buffer("permutation"), lower, self.upper.triu(1) + diagonal

    def to_noise(self, x: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_noise`."""
        permutation, lower, upper = self._factors()
        return x @ (permutation @ lower @ upper).T, self.log_scale.sum().expand(len(x))

    def to_data(self, z: Tensor, condition: Tensor | None) -> Pair:
        """See `Layer.to_data`."""
        permutation, lower, upper = self._factors()
        x = torch.linalg.solve_triangular(lower, permutation.T @ z.T, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, x, upper=True).T, self.log_scale.sum().expand(len(z))

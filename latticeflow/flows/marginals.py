"""Exact integration over the neighbours of a site that are not drawn yet, all further ones at their predicted angles.

A site that is drawn before its neighbour s feels it through the marginal

    log int d theta_s exp(Re conj(h_s) e^{i theta_s} / T) / (2 pi) = log I_0(|h_s| / T),     h_s = m + w e^{i theta},

where m and w, products of other spins, do not hold the angle theta of the site itself. As
|h_s|^2 = |m|^2 + |w|^2 + 2 Re conj(d) e^{i theta} with d = m conj(w), the marginal is an even function of
theta - arg d, whose Fourier series is short.

Spins that h_s needs and that are not known either are replaced by what spin waves predict. Where none are, as in the
last group before the exact colour, the sum over s of these series is the conditional itself. Ring exchange acts by
products of five spins, which no net of products of three finds.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from latticeflow.flows.fused import LANES, serves
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import Lattice
from mcmc.models.presets import Model
from mcmc.models.terms import relations

_NODES = 16
"""Equally spaced angles by which a marginal is turned into its Fourier series."""
_LARGEST_RATIO = 0.25
"""Of |w| to |m| where all angles are equal; the series falls off like its powers, and four of them must do."""


class _Product(NamedTuple):
    """A part of m or w: an amplitude times spins, as rows of `Marginals.predicted`, or their conjugates."""

    amplitude: complex
    rows: tuple[int, ...]
    signs: tuple[int, ...]


class _Neighbour(NamedTuple):
    """h_s = m + w e^{i theta}, or m + w e^{-i theta} for a sign of -1."""

    m: list[_Product]
    w: list[_Product]
    sign: int


class Marginals(nn.Module):
    """The marginals of those neighbours of a group's sites that are not drawn yet, as functions of what a site sees.

    Args:
        model, lattice: the system, of charges 1 and -1 and couplings that are the same at all sites.
        site: a site of the group.
        seen: int (n,), the drawn sites that it sees. In a field one spin more is seen, last, which points along it.
        harmonics: length M of the Fourier series.
    """

    def __init__(self, model: Model, lattice: Lattice, site: int, seen: np.ndarray, harmonics: int):
        super().__init__()
        self.harmonics = harmonics
        waves = SpinWaves(model, lattice)
        n = len(seen) + (not model.rotation)
        predicted: dict[int, np.ndarray] = {int(each): row for each, row in zip(seen, np.eye(n), strict=False)}
        rows: dict[int, int] = {}

        def row(other: int) -> int:
            if other not in predicted:
                weights = waves.regression(other, seen)[0]
                predicted[other] = weights if model.rotation else np.append(weights, 1 - weights.sum())
            return rows.setdefault(other, len(rows))

        acting = [(term, relation) for term in model.terms if term.scale for relation in relations(term, lattice.shape)]

        def others(of: int, offsets: tuple[tuple[int, ...], ...]) -> list[int]:
            return [int(lattice.site(*np.add(_place(lattice, of), offset))) for offset in offsets]

        around = {other for _, relation in acting for other in others(site, relation.offsets)} - {int(s) for s in seen}
        self._neighbours = list[_Neighbour]()
        for s in sorted(around, key=lambda s: _steps(lattice, site, s)):
            parts: dict[int, list[_Product]] = {0: [], 1: [], -1: []}
            for term, relation in acting:
                spins = list(zip(others(s, relation.offsets), relation.charges, strict=True))
                sign = sum(charge for other, charge in spins if other == site)
                rest = [(row(other), charge) for other, charge in spins if other != site]
                parts[sign].append(
                    _Product(complex(relation.amplitude(term)), tuple(r for r, _ in rest), tuple(q for _, q in rest))
                )
            if not (parts[1] and parts[-1]):
                self._neighbours.append(_Neighbour(parts[0], parts[1] or parts[-1], 1 if parts[1] else -1))
        matrix = np.array([predicted[other] for other in rows]).reshape(-1, n)
        self.register_buffer("_predicted", torch.tensor(matrix, dtype=torch.float32), persistent=False)
        self.count = len(self._neighbours)
        """Number of neighbours."""
        self.short = False
        """Whether their series are short, so that `forward` gives coefficients."""
        # Buffers, as a CUDA graph cannot hold copies from the host. The derivative of the marginal, which needs no
        # logarithm, vanishes at both ends of [0, pi]: the nodes lie between. By parts, each coefficient is
        # F_m = (2 / (m pi)) int_0^pi sin(phi) sin(m phi) A d phi |d| / T^2,    A = I_1(x) / (x I_0(x)), x = |h| / T.
        phi = torch.arange(1, _NODES // 2, dtype=torch.float64)[:, None] * (2 * math.pi / _NODES)
        orders = torch.arange(1, harmonics + 1, dtype=torch.float64)
        self.register_buffer("_cosines", phi[:, 0].cos(), persistent=False)
        basis = 4 / _NODES * phi.sin() * torch.sin(phi * orders) / orders
        self.register_buffer("_basis", basis, persistent=False)
        scale, self._stiffness = torch.ones(self.count), 1.0
        if self.count:
            equal = torch.ones(n, 1, dtype=torch.complex128)
            m, w, d = self._fields(equal)
            scale, self.short = d.abs()[:, 0].float(), bool((w.abs() <= _LARGEST_RATIO * m.abs()).all())
            self._stiffness = float(self._series(m, w, d, None)[0].real)
        self.register_buffer("_scale", scale, persistent=False)

    def forward(self, seen: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """What a conditioner is given beside the spins.

        Args:
            seen: cosines and sines of what each site sees, (2, n, ...).
            temperature: of each site, (...).

        Returns:
            Covariant vectors, of unit length where all angles are equal: the directions d of the neighbours and, where
            series are short, the first coefficient of their sum, (2, `vectors`, ...); and all its coefficients, (2, M,
            ...), without any where series are not short.
        """
        if seen.ndim == 3 and seen.shape[-1] % LANES == 0 and serves(seen, temperature):
            return self._fused(seen, temperature)
        m, w, d = self._fields(torch.complex(*seen))
        rows = d / self.get_buffer("_scale").view(-1, *(1,) * (d.ndim - 1))
        if not self.short:
            return torch.view_as_real(rows).movedim(-1, 0), seen.new_zeros(2, 0, *seen.shape[2:])
        c = self._series(m, w, d, temperature)
        rows = torch.cat((rows, c[:1] * (temperature / self._stiffness)))
        return torch.view_as_real(rows).movedim(-1, 0), torch.view_as_real(c).movedim(-1, 0)

    def _fused(self, seen: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor]:
        """The same in one pass over the rows, (2, n, R) with R a multiple of 16."""
        from mcmc.kernels import circle_law

        R = seen.shape[-1]
        vectors, around = seen.new_empty(2, self.vectors, R), seen.new_empty(2, self.harmonics * self.short, R)
        owners, parts, amplitudes, rows, signs = self._table
        cosines, basis = (self.get_buffer(name).numpy().astype(np.float32) for name in ("_cosines", "_basis"))
        circle_law.marginals(
            (self.get_buffer("_predicted") @ seen).numpy(),
            owners,
            parts,
            amplitudes,
            rows,
            signs,
            self.get_buffer("_scale").numpy(),
            np.float32(self._stiffness),
            cosines,
            basis,
            (1 / temperature).contiguous().numpy(),
            vectors.numpy(),
            around.numpy(),
        )
        return vectors, around

    @cached_property
    def _table(self) -> tuple[np.ndarray, ...]:
        """The products as `circle_law.marginals` takes them."""
        products = [
            (s, part, product)
            for s, each in enumerate(self._neighbours)
            for part, group in ((0, each.m), (each.sign, each.w))
            for product in group
        ]
        most = max(1, *(len(product.rows) for _, _, product in products))
        padded = [
            [(*values, *[-1] * (most - len(values))) for values in (product.rows, product.signs)]
            for _, _, product in products
        ]
        rows, signs = np.array(padded, np.int64).transpose(1, 0, 2)
        amplitudes = np.array([product.amplitude.real for _, _, product in products], np.float32)
        owners, parts = (np.array([each[k] for each in products], np.int64) for k in (0, 1))
        return owners, parts, amplitudes, np.ascontiguousarray(rows), np.ascontiguousarray(signs)

    @property
    def vectors(self) -> int:
        """Number of vectors that `forward` gives."""
        return self.count + self.short

    def harmonic(self) -> np.ndarray:
        """What the coefficients are worth at low temperature, as weights times precision, float64 (n,).

        To be subtracted from those of `SpinWaves.regression`, so that both together are right.
        """
        n = self.get_buffer("_predicted").shape[1]
        if not self.short:
            return np.zeros(n)

        def exponent(x: Tensor) -> Tensor:
            u = torch.polar(torch.ones_like(x), x)
            c = self._series(*self._fields(u[:n, None]), None)[:, 0]
            return (c.conj() * u[n] ** torch.arange(1, self.harmonics + 1)).real.sum()

        hessian = torch.autograd.functional.hessian(exponent, torch.zeros(n + 1, dtype=torch.float64))
        return hessian[n, :n].numpy()

    def _fields(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """m, w and d of every neighbour; complex (n, ...) -> (count, ...) each."""
        predicted = self.get_buffer("_predicted").to(u.real.dtype)
        v = torch.complex(*((predicted @ part.flatten(1)).view(-1, *u.shape[1:]) for part in (u.real, u.imag)))

        def total(products: list[_Product]) -> Tensor:
            found = torch.zeros_like(u[0])
            for amplitude, rows, signs in products:
                factors = [v[r] if sign > 0 else v[r].conj() for r, sign in zip(rows, signs, strict=True)]
                found = found + amplitude * (math.prod(factors[1:], start=factors[0]) if factors else 1.0)
            return found

        m = torch.stack([total(each.m) for each in self._neighbours])
        w = torch.stack([total(each.w) for each in self._neighbours])
        d = [a * b.conj() if each.sign > 0 else a.conj() * b for each, a, b in zip(self._neighbours, m, w, strict=True)]
        return m, w, torch.stack(d)

    def _series(self, m: Tensor, w: Tensor, d: Tensor, temperature: Tensor | None) -> Tensor:
        """Coefficients of the sum of the marginals, complex (M, ...); times T for T -> 0 without a temperature."""
        size = torch.sqrt(d.real**2 + d.imag**2 + 1e-20)
        cosines, basis = (self.get_buffer(name).to(size.dtype) for name in ("_cosines", "_basis"))
        squares = m.real**2 + m.imag**2 + w.real**2 + w.imag**2
        h = torch.sqrt((squares[..., None] + 2 * size[..., None] * cosines).clamp(min=1e-12))
        if temperature is None:
            F = size[..., None] * ((1 / h) @ basis)
        else:
            x = h / temperature[..., None]
            ratio = torch.special.i1e(x) / (x * torch.special.i0e(x))
            F = (size / temperature**2)[..., None] * (ratio @ basis)
        unit, power, found = d / size, d / size, []
        for k in range(self.harmonics):
            found.append((F[..., k] * power).sum(0))
            power = power * unit
        return torch.stack(found)


def _place(lattice: Lattice, site: int) -> list[int]:
    return [int(axis[site]) for axis in lattice.places()]


def _steps(lattice: Lattice, a: int, b: int) -> list[int]:
    """From a to b the short way round, in an order that all lattices share."""
    places = zip(_place(lattice, a), _place(lattice, b), lattice.sides, strict=True)
    return [(y - x + side // 2) % side - side // 2 for x, y, side in places]

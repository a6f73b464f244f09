"""The multiscale flow: coarse to fine, one small covariant net for each group of sites, the last colour exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from latticeflow.flows import fused, generalised_von_mises, von_mises
from latticeflow.flows.device import in_threads
from latticeflow.flows.flow import Flow
from latticeflow.flows.fused import LANES, serves
from latticeflow.flows.last_colour import LastColour, LocalField
from latticeflow.flows.marginals import Marginals
from latticeflow.flows.schedule import SEEN, coarse_to_fine
from latticeflow.flows.spin_wave import SpinWaves
from mcmc import InputError, Lattice, wrap
from mcmc.models.presets import Model
from mcmc.models.terms import relations

_SITES_AT_A_TIME = {"cpu": 2**17, "cuda": 2**21}
"""Of all configurations together in one pass: what bounds memory, some 3 kB a site where gradients are recorded."""


class Conditioner(nn.Module):
    """The law of a site given the spins that it sees, covariant under rotation and reflection.

    With u_j = exp(i theta_j) of the seen sites the net forms covariant vectors Z = M^T u, M real, and invariants
    s = Re(Z^A conj(Z^B)); from (s, T) a perceptron gives real coefficients g, G and A of the generalised von Mises law

        q(theta) ~ exp Re sum_m conj(c_m) exp(i m theta),   c_m = sum_k A_km d_k^m + [m = 1] (Z^0 / T + sum_a g_a Z_a),
        d_k = D_k / sqrt(1 + |D_k|^2),     D_k = Z^0 + sum_a G_ka Z_a.

    What other sites leave behind, once they are integrated out, is a smooth energy of this site, and its Fourier
    series is short. Z^0 is the spin-wave regression, exact for T -> 0 and all there is before training. Corrections
    to it are of relative order T, which is why they are not divided by T. Among the Z are products Z Z' conj(Z''), the
    form in which the ring exchange of EXY acts on a spin.

    Args:
        linear: (n,), of the n vectors that it is given, what Z^0 starts from: spin-wave weights times precision.
        distances: (n,), how far the seen sites are. What the maps start from falls off with the square of it:
            near spins matter most, and a net that need not find that out learns faster.
        marginals: of neighbours that are not drawn yet; their vectors are seen as further spins, behind the others, and
            their coefficients are added to c.
        invariants: number of s.
        vectors: number of linear Z.
        products: number of cubic Z.
        directions: number K of d.
        harmonics: number M of c.
        width: of the two hidden layers.
    """

    def __init__(
        self,
        linear: Tensor,
        distances: Tensor,
        marginals: Marginals | None = None,
        *,
        invariants: int,
        vectors: int,
        products: int,
        directions: int,
        harmonics: int,
        width: int,
    ):
        super().__init__()
        self.marginals = marginals
        self.invariants, self.vectors, self.products = invariants, vectors, products
        self.directions, self.harmonics = directions, harmonics
        self.splits = [invariants, invariants, 1, vectors, products, products, products]
        nearness = (distances.min() / distances)[:, None] ** 2
        maps = torch.randn(len(linear), sum(self.splits)) * nearness / nearness.norm()
        maps[:, 2 * invariants] = linear
        self.maps = nn.Parameter(maps)
        self.register_buffer("linear", linear, persistent=False)
        combined = 1 + vectors + products
        self.outputs = [combined, directions * combined, directions * harmonics]
        output = nn.Linear(width, sum(self.outputs))
        with torch.no_grad():
            # Nearly the spin-wave law at first; not exactly, or the directions would stay equal for ever.
            output.weight.mul_(0.1)
            output.bias.zero_()
        hidden = (nn.Linear(invariants + 4, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.net = nn.Sequential(*hidden, output)

    def forward(self, u: Tensor, temperature: Tensor) -> Tensor:
        """Coefficients of the law of each site.

        Args:
            u: cosines and sines of the spins that each site sees, (2, B, S, n) for B configurations and S sites.
            temperature: (B,).

        Returns:
            c, (2, B, S, M).
        """
        around = None
        if self.marginals is not None:
            vectors, around = self.marginals(u.movedim(-1, 1), temperature[:, None].expand(u.shape[1:3]))
            u = torch.cat((u, vectors.movedim(1, -1)), dim=-1)
        Za, Zb, Z0, Z1, (dx, dy), (ex, ey), (fx, fy) = torch.split(u @ self.maps, self.splits, dim=-1)
        s = (Za * Zb).sum(0)
        T = temperature[:, None, None].expand(*s.shape[:-1], 1)
        features = torch.cat((s, T, T.log(), 0.1 / T, 1 / (1 + T)), dim=-1)
        g, G, A = torch.split(self.net(features), self.outputs, dim=-1)
        px, py = dx * ex - dy * ey, dx * ey + dy * ex
        cubic = torch.stack((px * fx + py * fy, py * fx - px * fy))
        Z = torch.cat((Z0, Z1, cubic), dim=-1)
        D = Z0 + (G.unflatten(-1, (self.directions, -1)) @ Z[..., None]).squeeze(-1)
        d = D / torch.sqrt(1 + (D**2).sum(0))
        A = A.unflatten(-1, (self.directions, self.harmonics))
        c = (A * generalised_von_mises.powers(d, self.harmonics)).sum(-2)
        first = Z0 / T + (g * Z).sum(-1, keepdim=True)
        c = torch.cat((c[..., :1] + first, c[..., 1:]), dim=-1)
        return c if around is None or not around.numel() else c + around.movedim(1, -1)


class Multiscale(Flow):
    """Draw the lattice coarse to fine; see `schedule.coarse_to_fine` for the order.

    One site is uniform, which makes the flow exactly invariant under global rotations (in a field that site is drawn
    like the others, and all see one spin more, which points along the field); the sites of a group are independent
    given what is already drawn, each from a generalised von Mises law (`Conditioner`); the last colour follows its
    exact conditional, a von Mises law about the local field. `log_prob` takes all groups from the known configuration;
    `sample` runs them one after the other, O(log L) steps. Both are fast.

    Args:
        model, lattice, temperatures: see `Flow`.
        seen: the most already drawn sites that one site sees; None is 36, and 64 in three dimensions.
        invariants, vectors, products, directions, harmonics, width: see `Conditioner`; ``products`` None is 8, and 24
            where there is ring exchange, which acts by products.
        marginals: integrate over the neighbours of a site that are not drawn yet (`marginals.Marginals`) in the last
            halving.
        finer: draw fewer sites together where their independence costs most; see `schedule.coarse_to_fine`.

    Attributes:
        spacings: of each group, the lattice spacing of the sites known when its level began.

    Raises:
        InputError: a size is not positive.
    """

    name = "multiscale"
    axes = (2, 3)
    largest_cell = 2
    draws_in_field = True
    exact_last = True
    learning_rate = 1e-2

    def __init__(
        self,
        model: Model,
        lattice: Lattice,
        temperatures: tuple[float, float],
        *,
        seen: int | None = None,
        invariants: int = 32,
        vectors: int = 12,
        products: int | None = None,
        directions: int = 4,
        harmonics: int = 4,
        width: int = 128,
        marginals: bool = True,
        finer: bool = False,
    ):
        if products is None:
            products = 24 if any(len(term.charges) > 2 and term.scale for term in model.terms) else 8
        seen = SEEN[lattice.dimensions] if seen is None else seen
        sizes = {
            "invariants": invariants,
            "vectors": vectors,
            "products": products,
            "directions": directions,
            "harmonics": harmonics,
            "width": width,
        }
        super().__init__(model, lattice, temperatures, {"seen": seen, **sizes, "marginals": marginals, "finer": finer})
        for size, value in {"seen": seen, **sizes}.items():
            if value < 1:
                raise InputError(f"{size} = {value} of a multiscale flow must be at least 1")
        model = self.reduced_model
        schedule = coarse_to_fine(lattice, model, seen=seen, finer=finer)
        self.spacings = tuple(group.spacing for group in schedule.groups)
        halves = [group.half_level for group in schedule.groups]
        # Fewer than the four sites of a 2x2 grid are next to nothing to keep.
        self._stages = tuple(g for g in range(3, len(halves)) if halves[g] != halves[g - 1])
        waves = SpinWaves(model, lattice)
        self._in_field = not model.rotation
        self.conditioners, self._nodes = nn.ModuleList(), list[int]()
        for g, group in enumerate(schedule.groups):
            weights, precision = waves.regression(group.sites[0], group.table[0])
            linear, distances = weights * precision, np.linalg.norm(group.offsets(lattice), axis=1)
            table = group.table
            if self._in_field:
                linear = np.append(linear, precision - linear.sum())
                distances = np.append(distances, 1.0)
                table = np.append(table, np.full((len(table), 1), lattice.N), axis=1)
            around = None
            if marginals and group.spacing == 2 and waves.stable:
                around = Marginals(model, lattice, int(group.sites[0]), group.table[0], harmonics)
                linear = np.append(linear - around.harmonic(), np.zeros(around.vectors))
                distances = np.append(distances, np.ones(around.vectors))
            around = around if around is not None and around.vectors else None
            start, away = (torch.tensor(values, dtype=torch.float32) for values in (linear, distances))
            self.conditioners.append(Conditioner(start, away, around, **sizes))
            largest = precision if waves.stable else _largest_field(model, lattice)
            self._nodes.append(generalised_von_mises.nodes_for(largest * self.unit / self.temperatures[0]))
            self.register_buffer(f"_sites_{g}", torch.tensor(group.sites), persistent=False)
            self.register_buffer(f"_table_{g}", torch.tensor(table), persistent=False)
        self.last, self._local_field = LastColour(model, schedule.last), LocalField(model, lattice)

    def _groups(self) -> list[tuple[Conditioner, int, Tensor, Tensor]]:
        return [
            (cast(Conditioner, conditioner), nodes, self.get_buffer(f"_sites_{g}"), self.get_buffer(f"_table_{g}"))
            for g, (conditioner, nodes) in enumerate(zip(self.conditioners, self._nodes, strict=True))
        ]

    @property
    def _log_uniform(self) -> float:
        """Of the first site, where it is uniform."""
        return 0.0 if self._in_field else von_mises.LOG_2PI

    def _spins(self, theta: Tensor) -> Tensor:
        """Cosines and sines, (B, ...) -> (2, B, N); in a field with one site more, which points along it."""
        flat = theta.flatten(1)
        if self._in_field:
            flat = torch.cat((flat, flat.new_zeros(len(flat), 1)), dim=1)
        return torch.stack((flat.cos(), flat.sin()))

    @property
    def depths(self) -> int:
        """Groups that `redraw` can keep."""
        return len(self.conditioners)

    @property
    def stages(self) -> tuple[int, ...]:
        """The first group of every half-level: redraws from a later one cost nearly as much and move less."""
        return self._stages or super().stages

    def _log_prob(self, theta: Tensor, temperature: Tensor) -> Tensor:
        return self._log_density(theta, temperature) - self._log_uniform

    def _sample(self, temperature: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        n = len(temperature)
        theta = temperature.new_zeros(n, *self.lattice.shape)
        theta.view(n, -1)[:, 0] = math.pi * (
            2 * torch.rand(n, generator=generator, device=self.device, dtype=theta.dtype) - 1
        )
        theta, log_q = self._draw(theta, temperature, generator)
        return theta, self._log_prob(theta, temperature) if torch.is_grad_enabled() else log_q - self._log_uniform

    def _redraw(
        self, theta: Tensor, temperature: Tensor, keep: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        drawn, log_q = self._draw(theta, temperature, generator, keep)
        return drawn, log_q, self._log_density(theta, temperature, keep)

    def _log_density(self, theta: Tensor, temperature: Tensor, first: int = 0) -> Tensor:
        """Log density of the groups from number ``first`` on and the last colour, given all before them.

        Configurations go through in pieces of bounded memory; where gradients are recorded, what a piece computes on
        the way is computed again for its gradient, but for groups that are not trained.
        """
        temperature, recorded = self.reduced(temperature), torch.is_grad_enabled()
        pieces = self._pieces(theta, temperature)
        end = self.depths if theta.requires_grad else max(first, self.trained)

        def density(theta: Tensor, temperature: Tensor) -> Tensor:
            with torch.set_grad_enabled(recorded and theta.requires_grad):
                log_q = self.last.log_prob(theta, temperature)
                for of_group in self._log_densities(theta, temperature, end):
                    log_q = log_q + of_group
            if end > first:
                compute = partial(self._log_density_of_groups, theta, temperature, first, end)
                again = recorded and len(pieces) > 1
                log_q = log_q + (checkpoint(compute, use_reentrant=False) if again else compute())
            return log_q

        if recorded or theta.device.type != "cpu":
            return torch.cat([density(*piece) for piece in pieces])
        return torch.cat(in_threads([partial(density, *piece) for piece in pieces]))

    @property
    def trained(self) -> int:
        """How many of the groups, the coarsest first, have nets of which gradients are recorded."""
        trained = [g for g, net in enumerate(self.conditioners) if any(each.requires_grad for each in net.parameters())]
        return trained[-1] + 1 if trained else 0

    def log_prob_of_coarse(self, theta: Tensor, temperature: Any, end: int) -> Tensor:
        """Log density of the groups before number ``end`` without the first uniform site, whatever the others are.

        Args:
            theta, temperature: see `Flow.log_prob`.
            end: at least 1.

        Returns:
            float64 (n,).

        Raises:
            InputError: ``theta`` has another lattice's shape, or ``end`` is not a number of groups.
        """
        self._require_shape(theta)
        if not 1 <= end <= self.depths:
            raise InputError(f"end = {end} must be from 1 to {self.depths}, the number of groups")
        T = self.reduced(self._temperatures(len(theta), temperature))
        return self._log_density_of_groups(theta, T, 0, end)

    @torch.no_grad()
    def log_prob_by_group(self, theta: Tensor, temperature: Any) -> Tensor:
        """Log density of every group given all before it, without the first uniform site and the exact last colour.

        Args:
            theta, temperature: see `Flow.log_prob`.

        Returns:
            float64 (groups, n).
        """
        T = self.reduced(self._temperatures(len(theta), temperature))
        pieces = self._pieces(theta, T)
        return torch.cat([torch.stack(list(self._log_densities(*piece, 0))) for piece in pieces], dim=1)

    def estimate_nll(
        self, theta: Tensor, temperature: Any, *, rows: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """See `Flow.estimate_nll`: random sites of random configurations, group by group.

        The log density is averaged over the angle of the site itself, whose law given all other spins is known, which
        takes away most of the noise in the groups that come late.

        A group of S sites gets a share of the rows proportional to sqrt(S), which makes the noise of their sum least
        where one evaluation is as noisy as another. The exact last colour has no parameters, and is left out.
        """
        n = len(theta)
        T, flat = self.reduced(self._temperatures(n, temperature)), theta.flatten(1)
        if self._in_field:
            flat = torch.cat((flat, flat.new_zeros(n, 1)), dim=1)
        groups = self._groups()
        roots = [math.sqrt(len(sites)) for _, _, sites, _ in groups]
        terms = []
        for (conditioner, nodes, sites, table), root in zip(groups, roots, strict=True):
            S = len(sites)
            R = min(LANES * math.ceil(rows * root / sum(roots) / LANES), LANES * math.ceil(n * S / LANES))
            # Strata of configurations, which come sorted by temperature.
            where = torch.device("cpu") if generator is None else generator.device
            u = torch.rand(R, generator=generator, device=where)
            b = ((torch.arange(R, device=where) + u) * (n / R)).long().clamp(max=n - 1)
            s = torch.randint(S, (R,), generator=generator, device=where)
            b, s = b.to(theta.device), s.to(theta.device)
            around, at, h = flat[b[:, None], table[s]], T[b], self._local_field(flat, b, sites[s])
            u = torch.stack((h.real, h.imag)) / (h.abs() + 1e-20)
            moments = von_mises.moments(h.abs() / at, self.sizes["harmonics"]).to(flat.dtype)
            if serves(theta, T):
                around = around.T.contiguous()
                seen, rows_of = torch.stack((around.cos(), around.sin())), fused.Temperatures.of(at)
                log_q = fused.log_prob(conditioner, seen, u, rows_of, nodes=nodes, moments=moments.T)
            else:
                c = conditioner(torch.stack((around.cos(), around.sin()))[:, :, None], at)[:, :, 0]
                log_q = generalised_von_mises.log_prob(c, u, nodes=nodes, moments=moments)
            terms.append(-S * log_q.mean())
        return torch.stack(terms).sum() if terms else flat.new_zeros(())

    def _pieces(self, theta: Tensor, temperature: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Configurations to handle at a time."""
        size = max(LANES, _SITES_AT_A_TIME.get(self.device.type, 2**17) // self.lattice.N // LANES * LANES)
        return list(zip(theta.split(size), temperature.split(size), strict=True))

    def _log_density_of_groups(self, theta: Tensor, temperature: Tensor, first: int, end: int) -> Tensor:
        log_q = theta.new_zeros(len(theta), dtype=torch.float64)
        for of_group in self._log_densities(theta, temperature, first, end):
            log_q = log_q + of_group
        return log_q

    def _log_densities(
        self, theta: Tensor, temperature: Tensor, first: int, end: int | None = None
    ) -> Iterator[Tensor]:
        """Of the groups from number ``first`` on, before ``end``, one after the other, float64 (n,)."""
        if serves(theta, temperature):
            n, theta, temperature = len(theta), _padded(theta), _padded(temperature)
            u = self._spins(theta).mT.contiguous()
            T = fused.Temperatures.of(temperature)
            for conditioner, nodes, sites, table in self._groups()[first:end]:
                own, seen = u[:, sites].flatten(1), u[:, table.T].flatten(2)
                of_sites = fused.log_prob(conditioner, seen, own, T, nodes=nodes).view(len(sites), -1)
                yield of_sites.sum(0, dtype=torch.float64)[:n]
            return
        u = self._spins(theta)
        for conditioner, nodes, sites, table in self._groups()[first:end]:
            c = conditioner(u[:, :, table], temperature)
            yield generalised_von_mises.log_prob(c, u[:, :, sites], nodes=nodes).sum(-1, dtype=torch.float64)

    def redraw_group(
        self, theta: Tensor, temperature: Any, group: int, generator: torch.Generator, kept: Tensor | None = None
    ) -> Tensor:
        """Draw the sites of one group anew, given all groups before it; every other site keeps its angle.

        Args:
            theta, temperature: see `Flow.log_prob`.
            group: its number.
            generator: source of randomness on the flow's device.
            kept: bool (n, sites of the group), sites of it that keep their angle too.

        Returns:
            New angles in radians, (n, Ly, Lx).
        """
        T = self._temperatures(len(theta), temperature)
        drawn = self._draw(theta, T, generator, group, group + 1)[0]
        if kept is not None:
            sites = self.get_buffer(f"_sites_{group}")
            old, new = theta.flatten(1), drawn.flatten(1).clone()
            new[:, sites] = torch.where(kept, old[:, sites], new[:, sites])
            drawn = new.view_as(theta)
        return drawn

    @torch.no_grad()
    def _draw(
        self,
        theta: Tensor,
        temperature: Tensor,
        generator: torch.Generator | None,
        first: int = 0,
        end: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the groups from number ``first`` on and the last colour; what is before them comes from ``theta``.

        With ``end`` only the groups before that number are drawn, and all else comes from ``theta``. On a CPU pieces
        are drawn side by side, each by a stream of its own: how many threads there are does not change them.
        """
        temperature = self.reduced(temperature)
        draw = self._draw_fused if serves(theta, temperature) else self._draw_plain
        pieces = self._pieces(theta, temperature)
        if len(pieces) == 1 or theta.device.type != "cpu":
            drawn = [draw(*piece, generator, first, end) for piece in pieces]
        else:
            seeds = torch.randint(2**62, (len(pieces),), generator=generator).tolist()
            drawn = in_threads(
                [
                    partial(draw, *piece, torch.Generator().manual_seed(seed), first, end)
                    for piece, seed in zip(pieces, seeds, strict=True)
                ]
            )
        return torch.cat([each for each, _ in drawn]), torch.cat([log_q for _, log_q in drawn])

    def _draw_plain(
        self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None, first: int, end: int | None
    ) -> tuple[Tensor, Tensor]:
        n = len(temperature)
        theta = theta.flatten(1).clone()
        u = self._spins(theta)
        log_q = torch.zeros(n, dtype=torch.float64, device=self.device)
        for conditioner, nodes, sites, table in self._groups()[first:end]:
            c = conditioner(u[:, :, table], temperature)
            drawn, direction, log_density = generalised_von_mises.sample(c, nodes=nodes, generator=generator)
            theta[:, sites], u[:, :, sites] = drawn, direction
            log_q = log_q + log_density.sum(-1, dtype=torch.float64)
        theta = wrap(theta).view(n, *self.lattice.shape)
        if end is not None:
            return theta, log_q
        return theta, log_q + self.last.draw_(theta, temperature, generator)

    def _draw_fused(
        self, theta: Tensor, temperature: Tensor, generator: torch.Generator | None, first: int, end: int | None
    ) -> tuple[Tensor, Tensor]:
        n, theta, padded = len(temperature), _padded(theta), _padded(temperature)
        B, T, u = len(theta), fused.Temperatures.of(padded), self._spins(theta).mT.contiguous()
        angles = theta.flatten(1).T.contiguous()
        log_q = torch.zeros(B, dtype=torch.float64)
        for conditioner, nodes, sites, table in self._groups()[first:end]:
            random = torch.rand((2, len(sites) * B), generator=generator)
            drawn, direction, log_density = fused.sample(conditioner, u[:, table.T].flatten(2), random, T, nodes=nodes)
            angles[sites], u[:, sites] = drawn.view(-1, B), direction.view(2, -1, B)
            log_q += log_density.view(-1, B).sum(0, dtype=torch.float64)
        theta = wrap(angles.T[:n]).contiguous().view(n, *self.lattice.shape)
        if end is not None:
            return theta, log_q[:n]
        return theta, log_q[:n] + self.last.draw_(theta, temperature, generator)


def _largest_field(model: Model, lattice: Lattice) -> float:
    """That any site can feel: the sum of the couplings that act on it."""
    acting = [(term, relation) for term in model.terms for relation in relations(term, lattice.shape)]
    return float(np.max(sum(np.abs(relation.amplitude(term)) for term, relation in acting)))


def _padded(values: Tensor) -> Tensor:
    """Filled up to a multiple of `fused.LANES` along the first axis, by copies of the last entry."""
    missing = -len(values) % LANES
    return torch.cat((values, values[-1:].expand(missing, *values.shape[1:]))) if missing else values

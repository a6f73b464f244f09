"""What a comparison finds out about a flow at one temperature."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from latticeflow.quality.mode_coverage import Kinds


class FlowQuality(NamedTuple):
    """Quality of a flow at one temperature; overlaps and distances compare chain and ensemble."""

    temperature: float
    acceptance: float
    """Accepted proposals over proposals of the independence chain, its first state not counted."""
    ess_reverse: float
    """Effective sample size as a fraction, from the flow's draws."""
    ess_forward: float
    """The same from the ensemble's draws, which know of modes that the flow misses."""
    log_weight_variance: float
    """Variance of log w over the ensemble's draws; where log w is Gaussian the ESS is exp(-variance)."""
    log_weight_variance_per_site: float
    """The same over N: what compares flows on lattices of different sizes."""
    coverage: float
    """Share of the ensemble that the flow's draws reach: about 1 at best, less where modes are missed, NaN where a few
    draws carry all the weight."""
    coverage_error: float
    """One standard deviation of ``coverage``."""
    missed_share: float
    """Share of the ensemble in kinds of vortex number, winding or magnetisation that the flow hardly ever draws."""
    tau_int: float
    """Integrated autocorrelation time of the chain's energy, in steps; NaN for a chain too short to show one."""
    tau_int_predicted: float
    """The same as the log weights predict it for states of the ensemble; infinite where a chain would never move on."""
    overlap_energy: float
    """Per cent, 80 bins of the energy per site on [-2 J - K, 0]."""
    overlap_magnetization: float
    """Per cent, 40 bins on [0, 1]."""
    emd_energy: float
    """Earth mover's distance of energies per site, in units of J."""
    emd_magnetization: float
    """Earth mover's distance of magnetisations."""
    nll: float
    """Mean of -log q over the ensemble's draws, for all sites together."""
    longest_rejection_run: float
    """Most steps that the chain stood still."""
    overlap_vortices: float
    """Per cent, numbers of vortices, chain against ensemble."""
    overlap_winding: float
    """Per cent, winding sectors, chain against ensemble."""
    proposal_overlap_energy: float
    """As overlap_energy, of the flow's draws before the Metropolis test."""
    proposal_overlap_magnetization: float
    """As overlap_magnetization, of the flow's draws before the Metropolis test."""
    proposal_overlap_vortices: float
    """As overlap_vortices, of the flow's draws before the Metropolis test."""
    proposal_overlap_winding: float
    """As overlap_winding, of the flow's draws before the Metropolis test."""
    free_energy: float
    """Per site, from the weights of the flow's draws."""
    free_energy_error: float
    """One standard deviation."""
    free_energy_bridge: float
    """Per site, from the flow's draws and the ensemble's together (`mcmc.analysis.free_energy.bridge`)."""
    free_energy_bridge_error: float
    """One standard deviation."""
    kinds: tuple[Kinds, ...]
    """Shares of vortex numbers, winding sectors and magnetisations in ensemble, flow and chain."""

    def __repr__(self) -> str:
        """One measure a line."""
        return "\n".join(
            f"{name:28}  {value:.4g}" for name, value in self._asdict().items() if isinstance(value, float | int)
        )

    def as_json(self) -> dict[str, Any]:
        """The row in JSON's types; numbers that do not exist or are infinite are None."""
        row: dict[str, Any] = {
            name: value if math.isfinite(value) else None for name, value in self._asdict().items() if name != "kinds"
        }
        row["kinds"] = {
            each.name: {
                "labels": each.labels,
                **{of: getattr(each, of).round(6).tolist() for of in ("ensemble", "flow", "chain")},
            }
            for each in self.kinds
        }
        return row


def mean_row(rows: Sequence[FlowQuality]) -> dict[str, float]:
    """Averages over the temperatures, each weighing the same."""
    names = [name for name in FlowQuality._fields if name not in ("temperature", "kinds")]
    return {name: float(np.mean([getattr(row, name) for row in rows])) for name in names}

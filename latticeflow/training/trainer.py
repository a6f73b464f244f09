"""The trainer: batches, gradients, schedule, guard against NaN, state for an exact resume."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from latticeflow.flows import Flow, Multiscale
from latticeflow.flows.weights import acceptance_of_weights
from latticeflow.training import coarse_draws
from latticeflow.training.critic import Critic, PublishedCritic, clip_weights, critic_loss, slope
from latticeflow.training.data import ReferenceDraws
from latticeflow.training.distributed import ALONE, Group
from latticeflow.training.objectives import Objective, score_function
from latticeflow.training.training_settings import TrainingSettings
from latticeflow.training.weight_schedule import weighted_sum
from mcmc import InputError
from mcmc.sampling.rng import key


class Metrics(NamedTuple):
    """What one step shows; means over the batch, of process 0 where there are several."""

    step: int
    seconds: float
    loss: float
    log_weight_variance: float
    """Of the flow's own draws, mean over temperatures; NaN where the objective makes none."""
    acceptance: float
    """Expected acceptance of the independence chain, from the same weights."""
    gradient_norm: float
    critic_loss: float
    """Logistic loss, 2 ln 2 for a critic that cannot tell draws apart; NaN without one."""


class TrainingDivergedError(InputError):
    """A gradient was not finite; the flow holds the parameters from before that step."""


class Trainer:
    """Train a flow; resumable bit for bit on one device and number of threads when trained by steps.

    Every step has random streams of its own, pure functions of the seed, the process and the number of the step.

    Args:
        flow: trained in place.
        settings: how.
        reference: ensemble draws; None where the objective needs none.
        group: the processes that train together.

    Raises:
        InputError: the objective needs ensemble draws and there are none, or the processes cannot share a batch.
    """

    def __init__(
        self,
        flow: Flow,
        settings: TrainingSettings,
        reference: ReferenceDraws | None = None,
        *,
        group: Group = ALONE,
    ):
        self.flow, self.reference, self.group = flow, reference, group
        self.settings = settings.resolved(flow)
        self.objective = self.settings.terms(flow)
        if self.objective.needs_ensemble and reference is None:
            raise InputError(f"objective {self.settings.objective!r} needs an ensemble: give one, or use reverse_kl")
        self.draws = group.share(settings.batch_draws)
        self.reparameterised = self.settings.gradient == "reparameterised"
        if self.reparameterised and not flow.reparameterised and self.objective.needs_draws:
            raise InputError(f"flow {flow.name!r} offers no reparameterised draws: train it by the score function")
        self.parameters = _trained(flow, self.settings.least_spacing or 1)
        self.optimiser = _optimiser(self.parameters, self.settings)
        self.generator, self.picker = torch.Generator(flow.device), torch.Generator()
        self.coarse = _coarse_draws(flow, self.objective, reference)
        self.critic: Critic | PublishedCritic | None = None
        if self.objective.adversarial:
            self.critic = _critic(flow, self.settings, self.draws).to(flow.device)
            rate = settings.critic.learning_rate
            self.critic_optimiser = torch.optim.Adam(self.critic.parameters(), rate, betas=(0.5, 0.9), fused=True)
        group.copy_first([*flow.state_dict().values(), *(self.critic.state_dict().values() if self.critic else ())])
        self.average = copy.deepcopy(flow).requires_grad_(False) if settings.ema else None
        self.step_number, self.seconds, self.reference_draws = 0, 0.0, 0

    @property
    def served(self) -> Flow:
        """The flow to keep: the moving average of the parameters where there is one."""
        return self.flow if self.average is None else self.average

    @property
    def fraction(self) -> float:
        """How much of the training is done, 0 to 1; the same in all processes."""
        if self.settings.steps is not None:
            return min(self.step_number / self.settings.steps, 1.0)
        return min(self.seconds / (60 * (self.settings.minutes or 1)), 1.0)

    def run(self, report: Callable[[Metrics], None] | None = None) -> None:
        """Train to the end, calling ``report`` after every step.

        Raises:
            TrainingDivergedError: at the first step whose gradient is not finite; all is as it was before it.
        """
        while self.fraction < 1:
            metrics = self.step()
            if report is not None:
                report(metrics)

    def step(self) -> Metrics:
        """One step of the flow, and of the critic where there is one; no parameter changes unless all can."""
        started = time.monotonic()
        self._prepare()
        loss, of_critic, log_w, norm = self._gradients()
        size = float(norm)
        if not math.isfinite(size):
            raise self._diverged(size)
        self._update(of_critic)
        self.step_number += 1
        if self.average is not None:
            self._average_parameters(self.average)
        self.seconds += self.group.mean(time.monotonic() - started)
        return self._metrics(loss, of_critic, log_w, size)

    def _prepare(self) -> None:
        """Set the random streams and the rates of the next step."""
        self._seed(self.step_number)
        rate = self.settings.rate(self.step_number, self.fraction)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * rate

    def _seed(self, step: int) -> None:
        seed, other = key(self.settings.seed, self.group.rank, step)[:2].tolist()
        self.generator.manual_seed(seed)
        self.picker.manual_seed(other)

    def _gradients(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """Losses of flow and critic, and log weights, see `_losses`; the gradients, and the norm of the flow's."""
        loss, of_critic, log_w = self._losses()
        self.optimiser.zero_grad()
        loss.backward()
        parameters = list(self.parameters)
        if of_critic is not None and self.critic is not None:
            self.critic_optimiser.zero_grad()
            of_critic.backward()
            parameters += self.critic.parameters()
        self.group.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        return loss.detach(), None if of_critic is None else of_critic.detach(), log_w, norm

    def _update(self, of_critic: Tensor | None) -> None:
        """Move the parameters by the gradients."""
        self.optimiser.step()
        if of_critic is not None and self.critic is not None:
            self.critic_optimiser.step()
            clip_weights(self.critic, self.settings.critic.weight_clip)

    def _diverged(self, norm: float) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"training diverged at step {self.step_number}: gradient norm {norm}; start again from what is kept "
            f"at a lower learning rate than {self.settings.learning_rate:g}, or check the ensemble with "
            f"'latticeflow verify'"
        )

    def _metrics(self, loss: Tensor, of_critic: Tensor | None, log_w: Tensor | None, norm: float) -> Metrics:
        return Metrics(
            step=self.step_number,
            seconds=self.seconds,
            loss=float(loss),
            log_weight_variance=math.nan if log_w is None else float(log_w.var(1).mean()),
            acceptance=math.nan if log_w is None else float(acceptance_of_weights(log_w.cpu().numpy()).mean()),
            gradient_norm=norm,
            critic_loss=math.nan if of_critic is None else float(of_critic),
        )

    def _losses(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Loss of the flow, of the critic, and log weights of the flow's own draws."""
        weights, terms = self._present_objective(), dict[str, Tensor]()
        of_critic = log_w = None
        if weights.needs_draws:
            T = self._random_temperatures(*self._batch(whole=True))
            draw = self.flow.rsample if self.reparameterised else self.flow.sample
            theta, log_q = draw(T.numel(), T.flatten(), generator=self.generator)
            log_p = -self.flow.model.energy(theta) / T.flatten()
            drawn, log_q, log_w = theta.unflatten(0, T.shape), log_q.view(T.shape), (log_p - log_q).view(T.shape)
            if weights.model:
                terms["model"] = -log_w.mean() if self.reparameterised else score_function(log_q, log_w)
            log_w = log_w.detach()
        if self.coarse is not None and self.reference is not None:
            self._add_draws()
            theta, T, rest = self.coarse.batch(self.settings.batch_temperatures, self.draws, self.picker)
            log_q = self.coarse.flow.log_prob_of_coarse(theta.flatten(0, 1), T.flatten(), self.coarse.end).view(T.shape)
            terms["ensemble"] = score_function(log_q, rest - log_q)
        elif self.reference is not None and weights.needs_ensemble:
            count, draws = self._batch(whole=bool(weights.nll or weights.ensemble or weights.adversarial))
            real, real_T = self.reference.batch(draws, self.picker, temperatures=count)
            self.reference_draws += draws
            theta = real.flatten(0, 1)
            if weights.sites:
                terms["sites"] = self.flow.estimate_nll(
                    theta, real_T.flatten(), rows=self.settings.rows, generator=self.picker
                )
            if weights.nll or weights.ensemble:
                real_log_q = self.flow.log_prob(theta, real_T.flatten()).view(real_T.shape)
                if weights.nll:
                    terms["nll"] = -real_log_q.mean()
                if weights.ensemble:
                    real_log_p = (-self.flow.model.energy(theta) / real_T.flatten()).view(real_T.shape)
                    terms["ensemble"] = score_function(real_log_q, real_log_p - real_log_q)
            if self.critic is not None:
                # Flow and critic step at once, as in the paper: the flow sees the critic from before its step.
                real = real.requires_grad_(self.settings.critic.gradient_penalty > 0)
                real_logit = self.critic(real, real_T / self.flow.unit, self.generator)
                logit = self.critic(drawn.detach(), T / self.flow.unit, self.generator)
                of_critic = critic_loss(real_logit, logit)
                if self.settings.critic.gradient_penalty:
                    of_critic = of_critic + self.settings.critic.gradient_penalty * slope(real_logit, real)
                if self.reparameterised:
                    # The critic's parameters learn nothing from what the flow minimises.
                    self.critic.requires_grad_(False)
                    terms["adversarial"] = softplus(-self.critic(drawn, T / self.flow.unit, self.generator)).mean()
                    self.critic.requires_grad_(True)
                else:
                    terms["adversarial"] = score_function(log_q, logsigmoid(logit))
        return self._weighted(terms, weights), of_critic, log_w

    def _add_draws(self) -> None:
        """New draws for the coarse groups, of the present step."""
        assert self.coarse is not None
        assert self.reference is not None
        self.coarse.add(*self.reference.batch(self._read, self.picker))
        self.reference_draws += self._read

    @property
    def _read(self) -> int:
        """Draws of each temperature that a step reads."""
        return self.draws if self.coarse is None else max(2, self.draws // 8)

    def _weighted(self, terms: dict[str, Tensor], weights: Objective) -> Tensor:
        """The loss, at this point of the training."""
        schedules = self.settings.schedules
        return weighted_sum(terms, vars(weights), schedules, fraction=self.fraction, parameters=self.parameters)

    def _present_objective(self) -> Objective:
        """The objective; where random sites are a part of it, without the terms that have no weight at this point."""
        if not self.objective.sites:
            return self.objective
        schedules = self.settings.schedules.items()
        return replace(self.objective, **{name: 0.0 for name, each in schedules if each.factor(self.fraction) == 0})

    def _batch(self, *, whole: bool) -> tuple[int, int]:
        """Temperatures, and draws of each, of one step.

        Where random sites of them are enough, a large lattice teaches more a configuration: a step then takes no more
        of them than have 2^17 sites together, but at least 16. ``whole`` steps need some of each temperature.
        """
        if not self.objective.sites:
            return self.settings.batch_temperatures, self.draws
        most = max(16, 2**17 // self.flow.lattice.N)
        draws = min(self.draws, max(4 if whole else 2, most // self.settings.batch_temperatures))
        return min(self.settings.batch_temperatures, max(1, most // draws)), draws

    def _random_temperatures(self, count: int, draws: int) -> Tensor:
        """One temperature from each of equal strata of the flow's range, repeated for its draws; (T, n)."""
        low, high = (T / self.flow.unit for T in self.flow.temperatures)
        u = torch.rand(count, generator=self.generator, device=self.flow.device)
        # Strata reach the ends of the range more often than its inside, where neighbours help.
        T = low + (high - low) * ((torch.arange(count, device=u.device) + 1.1 * u - 0.05) / count).clamp(0, 1)
        return (T.double() * self.flow.unit)[:, None].expand(count, draws)

    @torch.no_grad()
    def _average_parameters(self, average: Flow) -> None:
        # The first steps count less than the decay says: an average of untrained parameters does not help.
        decay = min(self.settings.ema, (1 + self.step_number) / (10 + self.step_number))
        for mean, value in zip(average.parameters(), self.flow.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """All but the served flow itself that `load_state_dict` needs to go on exactly."""
        state = {"optimiser": self.optimiser.state_dict(), "step": self.step_number, "seconds": self.seconds}
        state["reference_draws"] = self.reference_draws
        if self.average is not None:
            state["flow"] = self.flow.state_dict()
        if self.critic is not None:
            state["critic"] = self.critic.state_dict()
            state["critic_optimiser"] = self.critic_optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`, in a trainer of the flow that was served."""
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group.setdefault("initial_lr", self.settings.learning_rate)  # files of earlier releases have none
        self.step_number, self.seconds = state["step"], state["seconds"]
        if self.average is not None:
            self.flow.load_state_dict(state["flow"])
        if self.reference is not None and self.objective.needs_ensemble:
            self.reference_draws = state.get("reference_draws", self.step_number * self.draws)
            kept = 0 if self.coarse is None else min(self.step_number, coarse_draws.KEPT)
            self._skip_draws(self.reference_draws - kept * self._read)
            self.reference_draws -= kept * self._read
            for step in range(self.step_number - kept, self.step_number):
                self._seed(step)
                self._add_draws()
        if self.critic is not None:
            self.critic.load_state_dict(state["critic"])
            self.critic_optimiser.load_state_dict(state["critic_optimiser"])

    def _skip_draws(self, draws: int) -> None:
        """Read past the reference draws of earlier steps."""
        assert self.reference is not None
        for start in range(0, draws, self._read):
            self.reference.sample(min(self._read, draws - start))


def _trained(flow: Flow, least_spacing: int) -> list[nn.Parameter]:
    """The parameters that a training changes; the others record no gradients from now on."""
    trained = list(flow.parameters())
    if least_spacing > 1:
        if not isinstance(flow, Multiscale):
            raise InputError(f"a {flow.name} flow has no groups of sites: train it with least_spacing = 1")
        coarse = [net for net, each in zip(flow.conditioners, flow.spacings, strict=True) if each >= least_spacing]
        if not coarse:
            raise InputError(
                f"least_spacing = {least_spacing} leaves nothing to train: the coarsest groups of {flow.lattice} have "
                f"a spacing of {max(flow.spacings)}"
            )
        trained = [parameter for net in coarse for parameter in net.parameters()]
    flow.requires_grad_(False)
    for parameter in trained:
        parameter.requires_grad_(True)
    return trained


def _coarse_draws(flow: Flow, objective: Objective, reference: object) -> coarse_draws.CoarseDraws | None:
    """For a training of the coarse groups alone, by the variance of log w over draws that are read as it goes."""
    alone = objective.ensemble and not (objective.needs_draws or objective.nll or objective.sites)
    if not alone or not isinstance(flow, Multiscale) or not isinstance(reference, ReferenceDraws):
        return None
    return coarse_draws.CoarseDraws(flow, flow.trained) if flow.trained < flow.depths else None


def _optimiser(parameters: Sequence[nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser of the flow; every group's ``initial_lr`` is its rate at the peak of the schedule."""
    assert settings.learning_rate is not None
    group = {"params": list(parameters), "initial_lr": settings.learning_rate}
    return torch.optim.Adam([group], settings.learning_rate, betas=(0.9, 0.99), fused=True)


def _critic(flow: Flow, settings: TrainingSettings, draws: int) -> Critic | PublishedCritic:
    how = settings.critic
    if flow.lattice.dimensions != 2:
        raise InputError(f"critics judge lattices of two axes, not {flow.lattice}: choose an objective without one")
    if draws % how.packing:
        raise InputError(
            f"the critic packs {how.packing} draws, which does not divide {draws}: change the draws of a batch"
        )
    if how.kind == "published":
        return PublishedCritic(flow.lattice.shape, how.channels, packing=how.packing, normalise=how.spectral_norm)
    symmetric = flow.symmetric and flow.model.rotation and flow.model.reflection
    augment = symmetric if how.augment is None else how.augment
    return Critic(how.channels, packing=how.packing, normalise=how.spectral_norm, augment=augment)

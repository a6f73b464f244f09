"""``latticeflow train``: train a flow on an ensemble."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latticeflow.cli import options

EXAMPLES = """latticeflow train xy8.h5 --out xy8.pt --minutes 5
  torchrun --nproc-per-node 2 -m -- latticeflow train xy8.h5 --out xy8.pt"""


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = options.add_verb(verbs, "train", execute, "train a normalizing flow on an ensemble", EXAMPLES)
    parser.add_argument("ensemble", type=Path, metavar="ENSEMBLE.h5", help="reference draws, from generate")
    parser.add_argument("--out", type=Path, required=True, metavar="FLOW.pt", help="the checkpoint to write")
    options.add_device(parser)
    options.add_seed(parser)
    parser.add_argument("--resume", action="store_true", help="go on with the training that FLOW.pt holds")
    for add_group in (_add_flow, _add_objective, _add_length, _add_critic, _add_metrics):
        add_group(parser)


def _add_flow(parser: argparse.ArgumentParser) -> None:
    """Kind and sizes of the flow, and where it starts."""
    flow = parser.add_argument_group("the flow")
    flow.add_argument("--flow", default="multiscale", help="kind of flow (default multiscale)")
    flow.add_argument(
        "--set",
        action="append",
        type=options.size,
        default=[],
        metavar="NAME=VALUE",
        help="a size of the flow, such as width=256; may be repeated",
    )
    flow.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="SMALLER.pt",
        help="start from a flow of the same lattice, or of one with sides of half, a quarter, ...; part of the time "
        "goes to trainings on the sizes between",
    )


def _add_objective(parser: argparse.ArgumentParser) -> None:
    """What is minimised."""
    objective = parser.add_argument_group("the objective")
    objective.add_argument(
        "--objective",
        help="forward_kl, reverse_kl, jeffreys, forward_reverse_kl, log_variance, advnf_forward, advnf_reverse, advnf "
        "(these three with the published weights), log_variance_critic, forward_kl_sites or sites_first "
        "(default: the flow's, log_variance for multiscale, from 32x32 on sites_first, advnf for realnvp)",
    )
    objective.add_argument(
        "--weight",
        action="append",
        type=options.assignment,
        default=[],
        metavar="TERM=W",
        help="weight of nll, sites, model, ensemble or adversarial in place of the objective's; may be repeated",
    )
    objective.add_argument(
        "--schedule",
        action="append",
        type=options.schedule,
        default=[],
        metavar="TERM=KIND",
        help="change a weight along the training: rise:0.2:0.8, fall:0.2:0.8 (shares of the training), or adaptive; "
        "may be repeated",
    )
    objective.add_argument(
        "--gradient",
        help="how reverse KL is differentiated: reparameterised or score_function (default: the flow's, the first for "
        "realnvp)",
    )


def _add_length(parser: argparse.ArgumentParser) -> None:
    """How long, and how the steps are made."""
    length = parser.add_argument_group("length and steps")
    either = length.add_mutually_exclusive_group()
    either.add_argument("--minutes", type=float, help="wall time of the training (default 10)")
    either.add_argument("--steps", type=int, help="number of steps instead: the same flow every time")
    length.add_argument(
        "--batch-draws", type=int, default=16, metavar="N", help="draws at each temperature of a batch (default 16)"
    )
    length.add_argument(
        "--rows", type=int, default=8192, metavar="N", help="random sites in a step of sites_first (default 8192)"
    )
    length.add_argument(
        "--batch-temperatures", type=int, default=32, metavar="N", help="temperatures in a batch (default 32)"
    )
    length.add_argument(
        "--least-spacing",
        type=int,
        metavar="A",
        help="of multiscale, train the groups whose known sites lie so far apart or more, and keep the finer nets "
        "(default: all; from 32x32 on, if --from a smaller lattice, a quarter of the side)",
    )
    length.add_argument(
        "--learning-rate", type=float, metavar="R", help="highest rate (default: the flow's, 0.01 for multiscale)"
    )
    length.add_argument(
        "--warmup", type=int, default=50, metavar="STEPS", help="steps until the highest rate (default 50)"
    )
    length.add_argument(
        "--clip-norm", type=float, default=1.0, metavar="G", help="bound of the gradient's norm (default 1)"
    )
    length.add_argument(
        "--ema",
        type=float,
        default=0.0,
        metavar="DECAY",
        help="keep a moving average of the parameters, with a decay such as 0.999 (default 0: none)",
    )


def _add_critic(parser: argparse.ArgumentParser) -> None:
    """The critic of the adversarial objectives."""
    critic = parser.add_argument_group("the critic of advnf")
    critic.add_argument(
        "--critic", default="symmetric", help="symmetric, or published: the paper's (default symmetric)"
    )
    critic.add_argument(
        "--critic-channels", type=int, default=32, metavar="N", help="channels of each convolution (default 32)"
    )
    critic.add_argument(
        "--critic-packing", type=int, default=2, metavar="N", help="configurations it sees together (default 2)"
    )
    critic.add_argument(
        "--critic-rate", type=float, default=1e-3, metavar="R", help="its learning rate (default 0.001)"
    )
    critic.add_argument(
        "--critic-penalty", type=float, default=0.0, metavar="W", help="weight of a gradient penalty (default 0)"
    )
    critic.add_argument(
        "--critic-clip", type=float, default=0.0, metavar="W", help="bound of its weights (default none)"
    )
    critic.add_argument("--no-spectral-norm", action="store_true", help="leave its Lipschitz constant unbounded")
    critic.add_argument(
        "--no-augmentation",
        action="store_true",
        help="show it configurations as they are, not moved by random symmetries",
    )


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    """Where the metrics of the steps go."""
    shown = parser.add_argument_group("metrics")
    shown.add_argument(
        "--log", type=Path, metavar="FILE", help="append the metrics of every step to a file (.jsonl or .csv)"
    )
    shown.add_argument("--tensorboard", type=Path, metavar="DIR", help="write them for TensorBoard, if it is installed")


def execute(arguments: argparse.Namespace) -> int:
    """Train; 0 if complete, 128 + signal after a signal."""
    options.require_torch()
    from latticeflow.training import distributed as parallel
    from latticeflow.training.train import train
    from latticeflow.training.training_settings import CriticSettings, TrainingSettings
    from mcmc.errors import InputError
    from mcmc.runtime.stop import Stop

    if arguments.start is not None and arguments.set:
        raise InputError("--from brings the sizes of its flow: leave out --set")
    minutes = arguments.minutes
    if arguments.steps is None and minutes is None:
        minutes = 10.0
    settings = TrainingSettings(
        objective=arguments.objective,
        steps=arguments.steps,
        minutes=minutes,
        batch_temperatures=arguments.batch_temperatures,
        batch_draws=arguments.batch_draws,
        rows=arguments.rows,
        least_spacing=arguments.least_spacing,
        learning_rate=arguments.learning_rate,
        warmup=arguments.warmup,
        clip_norm=arguments.clip_norm,
        ema=arguments.ema,
        weights=dict(arguments.weight),
        schedules=dict(arguments.schedule),
        gradient=arguments.gradient,
        critic=CriticSettings(
            kind=arguments.critic,
            channels=arguments.critic_channels,
            packing=arguments.critic_packing,
            spectral_norm=not arguments.no_spectral_norm,
            gradient_penalty=arguments.critic_penalty,
            weight_clip=arguments.critic_clip,
            augment=False if arguments.no_augmentation else None,
            learning_rate=arguments.critic_rate,
        ),
        seed=arguments.seed,
    )
    with Stop() as stop, parallel.join(arguments.device) as group:
        flow = train(
            arguments.ensemble,
            out=arguments.out,
            settings=settings,
            flow=arguments.flow,
            sizes=dict(arguments.set),
            device=group.device,
            start=arguments.start,
            resume=arguments.resume,
            log=arguments.log,
            tensorboard=arguments.tensorboard,
            stop=stop,
            group=group,
            command=arguments.command,
        )
    return options.stopped(stop, flow.history["complete"])

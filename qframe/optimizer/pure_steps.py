"""Steps of optimizers as pure functions of tensors, for compiled updates; they equal torch's own.

Each takes the settings of the torch optimizer's parameter group, a parameter, its gradient, its state and the learning
rate ``[]``, and returns the new parameter and the new state.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, optim

from qframe.functional.compiling import stored

State = dict[str, Tensor]
Step = Callable[[Mapping[str, Any], Tensor, Tensor, State, Tensor], tuple[Tensor, State]]


def _with_moments(
    group: Mapping[str, Any], param: Tensor, grad: Tensor, state: State, lr: Tensor
) -> tuple[Tensor, State]:
    """The parameter after decoupled weight decay, and Adam's state with this gradient in its moments."""
    beta1, beta2 = group["betas"]
    if group["decoupled_weight_decay"]:
        param = param * (1 - lr * group["weight_decay"])
    elif group["weight_decay"]:
        grad = grad + group["weight_decay"] * param
    mean = state["exp_avg"].lerp(grad, 1 - beta1)
    square = state["exp_avg_sq"] * beta2 + grad * grad * (1 - beta2)
    return param, {"step": state["step"] + 1, "exp_avg": mean, "exp_avg_sq": square}


def adam(group: Mapping[str, Any], param: Tensor, grad: Tensor, state: State, lr: Tensor) -> tuple[Tensor, State]:
    """Adam, ``θ ← θ − lr · m̂ / (√v̂ + ε)``; with decoupled weight decay it is AdamW.

    See "Adam: A Method for Stochastic Optimization", Kingma and Ba, 2015; "Decoupled Weight Decay Regularization",
    Loshchilov and Hutter, 2019.
    """
    param, new = _with_moments(group, param, grad, state, lr)
    (beta1, beta2), step = group["betas"], new["step"]
    denominator = new["exp_avg_sq"].sqrt() / stored((1 - beta2**step).sqrt()) + group["eps"]
    return param - stored(lr / (1 - beta1**step)) * (new["exp_avg"] / denominator), new


def radam(group: Mapping[str, Any], param: Tensor, grad: Tensor, state: State, lr: Tensor) -> tuple[Tensor, State]:
    """Rectified Adam: Adam's step times the rectification r, and ``θ ← θ − lr · m̂`` while ρ ≤ 5.

    See "On the Variance of the Adaptive Learning Rate and Beyond", Liu et al., 2020, algorithm 2.
    """
    param, new = _with_moments(group, param, grad, state, lr)
    (beta1, beta2), step = group["betas"], new["step"]
    count, rho_inf = step.double(), 2 / (1 - beta2) - 1  # in single precision, ρ of the first steps is off by 1 %
    correction = 1 - beta2**count
    rho = rho_inf - 2 * count * beta2**count / correction
    rectified = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho) * correction
    scale = stored(rectified.clamp(min=0).sqrt().to(param.dtype))
    move = torch.where(rho > 5, scale / (new["exp_avg_sq"].sqrt() + group["eps"]), 1.0) * new["exp_avg"]
    return param - stored(lr / (1 - beta1**step)) * move, new


def rmsprop(group: Mapping[str, Any], param: Tensor, grad: Tensor, state: State, lr: Tensor) -> tuple[Tensor, State]:
    """RMSprop, ``θ ← θ − lr · g / (√E[g²] + ε)``, centred or not, with or without momentum.

    See "Generating Sequences With Recurrent Neural Networks", Graves, 2013, equation 38.
    """
    alpha, new = group["alpha"], {"step": state["step"] + 1}
    if group["weight_decay"]:
        grad = grad + group["weight_decay"] * param
    square = new["square_avg"] = state["square_avg"] * alpha + grad * grad * (1 - alpha)
    if group["centered"]:
        mean = new["grad_avg"] = state["grad_avg"].lerp(grad, 1 - alpha)
        square = square - mean * mean
    move = grad / (square.sqrt() + group["eps"])
    if group["momentum"]:
        move = new["momentum_buffer"] = group["momentum"] * state["momentum_buffer"] + move
    return param - lr * move, new


def sgd(group: Mapping[str, Any], param: Tensor, grad: Tensor, state: State, lr: Tensor) -> tuple[Tensor, State]:
    """Stochastic gradient descent, with or without (Nesterov's) momentum."""
    if group["weight_decay"]:
        grad = grad + group["weight_decay"] * param
    if not group["momentum"]:
        return param - lr * grad, {}
    momentum = group["momentum"] * state["momentum_buffer"] + grad
    move = grad + group["momentum"] * momentum if group["nesterov"] else momentum
    return param - lr * move, {"momentum_buffer": momentum}


def clip(grad: Tensor, max_norm: float | None) -> tuple[Tensor, Tensor]:
    """The gradient scaled down to a norm of at most ``max_norm`` (None: as it is), like torch's ``clip_grad_norm_``.

    Returns:
        The gradient, and its norm before, ``[]``.
    """
    norm = torch.linalg.vector_norm(grad)
    return grad if max_norm is None else grad * (max_norm / (norm + 1e-6)).clamp(max=1.0), norm


STEPS: dict[type[optim.Optimizer], Step] = {
    optim.Adam: adam, optim.AdamW: adam, optim.RAdam: radam, optim.RMSprop: rmsprop, optim.SGD: sgd,
}  # fmt: skip

ELEMENTWISE = (
    optim.Adam, optim.AdamW, optim.RMSprop, optim.SGD, optim.NAdam, optim.RAdam, optim.Adagrad, optim.Adamax,
    optim.Adadelta,
)  # fmt: skip
"""Optimizers that work elementwise, so that all parameters can be one vector."""


def pure_step(optimizer: optim.Optimizer) -> Step:
    """The step of a torch optimizer as a pure function.

    Raises:
        ValueError: this optimizer, or one of its settings, has no pure step.
    """
    group, names = optimizer.param_groups[0], ", ".join(sorted(kind.__name__ for kind in STEPS))
    unusual = [name for name in ("amsgrad", "maximize", "dampening", "differentiable") if group.get(name)]
    if type(optimizer) not in STEPS or unusual:
        got = type(optimizer).__name__ + "".join(f" with {name}" for name in unusual)
        raise ValueError(f"compiled updates support {names} in plain form, not {got}; set compile=false")
    return STEPS[type(optimizer)]


def first_state(optimizer: optim.Optimizer, param: Tensor) -> State:
    """The state before the first step: zeros."""
    group = optimizer.param_groups[0]
    names = {
        optim.RMSprop: ["square_avg", *(["grad_avg"] if group.get("centered") else [])],
        optim.SGD: [],
    }.get(type(optimizer), ["exp_avg", "exp_avg_sq"])
    if group.get("momentum"):
        names = [*names, "momentum_buffer"]
    state = {name: torch.zeros_like(param) for name in names}
    return state if type(optimizer) is optim.SGD else {"step": param.new_zeros(()), **state}

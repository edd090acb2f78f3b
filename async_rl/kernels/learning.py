"""A layer for a single row, returns, gradients of losses, and updates."""

import numpy as np

from async_rl.kernels.compiling import compiled, from_bfloat16, to_bfloat16


@compiled
def fully_connected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, out: np.ndarray) -> None:
    """``weight @ x + bias``: ``x`` [N], ``weight`` [M, N], ``bias`` and ``out`` [M], uint16, the bits of bfloat16."""
    wide = np.empty(x.size, np.float32)
    for n in range(x.size):
        wide[n] = from_bfloat16(x[n])
    for m in range(weight.shape[0]):
        row, total = weight[m], np.float32(0)
        for n in range(row.size):
            total += wide[n] * from_bfloat16(row[n])
        out[m] = to_bfloat16(np.float32(total + from_bfloat16(bias[m])).view(np.uint32))


@compiled
def lambda_returns(
    reward: np.ndarray,
    discount: np.ndarray,
    continues: np.ndarray,
    next_value: np.ndarray,
    decay: np.float32,
    out: np.ndarray,
) -> None:
    """See `async_rl.returns.lambda_returns`; all [T, E] float32."""
    steps, streams = reward.shape
    for e in range(streams):
        following = next_value[steps - 1, e]
        for t in range(steps - 1, -1, -1):
            value = next_value[t, e]
            share = decay * continues[t, e]
            if share != 0:  # what comes after the end of a game may not be finite, and is no part of it
                value += share * (following - value)
            following = reward[t, e]
            if discount[t, e] != 0:
                following += discount[t, e] * value
            out[t, e] = following


@compiled
def value_gradient(
    outputs: np.ndarray,
    action: np.ndarray,
    returns: np.ndarray,
    weight: np.ndarray,
    slope: np.float32,
    most: np.float32,
    gradient: np.ndarray,
    errors: np.ndarray,
) -> tuple[float, float]:
    """Gradient of the weighted loss: ``slope`` times each error ``R - Q(s, a)``, which counts as at most ``most``.

    ``outputs`` and ``gradient`` are [T, E, A] float32, ``action`` [T, E] int64, all others [T, E] float32. Written:
    ``gradient`` and ``errors``.

    Returns:
        Sums of Q(s, a) and of the squared errors.
    """
    values = squares = 0.0
    gradient[:] = 0
    for t in range(action.shape[0]):
        for e in range(action.shape[1]):
            value = outputs[t, e, action[t, e]]
            error = returns[t, e] - value
            errors[t, e] = error
            values += value
            squares += np.float64(error) * error
            error = most if error > most else error  # what is not a number stays so
            error = -most if error < -most else error
            gradient[t, e, action[t, e]] = -slope * weight[t, e] * error
    return values, squares


@compiled
def actor_critic_gradient(
    outputs: np.ndarray,
    action: np.ndarray,
    returns: np.ndarray,
    entropy_weight: np.float32,
    gradient: np.ndarray,
    errors: np.ndarray,
) -> tuple[float, float]:
    """Gradient of ``(R - V)^2 - (R - V) log pi(a) - entropy_weight H(pi)``; in the second term R - V is a constant.

    An action whose logit is -inf, as the network has ruled it out, gets the gradient 0.

    ``outputs`` and ``gradient`` are [T, E, A + 1] float32, the logits of pi and V; all others as in `value_gradient`.

    Returns:
        Sums of V and of the squares of R - V.
    """
    values = squares = 0.0
    actions = outputs.shape[2] - 1
    for t in range(action.shape[0]):
        for e in range(action.shape[1]):
            logits, slope = outputs[t, e, :actions], gradient[t, e]
            log_policy = logits - logits.max()
            log_policy -= np.log(np.exp(log_policy).sum())
            policy = np.exp(log_policy)
            log_policy = np.maximum(log_policy, np.float32(-1e30))  # 0 log 0 is 0
            negative_entropy = (policy * log_policy).sum()
            advantage = returns[t, e] - outputs[t, e, actions]
            errors[t, e] = advantage
            values += outputs[t, e, actions]
            squares += np.float64(advantage) * advantage
            slope[:actions] = policy * (advantage + entropy_weight * (log_policy - negative_entropy))
            slope[action[t, e]] -= advantage
            slope[actions] = np.float32(-2) * advantage
    return values, squares


@compiled
def rmsprop(
    parameters: np.ndarray,
    gradient: np.ndarray,
    mean_square: np.ndarray,
    decay: np.float32,
    fresh: np.float32,
    epsilon: np.float32,
    lr: np.float32,
    rounded: np.ndarray | None,
) -> None:
    """One update of `async_rl.optimizers.RMSProp` on vectors [P] float32; ``fresh`` is ``1 - decay``.

    ``rounded`` [P] uint16, if there is one, gets the new parameters in bfloat16.
    """
    for start in range(0, parameters.size, 2048):  # the second loop finds in the nearest cache what the first has left
        piece = slice(start, start + 2048)
        theta, slope, square = parameters[piece], gradient[piece], mean_square[piece]
        for i in range(theta.size):
            square[i] = decay * square[i] + fresh * slope[i] * slope[i]
            theta[i] -= lr * slope[i] / np.sqrt(square[i] + epsilon)
        if rounded is not None:
            bits, out = theta.view(np.uint32), rounded[piece]
            for i in range(bits.size):
                out[i] = to_bfloat16(bits[i])


@compiled
def adam(
    parameters: np.ndarray,
    gradient: np.ndarray,
    mean: np.ndarray,
    mean_square: np.ndarray,
    decay: np.float32,
    square_decay: np.float32,
    fresh: np.float32,
    square_fresh: np.float32,
    scale: np.float32,
    epsilon: np.float32,
    most: np.float32,
    lr: np.float32,
) -> None:
    """One update of `async_rl.optimizers.Adam` on vectors [P] float32.

    ``fresh`` and ``square_fresh`` are 1 minus the decays, ``scale`` is the bias correction of ``mean_square`` as a
    factor, that of ``mean`` is in ``lr``; ``most`` limits the quotient of the two.
    """
    for i in range(parameters.size):
        mean_square[i] = square_decay * mean_square[i] + square_fresh * gradient[i] * gradient[i]
        mean[i] = decay * mean[i] + fresh * gradient[i]
        quotient = mean[i] / (np.sqrt(mean_square[i] * scale) + epsilon)
        quotient = quotient if quotient < most else most
        quotient = quotient if quotient > -most else -most
        parameters[i] -= lr * quotient

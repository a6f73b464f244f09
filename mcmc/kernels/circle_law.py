"""What a multiscale flow computes between and after its matrix products, fused, for single precision on a CPU.

Arrays are feature by row, contiguous: sixteen rows (a site of a configuration each) make one vector, and
all that belongs to them stays in the first cache. In torch the same takes some sixty passes through memory. The
formulas are those of `latticeflow.flows.multiscale.Conditioner` and `latticeflow.flows.generalised_von_mises`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from mcmc.kernels.arithmetic import exponential
from mcmc.kernels.lanes import fma, load, maximum, pointer, spread, sqrt, store, where

F = np.float32
_W = 16


@njit(cache=True, nogil=True)
def silu(a, h, slope, wants_slope):
    """h = a sigmoid(a) and its derivative, elementwise; flat float32 arrays of a multiple of 16 numbers."""
    p_a, p_h, p_d = pointer(a), pointer(h), pointer(slope)
    for i in range(0, len(a), _W):
        x = load(p_a, i)
        s = F(1.0) / (F(1.0) + exponential(-x))
        y = x * s
        store(p_h, i, y)
        if wants_slope:
            store(p_d, i, s + y * (F(1.0) - s))


# Abramowitz and Stegun 9.8.1 to 9.8.4: I0(x) and I1(x) / x in (x / 3.75)^2; for larger x sqrt(x) exp(-x) of I0 and I1
# in 3.75 / x. Their ratio is right to 5e-7.
_I0_NEAR = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
_I1_NEAR = (0.5, 0.87890594, 0.51498869, 0.15084934, 0.02658733, 0.00301532, 0.00032411)
_I0_FAR = (
    0.39894228,
    0.01328592,
    0.00225319,
    -0.00157565,
    0.00916281,
    -0.02057706,
    0.02635537,
    -0.01647633,
    0.00392377,
)
_I1_FAR = (
    0.39894228,
    -0.03988024,
    -0.00362018,
    0.00163801,
    -0.01031555,
    0.02282967,
    -0.02895312,
    0.01787654,
    -0.00420059,
)


@njit(cache=True, forceinline=True)
def _polynomial(coefficients, x):
    value = spread(F(coefficients[-1]))
    for k in range(2, len(coefficients) + 1):
        value = fma(value, x, spread(F(coefficients[-k])))
    return value


@njit(cache=True, forceinline=True)
def _bessel_ratio(square):
    """I1(x) / (x I0(x)) by x^2."""
    near = square * F(1 / 3.75**2)
    x = sqrt(square)
    inverse = F(1.0) / maximum(x, spread(F(1.0)))
    far = inverse * F(3.75)
    below = square < F(3.75**2)
    near = where(below, near, spread(F(1.0)))
    small = _polynomial(_I1_NEAR, near) / _polynomial(_I0_NEAR, near)
    large = inverse * _polynomial(_I1_FAR, far) / _polynomial(_I0_FAR, far)
    return where(below, small, large)


@njit(cache=True, nogil=True)
def marginals(v, owners, parts, amplitudes, rows, signs, scale, stiffness, cosines, basis, inv_T, vectors, around):
    """What `latticeflow.flows.marginals.Marginals` gives, with the products that make m and w as a table.

    Args:
        v: float32 (2, n, R), known and predicted spins; R a multiple of 16.
        owners, parts: of each product int64 (P,), its neighbour and whether it belongs to m, 0, or to w, 1 or -1.
        amplitudes: float32 (P,).
        rows, signs: int64 (P, most factors), rows of ``v`` or -1, and 1 or -1 for its conjugate.
        scale: float32 (S,), that of each neighbour's vector.
        stiffness: scale of the vector of the sum.
        cosines, basis: float32 (Q,) and (Q, M), see `Marginals`.
        inv_T: (R,).
        vectors: result, (2, S or S + 1, R).
        around: result, (2, M, R), or (2, 0, R) where series are not short.
    """
    R, S, M, Q = v.shape[2], len(scale), around.shape[1], len(cosines)
    n, n_out = v.shape[1], vectors.shape[1]
    p_v, p_T, p_out, p_c = pointer(v), pointer(inv_T), pointer(vectors), pointer(around)
    mw_array, c_array, q_array = np.empty(4 * S * _W, F), np.empty(max(2 * M, 1) * _W, F), np.empty(Q * _W, F)
    mw, c, p_q = pointer(mw_array), pointer(c_array), pointer(q_array)
    sign_of = np.zeros(S, np.int64)
    for k in range(len(owners)):
        if parts[k] != 0:
            sign_of[owners[k]] = parts[k]
    for r in range(0, R, _W):
        for k in range(4 * S):
            store(mw, k * _W, spread(F(0.0)))
        for k in range(len(owners)):
            x, y = spread(amplitudes[k]), spread(F(0.0))
            for j in range(rows.shape[1]):
                if rows[k, j] >= 0:
                    a, b = load(p_v, rows[k, j] * R + r), load(p_v, (n + rows[k, j]) * R + r)
                    b = b * F(signs[k, j])
                    x, y = x * a - y * b, x * b + y * a
            o = (4 * owners[k] + (2 if parts[k] != 0 else 0)) * _W
            store(mw, o, load(mw, o) + x)
            store(mw, o + _W, load(mw, o + _W) + y)
        for m in range(M):
            store(c, 2 * m * _W, spread(F(0.0)))
            store(c, (2 * m + 1) * _W, spread(F(0.0)))
        inverse_T = load(p_T, r)
        for s in range(S):
            mx, my = load(mw, 4 * s * _W), load(mw, (4 * s + 1) * _W)
            wx, wy = load(mw, (4 * s + 2) * _W), load(mw, (4 * s + 3) * _W)
            dx, dy = mx * wx + my * wy, (my * wx - mx * wy) * F(sign_of[s])
            factor = F(1.0) / scale[s]
            store(p_out, s * R + r, dx * factor)
            store(p_out, (n_out + s) * R + r, dy * factor)
            if M == 0:
                continue
            size = sqrt(dx * dx + dy * dy + F(1e-20))
            squares = mx * mx + my * my + wx * wx + wy * wy
            ux, uy = dx / size, dy / size
            strength = size * inverse_T * inverse_T
            re, im = ux, uy
            for m in range(M):
                total = spread(F(0.0))
                for q in range(Q):
                    if m == 0:
                        square = squares + size * (F(2.0) * cosines[q])
                        ratio = _bessel_ratio(maximum(square, spread(F(0.0))) * inverse_T * inverse_T)
                        store(p_q, q * _W, ratio)
                    total = fma(load(p_q, q * _W), spread(basis[q, m]), total)
                total = total * strength
                store(c, 2 * m * _W, fma(total, re, load(c, 2 * m * _W)))
                store(c, (2 * m + 1) * _W, fma(total, im, load(c, (2 * m + 1) * _W)))
                re, im = re * ux - im * uy, re * uy + im * ux
        for m in range(M):
            store(p_c, m * R + r, load(c, 2 * m * _W))
            store(p_c, (M + m) * R + r, load(c, (2 * m + 1) * _W))
        if n_out > S:
            factor = F(1.0) / stiffness
            store(p_out, S * R + r, load(c, 0) / inverse_T * factor)
            store(p_out, (n_out + S) * R + r, load(c, _W) / inverse_T * factor)
    return mw_array[0] + c_array[0] + q_array[0]


@njit(cache=True, forceinline=True)
def _combine(p_Z, R, n_features, first, vectors, products, r, z):
    """Z^0, the linear and the cubic vectors of sixteen rows, into ``z``: (vector, re and im, lane)."""
    for a in range(1 + vectors):
        f = first + a
        store(z, 2 * a * _W, load(p_Z, f * R + r))
        store(z, (2 * a + 1) * _W, load(p_Z, (n_features + f) * R + r))
    for a in range(products):
        f = first + 1 + vectors + a
        dx, dy = load(p_Z, f * R + r), load(p_Z, (n_features + f) * R + r)
        f += products
        ex, ey = load(p_Z, f * R + r), load(p_Z, (n_features + f) * R + r)
        f += products
        fx, fy = load(p_Z, f * R + r), load(p_Z, (n_features + f) * R + r)
        px, py = dx * ex - dy * ey, dx * ey + dy * ex
        k = 2 * (1 + vectors + a) * _W
        store(z, k, px * fx + py * fy)
        store(z, k + _W, py * fx - px * fy)


@njit(cache=True, forceinline=True)
def _coefficients(z, combined, directions, harmonics, p_out, around, p_around, R, r, inv_T, d, c):
    """Coefficients c of the law into ``c`` and, for the gradient, D_k and d_k into ``d``: 4 vectors for each k."""
    gx, gy = inv_T * load(z, 0), inv_T * load(z, _W)
    for a in range(combined):
        g = load(p_out, a * R + r)
        gx, gy = fma(g, load(z, 2 * a * _W), gx), fma(g, load(z, (2 * a + 1) * _W), gy)
    for m in range(harmonics):
        store(c, 2 * m * _W, spread(F(0.0)))
        store(c, (2 * m + 1) * _W, spread(F(0.0)))
    for m in range(around.shape[1]):
        store(c, 2 * m * _W, load(p_around, m * R + r))
        store(c, (2 * m + 1) * _W, load(p_around, (around.shape[1] + m) * R + r))
    store(c, 0, gx + load(c, 0))
    store(c, _W, gy + load(c, _W))
    for k in range(directions):
        x, y = load(z, 0), load(z, _W)
        for a in range(combined):
            G = load(p_out, (combined * (1 + k) + a) * R + r)
            x, y = fma(G, load(z, 2 * a * _W), x), fma(G, load(z, (2 * a + 1) * _W), y)
        store(d, 4 * k * _W, x)
        store(d, (4 * k + 1) * _W, y)
        scale = F(1.0) / sqrt(F(1.0) + x * x + y * y)
        x, y = x * scale, y * scale
        store(d, (4 * k + 2) * _W, x)
        store(d, (4 * k + 3) * _W, y)
        re, im = x, y
        for m in range(harmonics):
            A = load(p_out, (combined * (1 + directions) + k * harmonics + m) * R + r)
            store(c, 2 * m * _W, fma(A, re, load(c, 2 * m * _W)))
            store(c, (2 * m + 1) * _W, fma(A, im, load(c, (2 * m + 1) * _W)))
            re, im = re * x - im * y, re * y + im * x


@njit(cache=True, forceinline=True)
def _turn(c, harmonics, ux, uy, turned):
    """c_m conj(u^m), the coefficients in a frame in which u is the direction 0."""
    p, q = ux, uy
    for m in range(harmonics):
        re, im = load(c, 2 * m * _W), load(c, (2 * m + 1) * _W)
        store(turned, 2 * m * _W, re * p + im * q)
        store(turned, (2 * m + 1) * _W, im * p - re * q)
        p, q = p * ux - q * uy, p * uy + q * ux


@njit(cache=True, nogil=True)
def draw(
    start, stop, Z, out, sizes, inv_T, around, uniform, offset_x, offset_y, cosines, sines, index, log_ratio, total
):
    """Choose one of the equally spaced angles of each row's law.

    Args:
        start, stop: rows to do, multiples of 16.
        Z: float32 (2, features, R), linear vectors; those before ``first`` are not read.
        out: float32 (O, R), what the perceptron gives.
        sizes: first, vectors, products, directions, harmonics.
        inv_T: 1 / T, (R,).
        around: float32 (2, M, R), coefficients of the law to which the others are added; or (2, 0, R).
        uniform: threshold in [0, 1), (R,).
        offset_x, offset_y: cosine and sine of the first of the angles, (R,).
        cosines, sines: of m phi_j, float32 (M, nodes).
        index, log_ratio, total: results (R,): the angle's number as float, and its log probability as
            ``log_ratio - log(total)``.
    """
    first, vectors, products, directions, harmonics = sizes
    n_features, R, nodes = Z.shape[1], Z.shape[2], cosines.shape[1]
    combined = 1 + vectors + products
    p_Z, p_out, p_T = pointer(Z), pointer(out), pointer(inv_T)
    p_u, p_x, p_y, p_around = pointer(uniform), pointer(offset_x), pointer(offset_y), pointer(around)
    p_index, p_ratio, p_total = pointer(index), pointer(log_ratio), pointer(total)
    cos, sin = pointer(cosines), pointer(sines)
    # numba frees these arrays after their last mention, which must come after that of their pointers.
    z_array, d_array = np.empty(2 * combined * _W, F), np.empty(4 * directions * _W, F)
    c_array, t_array = np.empty(2 * harmonics * _W, F), np.empty(2 * harmonics * _W, F)
    e_array = np.empty(2 * nodes * _W, F)
    z, d, c, t, e = pointer(z_array), pointer(d_array), pointer(c_array), pointer(t_array), pointer(e_array)
    for r in range(start, stop, _W):
        _combine(p_Z, R, n_features, first, vectors, products, r, z)
        _coefficients(z, combined, directions, harmonics, p_out, around, p_around, R, r, load(p_T, r), d, c)
        _turn(c, harmonics, load(p_x, r), load(p_y, r), t)
        top = spread(F(-3e38))
        for j in range(nodes):
            energy = spread(F(0.0))
            for m in range(harmonics):
                energy = fma(load(t, 2 * m * _W), spread(cos[m * nodes + j]), energy)
                energy = fma(load(t, (2 * m + 1) * _W), spread(sin[m * nodes + j]), energy)
            store(e, 2 * j * _W, energy)
            top = maximum(energy, top)
        sum_w = spread(F(0.0))
        for j in range(nodes):
            w = exponential(load(e, 2 * j * _W) - top)
            store(e, (2 * j + 1) * _W, w)
            sum_w = sum_w + w
        threshold = load(p_u, r) * sum_w
        chosen, number, below = load(e, 0), spread(F(0.0)), load(e, _W)
        for j in range(1, nodes):
            later = below < threshold
            chosen = where(later, load(e, 2 * j * _W), chosen)
            number = where(later, spread(F(j)), number)
            below = below + load(e, (2 * j + 1) * _W)
        store(p_index, r, number)
        store(p_ratio, r, chosen - top)
        store(p_total, r, sum_w)
    return z_array[0] + d_array[0] + c_array[0] + t_array[0] + e_array[0]


@njit(cache=True, forceinline=True)
def _gradient_of_coefficients(e, sum_w, cos, sin, harmonics, nodes, x, y, has_moments, p_moments, R, r, c):
    """With respect to c_m: -(mean over the nodes of the basis) u^m, into ``c``."""
    weight = F(-1.0) / sum_w
    p, q = x, y
    for m in range(harmonics):
        gx, gy = spread(F(0.0)), spread(F(0.0))
        for j in range(nodes):
            w = load(e, j * _W)
            gx = fma(w, spread(cos[m * nodes + j] - F(1.0)), gx)
            gy = fma(w, spread(sin[m * nodes + j]), gy)
        gx, gy = gx * weight, gy * weight
        if has_moments:
            gx = gx + (load(p_moments, m * R + r) - F(1.0))
        store(c, 2 * m * _W, gx * p - gy * q)
        store(c, (2 * m + 1) * _W, gx * q + gy * p)
        p, q = p * x - q * y, p * y + q * x


@njit(cache=True, forceinline=True)
def _gradient_of_combined(z, d, c, combined, directions, harmonics, p_out, p_d_out, R, r, inverse_T, dz):
    """From that to the coefficients, ``c``: with respect to the outputs and, into ``dz``, to the combined vectors."""
    g1x, g1y = load(c, 0), load(c, _W)
    for a in range(combined):
        g, zx, zy = load(p_out, a * R + r), load(z, 2 * a * _W), load(z, (2 * a + 1) * _W)
        store(p_d_out, a * R + r, g1x * zx + g1y * zy)
        store(dz, 2 * a * _W, g * g1x)
        store(dz, (2 * a + 1) * _W, g * g1y)
    z0x, z0y = g1x * inverse_T, g1y * inverse_T
    for k in range(directions):
        Dx, Dy = load(d, 4 * k * _W), load(d, (4 * k + 1) * _W)
        x, y = load(d, (4 * k + 2) * _W), load(d, (4 * k + 3) * _W)
        re, im = x, y  # d^m
        px, py = spread(F(1.0)), spread(F(0.0))  # d^(m - 1)
        hx, hy = spread(F(0.0)), spread(F(0.0))  # with respect to d
        for m in range(harmonics):
            o = (combined * (1 + directions) + k * harmonics + m) * R + r
            A, gx, gy = load(p_out, o), load(c, 2 * m * _W), load(c, (2 * m + 1) * _W)
            store(p_d_out, o, gx * re + gy * im)
            factor = A * F(m + 1)
            hx, hy = hx + factor * (gx * px + gy * py), hy + factor * (gy * px - gx * py)
            px, py = re, im
            re, im = re * x - im * y, re * y + im * x
        scale = F(1.0) / sqrt(F(1.0) + Dx * Dx + Dy * Dy)
        along = scale * scale * (Dx * hx + Dy * hy)
        hx, hy = scale * (hx - along * Dx), scale * (hy - along * Dy)  # with respect to D
        z0x, z0y = z0x + hx, z0y + hy
        for a in range(combined):
            o = (combined * (1 + k) + a) * R + r
            G, zx, zy = load(p_out, o), load(z, 2 * a * _W), load(z, (2 * a + 1) * _W)
            store(p_d_out, o, hx * zx + hy * zy)
            store(dz, 2 * a * _W, fma(G, hx, load(dz, 2 * a * _W)))
            store(dz, (2 * a + 1) * _W, fma(G, hy, load(dz, (2 * a + 1) * _W)))
    store(dz, 0, load(dz, 0) + z0x)
    store(dz, _W, load(dz, _W) + z0y)


@njit(cache=True, forceinline=True)
def _gradient_of_features(dz, p_Z, p_dZ, R, n_features, first, vectors, products, r):
    """With respect to the vectors and to the factors of the products; see `_combine`."""
    for a in range(1 + vectors):
        f = first + a
        store(p_dZ, f * R + r, load(dz, 2 * a * _W))
        store(p_dZ, (n_features + f) * R + r, load(dz, (2 * a + 1) * _W))
    for a in range(products):
        k = 2 * (1 + vectors + a) * _W
        gx, gy = load(dz, k), load(dz, k + _W)
        i = first + 1 + vectors + a
        dx, dy = load(p_Z, i * R + r), load(p_Z, (n_features + i) * R + r)
        j = i + products
        ex, ey = load(p_Z, j * R + r), load(p_Z, (n_features + j) * R + r)
        i_f = j + products
        fx, fy = load(p_Z, i_f * R + r), load(p_Z, (n_features + i_f) * R + r)
        px, py = dx * ex - dy * ey, dx * ey + dy * ex
        store(p_dZ, i_f * R + r, px * gx + py * gy)
        store(p_dZ, (n_features + i_f) * R + r, py * gx - px * gy)
        hx, hy = gx * fx - gy * fy, gx * fy + gy * fx  # with respect to d e
        store(p_dZ, i * R + r, ex * hx + ey * hy)
        store(p_dZ, (n_features + i) * R + r, ex * hy - ey * hx)
        store(p_dZ, j * R + r, dx * hx + dy * hy)
        store(p_dZ, (n_features + j) * R + r, dx * hy - dy * hx)


@njit(cache=True, nogil=True)
def density(
    start, stop, Z, out, sizes, inv_T, around, ux, uy, moments, cosines, sines, top_of, total, wants_gradient, dZ, d_out
):
    """Log density of each row's law at an angle, or its mean, and the gradient with respect to ``Z`` and ``out``.

    Args:
        start, stop, Z, out, sizes, inv_T, around, cosines, sines: see `draw`.
        ux, uy: cosine and sine of the angle a, (R,).
        moments: float32 (M, R); the mean over angles b of the log density is taken, where this is that of cos m(b - a)
            and that of sin m(b - a) vanishes. Or (0, R), which takes the density at a.
        top_of, total: results (R,): the log density is log(nodes / 2 pi) - top - log(total).
        wants_gradient: whether to write the next two.
        dZ, d_out: gradients of the shapes of Z and out; of dZ the features before ``first`` stay as they are.
    """
    first, vectors, products, directions, harmonics = sizes
    n_features, R, nodes = Z.shape[1], Z.shape[2], cosines.shape[1]
    combined = 1 + vectors + products
    p_Z, p_out, p_T, p_x, p_y = pointer(Z), pointer(out), pointer(inv_T), pointer(ux), pointer(uy)
    p_top, p_total, p_dZ, p_d_out = pointer(top_of), pointer(total), pointer(dZ), pointer(d_out)
    p_around, p_moments = pointer(around), pointer(moments)
    cos, sin = pointer(cosines), pointer(sines)
    z_array, d_array = np.empty(2 * combined * _W, F), np.empty(4 * directions * _W, F)
    c_array, t_array = np.empty(2 * harmonics * _W, F), np.empty(2 * harmonics * _W, F)
    e_array, dz_array = np.empty(nodes * _W, F), np.empty(2 * combined * _W, F)
    z, d, c, t, e = pointer(z_array), pointer(d_array), pointer(c_array), pointer(t_array), pointer(e_array)
    dz = pointer(dz_array)
    for r in range(start, stop, _W):
        inverse_T = load(p_T, r)
        _combine(p_Z, R, n_features, first, vectors, products, r, z)
        _coefficients(z, combined, directions, harmonics, p_out, around, p_around, R, r, inverse_T, d, c)
        x, y = load(p_x, r), load(p_y, r)
        _turn(c, harmonics, x, y, t)
        # Relative to the density at the angle itself, where the basis is exactly 0: nothing large cancels.
        top = spread(F(-3e38))
        for j in range(nodes):
            energy = spread(F(0.0))
            for m in range(harmonics):
                energy = fma(load(t, 2 * m * _W), spread(cos[m * nodes + j] - F(1.0)), energy)
                energy = fma(load(t, (2 * m + 1) * _W), spread(sin[m * nodes + j]), energy)
            store(e, j * _W, energy)
            top = maximum(energy, top)
        sum_w = spread(F(0.0))
        for j in range(nodes):
            w = exponential(load(e, j * _W) - top)
            store(e, j * _W, w)
            sum_w = sum_w + w
        for m in range(moments.shape[0]):
            top = fma(load(t, 2 * m * _W), F(1.0) - load(p_moments, m * R + r), top)
        store(p_top, r, top)
        store(p_total, r, sum_w)
        if not wants_gradient:
            continue
        _gradient_of_coefficients(e, sum_w, cos, sin, harmonics, nodes, x, y, moments.shape[0] > 0, p_moments, R, r, c)
        _gradient_of_combined(z, d, c, combined, directions, harmonics, p_out, p_d_out, R, r, inverse_T, dz)
        _gradient_of_features(dz, p_Z, p_dZ, R, n_features, first, vectors, products, r)
    return z_array[0] + d_array[0] + c_array[0] + t_array[0] + e_array[0] + dz_array[0]

"""A `vmap` that keeps the mapped axis last, for thousands of small models side by side on a CPU.

`jax.vmap` puts the mapped axis first. For a small model that means a batch of tiny matrix products,
each a call of its own, and short inner loops. With the replicas last, every elementwise loop runs
over replicas in vector registers; a product with what all replicas share (the images of a stop) is
one large product; and a product of two mapped factors is a handful of fused multiply-adds.

The function is traced once, for one replica, and its equations are evaluated one by one with the
rules below. What has no rule goes through `jax.vmap`.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

CALLS = ("jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat")
ELEMENTWISE = (
    *("add", "add_any", "sub", "mul", "div", "rem", "max", "min", "pow", "integer_pow", "atan2"),
    *("neg", "abs", "sign", "square", "sqrt", "rsqrt", "cbrt", "exp", "exp2", "expm1", "log"),
    *("log1p", "logistic", "tanh", "sin", "cos", "erf", "floor", "ceil", "round", "is_finite"),
    *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "nextafter"),
    *("select_n", "clamp", "convert_element_type", "reduce_precision", "copy", "stop_gradient"),
)
LONGEST_SUM = 128  # terms of a sum that is written out


def vmap(fn: Callable, mapped: tuple[bool, ...]) -> Callable:
    """A function like `jax.vmap(fn, in_axes=-1, out_axes=-1)`, laid out for many small replicas.

    Args:
        fn: Of arrays or pytrees of arrays, for one replica.
        mapped: For every argument whether its leaves carry the replicas as last axis.

    Returns:
        A function of the same arguments whose results carry the replicas as last axis. Equal to
        `jax.vmap` up to rounding.

    Example:
        >>> times = vmap(lambda w, x: x @ w, mapped=(True, False))
        >>> times(jnp.ones((3, 1000)), jnp.ones((2, 3))).shape
        (2, 1000)
    """

    def replicated(*args):
        flat = [jax.tree.leaves(arg) for arg in args]
        leaves = [jnp.asarray(leaf) for arg in flat for leaf in arg]
        is_mapped = [m for arg, m in zip(flat, mapped, strict=True) for _ in arg]
        size = next(x.shape[-1] for x, m in zip(leaves, is_mapped, strict=True) if m)
        one = [
            jax.ShapeDtypeStruct(x.shape[:-1] if m else x.shape, x.dtype)
            for x, m in zip(leaves, is_mapped, strict=True)
        ]
        tree = jax.tree.structure(args)
        closed, shape = jax.make_jaxpr(
            lambda *leaves: fn(*jax.tree.unflatten(tree, leaves)), return_shape=True
        )(*one)
        outs = _evaluate(closed, list(zip(leaves, is_mapped, strict=True)), size)
        outs = [_widen(value, is_mapped, size) for value, is_mapped in outs]
        return jax.tree.unflatten(jax.tree.structure(shape), outs)

    return replicated


def _evaluate(closed, args, size):
    """Outputs of a jaxpr; a value is a pair (array, whether its last axis is the replicas)."""
    values = dict(zip(closed.jaxpr.constvars, ((c, False) for c in closed.consts), strict=True))
    values |= dict(zip(closed.jaxpr.invars, args, strict=True))
    given = set(values)

    def read(var):
        return (var.val, False) if isinstance(var, core.Literal) else values[var]

    for eqn in closed.jaxpr.eqns:
        name = eqn.primitive.name
        if name == "dot_general":
            _keep_factors(eqn, values, given, size)
        operands = [read(var) for var in eqn.invars]
        if name in CALLS:
            outs = _evaluate(_called(eqn), operands, size)
        elif not any(is_mapped for _, is_mapped in operands):
            outs = _bind(eqn, [x for x, _ in operands])
            outs = [(out, False) for out in outs]
        else:
            outs = RULES.get(name, _other)(eqn, operands, size)
        values |= dict(zip(eqn.outvars, outs, strict=True))
    return [read(var) for var in closed.jaxpr.outvars]


def _called(eqn):
    return eqn.params.get("jaxpr") or eqn.params["call_jaxpr"]


def _bind(eqn, xs, **changed):
    outs = eqn.primitive.bind(*xs, **(eqn.params | changed))
    return outs if eqn.primitive.multiple_results else [outs]


def _mapped(eqn, xs, **changed):
    return [(out, True) for out in _bind(eqn, xs, **changed)]


def _widen(x, is_mapped, size):
    if is_mapped:
        return x
    x = jnp.asarray(x)
    return lax.broadcast_in_dim(x, (*x.shape, size), range(x.ndim))


def _all_wide(operands, size):
    return [_widen(x, is_mapped, size) for x, is_mapped in operands]


def _other(eqn, operands, size):
    """Any primitive through its own batching rule."""
    del size
    axes = tuple(-1 if is_mapped else None for _, is_mapped in operands)
    mapped = jax.vmap(lambda *xs: _bind(eqn, xs), in_axes=axes, out_axes=-1)
    return [(out, True) for out in mapped(*(x for x, _ in operands))]


def _elementwise(eqn, operands, size):
    """Operands of the result's shape, scalars, or with axes of length 1."""
    shape = eqn.outvars[0].aval.shape
    wide = (*shape, size)
    xs = []
    for (x, is_mapped), var in zip(operands, eqn.invars, strict=True):
        x = jnp.asarray(x, var.aval.dtype)
        axes = tuple(range(len(shape))) if var.aval.shape else ()
        axes = (*axes, len(shape)) if is_mapped else axes
        xs.append(x if x.shape == wide else lax.broadcast_in_dim(x, wide, axes))
    return _mapped(eqn, xs)


def _div(eqn, operands, size):
    """Division by one number per replica as multiplication by its inverse, which is far cheaper.

    Adam's bias corrections are such numbers: one division per parameter is left instead of three.
    """
    (x, _), (y, y_mapped) = operands
    scalar = eqn.invars[1].aval.shape == () and eqn.invars[0].aval.shape != ()
    if not (y_mapped and scalar and jnp.issubdtype(y.dtype, jnp.floating)):
        return _elementwise(eqn, operands, size)
    shape = (*eqn.outvars[0].aval.shape, size)
    wide = x if x.ndim == len(shape) else _widen(x, False, size)
    return [(wide * lax.broadcast_in_dim(1 / y, shape, (len(shape) - 1,)), True)]


def _dot(eqn, operands, size):
    """A shared factor makes one large product; two mapped ones, or few terms, a written-out sum."""
    (lhs_axes, rhs_axes), batch = eqn.params["dimension_numbers"]
    (lhs, lhs_mapped), (rhs, rhs_mapped) = operands
    if any(batch) or len(lhs_axes) != 1 or eqn.outvars[0].aval.dtype != lhs.dtype:
        return _other(eqn, operands, size)
    terms = lhs.shape[lhs_axes[0]]
    if terms <= 8 or (lhs_mapped and rhs_mapped and terms <= LONGEST_SUM):
        return [(_written_out(eqn, operands, size, lhs_axes[0], rhs_axes[0]), True)]
    if lhs_mapped and rhs_mapped:
        return _other(eqn, operands, size)
    if rhs_mapped:
        return _mapped(eqn, [lhs, rhs])
    numbers = ((rhs_axes, lhs_axes), ((), ()))
    (out,) = _bind(eqn, [rhs, lhs], dimension_numbers=numbers)
    first = rhs.ndim - 1
    order = (*range(first, out.ndim - 1), *range(first), out.ndim - 1)
    return [(lax.transpose(out, order), True)]


def _written_out(eqn, operands, size, lhs_axis, rhs_axis):
    (lhs, lhs_mapped), (rhs, rhs_mapped) = operands
    shape = (*eqn.outvars[0].aval.shape, size)
    lhs_free = eqn.invars[0].aval.ndim - 1
    lhs_axes = (*range(lhs_free), *([len(shape) - 1] if lhs_mapped else []))
    rhs_axes = (*range(lhs_free, len(shape) - 1), *([len(shape) - 1] if rhs_mapped else []))
    total = None
    for k in range(lhs.shape[lhs_axis]):
        one = lax.index_in_dim(lhs, k, lhs_axis, keepdims=False)
        two = lax.index_in_dim(rhs, k, rhs_axis, keepdims=False)
        term = lax.broadcast_in_dim(one, shape, lhs_axes) * lax.broadcast_in_dim(
            two, shape, rhs_axes
        )
        total = term if total is None else total + term
    return total


def _keep_factors(eqn, values, given, size):
    """Stores the mapped factors of a product whose elements it reads more than once.

    XLA would otherwise compute them anew inside every loop that reads them: it fuses whatever is
    cheap, and drops optimization barriers before it does so on CPU. A branch that is never
    taken, which only run time can tell, is a border that it respects.
    """
    out = eqn.outvars[0].aval.size
    for var in eqn.invars:
        if isinstance(var, core.Literal) or var in given or var.aval.size >= out:
            continue
        x, is_mapped = values[var]
        if is_mapped and jnp.issubdtype(x.dtype, jnp.floating):
            never = x.reshape(-1)[0] > jnp.inf
            values[var] = lax.cond(never, jnp.zeros_like, lambda x: x, x), True
            given.add(var)


def _broadcast(eqn, operands, size):
    shape, axes = eqn.params["shape"], eqn.params["broadcast_dimensions"]
    wide = lax.broadcast_in_dim(operands[0][0], (*shape, size), (*axes, len(shape)))
    return [(wide, True)]


def _reshape(eqn, operands, size):
    if eqn.params["dimensions"] is not None:
        return _other(eqn, operands, size)
    return [(lax.reshape(operands[0][0], (*eqn.params["new_sizes"], size)), True)]


def _transpose(eqn, operands, size):
    del size
    order = eqn.params["permutation"]
    return _mapped(eqn, [operands[0][0]], permutation=(*order, len(order)))


def _same_axes(eqn, operands, size):
    """Primitives whose axes are counted from the front, on one operand or equal ones."""
    return _mapped(eqn, _all_wide(operands, size))


def _slice(eqn, operands, size):
    params = eqn.params
    strides = params["strides"]
    return _mapped(
        eqn,
        [operands[0][0]],
        start_indices=(*params["start_indices"], 0),
        limit_indices=(*params["limit_indices"], size),
        strides=None if strides is None else (*strides, 1),
    )


def _gather(eqn, operands, size):
    (x, x_mapped), (indices, indices_mapped) = operands
    if indices_mapped or not x_mapped:
        return _other(eqn, operands, size)
    numbers = eqn.params["dimension_numbers"]
    numbers = numbers._replace(offset_dims=(*numbers.offset_dims, eqn.outvars[0].aval.ndim))
    sizes = (*eqn.params["slice_sizes"], size)
    return _mapped(eqn, [x, indices], dimension_numbers=numbers, slice_sizes=sizes)


def _scan(eqn, operands, size):
    params = eqn.params
    consts, carry, xs = _scanned(eqn, operands)
    carried = _carried(eqn, [m for _, m in operands])
    y_mapped: list[bool] = []

    def body(state, rows):
        args = [*consts, *zip(state, carried, strict=True)]
        args += [(row, m) for row, (_, m) in zip(rows, xs, strict=True)]
        outs = _evaluate(params["jaxpr"], args, size)
        state, ys = outs[: len(carry)], outs[len(carry) :]
        y_mapped[:] = [m for _, m in ys]
        return _widened(state, carried, size), [y for y, _ in ys]

    options = {name: params[name] for name in ("length", "reverse", "unroll")}
    last, ys = lax.scan(body, _widened(carry, carried, size), [x for x, _ in xs], **options)
    return [*zip(last, carried, strict=True), *zip(ys, y_mapped, strict=True)]


def _while(eqn, operands, size):
    params = eqn.params
    sizes = params["cond_nconsts"], params["body_nconsts"]
    cond_consts, body_consts, carry = _split(operands, *sizes)
    carried = _carried(eqn, [m for _, m in operands])
    marks = [*(m for _, m in cond_consts), *carried]
    if any(_marks(params["cond_jaxpr"], marks)):
        return _other(eqn, operands, size)

    def goes_on(state):
        args = [*cond_consts, *zip(state, carried, strict=True)]
        return _evaluate(params["cond_jaxpr"], args, size)[0][0]

    def body(state):
        args = [*body_consts, *zip(state, carried, strict=True)]
        return _widened(_evaluate(params["body_jaxpr"], args, size), carried, size)

    last = lax.while_loop(goes_on, body, _widened(carry, carried, size))
    return list(zip(last, carried, strict=True))


def _cond(eqn, operands, size):
    (index, index_mapped), *args = operands
    if index_mapped:
        return _other(eqn, operands, size)
    wide = _branched(eqn, [m for _, m in args])

    def branch(closed, *xs):
        outs = _evaluate(closed, [(x, m) for x, (_, m) in zip(xs, args, strict=True)], size)
        return _widened(outs, wide, size)

    branches = [functools.partial(branch, closed) for closed in eqn.params["branches"]]
    outs = lax.switch(index, branches, *(x for x, _ in args))
    return list(zip(outs, wide, strict=True))


def _scanned(eqn, values):
    """Constants, carry and rows among `values`, one for each operand of a scan."""
    params = eqn.params
    if "ft_in" in params:  # since JAX 0.11
        return [list(part) for part in params["ft_in"].update(values).unpack()]
    return _split(values, params["num_consts"], params["num_carry"])


def _split(values, first, second):
    return values[:first], values[first : first + second], values[first + second :]


def _widened(values, wide, size):
    """Arrays of `values`, with the replicas as last axis where `wide` says so."""
    return [_widen(x, m, size) if w else x for (x, m), w in zip(values, wide, strict=True)]


def _marks(closed, marks):
    """Which outputs of a jaxpr are mapped if these inputs are."""
    known = dict.fromkeys(closed.jaxpr.constvars, False)
    known |= dict(zip(closed.jaxpr.invars, marks, strict=True))

    def read(var):
        return False if isinstance(var, core.Literal) else known[var]

    for eqn in closed.jaxpr.eqns:
        ins, name = [read(var) for var in eqn.invars], eqn.primitive.name
        outs = [any(ins)] * len(eqn.outvars)
        if name in CALLS:
            outs = _marks(_called(eqn), ins)
        elif name == "scan" and any(ins):
            consts, carry, xs = _scanned(eqn, ins)
            outs = _marks(eqn.params["jaxpr"], [*consts, *_carried(eqn, ins), *xs])
            outs[: len(carry)] = _carried(eqn, ins)
        elif name == "while" and any(ins):
            outs = _carried(eqn, ins)
        elif name == "cond" and not ins[0]:
            outs = _branched(eqn, ins[1:])
        known |= dict(zip(eqn.outvars, outs, strict=True))
    return [read(var) for var in closed.jaxpr.outvars]


def _carried(eqn, marks):
    """Which carries of a loop are mapped: the fewest that one more round leaves as they are."""
    params = eqn.params
    if eqn.primitive.name == "scan":
        closed = params["jaxpr"]
        consts, carry, xs = _scanned(eqn, marks)
    else:
        closed, xs = params["body_jaxpr"], []
        _, consts, carry = _split(marks, params["cond_nconsts"], params["body_nconsts"])
    while True:
        after = _marks(closed, [*consts, *carry, *xs])[: len(carry)]
        grown = [a or b for a, b in zip(carry, after, strict=True)]
        if grown == carry:
            return carry
        carry = grown


def _branched(eqn, marks):
    outcomes = [_marks(closed, marks) for closed in eqn.params["branches"]]
    return [any(each) for each in zip(*outcomes, strict=True)]


RULES = {
    "dot_general": _dot,
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "gather": _gather,
    "scan": _scan,
    "while": _while,
    "cond": _cond,
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    "div": _div,
    **dict.fromkeys(
        (
            *("squeeze", "concatenate", "rev"),
            *("reduce_sum", "reduce_max", "reduce_min", "reduce_or", "reduce_and"),
        ),
        _same_axes,
    ),
}

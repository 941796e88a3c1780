"""Mutants that compute the same as the code, by the name of the function and the change, and why that is so."""

_STEPS = "round and floor have no gradient, so that there is none to stop"
_SIDE = "side is 1 or -1, by which it is the same to divide and to multiply"
_SAME_NUMBER = "at this spike function, both are the same number"
_TYPES = "says to the type checker what holds"
_UNUSED = "the value of a branch that is not taken, and that has only to be finite"
_MEET = "both branches have the same value where they meet"
_POSITIVE = "the sign of the number says whether there is a spike, and nothing else is read from it"
_ORDER = "the greater, or the middle one, of the same numbers"
_TRIANGLE = {"jnp.maximum(0, 1 - self.beta * jnp.abs(u)): arguments 0 and 1 swapped": _ORDER}
_AWAKE = "the table starts from neurons that do not rest"
_SYMMETRIC = "the greater of two numbers, in either order, with equal ones nowhere near"
_DOUBLE = (
    "of a float, these functions in double round to the same float: fmod, the absolute value and rounding to integers "
    "are exact, and the digits of a square root suffice; it is slower"
)
_ASSIGNED = (
    "C converts to the variable that takes the value as the cast does, and between bools and others, either order "
    "prints a choice of 0 and 1"
)
_ZERO_OR_ONE = "a bool is 0 or 1 in a kernel, and the conversion keeps it as the choice does; the choice is faster"
_BOUNDED = "torch refuses a clamp without bounds, and what is bounded has the dtype already"
_TOLD = "the sigmoid in it tells as much: the mark adds a word to an explanation, and nothing to the kernel"
_CAST_LATER = "each operation that takes the value casts it to the same dtype itself"
_WHOLE = "a whole number rounded to an integer has the dtype already, and the cast returns it as it is"

SAME: dict[str, dict[str, str]] = {
    "firing.MultiSpike.fire": {"(u / threshold).detach(): without detach": _STEPS},
    "surrogate.PiecewiseExponential.primitive": {"0.5 * side: Div for Mult": _SIDE},
    "surrogate.StraightThrough.__call__": {"spike(u, self.primitive(u)): arguments 0 and 1 swapped": "phi is u"},
    "neurons.delay.delay_step": {"delay - k: operands swapped": "the share is symmetric but for its kinks"},
    "neurons.delay._taps": {"0: + 1": "the shape of every step is the same", "delay.detach(): without detach": _STEPS},
    "neurons.leaky.leak_from_w": {"w >= 0.0: compares with Gt": _MEET},
    "refractory_period.Refractory.__call__": {"left.detach(): without detach": _AWAKE},
    "jax_reference.wrappers.Refractory.__call__": {"jax.lax.stop_gradient(left): argument 0 alone": _AWAKE},
    "jax_reference.delay.delay_step": {"jax.lax.stop_gradient(jnp.floor(delay)): argument 0 alone": _STEPS},
    "jax_reference.delay.delayed": {"jax.lax.stop_gradient(jnp.floor(delay)): argument 0 alone": _STEPS},
    "jax_reference.firing.Graded.fire": {
        "Fired(v=reset(u, e, threshold), out=e * u, number=e, fired=e: keywords 2 and 3 swapped": _SAME_NUMBER
    },
    "jax_reference.firing.Ternary.fire": {
        "Fired(v=-reset(-v1, down, threshold), out=up - down, number=: keywords 2 and 3 swapped": _SAME_NUMBER
    },
    "jax_reference.firing.MultiSpike.fire": {
        "Fired(v=reset(u, n if _counts(reset) else fired, threshold),: keywords 1 and 2 swapped": _SAME_NUMBER
    },
    "jax_reference.firing.fire": {
        "Fired(v=reset(u, s, threshold), out=s, number=s, fired=s): keywords 1 and 2 swapped": _SAME_NUMBER,
        "Fired(v=reset(u, s, threshold), out=s, number=s, fired=s): keywords 2 and 3 swapped": _SAME_NUMBER,
    },
    "jax_reference.firing.MultiSpike._number": {
        "hold(jnp.maximum(1, jnp.round(u / threshold))): argument 0 alone": _STEPS,
        "jnp.maximum(1, jnp.floor(u / threshold)): argument 1 alone": "it is at least 1 where there is a spike",
        "jnp.maximum(1, jnp.floor(u / threshold)): arguments 0 and 1 swapped": _SYMMETRIC,
        "jnp.maximum(1, jnp.round(u / threshold)): arguments 0 and 1 swapped": _SYMMETRIC,
    },
    "jax_reference.closed_forms.PiecewiseExponential.primitive": {
        "0: + 1": _UNUSED,
        "jnp.where(u < 0, 0, u): arguments 0 and 1 swapped": "u < 0 is 0 or 1, and takes the place of the 0 not used",
        "u < 0: compares with LtE": _MEET,
    },
    "jax_reference.closed_forms.Triangular.__call__": _TRIANGLE,
    "jax_reference.closed_forms.Triangular.derivative": _TRIANGLE,
    "jax_reference.closed_forms.Triangular.primitive": {
        "jnp.clip(self.beta * u, -1, 1): arguments 0 and 1 swapped": _ORDER
    },
    "jax_reference.firing.Strict.__call__": {"1.0: + 1": _POSITIVE},
    "jax_reference.neurons.nonlinear._upswing": {"z > 20: compares with GtE": _MEET},
    "jax_reference.neurons.adaptive.refractory_gain_from_tau": {
        "18: + 1": "a term of the series below rounding",
        "1: + 1": _UNUSED,
        "h < 1: compares with LtE": _MEET,
    },
    "jax_reference.neurons.stochastic.stochastic_lif_step": {"1.0: + 1": _POSITIVE},
    "jax_reference.firing.Strict.derivative": {"cast(Smooth, self.surrogate): argument 1 alone": _TYPES},
    "jax_reference.firing.Strict.primitive": {"cast(Smooth, self.surrogate): argument 1 alone": _TYPES},
    "jax_reference.spike._spike_jvp": {
        "_spike(u, wrt, slopes): arguments 1 and 2 swapped": "the spike itself does not depend on either",
        "zip(slopes, wrt_dot, strict=True): arguments 0 and 1 swapped": "the factors of a product, in either order",
    },
    "fused.codegen.c_expressions.Body.before_time": {
        "[*self.arrays_here(), 'EACH {', *neurons, *fills, '}'] if ne: always the body": "a loop with nothing in it"
    },
    "fused.codegen.c_expressions._operation": {
        "'f' if dtype == 'f32' else '': always the orelse": _DOUBLE,
        "_cast(a, dtype, node.dtype): arguments 1 and 2 swapped": _ASSIGNED,
        "f'{a} < 0 ? -{a} : {a}': ' < ' to ' <= '": "a whole zero has no sign",
    },
    "fused.codegen.c_expressions._cast": {
        "f'{value} ? 1 : ({LOCAL[after]})0' if before == 'bool' else : always the orelse": _ZERO_OR_ONE
    },
    "fused.lower.rules._mul": {
        "'and' if dtype == 'bool' else 'mul': always the orelse": "of 0 and 1, the product is the conjunction"
    },
    "fused.lower.rules._remainder": {
        "'lt': le": "a divisor of zero leaves NaN, with zero added or not; a rest of zero is kept whatever its sign"
    },
    "fused.lower.rules._to_integer": {"b.cast(x, dtype): argument 0 alone": _WHOLE},
    "fused.lower.rules._heaviside": {
        "b.cast(b.compare('gt', dtype, x, zero), dtype): argument 0 alone": _CAST_LATER,
        "'gt': ge": "at zero, the other value is chosen",
    },
    "fused.lower.rules._clamp": {
        "b.cast(_bounded(b, 'min', dtype, _bounded(b, 'max', dtype, x: argument 0 alone": _BOUNDED
    },
    "fused.lower.rules._silu": {
        "b.inexact(b.emit('mul', dtype, x, b.emit('sigmoid', dtype, x: argument 0 alone": _TOLD
    },
    "fused.lower.rules._lerp": {"b.cast(weight, dtype): argument 0 alone": _CAST_LATER},
}

"""Which form of the convolutions is computed: the platform's own, or one that is forced.

The same sums have a form for CPU, one for GPU, and `lax`, which is `lax.conv_general_dilated` as it
stands: the form of every other platform and the oracle of the others.

    with forms.forced("gpu"):
        jax.jit(step)(model, batch)

traces, compiles and runs the forms for GPU, on any platform.
"""

import jax

from harmjax import plugins

NAMES = ("cpu", "gpu", "lax")

forced = jax.make_user_context(None)


def asked() -> str | None:
    """The form that is forced, or None.

    Raises:
        ValueError: There is no such form.
    """
    if forced.value is not None:
        plugins.one_of("form", forced.value, NAMES)
    return forced.value


def current() -> str:
    """The form of what is traced now, on the default platform unless one is forced."""
    platform = jax.default_backend()
    return asked() or (platform if platform in NAMES else "lax")

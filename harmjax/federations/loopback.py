"""Centres that are reached by messages alone, in one process: requests turn into bytes and back.

What a network does, without one. The server holds no row: it knows how many samples each centre
has, and their places in the order of the run.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from harmjax import types
from harmjax.federations import assessment, loops, wire
from harmjax.federations import site as sites


def loopback(
    send: Sequence[Callable[[bytes], bytes]], classes: Sequence[str]
) -> types.FederationFn:
    """A factory of federations that asks centres by messages; takes the place of `memory.memory`.

    Args:
        send: Of every centre, request -> answer, such as `site.site` makes.
        classes: [K] names.

    Returns:
        A factory that looks at nothing of the samples but `centre`. Its federation goes by legs.
    """

    def factory(learner, train, held_out, key, *, chunk=64, minimum=5) -> types.Federation:
        del learner, key, chunk, minimum  # the centres have their own
        centre, held_out_centre = np.asarray(train.centre), np.asarray(held_out.centre)
        num_samples = len(centre)
        own_rows = [np.flatnonzero(centre == c) for c in range(len(send))]
        row = np.append(np.zeros(num_samples, np.int32), 0)
        for rows in own_rows:
            row[rows] = np.arange(len(rows))

        def ask(c, op, **content):
            return wire.unpack(send[c](wire.pack({"op": op, **content})))

        def everyone(op, **content):
            request = wire.pack({"op": op, **content})
            return [wire.unpack(one(request)) for one in send]

        def at_centre(leg):
            c, ids = int(leg.centre[0]), np.asarray(leg.ids)
            away = ids[(ids < num_samples) & (np.append(centre, c)[ids] != c)]
            if len(away):
                raise ValueError(
                    f"sample {away[0]} is of centre {centre[away[0]]}, and was to be met at centre "
                    f"{c}: what pools samples, as train.topology='central', takes no messages"
                )
            rows = np.where(ids < num_samples, row[ids], len(own_rows[c])).astype(np.int32)
            return c, {"cycle": int(leg.cycle[0]), "rows": rows, "weight": np.asarray(leg.weight)}

        def learn(model: types.Model, leg: types.Stop):
            c, stops = at_centre(leg)
            found = ask(c, "learn", model=jax.tree.leaves(model), **stops)
            # Committed like the model that a run starts with: else the server compiles twice.
            leaves = jax.device_put(list(found["model"]), jax.local_devices()[0])
            after = jax.tree.unflatten(jax.tree.structure(model), leaves)
            return after, jnp.asarray(found["loss"])

        def at(asked: types.Measure, model: types.Model, leg: types.Stop, reference):
            c, stops = at_centre(leg)
            told, variables = sites.told_of(asked), _variables(model)
            found = ask(c, "at", measure=told, model=variables, reference=reference, **stops)
            return {name: jnp.asarray(values) for name, values in found.items()}

        def total(statistic: str, model: types.Model, *args, fold=None):
            found = everyone(
                "total", statistic=statistic, model=_variables(model), args=args, fold=fold
            )
            sums = jax.tree.map(jnp.zeros_like, found[0]["sums"])
            for one in found:
                sums = jax.tree.map(jnp.add, sums, one["sums"])
            return sums

        def survey(asked: types.Measure, model: types.Model, reference):
            told = sites.told_of(asked)
            found = everyone("survey", measure=told, model=_variables(model), reference=reference)
            order = np.concatenate([np.flatnonzero(held_out_centre == c) for c in range(len(send))])
            back = np.argsort(order)
            return jax.tree.map(lambda *each: jnp.asarray(np.concatenate(each)[back]), *found)

        def evaluate(model):
            found = everyone("assess", model=_variables(model))
            splits = found[0]
            names = {s: dict.fromkeys(n for one in found for n in one[s]) for s in splits}
            sums = {
                split: {
                    name: assessment.added([one[split].get(name) for one in found])
                    for name in names[split]
                }
                for split in splits
            }
            return {
                split: {
                    name: assessment.assessed(one, classes)
                    for name, one in groups.items()
                    if one is not None
                }
                for split, groups in sums.items()
            }

        return types.Federation(
            num_classes=len(classes),
            centre=jnp.asarray(centre),
            held_out_centre=held_out_centre,
            learn=learn,
            at=at,
            total=total,
            survey=survey,
            scan=loops.scan,
            cond=loops.cond,
            by_leg=True,
            evaluate=evaluate,
        )

    return factory


def _variables(model: types.Model) -> list:
    """What a forward pass reads of a model, a third of it with Adam's moments."""
    return jax.tree.leaves((model.params, model.batch_stats))

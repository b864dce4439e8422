"""Retrains a run thousands of times without a sample, a centre, a subset, and values them all.

harmjax counterfactual --config=counterfactual --workdir=runs/without

Running again on the same workdir keeps the retrainings that are finished.
"""

import os

from . import command


def main(config, workdir):
    import jax

    # one CPU device per core, because XLA runs small models on one core each
    wanted = config.get("counterfactual", {}).get("devices", 0)
    jax.config.update("jax_num_cpu_devices", wanted or os.cpu_count())
    from harmjax.counterfactual import survey
    from harmjax.runs import preparation

    command.record(config, workdir)
    study = preparation.prepare(config, workdir)
    command.log(workdir, study.text)
    found = survey.survey(config, workdir, study=study, say=lambda text: command.log(workdir, text))
    command.log(workdir, survey.summary(found))


if __name__ == "__main__":
    command.run(main)

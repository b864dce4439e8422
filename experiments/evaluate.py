"""Metrics of a run's models on its test split, overall and by subgroup.

harmjax evaluate --run=runs/mine --workdir=runs/mine/evaluation

Evaluates the delivered model, and the model after every cycle whose checkpoint was kept
(`--config.train.keep_checkpoints=all` when training).
"""

import shutil

from absl import flags

from . import command

RUN = flags.DEFINE_string("run", None, "Workdir of a finished run.")
SPLIT = flags.DEFINE_enum("split", "test", ["test", "verification"], "Which scans.")


def main(config, workdir):
    del config
    from harmjax import tables, workdirs
    from harmjax.data import begun
    from harmjax.runs import evaluation

    run = workdirs.whole(RUN.value, "--run")
    manifest = run / begun.MANIFEST
    if manifest.exists() and not workdir.samefile(run):  # whom the evaluation is about
        shutil.copyfile(manifest, workdir / begun.MANIFEST)
    found = evaluation.evaluate(run, SPLIT.value)
    if found.text:
        command.log(workdir, found.text)
    tables.write(workdir / "evaluation.csv", found.header, found.rows)
    overall = [[*row[:2], *row[4:]] for row in found.rows if row[3] == "all"]
    shown = [*found.header[:2], *found.header[4:]]
    command.log(workdir, tables.aligned(shown, overall))
    command.log(workdir, f"by subgroup: {workdir / 'evaluation.csv'}")


if __name__ == "__main__":
    command.run(main, required=("run", "workdir"))

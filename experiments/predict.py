"""Applies a run's delivered model to new scans and writes their probabilities of disease.

harmjax predict --run=runs/mine --scans=new/manifest.csv --workdir=predictions

`--scans` is a manifest in the layout that the run was trained on; its group column may be empty or
missing. Scans that cannot be read are listed in left_out.csv with the reason.
"""

from absl import flags

from . import command

RUN = flags.DEFINE_string("run", None, "Workdir of a finished run.")
SCANS = flags.DEFINE_string("scans", None, "Manifest of the new scans.")


def main(config, workdir):
    del config
    from harmjax import tables, workdirs
    from harmjax.data import checks, records
    from harmjax.runs import prediction

    run, scans = workdirs.whole(RUN.value, "--run"), workdirs.whole(SCANS.value, "--scans")
    found = prediction.predict(run, scans)
    tables.write(workdir / "predictions.csv", found.header, found.rows)
    tables.write(workdir / "left_out.csv", prediction.LEFT_OUT, found.left_out)
    command.log(workdir, "\n".join(found.notices))
    command.log(workdir, f"{len(found.rows)} scans in {workdir / 'predictions.csv'}")
    if found.left_out:
        problems = checks.table([records.Problem(*row) for row in found.left_out])
        command.log(workdir, f"{len(found.left_out)} left out:\n{problems}")


if __name__ == "__main__":
    command.run(main, required=("run", "scans", "workdir"))

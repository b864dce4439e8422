"""Applies a run's delivered model to new scans and writes their probabilities of disease.

python -m experiments.predict --run=runs/mine --scans=new/manifest.csv --workdir=predictions

`--scans` is a manifest in the layout that the run was trained on; its group column may be empty or
missing. Scans that cannot be read are listed in left_out.csv with the reason.
"""

from absl import flags

from experiments import command

RUN = flags.DEFINE_string("run", None, "Workdir of a finished run.")
SCANS = flags.DEFINE_string("scans", None, "Manifest of the new scans.")


def main(config, workdir):
    del config
    from harmjax import prediction, tables

    rows, left_out = prediction.predict(RUN.value, SCANS.value)
    tables.write(workdir / "predictions.csv", prediction.HEADER, rows)
    tables.write(workdir / "left_out.csv", prediction.LEFT_OUT, left_out)
    command.log(workdir, f"{len(rows)} scans in {workdir / 'predictions.csv'}")
    if left_out:
        command.log(workdir, f"{len(left_out)} left out, see {workdir / 'left_out.csv'}")


if __name__ == "__main__":
    command.run(main, required=("run", "scans", "workdir"))

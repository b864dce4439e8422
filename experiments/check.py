"""Reads and checks a cohort without training.

harmjax check --config=published --config.data.manifest=manifest.csv

Prints the columns that were chosen, what labels were read as, what is left out and why, the splits
of every centre, and what memory and time the run would take. Ends with exit code 2 where the run
would be refused, also under --config.data.strict. Writes nothing; with --workdir it also says
whether the run that began there can go on with the settings and the data as they are now.
"""

import pathlib
import shutil
import tempfile

from . import command


def main(config, workdir):
    from harmjax.data import begun, checks
    from harmjax.runs import forecast, preparation, recorded

    with tempfile.TemporaryDirectory() as spare:
        made = workdir / begun.MANIFEST if workdir else None
        if made is not None and made.exists():
            for file in (made, workdir / preparation.FEATURES):
                if file.exists():
                    shutil.copy(file, spare)
            if (workdir / "checkpoints" / "final").exists():
                pathlib.Path(spare, "checkpoints", "final").mkdir(parents=True)
        if workdir is not None:
            recorded.compared(config, workdir)
        try:
            study = preparation.prepare(config, spare)
        except ValueError as error:
            raise ValueError(str(error).replace(spare, str(workdir or "a run"))) from error
        command.log(None, study.text)
        command.log(None, checks.by_centre(begun.recorded(spare).records, study.classes))
        command.log(None, forecast.text(forecast.forecast(config, study)))


if __name__ == "__main__":
    command.run(main, required=("config",), hold=False)

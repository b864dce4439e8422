"""Trains one diagnostic model across hospitals under quality control.

harmjax train --config=demo --workdir=runs/demo

Running again on the same workdir resumes after the last complete cycle.
"""

from . import command


def main(config, workdir):
    from harmjax.runs import preparation, recorded, training

    for text in recorded.compared(config, workdir)[1]:
        command.log(workdir, text)
    study = preparation.prepare(config, workdir)
    command.log(workdir, study.text)
    outcome = training.train(config, workdir, study=study)
    command.log(workdir, training.summary(study, outcome))
    if config.report:
        from harmjax.report import page

        command.log(workdir, f"page: {page.write(workdir, study)}")


if __name__ == "__main__":
    command.run(main)

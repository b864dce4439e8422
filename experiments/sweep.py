"""Trains under every setting that a config's `get_hyper(hyper)` lists, and compares them.

harmjax sweep --config=sweep --workdir=runs/sweep

Finished runs are not repeated; an interrupted one resumes. Writes sweep.csv, sweep.png and
sweep.html, and a workdir per run, which `harmjax predict` and `harmjax evaluate` take.
"""

from absl import flags
from ml_collections import config_flags

from . import command


def main(config, workdir):
    settings = hyper_settings()
    from harmjax.report import page
    from harmjax.report import sweep as comparison
    from harmjax.sweeps import sweep

    def finished(run, study):
        if config.report and config.sweep.pages:
            page.write(run, study)

    def say(text):
        command.log(workdir, text)

    command.record(config, workdir)
    table = sweep.sweep(config, settings, workdir, say=say, finished=finished)
    asked = config.sweep
    command.log(workdir, sweep.summary(table, asked.replicates, asked.choose_by, workdir))
    if config.report:
        written = comparison.write(workdir, table, asked.replicates, asked.choose_by)
        command.log(workdir, f"page: {written}")


def hyper_settings():
    """What `get_hyper(hyper)` of the config file returns.

    Raises:
        ValueError: It is not defined, is no list, or sweeps a setting that the command line gives.
    """
    from harmjax import shipped
    from harmjax.runs import recorded
    from harmjax.sweeps import hyper

    flag = flags.FLAGS["config"]
    name = config_flags.get_config_filename(flag).split(":")[0]
    module = shipped.config_module(name)
    if not hasattr(module, "get_hyper"):
        raise ValueError(
            f"{module.__file__} defines no get_hyper(hyper); "
            f"{shipped.CONFIGS / 'sweep.py'} shows one"
        )
    settings = module.get_hyper(hyper)
    if not (isinstance(settings, list) and all(isinstance(one, dict) for one in settings)):
        raise ValueError(f"get_hyper of {name} returns {settings!r}: need a list of settings")
    given = config_flags.get_override_values(flag)
    twice = sorted(given.keys() & {key for setting in settings for key in setting})
    if twice:
        raise ValueError(f"{twice[0]} is swept by get_hyper and given on the command line")
    return [recorded.located_setting(setting) for setting in settings]


if __name__ == "__main__":
    command.run(main)

# What the rules share: the experiment's grid, the configuration of a run, and the digest of what a stage reads of it.
#
# Each run's settings are composed when the DAG is built: every mistake in them shows before the first job. Its config.yaml
# is brought up to date in `onstart`, for the runs that jobs are about to work on; what only looks (a dry run, --summary,
# --report, …) writes nothing. Stages take the file as ancient() and depend on the digest of the sections they read, so
# that a changed evaluation setting does not train again. (Were the file a job's output, that job would hide such
# changes: Snakemake does not look at the params of what comes after a job that is about to run.)
import os
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from hiper.compose import NAME, RunName, compose_run, load_benchmark, load_grid, read_config, run_names, write_config
from hiper.digests import benchmark_digest, stage_digest
from hiper.errors import UserError
from hiper.grids import compose_grid
from hiper.locks import join_workflow
from hiper.paths import expanded_text
from hiper.report import figures, tables
from hiper.views.needs import missing

# hiper and dvc of this very environment, whether it is activated or not.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]))
os.environ.setdefault("PYTHONHASHSEED", "0")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ROOT = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
if workflow.is_main_process:
    ALIVE = join_workflow(Path(".snakemake"))  # kept open until this process ends
# What the report stage writes, below results/<experiment>/.
FIGURES = [f"figures/{name}.png" for name in figures.FIGURES]
PRINTS = [figure.replace(".png", ".pdf") for figure in FIGURES]
MAIN_TABLES = [f"tables/{name}.csv" for name in ("success", "improvement", "efficiency")]
FURTHER_TABLES = [table for name in tables.FILES if (table := f"tables/{name}") not in MAIN_TABLES]
RESULTS = ["report.html", *MAIN_TABLES, *FURTHER_TABLES, *FIGURES, *PRINTS]


wildcard_constraints:
    experiment=NAME,
    benchmark=NAME,
    model=NAME,
    algorithm=rf"(?!warmstart-){NAME}",
    seed="[0-9]+",
    run=rf"{NAME}-{NAME}-{NAME}-seed[0-9]+",


def in_words(function):
    """A mistake in a configuration file as Snakemake's own kind of error: the message without a traceback."""

    @cache
    def wrapped(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return wrapped


@in_words
def cells(experiment):
    """The runs of the grid, each algorithm's and, first, the warm starts they begin from."""
    runs = run_names(load_grid(experiment, ROOT))
    return [*dict.fromkeys(run.warm_start for run in runs), *runs]


def made(experiment):
    """The models of an experiment and their evaluations."""
    return expand(
        "results/{experiment}/runs/{run}/{file}",
        experiment=experiment,
        run=cells(experiment),
        file=["manifest.json", "evaluation.jsonl"],
    )


@in_words
def algorithms(experiment):
    return load_grid(experiment, ROOT).algorithms


def variances(experiment):
    """What is measured of gradients: on each warm start whose settings ask for it."""
    starts = dict.fromkeys(str(cell.warm_start) for cell in cells(experiment))
    asking = [start for start in starts if settings(experiment, start).variance.batches]
    return expand("results/{experiment}/variance/{run}.json", experiment=experiment, run=asking)


@in_words
def composed(experiment):
    return {str(name): found for name, found in compose_grid(experiment, ROOT)}


@in_words
def settings(experiment, run):
    whole = composed(experiment) if workflow.is_main_process else {}  # a cluster's job needs one run
    return whole.get(run) or compose_run(experiment, run, ROOT)


@in_words
def written(experiment, run):
    """The settings of the run that a job is about: in the processes of a cluster's job as `onstart` wrote them, which
    takes a tenth of the time that Hydra takes."""
    path = Path("results") / experiment / "runs" / run / "config.yaml"
    return settings(experiment, run) if workflow.is_main_process or not path.exists() else read_config(path)


def own(wildcards):
    return written(wildcards.experiment, run_of(wildcards))


@in_words
def data_digest(benchmark):
    return benchmark_digest(load_benchmark(ROOT / "configs" / "benchmark" / f"{benchmark}.yaml"))


def run_of(wildcards):
    """The run a job is about; preparations shared by several runs are made with the first warm start they serve."""
    if "run" in wildcards.keys():
        return wildcards.run
    if "seed" in wildcards.keys():
        algorithm = wildcards.get("algorithm", "warmstart")
        return f"{wildcards.benchmark}-{wildcards.model}-{algorithm}-seed{wildcards.seed}"
    if "benchmark" not in wildcards.keys():  # of a preflight: the first training of a model
        runs = run_names(load_grid(wildcards.experiment, ROOT))
        return str(next(run for run in runs if run.model == wildcards.model))
    served = [cell for cell in cells(wildcards.experiment) if cell.benchmark == wildcards.benchmark]
    served = [cell for cell in served if cell.model == wildcards.get("model", cell.model)]
    if not served:
        raise WorkflowError(f"experiment {wildcards.experiment}: its grid has no run for {dict(wildcards)}")
    return str(served[0])


def reads(stage):
    """The params of a stage: equal digests mean that no setting it reads has changed."""
    return lambda wildcards: stage_digest(own(wildcards), stage)


def reads_with_every_algorithm(stage):
    """As `reads`, for a stage that compares the algorithms of the grid."""

    def digests(wildcards):
        run = RunName.parse(run_of(wildcards))
        runs = [str(replace(run, algorithm=name)) for name in algorithms(wildcards.experiment)]
        return [stage_digest(settings(wildcards.experiment, one), stage) for one in runs]

    return digests


def configuration(wildcards):
    """The run's config.yaml, made where there is none, because Snakemake wants to see it before it runs a job; none
    where it will not run any."""
    run = run_of(wildcards)
    path = Path("results") / wildcards.experiment / "runs" / run / "config.yaml"
    if not only_looking() and (not path.exists() or hooks_are_off()):
        write_config(settings(wildcards.experiment, run), path)
    return str(path) if path.exists() else []


def only_looking():
    """Of a call that runs no job; `--touch` has `onstart`, all the same."""
    return workflow.executor_plugin is None or workflow.dryrun or workflow.touch


def hooks_are_off():
    """Of a call with --no-hooks, which has no `onstart`; the processes of jobs never have hooks."""
    return workflow.is_main_process and workflow.execution_settings.no_hooks


def configure(jobs):
    """Bring the config.yaml of what these jobs work on up to date; an unchanged file keeps its time stamp."""
    for job in jobs:
        if "config" in job.input.keys():
            write_config(settings(job.wildcards.experiment, run_of(job.wildcards)), Path(job.input.config))


def dataset(wildcards):
    return f"data/{own(wildcards).benchmark.dataset}/dataset.json"


def cores(wildcards):
    return own(wildcards).engine.threads


def preflight(wildcards):
    """What a training that needs more than a CPU waits for: a try with a tiny model on the same kind of node."""
    chosen = own(wildcards)
    plain = chosen.engine.name == "local" and chosen.engine.device == "cpu" and chosen.rollout.backend == "local"
    return [] if plain else f"results/{wildcards.experiment}/preflight/{wildcards.model}.json"


def preflight_materials(wildcards):
    """The data of the run that is tried, and the tokenizer of a model made from scratch."""
    run = RunName.parse(run_of(wildcards))
    chosen, found = own(wildcards), {"data": dataset(wildcards)}
    if chosen.model.scratch is not None:
        folder = f"results/{wildcards.experiment}/tokenizers/{run.benchmark}-{run.model}"
        found["tokenizer"] = f"{folder}/tokenizer.json"
    return found


def warm_start_materials(wildcards):
    """Demonstrations for SFT, a tokenizer for a model made from scratch; a pretrained model without SFT needs neither."""
    chosen = own(wildcards)
    folder, found = f"results/{wildcards.experiment}", {}
    if chosen.warm_start.method == "sft":
        found["demonstrations"] = f"{folder}/demonstrations/{wildcards.benchmark}/demonstrations.jsonl"
    if chosen.model.scratch is not None:
        found["tokenizer"] = f"{folder}/tokenizers/{wildcards.benchmark}-{wildcards.model}/tokenizer.json"
    return found


def warm_start_options(wildcards):
    """The same as command-line options; a tokenizer is named by its folder."""
    found = warm_start_materials(wildcards)
    if "tokenizer" in found:
        found["tokenizer"] = Path(found["tokenizer"]).parent
    return [text for name, path in found.items() for text in (f"--{name}", str(path))]


# every run of the grid is validated before anything is planned; the jobs of a cluster need not do that again
if workflow.is_main_process:
    composed(config["experiment"])


def planned():
    """The runs that jobs are about to work on."""
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name in ("warm_start", "train", "evaluate")]
    names = dict.fromkeys(run_of(job.wildcards) for job in jobs)
    return [(RunName.parse(name), settings(config["experiment"], name)) for name in names]


# Before the first job, not after hours in a queue (and not in a dry run): `hiper doctor --experiment NAME` says it all.
onstart:
    if not only_looking():
        runs = planned()
        remade = [job.wildcards.benchmark for job in workflow.dag.needrun_jobs() if job.rule.name == "data"]
        absent = missing(config["experiment"], runs, ROOT, workflow.executor_plugin.name, remade)
        if absent := [*absent, *refused_by_cluster(runs), *still_running(runs)]:
            raise WorkflowError("\n".join(["these runs cannot be made:", *absent]))
        configure(workflow.dag.needrun_jobs())

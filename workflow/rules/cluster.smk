# What a job needs and how its processes are started, by the engine settings of its run. Where it may run (account, partition,
# kind of GPU) is the profile's business (profiles/slurm/config.yaml); without a cluster all of this changes nothing.
#
# Signals: a warning (SIGUSR1) or a preemption (SIGTERM) reaches every process of a job: Snakemake, the shell, `tee`, the
# stage. Only the stage is to answer (hiper/stages/interruption.py); the others wait for it.
import signal

from snakemake.logging import logger
from snakemake.settings.enums import Quietness

from hiper.locks import owner
from hiper.views.resources import memory_mb, minutes, unknown_sizes, warned
from hiper.views.slurm import doubts, of_text, refusals

# this takes the place of Snakemake's own prefix, bash's strict mode: with it the status of `hiper … | tee` is hiper's
shell.prefix("set -euo pipefail; trap '' TERM USR1; ")
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

PROFILE = workflow.resource_settings.default_resources or {}
if "gpu_partition" in PROFILE and workflow.output_settings.quiet:
    # profiles/default keeps Snakemake quiet about jobs, because stages print to the same terminal; those of a cluster do
    # not, and with their jobs their errors would be hidden
    workflow.output_settings.quiet.discard(Quietness.RULES)


def of_profile(name):
    """A default resource that the profile gives as text, or None."""
    text = str(PROFILE[name].raw) if name in PROFILE else "None"
    return None if text == "None" else text


def engine(wildcards):
    return own(wildcards).engine


def scaled(number):
    """`number`, more with each attempt: what ran out of memory or time gets more of it."""
    return lambda wildcards, attempt: number * attempt


def counted(resource, stage, *further):
    """A resource of a stage as `hiper plan` counts it; a model of unknown sizes is told once."""

    def value(wildcards, attempt):
        run = RunName.parse(run_of(wildcards))
        tell_unknown(wildcards.experiment, run.model)
        return resource(stage, run, own(wildcards), attempt, *further)

    return value


@cache
def tell_unknown(experiment, model):
    first = next((run for run in cells(experiment) if run.model == model), None)
    if workflow.is_main_process and first and (told := unknown_sizes(first, settings(experiment, str(first)))):
        logger.warning(told)


def memory(stage):
    return counted(memory_mb, stage)


def duration(stage, uncounted):
    """Minutes; `uncounted` where they are not known beforehand."""

    def value(wildcards, attempt):
        number = len(algorithms(wildcards.experiment))
        return counted(minutes, stage, number, uncounted)(wildcards, attempt)

    return value


def warning(wildcards):
    """The profile's further options of sbatch for a training."""
    given = of_profile("slurm_extra")
    if given is None:
        return None
    return warned(of_text(given), RunName.parse(run_of(wildcards)), own(wildcards))


def on_gpu(value):
    """A resource of jobs with GPUs; None (not asked for) where the engine computes on CPUs."""
    return lambda wildcards: value(engine(wildcards)) if engine(wildcards).device == "cuda" else None


def if_learned(value):
    """A resource of a warm start; None where it only copies a model, which takes no GPU."""
    return lambda wildcards: value(wildcards) if learns(wildcards) else None


def learns(wildcards):
    return own(wildcards).warm_start.method != "none"


def partition(wildcards):
    return of_profile("gpu_partition" if engine(wildcards).device == "cuda" else "slurm_partition")


def gres(count):
    """So many GPUs on each node, of the profile's type."""
    return ":".join(["gpu", *filter(None, [of_profile("gpu_type")]), str(count)])


# Stages of one process. `tasks_per_gpu: 0` keeps the executor from starting a task for each GPU.
ONE_PROCESS = {
    "gres": on_gpu(lambda engine: gres(1)),
    "slurm_partition": partition,
    "constraint": on_gpu(lambda engine: of_profile("gpu_constraint")),
    "tasks_per_gpu": on_gpu(lambda engine: 0),
}
WARM_START = {
    **{name: if_learned(value) for name, value in ONE_PROCESS.items()},
    "slurm_partition": lambda wildcards: partition(wildcards) if learns(wildcards) else of_profile("slurm_partition"),
}
# Training: one process for each GPU of each node; with several nodes, one task on each that starts them (`launcher`).
ALL_PROCESSES = {
    **ONE_PROCESS,
    "gres": on_gpu(lambda engine: gres(engine.gpus)),
    "nodes": lambda wildcards: engine(wildcards).nodes,
    "mpi": lambda wildcards: "srun" if engine(wildcards).nodes > 1 else None,
    "tasks": lambda wildcards: engine(wildcards).nodes if engine(wildcards).nodes > 1 else None,
    "mem_mb": memory("train"),
}


def node_cores(wildcards):
    """Of the processes of a training on one node."""
    return engine(wildcards).threads * engine(wildcards).gpus


def launcher(wildcards):
    """What stands before `hiper train`: nothing for one process, else torchrun, on several nodes by way of srun. Where
    the profile names a network interface, the processes talk over that."""
    wanted = engine(wildcards)
    if wanted.processes == 1:
        return ""
    interface = of_profile("network_interface")
    named = f"NCCL_SOCKET_IFNAME={interface} GLOO_SOCKET_IFNAME={interface} " if interface else ""
    return named + started(wanted, wildcards)


def started(wanted, wildcards):
    # SIGTERM goes to the trainings, not to torchrun, which would end them at once; `--`: it also has an option --start…
    start = f"torchrun --nproc-per-node {wanted.gpus} --signals-to-handle SIGINT,SIGHUP,SIGQUIT --no-python"
    if wanted.nodes == 1:
        return f"{start} --standalone -- "
    nodes = f"--nodes {wanted.nodes} --ntasks {wanted.nodes} --ntasks-per-node 1"
    meeting = (
        "--rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint $(hostname):$((20000 + SLURM_JOB_ID % 10000))"
    )
    return (
        f"srun {nodes} --cpus-per-task {node_cores(wildcards)} --kill-on-bad-exit=1"
        f""" bash -c 'trap "" TERM USR1; exec "$@"' bash {start} --nnodes {wanted.nodes} {meeting} -- """
    )


def refused_by_cluster(runs):
    """What keeps this cluster from taking jobs, with the line of the profile to change."""
    if workflow.executor_plugin.name != "slurm":
        return []
    jobs = [job for job in workflow.dag.needrun_jobs() if job.rule.name in ("preflight", "train")]
    on_gpus = any(chosen.engine.device == "cuda" for _, chosen in runs)
    refused = refusals(of_profile, PROFILE, on_gpus, [engine(job.wildcards) for job in jobs])
    for doubt in [] if refused else doubts(of_profile, on_gpus):
        logger.warning(f"sbatch may refuse jobs: {doubt}")
    return refused


def still_running(runs):
    """Runs that a job of an earlier call works on; a cluster's jobs go on when their Snakemake is killed. Starting them
    again would empty their logs, and the stage would refuse anyway."""
    folders = [Path("results") / config["experiment"] / "runs" / str(run) for run, _ in runs]
    return [
        f"{folder}: {holder} is still at work, started by an earlier call; wait until it has finished, or stop it "
        "(on a cluster: squeue --me, scancel), then give the same command again"
        for folder in folders
        if (holder := owner(folder)) is not None
    ]

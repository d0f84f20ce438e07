# data -> demonstrations -> tokenizer, warm start -> RL -> evaluation -> tables and figures, for one experiment:
#   snakemake --cores 2                              the experiment `demo`
#   snakemake --cores 2 --config experiment=test     a file of configs/experiment
#   snakemake --cores 2 results/demo/runs/<run>/evaluation.jsonl     one stage (and what it lacks)
from snakemake.utils import min_version, validate

min_version("9.0")


validate(config, "workflow/schemas/config.schema.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


# For all rules, and only with --software-deployment-method apptainer: envs/README.md.
container: in_words(expanded_text)(config["container"], "--config container") if "container" in config else None


include: "workflow/rules/cluster.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/learning.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/reporting.smk"


# Data may have to be downloaded, and the nodes of a cluster seldom reach the network.
localrules:
    all,
    data,
    tracking_database,


# Models and evaluations stand here though tables come after them: what is only on the way to a file that exists is not
# made again when it is missing, and a failed retraining would never be repeated.
rule all:
    default_target: True
    input:
        lambda wildcards: made(config["experiment"]),  # functions: the jobs of a cluster need not compose all runs
        lambda wildcards: variances(config["experiment"]),
        expand(
            "results/{experiment}/{result}", experiment=config["experiment"], result=[*RESULTS, "tracking/synced.json"]
        ),

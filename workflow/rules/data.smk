# Games and the tracking database.
#
# data                configs/benchmark/<benchmark>.yaml -> data/<benchmark>/dataset.json and the games it lists. DVC owns
#                     this stage (dvc.yaml); the workflow asks for it. DVC locks its repository: one job at a time. A data
#                     set without a stage there, another package's, is made by the same command, without DVC.
# tracking_database   -> results/<experiment>/tracking/experiment.json: the MLflow database, migrated, before any run.


rule data:
    output:
        index="data/{benchmark}/dataset.json",
    log:
        "results/logs/data/{benchmark}.log",
    benchmark:
        "results/benchmarks/data/{benchmark}.tsv"
    threads: 1
    resources:
        dvc=1,
        mem_mb=scaled(2000),
        runtime=scaled(240),
    params:
        settings=lambda wildcards: data_digest(wildcards.benchmark),
    shell:
        "hiper data repro {wildcards.benchmark:q} 2>&1 | tee {log:q}"


rule tracking_database:
    output:
        experiment="results/{experiment}/tracking/experiment.json",
    log:
        "results/{experiment}/logs/tracking_database.log",
    benchmark:
        "results/{experiment}/benchmarks/tracking_database.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=subpath(output.experiment, ancestor=2),
    shell:
        "hiper track init {params.folder:q} --best-effort 2>&1 | tee {log:q}"
